"""One module for each command: `python -m experiments` lists them, `python -m experiments.NAME --help` explains one."""

import signal
import sys

# While `python -m experiments.NAME` imports its libraries, which takes seconds, Ctrl-C ends it at once and without a
# traceback. `jaxgan.runs.cli` then restores Python's handler.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
