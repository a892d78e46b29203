"""Standard output and error that may fail during a run: a closed terminal, a broken pipe, a full disk."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Forgiving:
    """A text stream that ignores failures: after the first one, further output is discarded.

    Args:
      stream: the stream; None, as Python has it for a program without standard streams, discards everything.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def isatty(self) -> bool:
        return bool(self._try("isatty"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, name: str, *arguments: Any) -> Any:
        if self._stream is None:
            return None
        try:
            return getattr(self._stream, name)(*arguments)
        except (OSError, ValueError):  # a closed stream raises ValueError
            stream, self._stream = self._stream, None
            # Its buffer would fail again when the interpreter exits, with status 120.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                _onto_null(stream.fileno())
            return None


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """A context in which `print` to standard output and error never fails, nor does the flush of its output later."""
    before = sys.stdout, sys.stderr
    within = tuple(stream if isinstance(stream, Forgiving) else Forgiving(stream) for stream in before)
    sys.stdout, sys.stderr = within  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for stream in within:
            stream.flush()
        if (sys.stdout, sys.stderr) == within:
            sys.stdout, sys.stderr = before


def open_standard_streams() -> None:
    """Opens missing standard streams onto the null device.

    Else the next file that the program opens would get the number of standard error, and messages of libraries would be
    written into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _onto_null(number)


def _onto_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)
