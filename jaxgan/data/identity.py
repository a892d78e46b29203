"""Which data a run is trained on: short digests, so that a resumed run knows its data again wherever it lies.

An `Identity` says what is compared and its digest, such as `{"file names": "6b1f...", "file sizes": "90ca..."}`. Of
image files the names, sizes and labels are compared, which takes one look at each file; an edit that changes neither
name nor size goes unnoticed. Of arrays and prepared data sets the content is compared, of large ones in part.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

Identity = dict[str, str]

MOST_BYTES = 2**24
"""So many bytes of an array, at most, go into a digest."""

MOST_EXAMPLES = 64
"""So many examples of a prepared data set do."""


def digest(parts: Iterable[str | bytes | np.ndarray]) -> str:
    """BLAKE2b of texts and arrays, in which their lengths count too.

    >>> digest(["ab", "c"]) == digest(["a", "bc"])
    False
    """
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        # Names of files may hold bytes that are no UTF-8.
        part = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        data = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else part
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.hexdigest()


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC): macOS gives the names of files decomposed."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def of_files(names: Sequence[str], files: Sequence[str]) -> Identity:
    """Of files: their names from the data set's folder, and how large they are."""
    sizes = np.array([os.stat(file).st_size for file in files], np.int64)
    return {"file names": digest(map(composed, names)), "file sizes": digest([sizes])}


def of_arrays(fields: dict[str, np.ndarray]) -> Identity:
    """Of arrays with a row an example: the shape and type of one, and what integers they hold.

    Floats are left out: computed on another machine they may differ in the last bit.
    """
    found = {}
    for name, values in fields.items():
        found[f"shape of {name}"] = f"{values.dtype} {list(values.shape[1:])}"
        if np.issubdtype(values.dtype, np.integer) and len(values):
            rows = spread(len(values), max(1, MOST_BYTES * len(values) // max(1, values.nbytes)))
            found[name] = digest([values[rows]])
    return found


def spread(size: int, most: int) -> np.ndarray:
    """All rows, or as many as are allowed, evenly spread from the first to the last.

    >>> spread(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.arange(size) if size <= most else np.linspace(0, size - 1, most).round().astype(int)
