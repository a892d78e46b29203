"""Scores of samples, as pure functions of arrays."""
