"""A search for the best setting of each cell: the space, the journal of its trials, and what they scored."""
