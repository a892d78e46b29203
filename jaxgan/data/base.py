"""Types and functions shared by all data sets: random access to examples, rows of a split, errors for unknown names."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.data.identity import Identity
from jaxgan.files import expanded, import_extra

NAMES = ("mnist_5k", "noise", "fashion_mnist", "mnist", "cifar10", "cifar100", "emoji", "shapes", "shapes_styles")

Rows = Sequence[int] | np.ndarray


class Source(NamedTuple):
    """Random access to decoded examples.

    Attributes:
      size: number of examples.
      read: a thread-safe function of rows `[n]` to fields by name, `[n, ...]`.
      classes: names of the labels 0, 1, 2, ..., None if they have no names.
      labels: labels of all examples, int32 `[N]`; None if there are none or they can only be read with the images.
      unlabelled: the reason why a data set that could have labels has none.
      identity: the `jaxgan.data.identity` of the data; None if unknown.
    """

    size: int
    read: Callable[[Rows], dict[str, np.ndarray]]
    classes: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    unlabelled: str = ""
    identity: Callable[[], Identity] | None = None


class Stored(NamedTuple):
    """Random access to encoded images.

    Attributes:
      name: name of the data set in messages.
      size: number of images.
      fetch: rows `[n]` to n images (anything `read_image` accepts), and labels `[n]` int32 or None.
      classes, labels, unlabelled, identity: as in `Source`.
      names: for image files, returns their paths inside the folder of the split.
    """

    name: str
    size: int
    fetch: Callable[[Rows], tuple[Sequence[Any] | np.ndarray, np.ndarray | None]]
    classes: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    unlabelled: str = ""
    identity: Callable[[], Identity] | None = None
    names: Callable[[], list[str]] | None = None


def read_all(source: Source) -> dict[str, np.ndarray]:
    """All examples of a source, read with one thread per core."""
    chunks = np.array_split(np.arange(source.size), -(-source.size // 128))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(source.read, chunks))
    return {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}


def folder_of(name: str) -> Path:
    """The path in `folder:PATH`."""
    path = name.removeprefix("folder:")
    if not path.strip():
        raise ValueError(f"{name!r} has no path: give folder:PATH, or folder:. for the current folder")
    return expanded(path)


def split_rows(name: str, split: str, sizes: Mapping[str, int]) -> np.ndarray:
    """The rows of a split, slice or sum of splits, given the sizes of all splits in the order of their rows."""
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    if split in sizes:
        rows = starts[split] + np.arange(sizes[split])
    else:
        tfds = import_extra("tensorflow_datasets", "train")  # for its syntax of slices and sums

        try:
            infos = {key: tfds.core.SplitInfo(key, [size], 0) for key, size in sizes.items()}
            parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
        except (ValueError, NotImplementedError):  # TFDS raises either for invalid syntax
            raise unknown_split(name, split, sizes) from None
        rows = np.concatenate(
            [starts[part.splitname] + np.arange(sizes[part.splitname])[part.from_ : part.to] for part in parts]
        )
    if not len(rows):
        raise ValueError(f"split {split!r} of {name} is empty")
    return rows


def unknown_split(name: str, split: str, sizes: Mapping[str, int]) -> ValueError:
    known = ", ".join(f"{key} ({size} examples)" for key, size in sizes.items())
    only = split == "test" and list(sizes) == ["train"]
    cure = "; hold a part of it out: --split 'train[:80%]' and --test-split 'train[80%:]'" if only else ""
    side = re.match(r"(\w+)[AB](\[.*)?$", split)
    if side and side[1] in sizes and name.startswith("folder:"):
        cure = f"; if its files are two images side by side, give pairs:{name.removeprefix('folder:')}"
    return ValueError(f"data set {name} has no split {split!r}: there are {known}{cure}")


def unknown_name(name: str) -> ValueError:
    if expanded(name).is_dir():
        meant = f"; did you mean folder:{name}?"
    else:
        near = difflib.get_close_matches(name, NAMES, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
    return ValueError(
        f"unknown data set {name!r}: there are {', '.join(NAMES)}, data sets prepared by TFDS, stacked:NAME, "
        f"folder:PATH, pairs:PATH, PATH.npy and PATH.npz{meant}"
    )
