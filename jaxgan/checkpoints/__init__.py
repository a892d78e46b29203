"""Checkpoints: the states of a run on disk."""
