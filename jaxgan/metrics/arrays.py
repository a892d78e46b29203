"""Sets of features as every score takes them: checked, in float64, on the host; their order, and random subsets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

MOST = 1e40
"""Beyond this sums of cubes of squares, as in the kernel distance, come near overflow; float32 ends before."""


def as_features(name: str, features: ArrayLike, *, at_least: int = 1) -> np.ndarray:
    """One row a sample, in float64.

    Args:
      name: what a message calls them.
      features: `[N, ...]`; axes after the first are one vector, `[N]` are N numbers.
      at_least: how many rows are needed.

    Returns:
      `[N, D]` float64.

    Raises:
      ValueError: too few rows, no features, NaN, infinity or values so large that scores overflow.

    >>> as_features("real", [0, 2]).tolist()
    [[0.0], [2.0]]
    """
    array = np.asarray(features)
    count = len(array) if array.ndim else 0
    if count < at_least:
        plural = "" if at_least == 1 else "s"
        raise ValueError(f"{name} has shape {array.shape}, but at least {at_least} sample{plural} [N, D] are needed")
    if not array.size:
        raise ValueError(f"{name} has shape {array.shape}, but a sample needs at least one feature")
    check_numbers(name, array)
    return array.reshape(count, -1).astype(np.float64, copy=False)


def check_numbers(name: str, array: np.ndarray) -> None:
    """Refuses values that are not finite, or so large that scores of them are not.

    Raises:
      ValueError: with the number of samples that hold any.
    """
    low, high = float(array.min()), float(array.max())  # NaN if one is
    if not (low >= -MOST and high <= MOST):
        rows = array.reshape(len(array), -1)
        if bad := len(rows) - int(np.isfinite(rows).all(axis=1).sum()):
            raise ValueError(f"{name} holds NaN or infinity in {bad} of {len(rows)} samples")
        raise ValueError(f"{name} holds values from {low:.3g} to {high:.3g}, of which scores overflow: scale them")


def as_pair(real: ArrayLike, fake: ArrayLike, *, at_least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two sets by `as_features`, of one dimension; their counts may differ.

    Raises:
      ValueError: as `as_features`, or dimensions that differ.
    """
    real, fake = as_features("real", real, at_least=at_least), as_features("fake", fake, at_least=at_least)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"real has {real.shape[1]} features a sample and fake {fake.shape[1]}")
    return real, fake


def row_digests(*columns: Any) -> list[bytes]:
    """A digest of the content of each row, of several columns together: images with their labels, or both of a pair.

    Args:
      columns: `[N, ...]` each; rows are arrays, or lists of strings.

    Returns:
      N digests.
    """
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(str(len(column)) for column in columns)
        raise ValueError(f"columns of {counts} rows, where equally many were expected")
    digests = []
    for row in zip(*columns, strict=True):
        digest = hashlib.blake2b(digest_size=32)
        for part in row:
            digest.update(np.asarray(part).tobytes())
        digests.append(digest.digest())
    return digests


def content_order(digests: Sequence[bytes]) -> np.ndarray:
    """The rows in an order that does not depend on the one they came in: that of their digests.

    Whatever is drawn of rows at random is drawn in this order, so that a score does not depend on the names of files.

    >>> content_order([b"c", b"a", b"b"]).tolist()
    [1, 2, 0]
    """
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), int)


def content_digest(digests: Sequence[bytes]) -> str:
    """32 hexadecimal digits of what rows hold, in any order."""
    return hashlib.blake2b(b"".join(sorted(digests)), digest_size=16).hexdigest()


def random_subset(count: int, size: int | None, *, seed: int | Sequence[int] = 0) -> np.ndarray:
    """The rows of a random subset without replacement, in random order; of all rows where there are no more.

    Files lie in the order of their classes, and samples in the order of their labels: the first rows of a set are no
    picture of it. Whatever compares a part of a set, or divides it, chooses by this function.

    Args:
      count: how many rows there are.
      size: how many are wanted, None for all.
      seed: what decides the subset. Two sets that are compared take different seeds: with one seed, a set and its copy
        in the same order would lose the same rows.

    Returns:
      `[min(count, size)]` integers.

    >>> random_subset(5, 3).tolist()
    [2, 0, 1]
    """
    return np.random.RandomState(seed).permutation(count)[:size]  # its stream is frozen
