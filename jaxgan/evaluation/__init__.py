"""Evaluation of generators: scores of their samples against the data."""
