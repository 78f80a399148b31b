"""Pure statistics: intervals, survival, paired tests, small samples, decay of gradients."""
