"""The kernel distance of two sets of features. Unlike the Frechet distance, it is unbiased for any number of samples.

It is called KID only if the features are those of the FID Inception network: see
`jaxgan.metrics.protocol.score_name`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_pair

SUBSET = 1000
"""The usual size of a subset. The expected distance does not depend on it, its standard deviation does."""


class KernelDistance(NamedTuple):
    """An estimate from subsets.

    Attributes:
      mean: mean over the subsets; unbiased, so it may be negative if the distance is near 0.
      std: standard deviation of the estimates of single subsets, not the standard error of the mean; None for a single
        subset.
    """

    mean: float
    std: float | None


def kernel_distance(
    real: ArrayLike, fake: ArrayLike, *, subset_size: int = SUBSET, subsets: int = 100, seed: int = 0
) -> KernelDistance:
    """The squared maximum mean discrepancy with the cubic polynomial kernel, averaged over random subsets.

    `E k(x, x') + E k(y, y') - 2 E k(x, y)` with `k(x, y) = (x.y / D + 1)^3`, over pairs of different samples: unbiased,
    and not clipped at 0. It depends on means, covariances and third moments. Subsets are drawn without replacement.

    Args:
      real: features `[N, ...]`.
      fake: features `[M, ...]` of the same dimension.
      subset_size: samples of each set in a subset, 2 to min(N, M).
      subsets: number of subsets; only one if a subset contains all samples of both sets.
      seed: seed of the subsets.

    Returns:
      The `KernelDistance`.

    Raises:
      ValueError: a subset size below 2 or above the size of a set, no subsets, unequal dimensions, NaN or infinity.

    Paper: Binkowski et al. 2018, arXiv:1801.01401.

    >>> kernel_distance([[0.0], [0.0]], [[1.0], [1.0]], subset_size=2, subsets=1)  # 1 + 8 - 2
    KernelDistance(mean=7.0, std=None)
    """
    real, fake = as_pair(real, fake, at_least=2)
    if not 2 <= subset_size <= min(len(real), len(fake)):
        raise ValueError(
            f"subset_size={subset_size} must be between 2 and the size of the smaller set: there are {len(real)} real "
            f"and {len(fake)} fake samples"
        )
    if subsets < 1:
        raise ValueError(f"subsets={subsets}, but the distance needs at least 1")
    if subset_size == len(real) == len(fake):
        subsets = 1
    random = np.random.default_rng(seed)
    subset = lambda features: features[random.choice(len(features), subset_size, replace=False)]
    estimates = np.array([_squared_discrepancy(subset(real), subset(fake)) for _ in range(subsets)])
    scale = float(np.abs(estimates).max()) or 1.0  # otherwise squares of large estimates overflow
    return KernelDistance(float(estimates.mean()), float(np.std(estimates / scale)) * scale if subsets > 1 else None)


def _squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    # The kernel value of the centre is subtracted from all kernel values, which does not change the result, in a form
    # without cancellation. Otherwise features that are large relative to their differences would give rounding errors.
    center = (np.minimum(x.min(axis=0), y.min(axis=0)) + np.maximum(x.max(axis=0), y.max(axis=0))) / 2.0
    x, y = x - center, y - center
    base = 3.0 * (center @ center / len(center) + 1.0)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        rise = (a + center) @ (b.T / len(center))
        rise += (a @ center / len(center))[:, None]
        # (B + rise)^3 - B^3, where `base` is 3 B.
        result = rise + base
        result *= rise
        result += base * base / 3.0
        result *= rise
        return result

    within = 0.0
    for points in (x, y):
        gram = kernel(points, points)
        within += (gram.sum() - np.trace(gram)) / (len(points) * (len(points) - 1))
    return float(within - 2.0 * kernel(x, y).mean())


def subset_warning(subset_size: int, *counts: int) -> str:
    """A warning about a kernel distance whose subsets are smaller than usual, or contain all samples.

    Args:
      subset_size: samples of each set in a subset.
      counts: number of samples of each set.

    >>> subset_warning(500, 500, 2000)
    'the kernel distance is of subsets of 500 samples, not 1,000: its standard deviation is larger'
    >>> subset_warning(500, 500, 500)
    'the kernel distance is of a single subset of all 500 samples: it has no standard deviation'
    """
    if set(counts) == {subset_size}:
        return f"the kernel distance is of a single subset of all {subset_size:,} samples: it has no standard deviation"
    if subset_size >= SUBSET:
        return ""
    made = f"the kernel distance is of subsets of {subset_size:,} samples, not {SUBSET:,}"
    return f"{made}: its standard deviation is larger"
