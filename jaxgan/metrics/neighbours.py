"""Scores by nearest neighbours: whether samples are near all of the data, and whether they are copies of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def coverage(real: ArrayLike, fake: ArrayLike, *, k: int = 5) -> float:
    """The share of real examples that have a sample nearby.

    An example is covered if a sample lies within its distance to its k-th nearest real neighbour. Samples of the data's
    own distribution, as many as there are examples, cover `1 - 2^-k` of it, roughly.

    Args:
      real: examples `[N, ...]`, more than k.
      fake: samples `[M, ...]`, of the same shape.
      k: which neighbour.

    Returns:
      A share, 0 to 1.

    Raises:
      ValueError: shapes that differ, or too few examples.

    Paper: Naeem et al. 2020, arXiv:2002.09797.

    >>> coverage([[0.0], [1.0], [10.0], [11.0]], [[0.4], [0.6]], k=1)
    0.5
    """
    real, fake = _flat(real), _flat(fake)
    if not 1 <= k < len(real):
        raise ValueError(f"k={k} needs more than k real examples, not {len(real)}")
    radius = np.partition(_distances(real, real), k, axis=1)[:, k]  # of itself the distance is 0
    return float((_distances(real, fake).min(axis=1) <= radius).mean())


def nearest_distances(samples: ArrayLike, data: ArrayLike) -> np.ndarray:
    """Euclidean distance of each sample to the nearest example.

    Compare with that of unseen real examples: a generator that copies comes much nearer than these.

    Args:
      samples: `[M, ...]`.
      data: `[N, ...]`, of the same shape, N at least 1.

    Returns:
      Distances `[M]`, float64.

    Raises:
      ValueError: shapes that differ.

    >>> nearest_distances([[0.0, 3.0]], [[0.0, 0.0], [4.0, 0.0]]).tolist()
    [3.0]
    """
    return _distances(_flat(samples), _flat(data)).min(axis=1)


def _flat(examples: ArrayLike) -> np.ndarray:
    array = np.asarray(examples, np.float64)
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.shape[1] != b.shape[1] or not len(b):
        raise ValueError(f"examples of one shape expected, at least one of each, not {a.shape} and {b.shape}")
    parts = [  # in parts, since the products of all pairs at once would take the memory
        np.square(part).sum(axis=1)[:, None] - 2 * part @ b.T + np.square(b).sum(axis=1)
        for part in np.array_split(a, max(1, len(a) // 256))
    ]
    return np.sqrt(np.maximum(np.concatenate(parts), 0.0))
