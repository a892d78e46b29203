"""The Inception score: whether a classifier is confident of each sample and sees all classes among them."""

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
    """The exponential of the mean divergence of each sample's class probabilities from their mean.

    `exp E KL(p(class | sample) || p(class))`, over each of `splits` random parts of the samples. The parts of the
    authors' code are consecutive: where samples lie in the order of their classes, it sees one class in each. Called so
    in a report only of the Inception network's probabilities: see `jaxgan.metrics.protocol.score_name`.

    Args:
      probabilities: `[N, K]`, rows summing to 1 within 1e-3.
      splits: how many parts, at most N / 2. The fewer samples in each, the lower the score.
      seed: of the parts.

    Returns:
      The `InceptionScore`, its mean between 1 (all samples look alike) and K (confident of each, all classes equal).

    Raises:
      ValueError: rows that are no probabilities, or too few samples.

    Paper: Salimans et al. 2016, arXiv:1606.03498.

    >>> inception_score(np.eye(4), splits=1)
    InceptionScore(mean=4.0, std=0.0)
    """
    rows = as_features("probabilities", probabilities, at_least=2)
    sums = rows.sum(axis=1)
    if np.ndim(probabilities) != 2 or rows.min() < 0.0 or np.abs(sums - 1.0).max() > 1e-3:
        raise ValueError(
            f"probabilities of shape {np.shape(probabilities)} hold {rows.min():.4g} at least and rows that sum to "
            f"{sums.min():.4g} to {sums.max():.4g}, where [N, K], 0 and 1 were expected"
        )
    if not 1 <= splits <= len(rows) // 2:
        raise ValueError(f"splits={splits}, but {len(rows)} samples make 1 to {len(rows) // 2} parts of at least 2")
    rows = rows[random_subset(len(rows), None, seed=seed)]
    edges = np.arange(splits + 1) * len(rows) // splits
    scores = [_score(rows[start:end]) for start, end in pairwise(edges)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _score(rows: np.ndarray) -> float:
    # H(mean) - mean(H) is the mean divergence from the mean.
    return float(np.exp(_entropy(rows.mean(axis=0)) - _entropy(rows).mean()))


def _entropy(rows: np.ndarray) -> np.ndarray:
    return -np.sum(rows * np.log(np.where(rows > 0.0, rows, 1.0)), axis=-1)
