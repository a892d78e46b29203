"""Figures with their numbers: subplots, and output as a PNG file, a CSV file and a printed table.

matplotlib is imported on first use.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan import files
from jaxgan.runs.outputs import check_file, write_image

COMMAND = "figures"
Row = Mapping[str, str | float]


def subplots(rows: int, columns: int, *, width: float = 3.6, height: float = 3.2) -> tuple[Any, np.ndarray]:
    """A figure with subplots; needs no display.

    Args:
      rows: rows of subplots.
      columns: columns of subplots.
      width: width of a subplot, in hundreds of pixels.
      height: height of a subplot, in hundreds of pixels.

    Returns:
      The matplotlib figure, not registered with pyplot, and its axes, `[rows, columns]`.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        message = f"{error.name} is missing: pip install -e '.[experiments]'"
        raise ModuleNotFoundError(message, name=error.name) from None
    figure = Figure(figsize=(columns * width, rows * height), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def output_folder(output: str | None, name: str) -> Path:
    """The folder to write a figure to, by default `runs/divergence/NAME`; it need not exist.

    Call it before the computation: it checks that the files can be written.

    Raises:
      ValueError: an existing `NAME.png` is not such a figure, or `NAME.csv` exists without it; both are kept.
      OSError: the files cannot be written.
    """
    folder = Path(output or f"runs/divergence/{name}")
    image, numbers = folder / f"{name}.png", folder / f"{name}.csv"
    check_file(image, COMMAND)
    if not image.exists() or numbers.is_symlink():  # a CSV file has no metadata about its writer, but its figure has
        check_file(numbers, COMMAND)
    return folder


def save(folder: Path, name: str, figure: Any, rows: Sequence[Row], *, shown: Sequence[Row] | None = None) -> None:
    """Writes `NAME.png` and `NAME.csv`, and prints the numbers as a table, then the names of the files.

    Args:
      folder: the folder, from `output_folder`.
      name: name of both files.
      figure: a matplotlib figure.
      rows: at least one row; all have the keys of the first, which are the columns of the CSV file.
      shown: the rows to print; by default all.
    """
    image, numbers = folder / f"{name}.png", folder / f"{name}.csv"
    table_of_all = io.StringIO(newline="")
    writer = csv.DictWriter(table_of_all, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    write_image(image, figure, COMMAND)
    files.write(numbers, table_of_all.getvalue())
    print(table(rows if shown is None else shown))
    print(f"figure:  {image}\nnumbers: {numbers}")


def table(rows: Sequence[Row]) -> str:
    """A table as text: right-aligned columns under their names, numbers with 4 digits.

    >>> print(table([{"name": "segments", "distance": 0.25}, {"name": "Gaussians", "distance": 1 / 3}]))
         name  distance
     segments      0.25
    Gaussians    0.3333

    Args:
      rows: at least one row; all have the keys of the first.

    Returns:
      The lines.
    """
    cells = [list(rows[0])] + [[x if isinstance(x, str) else f"{x:.4g}" for x in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in cells)
