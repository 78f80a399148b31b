"""The record of a run: writing, reading, checks, thinning, provenance, copies, and who does which run."""
