"""Scores of a generator: what it draws, against its data."""
