"""From words to a checked run: schema, composing, grids of sweeps, identity, checks and explanations."""
