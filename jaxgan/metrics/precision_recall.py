"""Quality and variety apart, by nearest neighbours: precision and recall, density and coverage.

Each set is spread to balls around its samples, whose radius is the distance to the k-th nearest other sample of the
same set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_pair
from jaxgan.metrics.neighbours import distance_blocks


def precision_recall(real: ArrayLike, fake: ArrayLike, *, k: int = 3) -> dict[str, float]:
    """The share of samples that lie among the data, and of the data that lies among the samples.

    Precision: of the generated samples, those within the ball of some real example. Recall: of the real examples, those
    within the ball of some generated sample. Both read their balls' largest, so outliers raise them.

    Args:
      real: features `[N, ...]`, more than k.
      fake: features `[M, ...]` of the same dimension, more than k.
      k: which neighbour sets a ball's radius.

    Returns:
      `precision` and `recall`, each 0 to 1.

    Raises:
      ValueError: too few samples, dimensions that differ, NaN or infinity.

    Paper: Kynkaanniemi et al. 2019, arXiv:1904.06991.

    >>> precision_recall([[0.0], [1.0], [10.0]], [[0.5], [0.6]], k=1)  # the balls at 0.5 and 0.6 hold no real example
    {'precision': 1.0, 'recall': 0.0}
    """
    real, fake = as_pair(real, fake)
    real_radii, fake_radii = _radii("real", real, k), _radii("fake", fake, k)
    precise, recalled = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for rows, block in distance_blocks(real, fake):
        precise |= (block <= real_radii[rows, None]).any(axis=0)
        recalled[rows] = (block <= fake_radii).any(axis=1)
    return {"precision": float(precise.mean()), "recall": float(recalled.mean())}


def density_coverage(real: ArrayLike, fake: ArrayLike, *, k: int = 5) -> dict[str, float]:
    """How many real examples a sample has around it, and the share of real examples that have a sample nearby.

    Density: the mean number of real examples in whose ball a generated sample lies, divided by k. Coverage: of the real
    examples, those with a generated sample in their ball. Only real examples have balls, so generated outliers raise
    neither. Samples of the data's own distribution have density 1 and, as many as there are examples, cover `1 - 2^-k`
    of it, roughly.

    Args:
      real: features `[N, ...]`, more than k.
      fake: features `[M, ...]` of the same dimension.
      k: which neighbour sets a ball's radius.

    Returns:
      `density`, at least 0, and `coverage`, 0 to 1.

    Raises:
      ValueError: too few samples, dimensions that differ, NaN or infinity.

    Paper: Naeem et al. 2020, arXiv:2002.09797.

    >>> density_coverage([[0.0], [1.0], [10.0], [11.0]], [[0.4], [0.6]], k=1)
    {'density': 2.0, 'coverage': 0.5}
    """
    real, fake = as_pair(real, fake)
    radii = _radii("real", real, k)
    inside, covered = 0, 0
    for rows, block in distance_blocks(real, fake):
        within = block <= radii[rows, None]
        inside += int(within.sum())
        covered += int(within.any(axis=1).sum())
    return {"density": inside / (k * len(fake)), "coverage": covered / len(real)}


def _radii(name: str, features: np.ndarray, k: int) -> np.ndarray:
    """Distance of each sample to its k-th nearest other, `[N]`."""
    if not 1 <= k < len(features):
        raise ValueError(f"k={k} needs more than k {name} samples, not {len(features)}")
    # The nearest of all is the sample itself. Copied, since a column would keep the whole block.
    blocks = distance_blocks(features, features)
    return np.concatenate([np.partition(block, k, axis=1)[:, k].copy() for _, block in blocks])
