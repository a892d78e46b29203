"""Logs of a run: a progress bar, `metrics.jsonl`, TensorBoard events, and images as PNG files.

tqdm and tensorboardX are imported when they are first used. Failures of the terminal or of TensorBoard do not stop a
run. `metrics.jsonl` and the images are the run's records, so their OSErrors are raised.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import jax
import numpy as np

from jaxgan import files, records
from jaxgan.files import import_extra
from jaxgan.messages import printable
from jaxgan.runs.flags import Range, check
from jaxgan.runs.images import as_image, save_image
from jaxgan.runs.streams import Forgiving

RATE = "steps_per_second"
_LARGEST = 2**32  # bytes of metrics.jsonl, enough for a line at every step of a long run
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Report:
    """All logs of one run. Every process may have one, but only that of the first process prints and writes.

    It writes `metrics.jsonl`, `tensorboard/` (if tensorboardX is installed) and `NAME/STEP.png` in `folder`.

    Args:
      folder: the run folder.
      num_steps: the last step of the run.
      last_step: the step from which the run resumes; logs of later steps are dropped.
      last_line: expected step of the last line in `metrics.jsonl`.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, num_steps: int, last_step: int = 0, last_line: int = 0
    ) -> None:
        self.folder = Path(folder)
        self._stack = contextlib.ExitStack()
        self._first = jax.process_index() == 0
        if self._first:
            self._progress = self._stack.enter_context(Progress(num_steps, last_step=last_step))
            options: Any = {"last_step": last_step, "last_line": last_line, "note": self.note}
            self._metrics = self._stack.enter_context(MetricsFile(self.folder / "metrics.jsonl", **options))
            self._events: TensorBoard | None = None
            with self._leaving_out_events():
                self._events = self._stack.enter_context(TensorBoard(self.folder / "tensorboard", last_step=last_step))

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def advance(self, step: int) -> None:
        """Moves the progress bar; cheap enough for every step."""
        if self._first:
            self._progress.show(step)

    def metrics(self, step: int, metrics: Mapping[str, Any], *, shown: Iterable[str] | None = None) -> None:
        """Writes scalars by name, and prints those named in `shown`, by default all."""
        if self._first:
            self._metrics.write(step, metrics)
            with self._leaving_out_events() as events:
                events.write(step, metrics)
            self._progress.show(step, {name: metrics[name] for name in (metrics if shown is None else shown)})

    def add(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Adds scalars to the last line of metrics, which is of this step; returns all metrics of the line."""
        if not self._first:
            return dict(metrics)
        with self._leaving_out_events() as events:
            events.write(step, metrics)
        return self._metrics.add(step, metrics)

    def image(self, step: int, figure: Any, name: str = "samples") -> None:
        """Writes the result of a `draw` function: a uint8 array `[H, W, C]` or a matplotlib figure."""
        if self._first:
            image = as_image(figure)
            save_image(self.folder / name / f"{step:08d}.png", image, inside=self.folder)
            with self._leaving_out_events() as events:
                events.write_image(step, name, image)

    def note(self, text: str) -> None:
        """Prints a line above the progress bar."""
        if self._first:
            self._progress.note(text)

    @contextlib.contextmanager
    def _leaving_out_events(self) -> Iterator[Any]:
        """If TensorBoard events cannot be written, prints one note and writes no more of them."""
        try:
            yield self._events or _Nothing()
        except Exception as error:  # of an optional package or the disk
            self._events = None
            self.note(f"no more TensorBoard events are written: {error}")


class _Nothing:
    def write(self, *_: Any) -> None:
        pass

    write_image = write


class Progress:
    """The progress of a run: a bar on a terminal, else one line for each set of metrics.

    Args:
      num_steps: the last step of the run.
      last_step: the step from which it starts.
      stream: where to print, by default standard error.
    """

    def __init__(self, num_steps: int, *, last_step: int = 0, stream: TextIO | None = None) -> None:
        self._stream = cast("TextIO", Forgiving(sys.stderr if stream is None else stream))
        self._num_steps = num_steps
        self._bar = None
        if self._stream.isatty():
            tqdm = import_extra("tqdm").tqdm
            self._bar = tqdm(total=num_steps, initial=last_step, unit="step", file=self._stream, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, step: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Prints the step, `num_steps` and the metrics, `steps_per_second` first; a bar shows its own rate."""
        metrics = dict(metrics or {})
        rate = f"{float(metrics.pop(RATE)):.4g} steps/s  " if RATE in metrics else ""
        values = "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
        if self._bar is not None:
            if values:
                self._bar.set_postfix_str(values, refresh=False)
            self._bar.update(step - self._bar.n)
        elif values:
            self.note(f"step {step}/{self._num_steps}  {rate}{values}")

    def note(self, text: str) -> None:
        """Prints a line, above the bar if there is one."""
        text = printable(text)
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)


class MetricsFile:
    """Appends metrics to a file of JSON lines, `{"step": 100, "d_loss": 0.69, ...}`, one line at a time.

    JSON has no NaN and no infinity: they are written as the strings "NaN", "Infinity" and "-Infinity", which
    `read_metrics` turns back into numbers.

    If the file is removed, replaced or truncated during the run, it is opened again at the next line, with a warning
    that names the missing lines.

    Args:
      path: the file; it is created if it is missing.
      last_step: the step from which the run resumes. Lines of later steps, and an incomplete last line, are dropped.
      last_line: expected step of the last line.
      note: prints the warning.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        last_step: int = 0,
        last_line: int = 0,
        note: Callable[[str], None] = print,
    ) -> None:
        self._path, self._note = Path(path), note
        self._begin(last_step, last_line)

    def _begin(self, last_step: int, last_line: int) -> None:
        self._step = 0  # step of the last line
        if self._path.exists():
            kept = [(line, entry["step"]) for line, entry in _read_lines(self._path) if entry["step"] <= last_step]
            text = "".join(f"{line}\n" for line, _ in kept)
            if text != files.read_text(self._path, most=_LARGEST):
                self._replace(text)
            self._step = kept[-1][1] if kept else 0
        self._open()
        if self._step < last_line:
            lost = f"{self._step + 1} to {last_line}"
            self._note(f"warning: {self._path} has no lines of the steps {lost}: it was removed, replaced or truncated")

    def _open(self) -> None:
        self._file = files.open_to_append(self._path, inside=self._path.parent)
        self._size = os.fstat(self._file.fileno()).st_size

    def _is_whole(self) -> bool:
        opened = os.fstat(self._file.fileno())
        try:
            return os.path.samestat(opened, self._path.lstat()) and opened.st_size >= self._size
        except OSError:
            return False

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes scalars by name as one line."""
        if not self._is_whole():
            self._file.close()
            self._begin(self._step, self._step)
        self._file.write(_line({"step": int(step), **metrics}))
        self._file.flush()
        self._step, self._size = int(step), os.fstat(self._file.fileno()).st_size

    def add(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Adds scalars to the last line if it is of this step, else as a new line; returns all metrics of the line."""
        *before, last = [*_read_lines(self._path)] or [("", {})]
        if last[1].get("step") != step:
            self.write(step, metrics)
            return dict(metrics)
        entry = last[1] | dict(metrics)
        self._file.close()
        self._replace("".join(f"{line}\n" for line, _ in before) + _line(entry))
        self._open()
        del entry["step"]
        return entry

    def _replace(self, text: str) -> None:
        files.write(self._path, text, inside=self._path.parent)


def read_metrics(path: str | os.PathLike[str], *, values: Any = float) -> list[dict[str, Any]]:
    """Reads a `metrics.jsonl`: a dict with "step" and the metrics for each line, in order.

    An incomplete last line, which a kill leaves, is ignored.

    Args:
      path: the file.
      values: the type of all values but the step, see `jaxgan.runs.flags.check`.

    Raises:
      ValueError: another line is not such an object; the message names file and line.
    """
    return [entry for _, entry in _read_lines(Path(path), values)]


class TensorBoard:
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

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):  # such as a full disk, which the last `write` has reported
                self._writer.close()

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes the scalars that are finite."""
        if self._writer is not None:
            for name, value in metrics.items():
                if math.isfinite(number := float(value)):
                    self._add(step, summary=self._summary.scalar(name, number))
            self._writer.flush()

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a uint8 image `[H, W, C]`."""
        if self._writer is not None:
            self._add(step, summary=self._summary.image(name, image, dataformats="HWC"))
            self._writer.flush()

    def _add(self, step: int, **content: Any) -> None:
        assert self._writer is not None
        if not self._file.exists():
            raise FileNotFoundError(f"{self._file} was removed")
        self._writer.write_event(self._event.Event(step=step, wall_time=time.time(), **content))


def _read_lines(path: Path, values: Any = float) -> Iterator[tuple[str, dict[str, Any]]]:
    *lines, _ = files.read_text(path, most=_LARGEST).split("\n")  # what follows the last newline is incomplete
    for number, line in enumerate(lines, 1):
        try:
            entry = check("the line", records.parse(line), dict[str, Any])
            yield line, {name: _entry(name, value, values) for name, value in ({"step": None} | entry).items()}
        except ValueError as error:
            found = f"found {line[:80]!r} ({error})"
            raise ValueError(f'{path}, line {number}: expected an object with a "step", {found}') from None


def _entry(name: str, value: Any, kind: Any) -> Any:
    if name == "step":
        return check(name, value, Annotated[int, Range(0, 2**31 - 1)])
    return _NOT_FINITE[value] if isinstance(value, str) and value in _NOT_FINITE else check(name, value, kind)


def _line(entry: Mapping[str, Any]) -> str:
    def encoded(value: Any) -> Any:
        number = float(value)
        special = "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
        return number if math.isfinite(number) else special

    values = {name: value if name == "step" else encoded(value) for name, value in entry.items()}
    return json.dumps(values, allow_nan=False) + "\n"
