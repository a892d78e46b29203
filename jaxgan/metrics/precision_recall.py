"""Quality and diversity as separate scores, by nearest neighbours: precision and recall, density and coverage.

The manifold of a set is the union of balls around its samples; the radius is the distance to the k-th nearest other
sample of the set. In all four scores a ball includes its surface (`<=`), as in Kynkaanniemi et al.: an example that
occurs k + 1 times has radius 0, and its copies are inside its ball. `prdc`, the code of Naeem et al., excludes the
surface (`<`), also for precision and recall, so repeated examples contain nothing. Without ties all three give the same
scores. Ties do not depend on rounding: see `jaxgan.metrics.neighbours`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_features
from jaxgan.metrics.neighbours import distinct, nearest_rows, squared_blocks


class Neighbours(NamedTuple):
    """A set of features and its nearest neighbours, to compare with several other sets.

    Attributes:
      rows: the distinct features, `[U, D]` float64.
      counts: how often each occurs, `[U]`.
      squares: squared distances to the nearest other samples, `[U, k]`, ascending; copies count, with distance 0.
    """

    rows: np.ndarray
    counts: np.ndarray
    squares: np.ndarray


def find_neighbours(features: ArrayLike, k: int, *, name: str = "real") -> Neighbours:
    """The k nearest other samples of each sample.

    Args:
      features: `[N, ...]`, N larger than k.
      k: number of neighbours, at least 1.
      name: name of the features in messages.

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
    others = counts[found].cumsum(axis=1) - 1  # number of other samples up to this neighbour, without the sample itself
    column = (others[:, :, None] <= np.arange(k)).sum(axis=1)
    return Neighbours(rows, counts, np.take_along_axis(squares, column, axis=1))


def precision_recall(real: ArrayLike | Neighbours, fake: ArrayLike, *, k: int = 3) -> dict[str, float]:
    """The fraction of samples in the manifold of the data, and of the data in the manifold of the samples.

    Precision: the fraction of generated samples inside the ball of any real example. Recall: the fraction of real
    examples inside the ball of any generated sample. Outliers have large balls and raise both scores. Precision hardly
    depends on the number of samples, recall hardly on the number of real examples.

    Args:
      real: features `[N, ...]`, N larger than k, or their `Neighbours` with at least k each.
      fake: features `[M, ...]` of the same dimension, M larger than k.
      k: the radius of a ball is the distance to the k-th neighbour.

    Returns:
      `precision` and `recall`, each 0 to 1.

    Raises:
      ValueError: too few samples, unequal dimensions, NaN or infinity.

    Paper: Kynkaanniemi et al. 2019, arXiv:1904.06991, whose balls include their surface.

    >>> precision_recall([[0.0], [1.0], [10.0]], [[0.5], [0.6]], k=1)  # no real example in the balls at 0.5 and 0.6
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
    """Density and coverage: precision and recall with balls around real examples only.

    Density: the mean number of real balls that contain a generated sample, divided by k. Coverage: the fraction of real
    examples with a generated sample in their ball. Only real examples have balls, so generated outliers do not raise
    the scores. Samples from the data's distribution have density 1; the same number of samples as examples has a
    coverage of about `1 - 2^-k`.

    Args:
      real: features `[N, ...]`, N larger than k, or their `Neighbours` with at least k each.
      fake: features `[M, ...]` of the same dimension.
      k: the radius of a ball is the distance to the k-th neighbour.

    Returns:
      `density`, at least 0, and `coverage`, 0 to 1.

    Raises:
      ValueError: too few samples, unequal dimensions, NaN or infinity.

    Paper: Naeem et al. 2020, arXiv:2002.09797; unlike in its code, a ball includes its surface.

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
        raise ValueError(f"k={k}, but the Neighbours of the real examples have {real.squares.shape[1]} each")
    return real


def _alike(real: Neighbours, fake: ArrayLike) -> np.ndarray:
    fake = as_features("fake", fake)
    if real.rows.shape[1] != fake.shape[1]:
        raise ValueError(f"real has {real.rows.shape[1]} features per sample and fake {fake.shape[1]}")
    return fake


def _share(chosen: np.ndarray, counts: np.ndarray) -> float:
    return float(counts[chosen].sum() / counts.sum())
