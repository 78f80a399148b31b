"""One file a command: from words to calls, from exceptions to one line and an exit code."""
