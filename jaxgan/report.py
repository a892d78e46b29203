"""What a run shows and writes: a progress bar, `metrics.jsonl`, TensorBoard events, and drawings as PNG files.

tqdm, Pillow, tensorboardX and matplotlib are imported where they are first used. What only shows a run (the terminal,
TensorBoard) neither ends it nor keeps it from starting; `metrics.jsonl` and the drawings are the run's own records, and
an OSError of theirs is the caller's.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import os
import secrets
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxgan import files, pixels, records
from jaxgan.flags import Range, check
from jaxgan.output import Forgiving
from jaxgan.text import printable

MAX_TILES = 100
MAX_ROWS = 10
TILE_SIZE = 64
GAP = 2

_LARGEST = 2**32  # bytes of metrics: a line at every step of a long run
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Report:
    """All reports of one run in one object; every process may hold one, only the first shows and writes anything.

    It writes `metrics.jsonl`, `tensorboard/` (where tensorboardX is installed) and `NAME/STEP.png` in `folder`.

    Args:
      folder: the run folder.
      num_steps: the step at which the run ends.
      last_step: the step the run goes on from; what an earlier run wrote after it is dropped.
      last_line: the step of the last line of metrics that is to be there.
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
        """Writes scalars by name, and shows those named in `shown`, by default all."""
        if self._first:
            self._metrics.write(step, metrics)
            with self._leaving_out_events() as events:
                events.write(step, metrics)
            self._progress.show(step, {name: metrics[name] for name in (metrics if shown is None else shown)})

    def add(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Adds scalars to the metrics that were written last, which are of this step; returns all of them."""
        if not self._first:
            return dict(metrics)
        with self._leaving_out_events() as events:
            events.write(step, metrics)
        return self._metrics.add(step, metrics)

    def drawing(self, step: int, drawing: Any, name: str = "samples") -> None:
        """Writes what a `draw` function returned: a uint8 array `[H, W, C]` or a matplotlib figure."""
        if self._first:
            image = as_image(drawing)
            save_image(self.folder / name / f"{step:08d}.png", image, inside=self.folder)
            with self._leaving_out_events() as events:
                events.write_image(step, name, image)

    def note(self, text: str) -> None:
        """Prints a line without spoiling the bar."""
        if self._first:
            self._progress.note(text)

    @contextlib.contextmanager
    def _leaving_out_events(self) -> Iterator[Any]:
        """Where TensorBoard's events cannot be written, as on a full disk, this is said once and they are left out."""
        try:
            yield self._events or _Nothing()
        except Exception as error:  # of packages that a run can do without
            self._events = None
            self.note(f"TensorBoard's events are left out from here on: {error}")


class _Nothing:
    def write(self, *_: Any) -> None:
        pass

    write_image = write


class Progress:
    """How far a run is: a bar on a terminal, elsewhere one line for each set of metrics.

    Args:
      num_steps: the step at which the run ends.
      last_step: the step it starts from.
      stream: where to, by default the standard error output.
    """

    def __init__(self, num_steps: int, *, last_step: int = 0, stream: TextIO | None = None) -> None:
        self._stream = cast("TextIO", Forgiving(sys.stderr if stream is None else stream))
        self._num_steps = num_steps
        self._shown = (last_step, time.perf_counter())
        self._bar = None
        if self._stream.isatty():
            tqdm = _import("tqdm").tqdm
            self._bar = tqdm(total=num_steps, initial=last_step, unit="step", file=self._stream, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, step: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Shows `step` of `num_steps` done, steps per second and the metrics."""
        values = "  ".join(f"{name} {float(value):.4g}" for name, value in (metrics or {}).items())
        if self._bar is not None:
            if values:
                self._bar.set_postfix_str(values, refresh=False)
            self._bar.update(step - self._bar.n)
        elif values:
            (last_step, last_time), self._shown = self._shown, (step, time.perf_counter())
            rate = f"{(step - last_step) / (self._shown[1] - last_time):.4g} steps/s  " if step > last_step else ""
            self.note(f"step {step}/{self._num_steps}  {rate}{values}")

    def note(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        text = printable(text)
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)


class MetricsFile:
    """Appends metrics to a file of JSON lines, `{"step": 100, "d_loss": 0.69, ...}`, one line at a time.

    JSON has no NaN and no infinity: they are written as the strings "NaN", "Infinity" and "-Infinity", which
    `read_metrics` turns back into numbers.

    A file that somebody removes, replaces or cuts short is opened anew at the next line, and what it lacks is said.

    Args:
      path: the file; it is made if need be.
      last_step: the step the run goes on from. Lines of later steps, and a line cut short by a kill, are dropped.
      last_line: the step of the last line that is to be there.
      note: what is told which lines are lost.
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
        self._step = 0  # of the last line
        if self._path.exists():
            kept = [(line, entry["step"]) for line, entry in _read_lines(self._path) if entry["step"] <= last_step]
            text = "".join(f"{line}\n" for line, _ in kept)
            if text != files.read_text(self._path, most=_LARGEST):
                self._replace(text)
            self._step = kept[-1][1] if kept else 0
        self._open()
        if self._step < last_line:
            lost = f"{self._step + 1} to {last_line}"
            self._note(f"warning: {self._path} has no lines of the steps {lost}: it was removed, replaced or cut short")

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
        """Adds scalars to the last line where that is of this step, or else as a line; returns what it says now."""
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

    A last line that a kill cut short is left out.

    Args:
      path: the file.
      values: the type of all but the step, see `jaxgan.flags.check`.

    Raises:
      ValueError: if another line is not such an object; the message names file and line.
    """
    return [entry for _, entry in _read_lines(Path(path), values)]


class TensorBoard:
    """Writes TensorBoard events where tensorboardX is installed, and nothing where it is not.

    Args:
      folder: where the event files go.
      last_step: the step the run goes on from; TensorBoard hides what was written for later steps before.
    """

    def __init__(self, folder: str | os.PathLike[str], *, last_step: int = 0) -> None:
        try:
            from tensorboardX import event_file_writer, summary
            from tensorboardX.proto import event_pb2
        except ModuleNotFoundError:
            self._writer = None
        else:
            # Not its SummaryWriter: that writes in a thread, and where the thread meets a full disk the run hangs.
            files.make_folder(folder, inside=Path(folder).parent)
            name = f"events-{secrets.token_hex(6)}"  # that nobody could have put a link under
            self._writer = event_file_writer.EventsWriter(str(Path(folder) / name))
            self._file = next(Path(folder).glob(f"{name}*"))
            # The names of this module are made when it is loaded.
            self._summary, self._event = summary, cast("Any", event_pb2)
            start = self._event.SessionLog(status=self._event.SessionLog.START)
            self._add(last_step + 1, session_log=start)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):  # as of a full disk, which the last `write` has met before
                self._writer.close()

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes the finite ones of the scalars."""
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


def image_grid(outputs: Mapping[str, ArrayLike]) -> np.ndarray:
    """Draws named images as one picture; the `draw` of a run whose outputs are images.

    One output is drawn as a nearly square grid of at most 100 tiles. Several are drawn side by side: a column for each
    name, in order, and a row for each of at most 10 examples. Small images are enlarged by a whole factor.

    Args:
      outputs: images by name, each `[N, H, W, C]` with 1 or 3 channels, floats in [-1, 1] or uint8. All have the same
        `N`, `H` and `W`.

    Returns:
      The picture, uint8 `[height, width, C]`.

    Raises:
      ValueError: if the shapes are others.
    """
    images = {name: np.asarray(output) for name, output in outputs.items()}
    shapes = {name: image.shape for name, image in images.items()}
    if (
        len({shape[:3] for shape in shapes.values()}) != 1
        or any(len(shape) != 4 or shape[-1] not in (1, 3) for shape in shapes.values())
        or any(0 in shape for shape in shapes.values())
    ):
        raise ValueError(f"image_grid draws images [N, H, W, 1 or 3] of equal number and size, not {shapes}")
    channels = max(shape[-1] for shape in shapes.values())
    count, height, width, _ = next(iter(shapes.values()))
    if len(images) == 1:
        count = min(count, MAX_TILES)
        columns = math.ceil(math.sqrt(count))
        rows = math.ceil(count / columns)
    else:
        columns = len(images)
        rows = count = max(1, min(count, MAX_ROWS, MAX_TILES // columns))

    tiles = np.stack([_tiles(image[:count], channels) for image in images.values()], axis=1)
    blank = np.full((rows * columns - count * len(images), height, width, channels), 255, np.uint8)
    tiles = np.concatenate([tiles.reshape(-1, height, width, channels), blank])
    factor = math.ceil(TILE_SIZE / max(height, width))
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    tiles = np.pad(tiles, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    _, height, width, _ = tiles.shape
    grid = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)[:-GAP, :-GAP]


def labelled_rows(images: ArrayLike, labels: Sequence[str]) -> np.ndarray:
    """Draws a row of images for each of at most 10 labels, which stand to the left of them.

    Args:
      images: `[N, H, W, C]` as for `image_grid`, first those of the first label, as many of each.
      labels: text, broken where it is too long for its row.

    Returns:
      The picture, uint8 `[height, width, C]`.

    Raises:
      ValueError: images that do not divide among the labels, or more than fit a picture.
    """
    images = np.asarray(images)
    if not labels or len(images) % len(labels) or len(labels) > MAX_ROWS or not 0 < len(images) <= MAX_TILES:
        raise ValueError(
            f"{len(images)} images for {len(labels)} labels: at most {MAX_ROWS} labels, as many images of each, and at "
            f"most {MAX_TILES} in one picture"
        )
    rows = images.reshape(len(labels), -1, *images.shape[1:])
    if rows.shape[1] == 1:
        rows = np.pad(rows, ((0, 0), (0, 1), *((0, 0),) * 3), constant_values=255 if rows.dtype == np.uint8 else 1)
    grid = image_grid({str(column): rows[:, column] for column in range(rows.shape[1])})
    pil_image, pil_draw, pil_font = (_import(f"PIL.{name}") for name in ("Image", "ImageDraw", "ImageFont"))
    pitch, font = (len(grid) + GAP) // len(labels), pil_font.load_default(size=12)
    broken = [textwrap.wrap(label, 26, max_lines=max(1, pitch // 15), placeholder=" ...") for label in labels]
    width = 16 + max(math.ceil(font.getlength(line)) for lines in broken for line in lines or [""])
    picture = pil_image.new("RGB", (width + grid.shape[1], len(grid)), "white")
    picture.paste(pil_image.fromarray(grid.squeeze(-1) if grid.shape[-1] == 1 else grid).convert("RGB"), (width, 0))
    draw = pil_draw.Draw(picture)
    for row, lines in enumerate(broken):
        middle = (8, row * pitch + (pitch - GAP) // 2)
        draw.multiline_text(middle, "\n".join(lines), fill="black", font=font, anchor="lm", spacing=2)
    return np.asarray(picture)


def scatter(samples: ArrayLike, data: ArrayLike, *, title: str = "") -> Any:
    """Draws generated points over the data's.

    Args:
      samples: `[N, 2]`.
      data: `[M, 2]`; the axes span it with a margin, so that the pictures of one run compare.
      title: written above.

    Returns:
      A matplotlib figure of 400 x 400 pixels, drawn without a display and unknown to pyplot.

    Raises:
      ValueError: if the points are not two-dimensional.
    """
    samples, data = np.asarray(samples, np.float32), np.asarray(data, np.float32)
    if {samples.ndim, data.ndim} != {2} or {samples.shape[1], data.shape[1]} != {2}:
        raise ValueError(f"scatter draws points [N, 2], not samples {samples.shape} and data {data.shape}")
    figure = _import("matplotlib.figure").Figure(figsize=(4, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot(aspect="equal", title=title)
    axes.scatter(data[:, 0], data[:, 1], s=6, color="0.75", linewidths=0, label="data")
    axes.scatter(samples[:, 0], samples[:, 1], s=6, color="tab:red", linewidths=0, alpha=0.6, label="samples")
    center = (data.max(axis=0) + data.min(axis=0)) / 2
    reach = 0.65 * max(np.ptp(data, axis=0).max(), 1e-6)
    axes.set_xlim(center[0] - reach, center[0] + reach)
    axes.set_ylim(center[1] - reach, center[1] + reach)
    axes.legend(loc="upper right", fontsize="small")
    return figure


def as_image(drawing: Any) -> np.ndarray:
    """What a `draw` function returned, as a uint8 image `[H, W, C]`.

    Args:
      drawing: a uint8 array `[H, W]` or `[H, W, C]` with 1, 3 or 4 channels, or a matplotlib figure.

    Raises:
      ValueError: if it is neither.
    """
    if hasattr(drawing, "savefig"):
        canvas = _import("matplotlib.backends.backend_agg").FigureCanvasAgg(drawing)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]
    image = np.asarray(drawing)
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            "a drawing is a matplotlib figure or a uint8 array [H, W] or [H, W, 1, 3 or 4], "
            f"not {image.dtype} {image.shape}"
        )
    return image


def save_image(path: str | os.PathLike[str], drawing: Any, *, inside: str | os.PathLike[str] | None = None) -> None:
    """Writes a drawing (see `as_image`) as a PNG file, whole or not at all; `inside` as in `files.write`."""
    encoded = io.BytesIO()
    _picture(drawing).save(encoded, format="png")
    files.write(path, encoded.getvalue(), inside=inside)


def _picture(drawing: Any) -> Any:
    image = as_image(drawing)
    return _import("PIL.Image").fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _tiles(images: np.ndarray, channels: int) -> np.ndarray:
    if images.dtype != np.uint8:  # a NaN, which has no byte, is drawn black
        images = pixels.to_uint8(np.clip(np.nan_to_num(images.astype(np.float32), nan=-1.0), -1.0, 1.0))
    return np.broadcast_to(images, (*images.shape[:-1], channels))


def _read_lines(path: Path, values: Any = float) -> Iterator[tuple[str, dict[str, Any]]]:
    *lines, _ = files.read_text(path, most=_LARGEST).split("\n")  # what follows the last newline was cut short
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
    def written(value: Any) -> Any:
        number = float(value)
        special = "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
        return number if math.isfinite(number) else special

    numbers = {name: value if name == "step" else written(value) for name, value in entry.items()}
    return json.dumps(numbers, allow_nan=False) + "\n"


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is missing: pip install -e '.[experiments]'", name=error.name
        ) from None
