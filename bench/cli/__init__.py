"""Every command in a file of its own: it turns words into calls, and exceptions into one line and an exit code."""
