"""What papers claim: read, matched with our runs, and judged."""
