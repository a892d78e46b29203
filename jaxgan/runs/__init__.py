"""Runs: their flags, their folder, and what is reported of them."""
