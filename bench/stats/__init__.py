"""How sure we are, as pure functions: intervals, survival, paired tests, small samples, decay of gradients."""
