"""Distances between samples: to the nearest examples of the data, and to each other.

Distances of all pairs come from one matrix product, `|a|^2 + |b|^2 - 2 a.b`, which is quick and off by rounding. Where
rounding could decide which of two is nearer, they are computed again from differences: copies are at distance 0, and
equal distances are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_features, check_numbers

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
    rows, counts = distinct(samples)
    total = 0.0
    for block in squared_blocks(rows, rows):
        distances = np.sqrt(np.maximum(block.squares, 0.0))
        distances[np.arange(len(distances)), np.arange(len(rows))[block.rows]] = 0.0
        total += counts[block.rows] @ distances @ counts
    return float(total / (len(samples) * (len(samples) - 1)))


def distinct(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows of `[N, D]` float64, in the order in which they come first, and how often each is there.

    >>> distinct(np.array([[2.0], [1.0], [2.0]]))
    (array([[2.],
           [1.]]), array([2, 1]))
    """
    rows = np.ascontiguousarray(features) + 0.0  # -0.0 is 0.0, but not by its bytes
    _, first, counts = np.unique(rows.view(f"V{rows.strides[0]}").ravel(), return_index=True, return_counts=True)
    order = np.argsort(first)
    return rows[first[order]], counts[order]


class Block(NamedTuple):
    """Squared distances of some rows of one set to all of another.

    Attributes:
      rows: which rows of the first set.
      a: these rows, `[n, D]`.
      b: the second set, `[M, D]`.
      squares: `[n, M]`, from a matrix product.
      error: by how much these are off at most.
    """

    rows: slice
    a: np.ndarray
    b: np.ndarray
    squares: np.ndarray
    error: float

    def within(self, limits: np.ndarray) -> np.ndarray:
        """Where a squared distance is at most `limits`, `[n, 1]` or `[M]`, as differences have it."""
        inside = self.squares <= limits + self.error
        i, j = np.nonzero(inside != (self.squares <= limits - self.error))
        inside[i, j] = self.exact(i, j) <= np.broadcast_to(limits, inside.shape)[i, j]
        return inside

    def exact(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Squared distances of pairs from differences: the same for `(a, b)` and `(b, a)`, 0 for copies."""
        size = max(1, BLOCK // self.b.shape[1])
        parts = [slice(start, start + size) for start in range(0, len(i), size)]
        squares = [np.square(self.a[i[part]] - self.b[j[part]]).sum(axis=1) for part in parts]
        return np.concatenate([np.zeros(0), *squares])


def squared_blocks(a: np.ndarray, b: np.ndarray) -> Iterator[Block]:
    """Squared Euclidean distances of all pairs, some rows at a time: together they would take N M numbers.

    Args:
      a: `[N, D]` float64.
      b: `[M, D]` float64.

    Yields:
      A `Block` of rows of `a`.

    Raises:
      ValueError: dimensions that differ.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"samples of one dimension expected, not {a.shape[1]} and {b.shape[1]}")
    center = b.mean(axis=0)  # what all share would only cost digits
    centred = b - center
    norms = np.square(centred).sum(axis=1)
    product = np.vstack([-2.0 * centred.T, norms])  # (a, 1) times this is |b|^2 - 2 a.b
    # A sum of D products is off by D half ulps of their sizes at most, centring by a few of |a|^2 + |b|^2.
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
    """The k nearest rows of `b` to each of `a`, the nearest first, of equal ones the earlier.

    Args:
      a: `[N, D]` float64.
      b: `[M, D]` float64.
      k: 1 to M.

    Returns:
      Rows of `b`, `[N, k]` integers, and squared distances `[N, k]`, from differences.
    """
    rows, squares = np.zeros((len(a), k), int), np.zeros((len(a), k))
    for block in squared_blocks(a, b):
        # The k nearest are no farther than this, and whatever may be as near is a candidate.
        reach = np.partition(block.squares, k - 1, axis=1)[:, k - 1 : k] + 2.0 * block.error
        i, j = np.nonzero(block.squares <= reach)
        exact = block.exact(i, j)
        order = np.lexsort((j, exact, i))
        first = np.searchsorted(i, np.arange(len(reach)))
        chosen = order[first[:, None] + np.arange(k)]
        rows[block.rows], squares[block.rows] = j[chosen], exact[chosen]
    return rows, squares
