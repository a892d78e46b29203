"""One module a figure about divergences and distances; `python -m experiments.divergence.NAME --help`."""
