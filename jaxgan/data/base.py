"""What the modules of data sets share: examples at random access, the rows of a split, what an unknown name meets."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.data.identity import Identity
from jaxgan.files import expanded

NAMES = ("mnist_5k", "noise", "fashion_mnist", "mnist", "cifar10", "cifar100", "emoji", "shapes", "shapes_styles")

Rows = Sequence[int] | np.ndarray


class Source(NamedTuple):
    """Examples at random access.

    Attributes:
      size: how many there are.
      read: rows `[n]` to fields by name, `[n, ...]`; several threads may call it at once.
      classes: names of the labels 0, 1, 2, ..., None where they have none.
      labels: of all examples, int32 `[N]`, None where there are none or images would have to be read for them.
      unlabelled: why there are no labels, in a data set that might have some.
      identity: what tells these data from others, see `jaxgan.data.identity`; None where nothing is known.
    """

    size: int
    read: Callable[[Rows], dict[str, np.ndarray]]
    classes: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    unlabelled: str = ""
    identity: Callable[[], Identity] | None = None


class Stored(NamedTuple):
    """Images before they are decoded.

    Attributes:
      name: what a message calls the data set.
      size: how many there are.
      fetch: rows `[n]` to n images (anything `read_image` takes), and labels `[n]` int32 or None.
      classes, labels, unlabelled, identity: as of a `Source`.
    """

    name: str
    size: int
    fetch: Callable[[Rows], tuple[Sequence[Any] | np.ndarray, np.ndarray | None]]
    classes: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    unlabelled: str = ""
    identity: Callable[[], Identity] | None = None


def read_all(source: Source) -> dict[str, np.ndarray]:
    """All examples of a source, read by as many threads as there are cores."""
    chunks = np.array_split(np.arange(source.size), -(-source.size // 128))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(source.read, chunks))
    return {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}


def folder_of(name: str) -> Path:
    """The folder that `folder:PATH` names."""
    path = name.removeprefix("folder:")
    if not path.strip():
        raise ValueError(f"{name!r} names no folder: give folder:PATH, folder:. for the current one")
    return expanded(path)


def split_rows(name: str, split: str, sizes: Mapping[str, int]) -> np.ndarray:
    """The examples of a split, a slice or a sum, where the splits of these sizes lie one after another."""
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    if split in sizes:
        rows = starts[split] + np.arange(sizes[split])
    else:
        import tensorflow_datasets as tfds  # so that the words mean what they mean for its data sets

        try:
            infos = {key: tfds.core.SplitInfo(key, [size], 0) for key, size in sizes.items()}
            parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
        except (ValueError, NotImplementedError):  # TFDS raises either, by what is wrong with the words
            raise unknown_split(name, split, sizes) from None
        rows = np.concatenate(
            [starts[part.splitname] + np.arange(sizes[part.splitname])[part.from_ : part.to] for part in parts]
        )
    if not len(rows):
        raise ValueError(f"split {split!r} of {name} is empty")
    return rows


def unknown_split(name: str, split: str, sizes: Mapping[str, int]) -> ValueError:
    known = ", ".join(f"{key} ({size} examples)" for key, size in sizes.items())
    return ValueError(f"data set {name} has no split {split!r}: there are {known}")


def unknown_name(name: str) -> ValueError:
    if expanded(name).is_dir():
        meant = f"; did you mean folder:{name}?"
    else:
        near = difflib.get_close_matches(name, NAMES, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
    return ValueError(
        f"unknown data set {name!r}: there are {', '.join(NAMES)}, what TFDS has prepared, stacked:NAME, folder:PATH, "
        f"PATH.npy and PATH.npz{meant}"
    )
