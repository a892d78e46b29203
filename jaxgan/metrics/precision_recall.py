"""Quality and variety apart, by nearest neighbours: precision and recall, density and coverage.

Each set is spread to balls around its samples, whose radius is the distance to the k-th nearest other sample of the
same set. In all four scores a ball holds what lies on its surface (`<=`), as in the estimator of Kynkaanniemi et al.:
the radius around an example that is there k + 1 times is 0, and its copies lie in that ball. `prdc`, the code of Naeem
et al., leaves the surface out (`<`), also of precision and recall, and finds nothing near repeated examples. Where no
two distances are equal, both codes and this one give the same. Rounding decides nothing: see
`jaxgan.metrics.neighbours`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_features
from jaxgan.metrics.neighbours import distinct, nearest_rows, squared_blocks


class Neighbours(NamedTuple):
    """A set of features with its nearest neighbours, which are found once for all sets it is compared with.

    Attributes:
      rows: the different features, `[U, D]` float64.
      counts: how often each of them is there, `[U]`.
      squares: squared distances of each to its nearest others, `[U, k]`, ascending; copies are others, at 0.
    """

    rows: np.ndarray
    counts: np.ndarray
    squares: np.ndarray


def find_neighbours(features: ArrayLike, k: int, *, name: str = "real") -> Neighbours:
    """The k nearest others of each sample.

    Args:
      features: `[N, ...]`, more than k.
      k: how many, at least 1.
      name: what a message calls them.

    Returns:
      The `Neighbours`.

    Raises:
      ValueError: too few samples, NaN or infinity.

    >>> find_neighbours([[0.0], [0.0], [3.0]], 2).squares.tolist()
    [[0.0, 9.0], [9.0, 9.0]]
    """
    features = as_features(name, features)
    if not 1 <= k < len(features):
        raise ValueError(f"k={k} needs more than k {name} samples, not {len(features)}")
    rows, counts = distinct(features)
    found, squares = nearest_rows(rows, rows, min(k + 1, len(rows)))
    others = counts[found].cumsum(axis=1) - 1  # so many lie no farther than this neighbour, the sample itself left out
    column = (others[:, :, None] <= np.arange(k)).sum(axis=1)
    return Neighbours(rows, counts, np.take_along_axis(squares, column, axis=1))


def precision_recall(real: ArrayLike | Neighbours, fake: ArrayLike, *, k: int = 3) -> dict[str, float]:
    """The share of samples that lie among the data, and of the data that lies among the samples.

    Precision: of the generated samples, those within the ball of some real example. Recall: of the real examples, those
    within the ball of some generated sample. Both read their balls' largest, so outliers raise them. Precision hardly
    depends on the number of samples, nor recall on that of real examples.

    Args:
      real: features `[N, ...]`, more than k, or their `Neighbours`, at least k of each.
      fake: features `[M, ...]` of the same dimension, more than k.
      k: which neighbour sets a ball's radius.

    Returns:
      `precision` and `recall`, each 0 to 1.

    Raises:
      ValueError: too few samples, dimensions that differ, NaN or infinity.

    Paper: Kynkaanniemi et al. 2019, arXiv:1904.06991, whose balls hold their surface.

    >>> precision_recall([[0.0], [1.0], [10.0]], [[0.5], [0.6]], k=1)  # the balls at 0.5 and 0.6 hold no real example
    {'precision': 1.0, 'recall': 0.0}
    """
    real = _neighbours(real, k)
    samples = find_neighbours(_alike(real, fake), k, name="fake")
    precise, recalled = np.zeros(len(samples.rows), bool), np.zeros(len(real.rows), bool)
    for block in squared_blocks(real.rows, samples.rows):
        precise |= block.within(real.squares[block.rows, k - 1 : k]).any(axis=0)
        recalled[block.rows] = block.within(samples.squares[:, k - 1]).any(axis=1)
    return {"precision": _share(precise, samples.counts), "recall": _share(recalled, real.counts)}


def density_coverage(real: ArrayLike | Neighbours, fake: ArrayLike, *, k: int = 5) -> dict[str, float]:
    """How many real examples a sample has around it, and the share of real examples that have a sample nearby.

    Density: the mean number of real examples in whose ball a generated sample lies, divided by k. Coverage: of the real
    examples, those with a generated sample in their ball. Only real examples have balls, so generated outliers raise
    neither. Samples of the data's own distribution have density 1 and, as many as there are examples, cover `1 - 2^-k`
    of it, roughly.

    Args:
      real: features `[N, ...]`, more than k, or their `Neighbours`, at least k of each.
      fake: features `[M, ...]` of the same dimension.
      k: which neighbour sets a ball's radius.

    Returns:
      `density`, at least 0, and `coverage`, 0 to 1.

    Raises:
      ValueError: too few samples, dimensions that differ, NaN or infinity.

    Paper: Naeem et al. 2020, arXiv:2002.09797; unlike in its code, a ball holds its surface.

    >>> density_coverage([[0.0], [1.0], [10.0], [11.0]], [[0.4], [0.6]], k=1)
    {'density': 2.0, 'coverage': 0.5}
    """
    real = _neighbours(real, k)
    samples, counts = distinct(_alike(real, fake))
    inside, covered = 0, np.zeros(len(real.rows), bool)
    for block in squared_blocks(real.rows, samples):
        within = block.within(real.squares[block.rows, k - 1 : k])
        inside += int(real.counts[block.rows] @ (within @ counts))
        covered[block.rows] = within.any(axis=1)
    return {"density": inside / (k * int(counts.sum())), "coverage": _share(covered, real.counts)}


def _neighbours(real: ArrayLike | Neighbours, k: int) -> Neighbours:
    if not isinstance(real, Neighbours):
        return find_neighbours(real, k)
    if not 1 <= k <= real.squares.shape[1]:
        raise ValueError(f"k={k}, but of each real example {real.squares.shape[1]} neighbours are known")
    return real


def _alike(real: Neighbours, fake: ArrayLike) -> np.ndarray:
    fake = as_features("fake", fake)
    if real.rows.shape[1] != fake.shape[1]:
        raise ValueError(f"real has {real.rows.shape[1]} features a sample and fake {fake.shape[1]}")
    return fake


def _share(chosen: np.ndarray, counts: np.ndarray) -> float:
    return float(counts[chosen].sum() / counts.sum())
