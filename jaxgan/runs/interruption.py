"""Signals that ask a run to stop: the training loop reads them between steps, saves and raises `Stopped`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

# Ctrl-C; kill and schedulers; a closed terminal; Slurm before the time limit (--signal=USR1@60).
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


class Stopped(Exception):
    """Training was stopped by a signal or an alarm, and its state has been saved.

    Attributes:
      signal: number of the signal; SIGTERM for an alarm.
      step: the last step.
      state: the state after this step.
      metrics: the last metrics, `{}` if none were logged.
    """

    def __init__(self, number: int, folder: Path, step: int, state: Any, metrics: dict[str, float]) -> None:
        super().__init__(f"stopped at step {step} and saved in {folder}: the same command resumes from there")
        self.signal, self.step, self.state, self.metrics = number, step, state, metrics


class Interruption:
    """A context in which these signals are recorded instead of ending the process; a second SIGINT raises at once.

    Signals that the process ignores, such as SIGHUP under nohup, stay ignored.

    Attributes:
      signal: number of the last signal, None if there was none.
    """

    signal: int | None = None

    def __enter__(self) -> Interruption:
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # in other threads Python refuses to set handlers
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
