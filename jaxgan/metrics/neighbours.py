"""Distances between samples: to the nearest example of the data, and to each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_features

BLOCK = 2**22
"""How many distances are held at once, about."""

PART = 2**24
"""How many numbers of the data are held in float64 at once, about."""


def nearest_neighbours(samples: ArrayLike, data: ArrayLike, *, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The nearest examples of each sample, and how far away they are: whether a generator copies what it was shown.

    Compare the distances with those of unseen real examples, by their medians: a generator that copies comes much
    nearer than these.

    Args:
      samples: `[M, ...]`, of pixels or features.
      data: `[N, ...]`, of the same dimension, N at least k; bytes are converted some at a time.
      k: how many examples of each sample.

    Returns:
      Rows of `data`, `[M, k]` integers, the nearest first, and Euclidean distances `[M, k]` float64, exactly 0 for a
      copy.

    Raises:
      ValueError: dimensions that differ, fewer than k examples, NaN or infinity.

    >>> nearest_neighbours([[0.0, 3.0]], [[4.0, 0.0], [0.0, 0.0]])
    (array([[1]]), array([[3.]]))
    """
    if k < 1:
        raise ValueError(f"k={k}, but a sample has at least 1 nearest example")
    samples, data = as_features("samples", samples), np.asarray(data)
    size = max(k, PART // as_features("data", data[:k], at_least=k).shape[1])
    rows, distances = np.zeros((len(samples), 0), int), np.zeros((len(samples), 0))
    for start in range(0, len(data), size):
        part = as_features("data", data[start : start + size])
        found = np.zeros((len(samples), min(k, len(part))), int)
        exact = np.zeros(found.shape)
        for here, block in distance_blocks(samples, part):
            found[here] = np.argpartition(block, found.shape[1] - 1, axis=1)[:, : found.shape[1]]
            exact[here] = np.linalg.norm(samples[here, None] - part[found[here]], axis=2)
        rows, distances = np.hstack([rows, start + found]), np.hstack([distances, exact])
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        rows, distances = (np.take_along_axis(both, order, axis=1) for both in (rows, distances))
    return rows, distances


def nearest_distances(samples: ArrayLike, data: ArrayLike) -> np.ndarray:
    """The distance `[M]` of each sample to the nearest example, see `nearest_neighbours`.

    >>> nearest_distances([[0.0, 3.0]], [[0.0, 0.0], [4.0, 0.0]]).tolist()
    [3.0]
    """
    return nearest_neighbours(samples, data)[1][:, 0]


def pairwise_diversity(samples: ArrayLike) -> float:
    """The mean Euclidean distance of two different samples, over all pairs: 0 for a generator that draws one thing.

    Compare with that of the data.

    Args:
      samples: `[N, ...]`, at least 2, of pixels or features.

    Returns:
      The distance, at least 0.

    Raises:
      ValueError: fewer than 2 samples, NaN or infinity.

    >>> pairwise_diversity([[0.0], [1.0], [3.0]])
    2.0
    """
    samples = as_features("samples", samples, at_least=2)
    total = 0.0
    for rows, block in distance_blocks(samples, samples):
        block[np.arange(len(block)), np.arange(len(samples))[rows]] = 0.0
        total += block.sum()
    return float(total / (len(samples) * (len(samples) - 1)))


def distance_blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Euclidean distances of all pairs, some rows at a time: together they would take N M numbers.

    Args:
      a: `[N, D]` float64.
      b: `[M, D]` float64.

    Yields:
      Rows of `a`, and their distances `[n, M]` to `b`: to 1e-8 of the largest distance, except near 0.

    Raises:
      ValueError: dimensions that differ.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"samples of one dimension expected, not {a.shape[1]} and {b.shape[1]}")
    center = b.mean(axis=0)  # what all share would only cost digits
    b = b - center
    squares = np.square(b).sum(axis=1)
    size = max(1, BLOCK // len(b))
    for start in range(0, len(a), size):
        rows = slice(start, start + size)
        part = a[rows] - center
        block = np.square(part).sum(axis=1)[:, None] - 2.0 * part @ b.T + squares
        yield rows, np.sqrt(np.maximum(block, 0.0, out=block), out=block)
