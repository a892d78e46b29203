"""How many modes of the data a generator reaches, where the modes are known."""

from __future__ import annotations

import numpy as np
from jax.typing import ArrayLike


def mode_coverage(
    samples: ArrayLike, centers: ArrayLike, std: float, *, radius: float = 3.0, min_count: int = 20
) -> dict[str, float]:
    """Counts the modes of a mixture of Gaussians that hold samples, and the samples that lie at a mode.

    A sample is of high quality if it lies within `radius` standard deviations of its nearest center; a mode is
    captured if at least `min_count` high-quality samples are nearest to it. A perfect generator in two dimensions has
    `1 - exp(-radius^2 / 2)` = 98.9% of high quality at radius 3.

    Args:
      samples: points, `[N, D]`.
      centers: the modes, `[K, D]`.
      std: standard deviation of each mode, the same in every direction.
      radius: in standard deviations.
      min_count: of 2,500 samples the usual studies ask for 1; 20 asks for a mode that is really drawn.

    Returns:
      `modes`: the number of captured modes, 0 to K; `high_quality`: the share of high-quality samples, 0 to 1.

    Raises:
      ValueError: the points and centers are not of one dimension.

    Papers: Srivastava et al. 2017, VEEGAN, arXiv:1705.07761; Lin et al. 2018, PacGAN, arXiv:1712.04086.

    >>> mode_coverage([[0.0, 0.1], [0.0, 9.0]], [[0.0, 0.0], [5.0, 0.0]], std=0.1, min_count=1)
    {'modes': 1.0, 'high_quality': 0.5}
    """
    samples, centers = np.asarray(samples, np.float64), np.asarray(centers, np.float64)
    if samples.ndim != 2 or centers.ndim != 2 or samples.shape[1] != centers.shape[1]:
        raise ValueError(f"samples [N, D] and centers [K, D] expected, not {samples.shape} and {centers.shape}")
    distances = np.linalg.norm(samples[:, None] - centers[None], axis=-1)
    nearest = distances.argmin(axis=1)
    good = distances[np.arange(len(samples)), nearest] <= radius * std
    counts = np.bincount(nearest[good], minlength=len(centers))
    return {"modes": float((counts >= min_count).sum()), "high_quality": float(good.mean())}


def confident_classes(probabilities: ArrayLike, threshold: float = 0.9) -> dict[str, float]:
    """How many samples a classifier is sure of, and which classes it sees in them.

    Args:
      probabilities: a classifier's, `[N, K]`, rows summing to 1.
      threshold: it is sure of a sample whose likeliest class is above this.

    Returns:
      `confident`: the share of the samples it is sure of; `class_0` to `class_<K-1>`: the share of all samples, sure
      or not, whose likeliest class it is; those sum to 1.

    >>> confident_classes([[0.95, 0.05], [0.4, 0.6]])
    {'confident': 0.5, 'class_0': 0.5, 'class_1': 0.5}
    """
    probabilities = np.asarray(probabilities, np.float64)
    counts = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    shares = {f"class_{index}": float(count) / len(probabilities) for index, count in enumerate(counts)}
    return {"confident": float((probabilities.max(axis=1) > threshold).mean()), **shares}
