"""What papers report: the claims are read, matched with our runs, and judged."""
