"""Signals that ask a run to end: a request that its loop reads between steps, and how the loop says that it stopped."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

# Ctrl-C; what kill and schedulers send; a terminal that is closed; what Slurm sends before the time is over, where
# asked to (--signal=USR1@60).
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


class Stopped(Exception):
    """Training was asked to stop, by a signal or an alarm, and its state has been saved.

    Attributes:
      signal: the number of the signal; SIGTERM for an alarm.
      step: the last step that was taken.
      state: the state after it.
      metrics: the last metrics, `{}` where none were logged.
    """

    def __init__(self, number: int, folder: Path, step: int, state: Any, metrics: dict[str, float]) -> None:
        super().__init__(f"stopped at step {step} and saved in {folder}: the same command goes on from there")
        self.signal, self.step, self.state, self.metrics = number, step, state, metrics


class Interruption:
    """While in its context, the first of these signals is kept; a second SIGINT is not made to wait.

    Signals that the process ignores, as SIGHUP under nohup, stay ignored.

    Attributes:
      signal: the last that came, None if none.
    """

    signal: int | None = None

    def __enter__(self) -> Interruption:
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses to set handlers
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: object) -> None:
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
