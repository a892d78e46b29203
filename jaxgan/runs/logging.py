"""The logs of a run: `metrics.jsonl` and images as PNG files, and the writers beside them.

`metrics.jsonl` and the images are the run's records, so their OSErrors are raised. No other writer stops a run.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax

from jaxgan import files, records
from jaxgan.runs.flags import Range, check
from jaxgan.runs.images import as_image
from jaxgan.runs.writers import ImageFiles, Progress, TensorBoard, Writer

_LARGEST = 2**32  # bytes of metrics.jsonl, enough for a line at every step of a long run
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Report:
    """All logs of one run. Every process may have one, but only that of the first process prints and writes.

    It writes `metrics.jsonl`, `NAME/STEP.png` and `tensorboard/` (if tensorboardX is installed) in `folder`.

    Args:
      folder: the run folder.
      num_steps: the last step of the run.
      last_step: the step from which the run resumes; logs of later steps are dropped.
      last_line: expected step of the last line in `metrics.jsonl`.
      writers: further writers. One that fails is named once and then left out; it does not stop the run.
      hparams: the configuration, for the writers.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        num_steps: int,
        last_step: int = 0,
        last_line: int = 0,
        writers: Sequence[Any] = (),
        hparams: Mapping[str, Any] | None = None,
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._first = jax.process_index() == 0
        self._optional: list[Any] = []
        if self._first:
            folder = Path(folder)
            self._progress = self._stack.enter_context(Progress(num_steps, last_step=last_step))
            options: Any = {"last_step": last_step, "last_line": last_line, "note": self.note}
            self._metrics = self._stack.enter_context(MetricsFile(folder / "metrics.jsonl", **options))
            self._images = ImageFiles(folder)
            try:
                events = self._stack.enter_context(TensorBoard(folder / "tensorboard", last_step=last_step))
                self._optional = [events]
            except Exception as error:  # of an optional package or the disk
                self.note(f"writer TensorBoard is left out from now on: {error}")
            self._optional += writers
            self._each("write_hparams", dict(hparams or {}))

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def advance(self, step: int) -> None:
        """Moves the progress bar; cheap enough for every step."""
        if self._first:
            self._progress.advance(step)

    def metrics(self, step: int, metrics: Mapping[str, Any], *, shown: Iterable[str] | None = None) -> None:
        """Writes scalars by name, and prints those named in `shown`, by default all."""
        if self._first:
            self._metrics.write_scalars(step, metrics)
            self._each("write_scalars", step, metrics)
            self._progress.write_scalars(step, {name: metrics[name] for name in (metrics if shown is None else shown)})

    def add(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Adds scalars to the last line of metrics, which is of this step; returns all metrics of the line."""
        if not self._first:
            return dict(metrics)
        self._each("write_scalars", step, metrics)
        return self._metrics.add(step, metrics)

    def image(self, step: int, figure: Any, name: str = "samples") -> None:
        """Writes the result of a `draw` function: a uint8 array `[H, W, C]` or a matplotlib figure."""
        if self._first:
            images = {name: as_image(figure)[None]}
            self._images.write_images(step, images)
            self._each("write_images", step, images)

    def note(self, text: str) -> None:
        """Prints a line above the progress bar."""
        if self._first:
            self._progress.note(text)

    def flush(self) -> None:
        """Flushes the writers."""
        self._each("flush")

    def _each(self, method: str, *arguments: Any) -> None:
        for writer in tuple(self._optional):
            try:  # with copies, which a writer may change
                getattr(writer, method)(*map(copy.deepcopy, arguments))
            except Exception as error:  # of an optional package, the disk or a server
                self._optional.remove(writer)
                self.note(f"writer {type(writer).__name__} is left out from now on: {method}: {error}")


class MetricsFile(Writer):
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

    def close(self) -> None:
        self._file.close()

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes scalars by name as one line."""
        if not self._is_whole():
            self._file.close()
            self._begin(self._step, self._step)
        self._file.write(_line({"step": int(step), **scalars}))
        self._file.flush()
        self._step, self._size = int(step), os.fstat(self._file.fileno()).st_size

    def add(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Adds scalars to the last line if it is of this step, else as a new line; returns all metrics of the line."""
        *before, last = [*_read_lines(self._path)] or [("", {})]
        if last[1].get("step") != step:
            self.write_scalars(step, metrics)
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
