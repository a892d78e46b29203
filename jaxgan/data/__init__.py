"""Data: the order of examples, named data sets as arrays, and batches for training."""
