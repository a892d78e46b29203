"""One module for each algorithm; `python -m experiments.NAME --help`."""
