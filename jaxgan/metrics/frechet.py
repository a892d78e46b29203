"""The Frechet distance of two sets of features, from the features or from their means and covariances.

It is called FID only if the features are those of the FID Inception network: see
`jaxgan.metrics.protocol.score_name`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import get_lapack_funcs

from jaxgan.metrics.arrays import as_features


class Statistics(NamedTuple):
    """The statistics of a set of features that the Frechet distance depends on.

    Attributes:
      count: number of samples.
      mean: their mean, `[D]` float64.
      scatter: the sum of `(x - mean)(x - mean)^T` over the samples, `[D, D]` float64.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, `scatter / (count - 1)`, `[D, D]`."""
        return self.scatter / (self.count - 1)


def gather_statistics(batches: Iterable[ArrayLike]) -> Statistics:
    """The statistics of features in batches of any sizes, for more features than fit in memory.

    Batches are merged by the formula of Chan et al. in float64. The result is that of all samples together, up to
    rounding.

    Args:
      batches: features `[n, D]`, n at least 1.

    Returns:
      The `Statistics`.

    Raises:
      ValueError: no batches, unequal D, NaN or infinity.

    Paper: Chan, Golub and LeVeque 1979, Updating formulae and a pairwise algorithm for computing sample variances.

    >>> gather_statistics([[[1.0], [1.0], [1.0], [1.0]], [[0.0]]]).mean.tolist()
    [0.8]
    """
    total = None
    for batch in batches:
        features = as_features("a batch", batch)
        mean = features.mean(axis=0)
        centred = features - mean
        part = Statistics(len(features), mean, centred.T @ centred)
        total = part if total is None else _merge(total, part)
    if total is None:
        raise ValueError("no batches of features were given")
    return total


def _merge(a: Statistics, b: Statistics) -> Statistics:
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"a batch has {len(b.mean)} features per sample, those before it {len(a.mean)}")
    count, gap = a.count + b.count, b.mean - a.mean
    scatter = a.scatter + b.scatter + np.outer(gap, gap) * (a.count * b.count / count)
    return Statistics(count, a.mean + gap * (b.count / count), scatter)


def frechet_distance(real: ArrayLike | Statistics, fake: ArrayLike | Statistics) -> float:
    """The Frechet distance of two Gaussians with the means and covariances of two sets of features.

    `|m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)`, a squared distance, with the unbiased covariances. With
    `S = R^T R`, the last trace is the sum of the singular values of `R1 R2^T`, which is real at any rank. For a set of
    fewer samples than features, the centred samples are the root R, and no `[D, D]` matrix is needed. From the
    statistics of 2,048 features it takes 3 s on a CPU core.

    The distance has a large upward bias if there are fewer samples than features: see `bias_warning`.

    Args:
      real: features `[N, ...]`, at least 2 samples, or their `Statistics`.
      fake: features `[M, ...]` of the same dimension, or their `Statistics`.

    Returns:
      The distance, at least 0.

    Raises:
      ValueError: fewer than 2 samples, unequal dimensions, NaN or infinity.

    Papers: Dowson and Landau 1982, The Frechet distance between multivariate normal distributions; as a metric of
    generators: Heusel et al. 2017, arXiv:1706.08500.

    >>> frechet_distance([[0.0], [2.0]], [[0.0], [4.0]])  # 1 + (sqrt 8 - sqrt 2)^2
    3.0
    """
    (real_mean, real_root), (fake_mean, fake_root) = _mean_and_root("real", real), _mean_and_root("fake", fake)
    if len(real_mean) != len(fake_mean):
        raise ValueError(f"real has {len(real_mean)} features per sample and fake {len(fake_mean)}")
    common = np.linalg.svd(real_root @ fake_root.T, compute_uv=False).sum()
    spread = np.square(real_root).sum() + np.square(fake_root).sum() - 2.0 * common
    # The distance can be negative only by rounding.
    return float(np.square(real_mean - fake_mean).sum() + max(spread, 0.0))


def _mean_and_root(name: str, given: ArrayLike | Statistics) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[D]`, and a root `[R, D]` of the covariance: `root^T root`."""
    if not isinstance(given, Statistics):
        features = as_features(name, given, at_least=2)
        if len(features) <= features.shape[1]:
            mean = features.mean(axis=0)
            return mean, (features - mean) / np.sqrt(len(features) - 1)
        given = gather_statistics([features])
    if not all(np.isfinite(given[part]).all() for part in (1, 2)):
        raise ValueError(f"{name} has statistics that hold NaN or infinity")
    if given.count < 2:
        raise ValueError(f"{name} has {given.count} sample, but at least 2 samples are needed for a covariance")
    # Pivoted Cholesky stops at the rank; it is much faster than an eigendecomposition, and more accurate.
    (factorize,) = get_lapack_funcs(("pstrf",), (given.scatter,))
    factor, pivots, rank, _ = factorize(given.covariance)
    root = np.zeros((rank, len(factor)))
    root[:, pivots - 1] = np.triu(factor)[:rank]
    return given.mean, root


def bias_warning(real_count: int, fake_count: int, num_features: int) -> str:
    """A warning about the bias of a Frechet distance of few samples.

    Args:
      real_count: number of real samples.
      fake_count: number of generated samples.
      num_features: D.

    Returns:
      A sentence; empty if both sets have more samples than features.

    Paper: Binkowski et al. 2018, arXiv:1801.01401, section 4: no unbiased estimator exists.

    >>> bias_warning(10, 5000, 64)
    'with 10 samples and 64 features the Frechet distance is biased upwards: compare only equal numbers of samples'
    """
    count = min(real_count, fake_count)
    if count > num_features:
        return ""
    return (
        f"with {count} samples and {num_features} features the Frechet distance is biased upwards: compare only equal "
        "numbers of samples"
    )
