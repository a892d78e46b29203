"""The Inception score: high if a classifier is confident of each sample and the samples cover all classes."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.metrics.arrays import as_features, random_subset


class InceptionScore(NamedTuple):
    """The score's mean and standard deviation over the splits."""

    mean: float
    std: float


def inception_score(probabilities: ArrayLike, *, splits: int = 10, seed: int = 0) -> InceptionScore:
    """The exponential of the mean KL divergence between the class probabilities of each sample and their mean.

    `exp E KL(p(class | sample) || p(class))`, on each of `splits` random parts of the samples. The parts in the
    authors' code are consecutive, so for samples sorted by class each part would have one class. Reports use the name
    only for the Inception network: see `jaxgan.metrics.protocol.score_name`.

    Args:
      probabilities: `[N, K]`; rows sum to 1 within 1e-3.
      splits: number of parts, at most N / 2. The score decreases with fewer samples per part.
      seed: seed of the parts.

    Returns:
      The `InceptionScore`; its mean is between 1 (all samples look alike) and K (confident, all classes equally often).

    Raises:
      ValueError: rows that are not probabilities, or too few samples.

    Paper: Salimans et al. 2016, arXiv:1606.03498.

    >>> inception_score(np.eye(4), splits=1)
    InceptionScore(mean=4.0, std=0.0)
    """
    rows = as_features("probabilities", probabilities, at_least=2)
    sums = rows.sum(axis=1)
    if np.ndim(probabilities) != 2 or rows.min() < 0.0 or np.abs(sums - 1.0).max() > 1e-3:
        raise ValueError(
            f"probabilities of shape {np.shape(probabilities)} have the minimum {rows.min():.4g} and rows that sum to "
            f"{sums.min():.4g} to {sums.max():.4g}, but [N, K], at least 0 and sums of 1 were expected"
        )
    if not 1 <= splits <= len(rows) // 2:
        raise ValueError(f"splits={splits}, but {len(rows)} samples give 1 to {len(rows) // 2} parts of at least 2")
    rows = rows[random_subset(len(rows), None, seed=seed)]
    edges = np.arange(splits + 1) * len(rows) // splits
    scores = [_score(rows[start:end]) for start, end in pairwise(edges)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _score(rows: np.ndarray) -> float:
    # H(mean) - mean(H) is the mean KL divergence from the mean.
    return float(np.exp(_entropy(rows.mean(axis=0)) - _entropy(rows).mean()))


def _entropy(rows: np.ndarray) -> np.ndarray:
    return -np.sum(rows * np.log(np.where(rows > 0.0, rows, 1.0)), axis=-1)
