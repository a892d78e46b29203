"""Nearest neighbours and pairwise distances.

Distances of all pairs come from one matrix product, `|a|^2 + |b|^2 - 2 a.b`, which is fast but has rounding errors.
Where these could change the order of two distances, both are computed again from differences. So copies have distance
exactly 0, and ties are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_features, check_numbers

BLOCK = 2**22
"""Approximate number of distances in memory at once."""

PART = 2**24
"""Approximate number of float64 values of the data in memory at once."""


def nearest_neighbours(samples: ArrayLike, data: ArrayLike, *, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest examples of the data to each sample, and their distances: for detecting memorization.

    Compare the median distance with that of held-out real examples. A generator that copies training examples has a
    much smaller one.

    Args:
      samples: `[M, ...]`, pixels or features.
      data: `[N, ...]`, of the same dimension, N at least k; uint8 is converted in parts.
      k: number of neighbours.

    Returns:
      Rows of `data`, integers `[M, k]`, nearest first, and Euclidean distances, float64 `[M, k]`, exactly 0 for copies.

    Raises:
      ValueError: unequal dimensions, fewer than k examples, NaN or infinity.

    >>> nearest_neighbours([[0.0, 3.0]], [[4.0, 0.0], [0.0, 0.0]])
    (array([[1]]), array([[3.]]))
    """
    if k < 1:
        raise ValueError(f"k={k}, but at least 1 neighbour is needed")
    samples, data = as_features("samples", samples), np.asarray(data)
    if data.size:
        check_numbers("data", data)
    size = max(k, PART // as_features("data", data[:k], at_least=k).shape[1])
    rows, squares = np.zeros((len(samples), 0), int), np.zeros((len(samples), 0))
    for start in range(0, len(data), size):
        part = as_features("data", data[start : start + size])
        found, exact = nearest_rows(samples, part, min(k, len(part)))
        rows, squares = np.hstack([rows, start + found]), np.hstack([squares, exact])
        order = np.argsort(squares, axis=1, kind="stable")[:, :k]
        rows, squares = (np.take_along_axis(both, order, axis=1) for both in (rows, squares))
    return rows, np.sqrt(squares)


def nearest_distances(samples: ArrayLike, data: ArrayLike) -> np.ndarray:
    """The distance of each sample to its nearest example, `[M]`, see `nearest_neighbours`.

    >>> nearest_distances([[0.0, 3.0]], [[0.0, 0.0], [4.0, 0.0]]).tolist()
    [3.0]
    """
    return nearest_neighbours(samples, data)[1][:, 0]


def pairwise_diversity(samples: ArrayLike) -> float:
    """The mean Euclidean distance over all pairs of samples: 0 for a generator that collapsed to one sample.

    Compare it with that of the data.

    Args:
      samples: `[N, ...]`, at least 2, pixels or features.

    Returns:
      The distance, at least 0.

    Raises:
      ValueError: fewer than 2 samples, NaN or infinity.

    >>> pairwise_diversity([[0.0], [1.0], [3.0]])
    2.0
    """
    samples = as_features("samples", samples, at_least=2)
    rows, counts = distinct(samples)
    total = 0.0
    for block in squared_blocks(rows, rows):
        distances = np.sqrt(np.maximum(block.squares, 0.0))
        distances[np.arange(len(distances)), np.arange(len(rows))[block.rows]] = 0.0
        total += counts[block.rows] @ distances @ counts
    return float(total / (len(samples) * (len(samples) - 1)))


def distinct(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of `[N, D]` float64, in the order of their first occurrence, and their counts.

    >>> distinct(np.array([[2.0], [1.0], [2.0]]))
    (array([[2.],
           [1.]]), array([2, 1]))
    """
    rows = np.ascontiguousarray(features) + 0.0  # -0.0 and 0.0 are equal but have different bytes
    _, first, counts = np.unique(rows.view(f"V{rows.strides[0]}").ravel(), return_index=True, return_counts=True)
    order = np.argsort(first)
    return rows[first[order]], counts[order]


class Block(NamedTuple):
    """Squared distances of some rows of one set to all rows of another.

    Attributes:
      rows: slice of the first set.
      a: these rows, `[n, D]`.
      b: the second set, `[M, D]`.
      squares: squared distances `[n, M]`, from a matrix product.
      error: bound of their rounding error.
    """

    rows: slice
    a: np.ndarray
    b: np.ndarray
    squares: np.ndarray
    error: float

    def within(self, limits: np.ndarray) -> np.ndarray:
        """Where a squared distance, computed from differences, is at most `limits`, `[n, 1]` or `[M]`."""
        inside = self.squares <= limits + self.error
        i, j = np.nonzero(inside != (self.squares <= limits - self.error))
        inside[i, j] = self.exact(i, j) <= np.broadcast_to(limits, inside.shape)[i, j]
        return inside

    def exact(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Squared distances of pairs from differences: symmetric, and 0 for copies."""
        size = max(1, BLOCK // self.b.shape[1])
        parts = [slice(start, start + size) for start in range(0, len(i), size)]
        squares = [np.square(self.a[i[part]] - self.b[j[part]]).sum(axis=1) for part in parts]
        return np.concatenate([np.zeros(0), *squares])


def squared_blocks(a: np.ndarray, b: np.ndarray) -> Iterator[Block]:
    """Squared Euclidean distances of all pairs, in blocks of rows, because `[N, M]` may not fit in memory.

    Args:
      a: `[N, D]` float64.
      b: `[M, D]` float64.

    Yields:
      A `Block` of rows of `a`.

    Raises:
      ValueError: unequal dimensions.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"samples of equal dimension expected, not {a.shape[1]} and {b.shape[1]}")
    center = b.mean(axis=0)  # subtracted for precision
    centred = b - center
    norms = np.square(centred).sum(axis=1)
    product = np.vstack([-2.0 * centred.T, norms])  # (a, 1) times this is |b|^2 - 2 a.b
    # The error of a sum of D products is at most D half ulps of their magnitudes, that of centring a few ulps of
    # |a|^2 + |b|^2.
    bound = (2 * b.shape[1] + 8) * np.finfo(np.float64).eps
    size = max(1, BLOCK // len(b))
    for start in range(0, len(a), size):
        rows = slice(start, start + size)
        part = a[rows] - center
        own = np.square(part).sum(axis=1)
        squares = np.hstack([part, np.ones((len(part), 1))]) @ product
        squares += own[:, None]
        yield Block(rows, a[rows], b, squares, float(bound * (own.max() + norms.max())))


def nearest_rows(a: np.ndarray, b: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of `b` to each row of `a`, nearest first; the earlier row first in a tie.

    Args:
      a: `[N, D]` float64.
      b: `[M, D]` float64.
      k: 1 to M.

    Returns:
      Rows of `b`, integers `[N, k]`, and squared distances `[N, k]`, computed from differences.
    """
    rows, squares = np.zeros((len(a), k), int), np.zeros((len(a), k))
    for block in squared_blocks(a, b):
        # An upper bound of the k-th smallest squared distance; all rows that may be within it are candidates.
        reach = np.partition(block.squares, k - 1, axis=1)[:, k - 1 : k] + 2.0 * block.error
        i, j = np.nonzero(block.squares <= reach)
        exact = block.exact(i, j)
        order = np.lexsort((j, exact, i))
        first = np.searchsorted(i, np.arange(len(reach)))
        chosen = order[first[:, None] + np.arange(k)]
        rows[block.rows], squares[block.rows] = j[chosen], exact[chosen]
    return rows, squares
