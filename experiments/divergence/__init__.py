"""Figures about divergences and distances, one module each; see `python -m experiments.divergence.NAME --help`."""
