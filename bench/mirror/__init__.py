"""W&B as a mirror of records: what a run looks like there, live or later, and the workspace that compares runs."""
