"""One module an algorithm; `python -m experiments.NAME --help`."""
