"""Stacked data sets: three grey images of a labelled data set as the RGB channels of one image, with 1,000 modes.

Metz et al. 2016, Unrolled GAN (arXiv:1611.02163), introduced stacked MNIST, and Srivastava et al. 2017, VEEGAN
(arXiv:1705.07761), compared generators by the number of modes they cover.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxgan.data.base import Rows, Source, read_all, split_rows
from jaxgan.data.identity import digest
from jaxgan.pixels import to_uint8

PREFIX = "stacked:"

SPLITS = {"train": 50_000, "test": 25_600}
"""Sizes of the splits, about 50 and 26 images per mode. Each is stacked from images of the same split."""


def open_stacked(name: str, split: str, open_part: Callable[[str, str], Source]) -> Source:
    """The examples of `stacked:NAME`: random triples of images from a fixed seed.

    Args:
      name: `stacked:` and a data set with labels in 0..9, which is read into memory.
      split: as for `jaxgan.data.sources.images`.
      open_part: a function of data set and split that opens grey images of the final size.

    Returns:
      A `Source` of `image` `[n, H, W, 3]` uint8 and `label` `[n]` int32: `100 r + 10 g + b`, 0 to 999.

    Raises:
      ValueError: as `images`; or a data set without labels in 0..9.
    """
    base = name.removeprefix(PREFIX)
    rows = split_rows(name, split, SPLITS)
    ends = np.cumsum([0, *SPLITS.values()])
    triples = np.zeros((ends[-1], 3), int)
    pixels, labels, count = [], [], 0
    parts = []
    for seed, part in enumerate(SPLITS):
        here = slice(ends[seed], ends[seed + 1])
        if ((rows < here.start) | (rows >= here.stop)).all():
            continue
        source = open_part(base, part)
        data = read_all(source)
        parts.append((part, source))
        if "label" not in data:
            why = source.unlabelled and f" ({source.unlabelled})"
            raise ValueError(f"data set {base} has no labels{why}, which define the modes of stacked images")
        low, high = data["label"].min(), data["label"].max()
        if low < 0 or high > 9:
            raise ValueError(f"data set {base} has labels {low} to {high}, but stacked images need 0 to 9")
        size = len(data["label"])
        triples[here] = count + np.random.default_rng(seed).integers(size, size=triples[here].shape)
        pixels.append(data["image"] if data["image"].dtype == np.uint8 else to_uint8(data["image"]))
        labels.append(data["label"])
        count += size
    grey, digits = np.concatenate(pixels)[..., 0], np.concatenate(labels)

    def read(wanted: Rows) -> dict[str, np.ndarray]:
        wanted = np.asarray(wanted)
        taken = triples[rows[wanted]]
        return {"image": np.ascontiguousarray(np.moveaxis(grey[taken], 1, -1)), "label": modes[wanted]}

    def identity() -> dict[str, str]:
        known = [(part, source.identity()) for part, source in parts if source.identity is not None]
        return {f"{name} of {part}": value for part, found in known for name, value in found.items()} | {
            "stacked": digest([rows])
        }

    modes = (digits[triples[rows]] @ np.array([100, 10, 1], np.int32)).astype(np.int32)
    return Source(len(rows), read, labels=modes, identity=identity)
