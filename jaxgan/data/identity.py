"""Short digests of the data of a run, so that a resumed run recognizes its data, even in another place.

An `Identity` holds a digest for each property that is compared, such as `{"file names": "6b1f...", "file sizes":
"90ca..."}`. For image files these are names, sizes and labels, which needs no reading of files; an edit that changes
neither name nor size goes unnoticed. For arrays and prepared data sets it is the content, for large ones a part of it.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

Identity = dict[str, str]

MOST_BYTES = 2**24
"""Largest number of bytes of an array in a digest."""

MOST_EXAMPLES = 64
"""Largest number of examples of a prepared data set in a digest."""


def digest(parts: Iterable[str | bytes | np.ndarray]) -> str:
    """The BLAKE2b digest of a sequence of texts and arrays, including their lengths.

    >>> digest(["ab", "c"]) == digest(["a", "bc"])
    False
    """
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        # File names may contain bytes that are not UTF-8.
        part = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        data = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else part
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.hexdigest()


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC); macOS decomposes file names."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def of_files(names: Sequence[str], files: Sequence[str]) -> Identity:
    """The identity of files: their paths in the data set's folder, and their sizes."""
    sizes = np.array([os.stat(file).st_size for file in files], np.int64)
    return {"file names": digest(map(composed, names)), "file sizes": digest([sizes])}


def of_arrays(fields: dict[str, np.ndarray]) -> Identity:
    """The identity of arrays with one row per example: shape and type of a row, and a digest of integer arrays.

    The last bits of floating-point arrays may depend on the machine. Of them the root mean squares of three rows stand,
    to three digits.
    """
    found = {}
    for name, values in fields.items():
        found[f"shape of {name}"] = f"{values.dtype} {list(values.shape[1:])}"
        if np.issubdtype(values.dtype, np.integer) and len(values):
            rows = spread(len(values), max(1, MOST_BYTES * len(values) // max(1, values.nbytes)))
            found[name] = digest([values[rows]])
        elif len(values):
            squares = [np.mean(np.square(values[row], dtype=np.float64)) for row in spread(len(values), 3)]
            found[f"values of {name}"] = " ".join(f"{np.sqrt(square):.3g}" for square in squares)
    return found


def spread(size: int, most: int) -> np.ndarray:
    """All rows, or `most` rows evenly spaced from the first to the last.

    >>> spread(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.arange(size) if size <= most else np.linspace(0, size - 1, most).round().astype(int)
