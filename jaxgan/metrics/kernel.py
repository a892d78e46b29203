"""The kernel distance of two sets of features: unlike the Frechet distance, it is unbiased at any number of samples.

It is called KID if the features are those of the FID Inception network, and only then: see
`jaxgan.metrics.protocol.score_name`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_pair

SUBSET = 1000
"""Samples in a subset, as is usual: the distance does not depend on it, its spread does."""


class KernelDistance(NamedTuple):
    """An estimate from subsets.

    Attributes:
      mean: over the subsets; unbiased, so it may be negative where the distance is near 0.
      std: the standard deviation of a single subset's estimate, not the error of the mean; None of one subset alone,
        which says nothing of it.
    """

    mean: float
    std: float | None


def kernel_distance(
    real: ArrayLike, fake: ArrayLike, *, subset_size: int = SUBSET, subsets: int = 100, seed: int = 0
) -> KernelDistance:
    """The squared maximum mean discrepancy with the cubic polynomial kernel, averaged over random subsets.

    `E k(x, x') + E k(y, y') - 2 E k(x, y)` with `k(x, y) = (x.y / D + 1)^3`, over pairs of different samples: unbiased,
    and never clipped. It sees means, covariances and third moments. Each subset is drawn without replacement.

    Args:
      real: features `[N, ...]`.
      fake: features `[M, ...]` of the same dimension.
      subset_size: samples of each set in a subset, 2 to min(N, M).
      subsets: how many are averaged; where a subset is all there is of both sets, it is the only one.
      seed: of the subsets.

    Returns:
      The `KernelDistance`.

    Raises:
      ValueError: subsets that are larger than a set, smaller than 2 or none, dimensions that differ, NaN or infinity.

    Paper: Binkowski et al. 2018, arXiv:1801.01401.

    >>> kernel_distance([[0.0], [0.0]], [[1.0], [1.0]], subset_size=2, subsets=1)  # 1 + 8 - 2
    KernelDistance(mean=7.0, std=None)
    """
    real, fake = as_pair(real, fake, at_least=2)
    if not 2 <= subset_size <= min(len(real), len(fake)):
        raise ValueError(
            f"subset_size={subset_size} must lie between 2 and the smaller set: there are {len(real)} real and "
            f"{len(fake)} fake samples"
        )
    if subsets < 1:
        raise ValueError(f"subsets={subsets}, but the distance needs at least 1")
    if subset_size == len(real) == len(fake):
        subsets = 1
    random = np.random.default_rng(seed)
    subset = lambda features: features[random.choice(len(features), subset_size, replace=False)]
    estimates = np.array([_squared_discrepancy(subset(real), subset(fake)) for _ in range(subsets)])
    scale = float(np.abs(estimates).max()) or 1.0  # else squares of large ones overflow
    return KernelDistance(float(estimates.mean()), float(np.std(estimates / scale)) * scale if subsets > 1 else None)


def _squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    # The kernel of the centre is subtracted from all, which changes nothing, as a difference that is not rounded away:
    # features that are large beside their differences would else give rounding alone.
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
    """What to say beside a kernel distance whose subsets are smaller than usual, or all there is.

    Args:
      subset_size: samples of each set in a subset.
      counts: how many samples there are of each set.

    >>> subset_warning(500, 500, 2000)
    'the kernel distance is of subsets of 500 samples, not 1,000: its standard deviation is larger for that'
    >>> subset_warning(500, 500, 500)
    'the kernel distance is of all 500 samples at once, so that it has no standard deviation'
    """
    if set(counts) == {subset_size}:
        return f"the kernel distance is of all {subset_size:,} samples at once, so that it has no standard deviation"
    if subset_size >= SUBSET:
        return ""
    made = f"the kernel distance is of subsets of {subset_size:,} samples, not {SUBSET:,}"
    return f"{made}: its standard deviation is larger for that"
