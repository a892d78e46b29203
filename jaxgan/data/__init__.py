"""Data: named data sets as arrays, the order of examples, and batches for training."""
