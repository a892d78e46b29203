"""Mode coverage of generated samples, for data with known modes."""

from __future__ import annotations

import numpy as np
from jax.typing import ArrayLike

from jaxgan.metrics.arrays import as_features


def mode_coverage(
    samples: ArrayLike, centers: ArrayLike, std: float, *, radius: float = 3.0, min_count: int = 20
) -> dict[str, float]:
    """The captured modes of a mixture of Gaussians, and the fraction of high-quality samples.

    A sample has high quality if it is within `radius` standard deviations of its nearest center. A mode is captured if
    it is the nearest one of at least `min_count` high-quality samples. A perfect generator in two dimensions has
    `1 - exp(-radius^2 / 2)` = 98.9% high-quality samples at radius 3.

    Args:
      samples: points, `[N, D]`.
      centers: the modes, `[K, D]`.
      std: standard deviation of each mode, the same in every direction.
      radius: in standard deviations.
      min_count: samples that a captured mode needs. The papers use 1 of 2,500 samples; 20 excludes stray samples.

    Returns:
      `modes`: the number of captured modes, 0 to K; `high_quality`: the fraction of high-quality samples, 0 to 1.

    Raises:
      ValueError: points and centers of unequal dimension, NaN or infinity.

    Papers: Srivastava et al. 2017, VEEGAN, arXiv:1705.07761; Lin et al. 2018, PacGAN, arXiv:1712.04086.

    >>> mode_coverage([[0.0, 0.1], [0.0, 9.0]], [[0.0, 0.0], [5.0, 0.0]], std=0.1, min_count=1)
    {'modes': 1.0, 'high_quality': 0.5}
    """
    samples, centers = np.asarray(samples), np.asarray(centers)
    if samples.ndim != 2 or centers.ndim != 2 or samples.shape[1] != centers.shape[1]:
        raise ValueError(f"samples [N, D] and centers [K, D] expected, not {samples.shape} and {centers.shape}")
    samples, centers = as_features("samples", samples), as_features("centers", centers)
    distances = np.linalg.norm(samples[:, None] - centers[None], axis=-1)
    nearest = distances.argmin(axis=1)
    good = distances[np.arange(len(samples)), nearest] <= radius * std
    counts = np.bincount(nearest[good], minlength=len(centers))
    return {"modes": float((counts >= min_count).sum()), "high_quality": float(good.mean())}


def confident_classes(probabilities: ArrayLike, threshold: float = 0.9) -> dict[str, float]:
    """The fraction of samples that a classifier is confident of, and the distribution of its predictions.

    Args:
      probabilities: class probabilities, `[N, K]`; rows sum to 1.
      threshold: the classifier is confident of a sample if its largest class probability is above this.

    Returns:
      `confident`: fraction of samples classified with a probability above `threshold`; `class_0` to `class_<K-1>`:
      fractions of all samples, confident or not, predicted as this class. They sum to 1.

    Raises:
      ValueError: no samples, NaN or infinity.

    >>> confident_classes([[0.95, 0.05], [0.4, 0.6]])
    {'confident': 0.5, 'class_0': 0.5, 'class_1': 0.5}
    """
    probabilities = as_features("probabilities", np.asarray(probabilities))
    counts = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    shares = {f"class_{index}": float(count) / len(probabilities) for index, count in enumerate(counts)}
    return {"confident": float((probabilities.max(axis=1) > threshold).mean()), **shares}


def stacked_labels(labels: ArrayLike, num_classes: int = 10) -> np.ndarray:
    """The mode of each stacked image: the classes of its channels as the digits of a number.

    Three MNIST digits stacked as red, green and blue have 1,000 modes.

    Args:
      labels: the class of each channel, integers `[N, C]` in 0..num_classes-1.
      num_classes: number of classes of one channel.

    Returns:
      Modes `[N]` in `0..num_classes^C - 1`.

    Raises:
      ValueError: labels that are not integers, or out of range.

    Paper: Metz et al. 2016, Unrolled GAN, arXiv:1611.02163.

    >>> stacked_labels([[1, 2, 3], [0, 0, 9]]).tolist()
    [123, 9]
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"integers [N, C] expected, not {labels.dtype} of shape {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels must be in 0..{num_classes - 1}, not in {labels.min()}..{labels.max()}")
    return labels @ num_classes ** np.arange(labels.shape[1])[::-1]


def labelled_modes(labels: ArrayLike, num_modes: int, *, expected: ArrayLike | None = None) -> dict[str, float]:
    """The number of modes with samples, and the KL divergence of their frequencies from those of the data.

    `KL = sum_k q_k log(q_k / p_k)` with the frequencies q of the samples and p of the data. N samples from the data's
    distribution have a KL of about `(num_modes - 1) / (2 N)`: 0.02 for 26,000 samples and 1,000 modes.

    Args:
      labels: the mode of each sample, integers `[N]` in 0..num_modes-1.
      num_modes: K.
      expected: frequencies or counts of the data, `[K]`; all equal by default.

    Returns:
      `modes`: number of modes with at least one sample, 0 to K; `kl`: at least 0, infinite if there are samples in a
      mode without data.

    Raises:
      ValueError: no labels, labels out of range, or invalid expected frequencies.

    Papers: Metz et al. 2016, arXiv:1611.02163; Srivastava et al. 2017, VEEGAN, arXiv:1705.07761.

    >>> labelled_modes([0, 0, 1, 1], 4)  # half of the modes: log 2
    {'modes': 2.0, 'kl': 0.6931471805599453}
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or not len(labels):
        raise ValueError(f"integers [N] expected, not {labels.dtype} of shape {labels.shape}")
    if not 0 <= labels.min() <= labels.max() < num_modes:
        raise ValueError(f"labels must be in 0..{num_modes - 1}, not in {labels.min()}..{labels.max()}")
    weights = np.ones(num_modes) if expected is None else np.asarray(expected, np.float64)
    if weights.shape != (num_modes,) or not (weights >= 0.0).all() or not 0.0 < weights.sum() < np.inf:
        raise ValueError(
            f"expected must be frequencies or counts [{num_modes}], not {weights.shape} with the sum {weights.sum()}"
        )
    counts = np.bincount(labels, minlength=num_modes)
    seen = counts > 0
    q, p = counts[seen] / len(labels), weights[seen] / weights.sum()
    kl = np.inf if (p == 0.0).any() else float(np.sum(q * np.log(q / p)))
    return {"modes": float(seen.sum()), "kl": max(kl, 0.0)}
