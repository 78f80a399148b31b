"""One run, from its spec to its record: launching, training, checkpoints, loggers, progress, replay and dry runs."""
