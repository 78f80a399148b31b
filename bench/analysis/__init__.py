"""From runs to numbers: hyperparameters, grouping, metrics, gradient reach, tables and comparisons."""
