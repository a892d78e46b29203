"""Pairs of images, one of domain a and one of b: files of equal names in two folders, or both images in one file."""

from __future__ import annotations

import os
import re

import numpy as np

from jaxgan.data.base import Rows, Stored
from jaxgan.data.identity import composed
from jaxgan.pixels import to_uint8

PREFIX = "pairs:"

_SIDES = {"A": "left", "B": "right"}
_UNPAIRED = re.compile(r"(emoji|shapes_styles(/(equal_)?\d+)?|cycle_gan/\w+)(:.*)?")


def side_of(name: str, split: str) -> tuple[str, str]:
    """The folder's split of a split of `pairs:PATH`, and its side of the images.

    Raises:
      ValueError: the split is of neither side.

    >>> side_of("pairs:maps", "trainB[:90%]")
    ('train[:90%]', 'B')
    """
    parts = [re.fullmatch(r"(\w+)([AB])(\[.*\])?", part) for part in split.split("+")]
    found = [part for part in parts if part is not None]
    sides = {part[2] for part in found}
    if len(found) < len(parts) or len(sides) != 1:
        raise ValueError(
            f"data set {name} has no split {split!r}: its splits are trainA, the left images of the folder train, "
            "trainB, the right ones, and so on"
        )
    return "+".join(part[1] + (part[3] or "") for part in found), sides.pop()


def halves(stored: Stored, name: str, side: str) -> Stored:
    """The left (`A`) or right (`B`) halves of image files with two images side by side.

    `fetch` raises a ValueError for an image whose width is odd or not above its height.
    """
    from jaxgan.data.folder import read_image  # imported here, because it needs Pillow

    def half(file: str) -> np.ndarray:
        pixels = read_image(file)
        height, width = pixels.shape[:2]
        if width % 2 or width <= height:
            raise ValueError(
                f"{file} has {width} x {height} pixels, but two images of equal size side by side have an even width "
                "above the height: crop it, or give folder:PATH with the images of a pair in trainA and trainB"
            )
        pixels = pixels if pixels.dtype == np.uint8 else to_uint8(pixels)
        return np.split(pixels, 2, axis=1)["AB".index(side)]

    def fetch(rows: Rows):
        return [half(file) for file in stored.fetch(rows)[0]], None

    def identity():
        return (stored.identity() if stored.identity else {}) | {"side": _SIDES[side]}

    return Stored(name, stored.size, fetch, unlabelled="its images are halves of files", identity=identity)


def check_pairs(a: Stored, b: Stored) -> None:
    """Checks that row i of two sets of image files has the same name, apart from the ending, and the same size.

    Raises:
      ValueError: a file without a partner, or one of another size.
    """
    from jaxgan.data.folder import size_of

    (names, files), (other_names, other_files) = ((_stems(one), one.fetch(np.arange(one.size))[0]) for one in (a, b))
    for ours, paths, theirs in ((names, files, set(other_names)), (other_names, other_files, set(names))):
        for stem, path in zip(ours, paths, strict=True):
            if stem not in theirs:
                raise ValueError(
                    f"{path} has no partner in the other split: the images of a pair have the same name in both, so "
                    "rename it, remove it, or take equal parts of both splits"
                )
    for name, other_name, one, other in zip(names, other_names, files, other_files, strict=False):
        if name != other_name:
            raise ValueError(
                f"{one} and {other} would be a pair: give every image its own name, and all of a folder the same ending"
            )
    for one, other in zip(files, other_files, strict=False):
        size, other_size = size_of(one), size_of(other)
        if size and other_size and size != other_size:
            shown = [f"{width} x {height}" for width, height in (size, other_size)]
            raise ValueError(
                f"{one} has {shown[0]} pixels, but {other} has {shown[1]}: the images of a pair have the same size, "
                "so resize one of them"
            )


def check_has_pairs(name: str, split: str) -> None:
    """Refuses splits of known data sets that are not paired.

    Raises:
      ValueError: such a split.
    """
    if _UNPAIRED.fullmatch(name) and "train" in split:
        pairs = "only testA and testB are" if name.startswith("emoji") else "give folders of pairs"
        pairs = "give shapes_styles/paired_32 or paired_64" if name.startswith("shapes") else pairs
        raise ValueError(f"the images of {name} {split} are not in pairs: {pairs}")


def _stems(stored: Stored) -> list[str]:
    assert stored.names is not None
    return [composed(os.path.splitext(name)[0]) for name in stored.names()]
