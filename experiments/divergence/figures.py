"""A figure and its numbers: panels to draw on, and the PNG file, CSV file and printed table that a figure ends as.

matplotlib is imported where it is first used.
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


def panels(rows: int, columns: int, *, width: float = 3.6, height: float = 3.2) -> tuple[Any, np.ndarray]:
    """Makes an empty figure without a display.

    Args:
      rows: panels from top to bottom.
      columns: panels from left to right.
      width: of a panel, in hundreds of pixels.
      height: of a panel, in hundreds of pixels.

    Returns:
      The matplotlib figure, unknown to pyplot, and its axes, `[rows, columns]`.
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


def place(output: str | None, name: str) -> Path:
    """The folder that a figure goes to, by default `runs/divergence/NAME`; it need not exist.

    To be called before the work is done: what it refuses could not be saved.

    Raises:
      ValueError: `NAME.png` is there and is no such figure, or `NAME.csv` without it; they are left alone.
      OSError: it cannot be written.
    """
    folder = Path(output or f"runs/divergence/{name}")
    picture, numbers = folder / f"{name}.png", folder / f"{name}.csv"
    check_file(picture, COMMAND)
    if not picture.exists() or numbers.is_symlink():  # a CSV file has no place to say who wrote it: its figure does
        check_file(numbers, COMMAND)
    return folder


def save(folder: Path, name: str, figure: Any, rows: Sequence[Row], *, shown: Sequence[Row] | None = None) -> None:
    """Writes `NAME.png` and `NAME.csv`, prints the numbers as a table and ends with the names of the files.

    Args:
      folder: where to, from `place`.
      name: of both files.
      figure: a matplotlib figure.
      rows: the numbers, at least one row, all with the keys of the first: the columns of the CSV file, in full digits.
      shown: the rows to print, by default all.
    """
    picture, numbers = folder / f"{name}.png", folder / f"{name}.csv"
    table_of_all = io.StringIO(newline="")
    writer = csv.DictWriter(table_of_all, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    write_image(picture, figure, COMMAND)
    files.write(numbers, table_of_all.getvalue())
    print(table(rows if shown is None else shown))
    print(f"picture: {picture}\nnumbers: {numbers}")


def table(rows: Sequence[Row]) -> str:
    """Rows as lines of text, columns to the right under their names, numbers in 4 digits.

    >>> print(table([{"law": "segments", "distance": 0.25}, {"law": "Gaussians", "distance": 1 / 3}]))
          law  distance
     segments      0.25
    Gaussians    0.3333

    Args:
      rows: at least one, all with the keys of the first.

    Returns:
      The lines.
    """
    cells = [list(rows[0])] + [[x if isinstance(x, str) else f"{x:.4g}" for x in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in cells)
