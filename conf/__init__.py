"""The registry: YAML for every task, cell, optimizer, trainer, logger and experiment (``pkg://conf``)."""
