"""Writers: what `fit` reports to during a run. They have the methods of the `MetricWriter` of CLU
(https://github.com/google/CommonLoopUtils), so a writer for CLU is one for `fit`.

tqdm, tensorboardX and IPython are imported when they are first used.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO, cast

import numpy as np

from jaxgan import files
from jaxgan.files import import_extra
from jaxgan.messages import printable
from jaxgan.runs.images import png_bytes, save_image
from jaxgan.runs.streams import Forgiving

RATE = "steps_per_second"
METHODS = ("write_scalars", "write_images", "write_hparams", "flush", "close")


class Writer:
    """A writer that writes nothing: override what yours writes. Any object with these five methods is a writer, too.

    `fit` calls it in the thread that trains. Of several processes only the first reports.
    """

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Takes the metrics of a line in `metrics.jsonl`, or scores that are added to it: floats by name."""

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Takes images by name: `samples`, and the names of the panels. Each is uint8 `[1, H, W, C]`."""

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Takes the fields of the run's configuration by name, once, when the run starts or resumes."""

    def flush(self) -> None:
        """Called after each checkpoint."""

    def close(self) -> None:
        """Called once, when `fit` ends, also by an exception."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def check_writers(writers: Iterable[Any]) -> list[Any]:
    """The writers as a list, each once.

    Raises:
      ValueError: it is no list, or holds a class, or an object that lacks a method of a writer.
    """
    if not isinstance(writers, Iterable):
        raise ValueError(f"writers is one {type(writers).__name__}: give a list, such as [{type(writers).__name__}()]")
    found = list({id(writer): writer for writer in writers}.values())
    for writer in found:
        if isinstance(writer, type):
            raise ValueError(f"{writer.__name__} is a class: give a writer, such as {writer.__name__}()")
        if missing := [name for name in METHODS if not callable(getattr(writer, name, None))]:
            raise ValueError(
                f"{type(writer).__name__} is no writer, it has no {', '.join(missing)}: jaxgan.Writer has all methods"
            )
    return found


def close_writers(writers: Sequence[Any]) -> None:
    """Closes all, and names those that fail. Ctrl-C meanwhile ends one, and is raised when all are closed."""
    with contextlib.ExitStack() as stack:
        for writer in reversed(writers):
            stack.callback(_close, writer)


def _close(writer: Any) -> None:
    try:
        writer.close()
    except Exception as error:
        reason = str(error) or type(error).__name__
        print(printable(f"writer {type(writer).__name__} failed when it was closed: {reason}"), file=sys.stderr)


class ImageFiles(Writer):
    """Writes images as `NAME/STEP.png` in the run folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, (image,) in images.items():
            save_image(self._folder / name / f"{step:08d}.png", image, inside=self._folder)


class InlineImages(Writer):
    """Shows the newest image of each name below the cell of a notebook, in place of the one before."""

    def __init__(self) -> None:
        self._shown: dict[str, Any] = {}

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        display = import_extra("IPython.display")
        for name, (image,) in images.items():
            shown = display.Image(data=png_bytes(image), alt=f"{name}, step {step}")
            if name in self._shown:
                self._shown[name].update(shown)
            else:
                self._shown[name] = display.display(shown, display_id=True)


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel, such as Jupyter's or Colab's."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Progress(Writer):
    """The progress of a run: a bar on a terminal or in a notebook, else one line for each set of metrics.

    Args:
      num_steps: the last step of the run.
      last_step: the step from which it starts.
      stream: where to print, by default standard error.
    """

    def __init__(self, num_steps: int, *, last_step: int = 0, stream: TextIO | None = None) -> None:
        self._stream = cast("TextIO", Forgiving(sys.stderr if stream is None else stream))
        self._num_steps = num_steps
        self._bar: Any = None
        options: dict[str, Any] = {"total": num_steps, "initial": last_step, "unit": "step", "dynamic_ncols": True}
        if stream is None and in_notebook():
            self._bar = import_extra("tqdm.auto").tqdm(**options)
        elif self._stream.isatty():
            self._bar = import_extra("tqdm").tqdm(file=self._stream, **options)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, step: int) -> None:
        """Moves the bar, if there is one."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Prints the step, `num_steps` and the scalars, `steps_per_second` first; a bar shows its own rate."""
        scalars = dict(scalars)
        rate = f"{float(scalars.pop(RATE)):.4g} steps/s  " if RATE in scalars else ""
        values = "  ".join(f"{name} {float(value):.4g}" for name, value in scalars.items())
        if self._bar is None:
            self.note(f"step {step}/{self._num_steps}  {rate}{values}")
        else:
            self._bar.set_postfix_str(values, refresh=False)
            self.advance(step)

    def note(self, text: str) -> None:
        """Prints a line, above the bar if there is one."""
        text = printable(text)
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)


class TensorBoard(Writer):
    """Writes TensorBoard events if tensorboardX is installed, else nothing.

    Args:
      folder: the folder for the event files.
      last_step: the step from which the run resumes; TensorBoard hides earlier events of later steps.
    """

    def __init__(self, folder: str | os.PathLike[str], *, last_step: int = 0) -> None:
        try:
            from tensorboardX import event_file_writer, summary
            from tensorboardX.proto import event_pb2
        except ModuleNotFoundError:
            self._writer = None
        else:
            # Not its SummaryWriter, which writes in a thread: if the disk is full, it hangs.
            files.make_folder(folder, inside=Path(folder).parent)
            name = f"events-{secrets.token_hex(6)}"  # random, so that no link of this name can exist
            self._writer = event_file_writer.EventsWriter(str(Path(folder) / name))
            self._file = next(Path(folder).glob(f"{name}*"))
            # The names of this module are created at import, so type checkers do not know them.
            self._summary, self._event = summary, cast("Any", event_pb2)
            start = self._event.SessionLog(status=self._event.SessionLog.START)
            self._add(last_step + 1, session_log=start)

    def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):  # such as a full disk, which the last write has reported
                self._writer.close()

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes the scalars that are finite."""
        if self._writer is not None:
            for name, value in scalars.items():
                if math.isfinite(number := float(value)):
                    self._add(step, summary=self._summary.scalar(name, number))
            self._writer.flush()

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        if self._writer is not None:
            for name, rows in images.items():
                self._add(step, summary=self._summary.image(name, rows, dataformats="NHWC"))
            self._writer.flush()

    def _add(self, step: int, **content: Any) -> None:
        assert self._writer is not None
        if not self._file.exists():
            raise FileNotFoundError(f"{self._file} was removed")
        self._writer.write_event(self._event.Event(step=step, wall_time=time.time(), **content))
