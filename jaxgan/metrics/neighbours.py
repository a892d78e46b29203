"""Nearest neighbours and pairwise distances.

Distances of all pairs come from one matrix product in float32, `|a|^2 + |b|^2 - 2 a.b`, which is fast but has rounding
errors. Where these could change the order of two distances, both are computed again from differences in float64, after
a product in float64 where that concerns many pairs. So copies have distance exactly 0, and ties are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_features, check_numbers

BLOCK = 2**22
"""Approximate number of distances in memory at once."""

MOST_NEAR = 16
"""Distances per row that float32 may leave undecided before a block is computed in float64."""

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
    for block in squared_blocks(rows, rows, np.float64):
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
      again: the same block in float64, if this is one in float32.
    """

    rows: slice
    a: np.ndarray
    b: np.ndarray
    squares: np.ndarray
    error: float
    again: Callable[[], Block] | None = None

    def within(self, limits: np.ndarray) -> np.ndarray:
        """Where a squared distance, computed from differences, is at most `limits`, `[n, 1]` or `[M]`."""
        inside = self.squares <= self._above(limits + self.error)
        found = np.flatnonzero(inside)
        near = found[(self.squares > -self._above(self.error - limits)).ravel()[found]]
        if self.again and len(near) > MOST_NEAR * len(inside):
            return self.again().within(limits)
        i, j = np.divmod(near, inside.shape[1])
        inside[i, j] = self.exact(i, j) <= np.broadcast_to(limits, inside.shape)[i, j]
        return inside

    def nearest(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `b`, `[n, k]`, and squared distances, `[n, k]`, as `nearest_rows`."""
        # An upper bound of the k-th smallest squared distance; all rows that may be within it are candidates.
        reach = self._above(_kth_smallest_at_most(self.squares, k) + 2.0 * self.error)
        i, j = np.divmod(np.flatnonzero(self.squares <= reach), self.squares.shape[1])
        if self.again and len(i) > (MOST_NEAR + 2 * k) * len(reach):
            return self.again().nearest(k)
        exact = self.exact(i, j)
        order = np.lexsort((j, exact, i))
        first = np.searchsorted(i, np.arange(len(reach)))
        chosen = order[first[:, None] + np.arange(k)]
        return j[chosen], exact[chosen]

    def exact(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Squared distances of pairs from differences: symmetric, and 0 for copies."""
        size = max(1, BLOCK // self.b.shape[1])
        parts = [slice(start, start + size) for start in range(0, len(i), size)]
        squares = [np.square(self.a[i[part]] - self.b[j[part]]).sum(axis=1) for part in parts]
        return np.concatenate([np.zeros(0), *squares])

    def _above(self, values: np.ndarray) -> np.ndarray:
        """Values in the dtype of the distances, rounded up."""
        return np.nextafter(values.astype(self.squares.dtype), np.inf, dtype=self.squares.dtype)


def _kth_smallest_at_most(squares: np.ndarray, k: int) -> np.ndarray:
    """An upper bound of the k-th smallest value of each row, `[n, 1]`: the k-th smallest of minima of groups."""
    groups = max(64, 8 * k)
    length = squares.shape[1] // groups
    if length > 1:
        whole = squares[:, : groups * length].reshape(len(squares), groups, length)
        squares = whole.min(axis=2)
    return np.partition(squares, k - 1, axis=1)[:, k - 1 : k].astype(np.float64)


def squared_blocks(a: np.ndarray, b: np.ndarray, dtype: type[np.floating] = np.float32) -> Iterator[Block]:
    """Squared Euclidean distances of all pairs, in blocks of rows, because `[N, M]` may not fit in memory.

    Args:
      a: `[N, D]` float64.
      b: `[M, D]` float64.
      dtype: of the matrix product; what float32 cannot decide is left to `Block.again`.

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
    sharp = np.vstack([-2.0 * centred.T, norms])  # (a, 1) times this is |b|^2 - 2 a.b
    largest = b.shape[1] * (max(a.max(), -a.min()) + np.abs(center).max()) ** 2
    narrow = dtype != np.float64 and 1e-30 < largest < 1e30  # no square overflows or underflows
    product = sharp.astype(dtype) if narrow else sharp

    def block(rows: slice, product: np.ndarray, again: Callable[[], Block] | None = None) -> Block:
        part = a[rows] - center
        own = np.square(part).sum(axis=1)
        squares = np.hstack([part, np.ones((len(part), 1))]).astype(product.dtype) @ product
        squares += own[:, None].astype(product.dtype)
        # The error of a sum of D products is at most D half ulps of their magnitudes, that of rounding and centring a
        # few ulps of |a|^2 + |b|^2.
        bound = (2 * b.shape[1] + 16) * np.finfo(product.dtype).eps
        return Block(rows, a[rows], b, squares, float(bound * (own.max() + norms.max())), again)

    size = max(1, BLOCK // len(b))
    for start in range(0, len(a), size):
        rows = slice(start, start + size)
        yield block(rows, product, partial(block, rows, sharp) if narrow else None)


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
        rows[block.rows], squares[block.rows] = block.nearest(k)
    return rows, squares
