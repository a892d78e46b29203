"""Images and figures of a run: grids of samples, rows with labels, scatter plots, and PNG files of them.

Pillow and matplotlib are imported where they are first used.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from jaxgan import files, pixels
from jaxgan.files import import_extra

MAX_TILES = 100
MAX_ROWS = 10
TILE_SIZE = 64
GAP = 2


def image_grid(outputs: Mapping[str, ArrayLike]) -> np.ndarray:
    """Arranges images in a grid; the default `draw` of `fit`.

    A single output becomes a nearly square grid of at most 100 tiles. Several outputs become columns, in the given
    order, with a row for each of at most 10 examples. Small images are enlarged by an integer factor.

    Args:
      outputs: images by name, each `[N, H, W, C]` with 1 or 3 channels, floats in [-1, 1] or uint8. All have the same
        `N`, `H` and `W`.

    Returns:
      The grid, uint8 `[height, width, C]`.

    Raises:
      ValueError: for other shapes.
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
    """Arranges images in rows, one row for each of at most 10 labels, with the label at its left.

    Args:
      images: `[N, H, W, C]` as for `image_grid`: first those of the first label; the same number for each label.
      labels: texts; long ones are wrapped.

    Returns:
      The grid with labels, uint8 `[height, width, C]`.

    Raises:
      ValueError: N is no multiple of the number of labels, or there are too many images or labels.
    """
    images = np.asarray(images)
    if not labels or len(images) % len(labels) or len(labels) > MAX_ROWS or not 0 < len(images) <= MAX_TILES:
        raise ValueError(
            f"{len(images)} images for {len(labels)} labels: at most {MAX_ROWS} labels, equally many images for each, "
            f"and at most {MAX_TILES} images expected"
        )
    rows = images.reshape(len(labels), -1, *images.shape[1:])
    if rows.shape[1] == 1:
        rows = np.pad(rows, ((0, 0), (0, 1), *((0, 0),) * 3), constant_values=255 if rows.dtype == np.uint8 else 1)
    grid = image_grid({str(column): rows[:, column] for column in range(rows.shape[1])})
    pil_image, pil_draw, pil_font = (import_extra(f"PIL.{name}") for name in ("Image", "ImageDraw", "ImageFont"))
    pitch, font = (len(grid) + GAP) // len(labels), _font(pil_font)
    wrapped = [textwrap.wrap(label, 26, max_lines=max(1, pitch // 15), placeholder=" ...") for label in labels]
    width = 16 + max(math.ceil(font.getlength(line)) for lines in wrapped for line in lines or [""])
    canvas = pil_image.new("RGB", (width + grid.shape[1], len(grid)), "white")
    canvas.paste(pil_image.fromarray(grid.squeeze(-1) if grid.shape[-1] == 1 else grid).convert("RGB"), (width, 0))
    draw = pil_draw.Draw(canvas)
    for row, lines in enumerate(wrapped):
        middle = (8, row * pitch + (pitch - GAP) // 2)
        draw.multiline_text(middle, "\n".join(lines), fill="black", font=font, anchor="lm", spacing=2)
    return np.asarray(canvas)


def _font(pil_font: Any) -> Any:
    """DejaVu Sans, which comes with matplotlib and has the letters of most languages; Pillow's has English ones."""
    package = importlib.util.find_spec("matplotlib")
    for folder in (package and package.submodule_search_locations) or ():
        with contextlib.suppress(OSError):
            return pil_font.truetype(os.path.join(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf"), 12)
    return pil_font.load_default(size=12)


def scatter(samples: ArrayLike, data: ArrayLike, *, title: str = "") -> Any:
    """A scatter plot of generated points over those of the data.

    Args:
      samples: `[N, 2]`.
      data: `[M, 2]`; the axes cover it with a margin, so all plots of a run have the same axes.
      title: title of the figure.

    Returns:
      A matplotlib figure of 400 x 400 pixels, which needs no display and is not registered in pyplot.

    Raises:
      ValueError: if the points are not two-dimensional.
    """
    samples, data = np.asarray(samples, np.float32), np.asarray(data, np.float32)
    if {samples.ndim, data.ndim} != {2} or {samples.shape[1], data.shape[1]} != {2}:
        raise ValueError(f"scatter draws points [N, 2], not samples {samples.shape} and data {data.shape}")
    figure = import_extra("matplotlib.figure").Figure(figsize=(4, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot(aspect="equal", title=title)
    axes.scatter(data[:, 0], data[:, 1], s=6, color="0.75", linewidths=0, label="data")
    axes.scatter(samples[:, 0], samples[:, 1], s=6, color="tab:red", linewidths=0, alpha=0.6, label="samples")
    center = (data.max(axis=0) + data.min(axis=0)) / 2
    reach = 0.65 * max(np.ptp(data, axis=0).max(), 1e-6)
    axes.set_xlim(center[0] - reach, center[0] + reach)
    axes.set_ylim(center[1] - reach, center[1] + reach)
    axes.legend(loc="upper right", fontsize="small")
    return figure


def as_image(figure: Any) -> np.ndarray:
    """Converts the result of a `draw` function to a uint8 image `[H, W, C]`.

    Args:
      figure: a uint8 array `[H, W]` or `[H, W, C]` with 1, 3 or 4 channels, or a matplotlib figure.

    Raises:
      ValueError: if it is neither.
    """
    if hasattr(figure, "savefig"):
        canvas = import_extra("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]
    image = np.asarray(figure)
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            "an image is a matplotlib figure or a uint8 array [H, W] or [H, W, 1, 3 or 4], "
            f"not {image.dtype} {image.shape}"
        )
    return image


def save_image(path: str | os.PathLike[str], figure: Any, *, inside: str | os.PathLike[str] | None = None) -> None:
    """Writes an image or a figure (see `as_image`) atomically as a PNG file; `inside` as in `files.write`."""
    files.write(path, png_bytes(figure), inside=inside)


def png_bytes(figure: Any) -> bytes:
    """An image or a figure (see `as_image`) as the contents of a PNG file."""
    encoded = io.BytesIO()
    _pil_image(figure).save(encoded, format="png")
    return encoded.getvalue()


def _pil_image(figure: Any) -> Any:
    image = as_image(figure)
    return import_extra("PIL.Image").fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _tiles(images: np.ndarray, channels: int) -> np.ndarray:
    if images.dtype != np.uint8:  # NaN becomes black
        images = pixels.to_uint8(np.clip(np.nan_to_num(images.astype(np.float32), nan=-1.0), -1.0, 1.0))
    return np.broadcast_to(images, (*images.shape[:-1], channels))
