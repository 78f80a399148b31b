"""From words to a checked run: schema, targets, composing, grids of sweeps, identity, checks and explanations."""
