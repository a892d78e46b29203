"""Feature extractors for scores of images: a classifier trained on the data set's labels, and Inception."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from jaxgan.data.sources import images
from jaxgan.data.stacked import PREFIX
from jaxgan.evaluation.evaluation import SUBSET_SEED, Scores, quantized, some
from jaxgan.metrics.arrays import random_subset
from jaxgan.metrics.extract import extract
from jaxgan.metrics.features import TrainedClassifier, train_classifier
from jaxgan.metrics.inception import Inception, load_inception
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kernel import SUBSET, kernel_distance
from jaxgan.metrics.modes import confident_classes, labelled_modes, stacked_labels
from jaxgan.metrics.precision_recall import density_coverage, find_neighbours, precision_recall
from jaxgan.metrics.protocol import score_name

NEIGHBOURS = 10_000
"""Largest number of images of each kind for nearest-neighbour scores."""

COVERED = 4000
"""Approximate number of real images in all subsets together, for the coverage by fewer samples."""


class FeatureExtractor(NamedTuple):
    """A feature network, and the scores that depend on its predictions only.

    Attributes:
      name: name of its features, see `jaxgan.metrics.protocol.score_name`.
      features: uint8 images `[N, H, W, C]` to features `[N, D]`.
      scores: images, their features and their requested labels `[N]` or None, to scores of its predictions.
      weights: SHA-256 of its parameters.
      resizer: method that resizes images to its input size, `none` if not needed.
    """

    name: str
    features: Callable[[np.ndarray], np.ndarray]
    scores: Callable[[np.ndarray, np.ndarray, np.ndarray | None], Scores]
    weights: str
    resizer: str = "none"


def classifier_extractor(config: Any, *, split: str, threshold: float) -> FeatureExtractor:
    """A classifier trained on the data set's labels; it classifies each channel of stacked images.

    Args:
      config: configuration of the run, an `ImageConfig`.
      split: split to train it on.
      threshold: probability above which a prediction is confident.

    Returns:
      The `FeatureExtractor`. Its scores: `confident`, the fraction of images classified with a probability above the
      threshold (in every channel); `class_0`, ...: the fraction of images in each class, or for stacked images `modes`
      (of 1,000) and `mode_kl`, see `labelled_modes`; `agreement`: the fraction classified as the requested label.

    Raises:
      ValueError: as `images`, or a data set without labels.
    """
    stacked = config.dataset.startswith(PREFIX)
    base = images(
        config.dataset.removeprefix(PREFIX),
        split,
        data_dir=config.data_dir,
        image_size=config.image_size,
        channels=1 if stacked else config.channels,
    )
    if "label" not in base:
        raise ValueError(
            f"data set {config.dataset} has no labels to train a classifier on: "
            "experiments.evaluate --features inception needs none"
        )
    try:
        classifier = train_classifier(quantized(base["image"]), base["label"])
    except ValueError as error:
        raise ValueError(
            f"no classifier can be trained on split {split} of {config.dataset}: {error}. "
            "experiments.evaluate --features inception needs none"
        ) from None
    if stacked:
        classifier = _of_channels(classifier)
    shares = np.bincount(base["label"], minlength=10) / len(base["label"])

    def scores(images: np.ndarray, features: np.ndarray, labels: np.ndarray | None) -> Scores:
        seen = classifier.probabilities(images)
        found = stacked_labels(np.stack([one.argmax(axis=1) for one in seen], axis=1), max(10, seen[0].shape[1]))
        if stacked:
            confident = np.min([one.max(axis=1) for one in seen], axis=0) > threshold
            counted = labelled_modes(found, 1000, expected=reduce(np.multiply.outer, [shares] * 3).ravel())
            result = {"confident": float(confident.mean()), "modes": counted["modes"], "mode_kl": counted["kl"]}
        else:
            result = confident_classes(seen[0], threshold)
        return result if labels is None else result | {"agreement": float((found == labels).mean())}

    return FeatureExtractor("classifier", classifier.features, scores, classifier.weights)


def _of_channels(classifier: TrainedClassifier) -> TrainedClassifier:
    """A classifier of grey images, applied to each channel of stacked images: one attribute per channel."""
    split = lambda images: np.split(images, images.shape[3], axis=3)
    return TrainedClassifier(
        lambda images: tuple(classifier.probabilities(one)[0] for one in split(images)),
        lambda images: np.concatenate([classifier.features(one) for one in split(images)], axis=1),
        classifier.weights,
    )


def inception_extractor(
    file: str | os.PathLike[str] | None = None, *, resizer: str = "antialiased"
) -> FeatureExtractor:
    """The FID Inception network, which needs no labels.

    Args, Raises: as `jaxgan.metrics.inception.load_inception`.

    Returns:
      The `FeatureExtractor`. Its scores: `inception_score` and its `_std`.
    """
    network = load_inception(file, resizer=resizer)
    return FeatureExtractor(
        "inception",
        lambda images: inception_features(network, images),
        lambda images, features, labels: inception_scores(network, features),
        network.weights,
        network.resizer,
    )


def inception_features(network: Inception, images: np.ndarray) -> np.ndarray:
    """Features `[N, 2048]` of uint8 images, in batches of 32."""
    return extract(images, network.features, batch_size=32)


def inception_scores(network: Inception, features: np.ndarray) -> Scores:
    """The `inception_score` of features over ten random parts, or fewer for few samples, and its `_std`."""
    splits = min(10, len(features) // 2)
    found = inception_score(np.asarray(network.probabilities(features)), splits=splits, seed=SUBSET_SEED)
    return {score_name("score", "inception"): found.mean, score_name("score_std", "inception"): found.std}


def feature_scorer(name: str, real: np.ndarray, fake_count: int) -> Callable[[np.ndarray], Scores]:
    """A function that scores sets of features against the real ones, whose neighbours are computed once.

    Args:
      name: name of the features.
      real: `[N, D]`, N more than 5.
      fake_count: M, the number of samples in each set, more than 5.

    Returns:
      A function of features `[M, D]` to `kernel` and `kernel_std` (if there is more than one subset), `precision`,
      `recall`, `density` and `coverage`, named by `score_name`. The last four use random subsets of at most 10,000 of
      each. Coverage depends on the number of real images: if there are more than M, it is the mean over random subsets
      of M.
    """
    size = kernel_size(len(real), fake_count)
    balls = find_neighbours(some(real, NEIGHBOURS, "real"), 5)
    few_samples = min(fake_count, NEIGHBOURS) < min(len(real), NEIGHBOURS)
    coverage = coverage_scorer(real, fake_count) if few_samples else None

    def scores(fake: np.ndarray) -> Scores:
        few = some(fake, NEIGHBOURS, "fake")
        kernel = kernel_distance(real, fake, subset_size=size, seed=SUBSET_SEED)
        found = {
            "kernel": kernel.mean,
            **({} if kernel.std is None else {"kernel_std": kernel.std}),
            **precision_recall(balls, few),
            **density_coverage(balls, few),
        }
        if coverage is not None:
            found["coverage"] = coverage(few)
        return {score_name(kind, name): value for kind, value in found.items()}

    return scores


def feature_scores(name: str, real: np.ndarray, fake: np.ndarray) -> Scores:
    """The scores of `feature_scorer` for one set of samples."""
    return feature_scorer(name, real, len(fake))(fake)


def kernel_size(real_count: int, fake_count: int) -> int:
    """The size of the kernel distance's subsets: 1,000, or the size of the smaller set."""
    return min(real_count, fake_count, SUBSET)


def coverage_scorer(real: np.ndarray, count: int) -> Callable[[np.ndarray], float]:
    """A function for the coverage with equal numbers of real examples and samples.

    Args:
      real: `[N, D]`, N more than 5.
      count: number of samples, more than 5.

    Returns:
      A function of samples `[count, D]` to their coverage. If N is larger than `count`, it is the mean over random
      subsets of `count` real examples: 1 to 8 subsets, about 4,000 examples in total.
    """
    parts = 1 if len(real) <= count else min(8, max(1, COVERED // count))
    rows = (random_subset(len(real), count, seed=(SUBSET_SEED, 2, part)) for part in range(parts))
    balls = [find_neighbours(real[chosen], 5) for chosen in rows]
    return lambda fake: float(np.mean([density_coverage(one, fake)["coverage"] for one in balls]))
