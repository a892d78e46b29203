"""Sets of features, checked and in float64 on the host; their order by content, and random subsets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

MOST = 1e40
"""Largest absolute value of a feature, beyond float32's range. Larger ones could overflow in the kernel distance."""


def as_features(name: str, features: ArrayLike, *, at_least: int = 1) -> np.ndarray:
    """Checked features as a float64 matrix with one row per sample.

    Args:
      name: name of the features in messages.
      features: `[N, ...]`; axes after the first are flattened, `[N]` is one feature per sample.
      at_least: smallest number of samples.

    Returns:
      `[N, D]` float64.

    Raises:
      ValueError: too few samples, no features, NaN, infinity or values so large that scores overflow.

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
    """Refuses values that are not finite, or so large that scores would overflow.

    Raises:
      ValueError: there are such values; the message has the number of samples or the range.
    """
    low, high = float(array.min()), float(array.max())  # NaN if one is
    if not (low >= -MOST and high <= MOST):
        rows = array.reshape(len(array), -1)
        if bad := len(rows) - int(np.isfinite(rows).all(axis=1).sum()):
            raise ValueError(f"{name} holds NaN or infinity in {bad} of {len(rows)} samples")
        raise ValueError(f"{name} holds values from {low:.3g} to {high:.3g}, for which scores overflow: scale them")


def as_pair(real: ArrayLike, fake: ArrayLike, *, at_least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two sets by `as_features`, of equal dimension; their counts may differ.

    Raises:
      ValueError: as `as_features`, or unequal dimensions.
    """
    real, fake = as_features("real", real, at_least=at_least), as_features("fake", fake, at_least=at_least)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"real has {real.shape[1]} features per sample and fake {fake.shape[1]}")
    return real, fake


def row_digests(*columns: Any) -> list[bytes]:
    """A digest of the content of each row of several columns, such as images and labels, or pairs of images.

    Args:
      columns: each `[N, ...]`; rows are arrays, or lists of strings.

    Returns:
      N digests.
    """
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(str(len(column)) for column in columns)
        raise ValueError(f"columns of {counts} rows, but equal numbers were expected")
    digests = []
    for row in zip(*columns, strict=True):
        digest = hashlib.blake2b(digest_size=32)
        for part in row:
            digest.update(np.asarray(part).tobytes())
        digests.append(digest.digest())
    return digests


def content_order(digests: Sequence[bytes]) -> np.ndarray:
    """The order of rows by their digests, which does not depend on the original order.

    Random choices of rows are made in this order, so that scores do not depend on file names.

    >>> content_order([b"c", b"a", b"b"]).tolist()
    [1, 2, 0]
    """
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), int)


def content_digest(digests: Sequence[bytes]) -> str:
    """A digest of all rows that does not depend on their order, as 32 hexadecimal digits."""
    return hashlib.blake2b(b"".join(sorted(digests)), digest_size=16).hexdigest()


def random_subset(count: int, size: int | None, *, seed: int | Sequence[int] = 0) -> np.ndarray:
    """Random rows without replacement, in random order; all rows if there are not more than `size`.

    Files are often sorted by class, and samples by label, so the first rows are not a representative subset. All code
    that takes a part of a set, or divides it, uses this function.

    Args:
      count: number of rows.
      size: number of rows to choose, None for all.
      seed: seed of the choice. Use different seeds for two sets that are compared: with the same seed, a set and its
        copy would lose the same rows.

    Returns:
      `[min(count, size)]` integers.

    >>> random_subset(5, 3).tolist()
    [2, 0, 1]
    """
    return np.random.RandomState(seed).permutation(count)[:size]  # the legacy generator, whose stream never changes
