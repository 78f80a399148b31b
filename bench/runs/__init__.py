"""One run from its spec to its record: launching, executing, checkpoints, loggers, progress, replay, dry runs."""
