"""Pages in a browser to look at runs: `python -m experiments.explore --run RUN`. One module for each kind of run."""
