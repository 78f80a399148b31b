"""From runs to numbers: hyperparameters, grouping, metrics, gradient reach, tables, comparisons."""
