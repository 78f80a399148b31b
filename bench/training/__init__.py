"""Model, data, loop, clipping, curves, random streams, and the set-up of the process."""
