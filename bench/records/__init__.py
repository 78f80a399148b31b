"""The record of a run: schema, writing, reading, validation, thinning, provenance, copies, and who does which run."""
