"""Feature extractors that images are scored by: a classifier of the data set's labels, and Inception."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from jaxgan.data.sources import images
from jaxgan.data.stacked import PREFIX
from jaxgan.evaluation.evaluation import SUBSET_SEED, Scores, as_bytes, some
from jaxgan.metrics.arrays import random_subset
from jaxgan.metrics.extract import extract
from jaxgan.metrics.features import Reader, train_classifier
from jaxgan.metrics.inception import Inception, load_inception
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kernel import SUBSET, kernel_distance
from jaxgan.metrics.modes import confident_classes, labelled_modes, stacked_labels
from jaxgan.metrics.precision_recall import density_coverage, find_neighbours, precision_recall
from jaxgan.metrics.protocol import score_name

NEIGHBOURS = 10_000
"""So many images of each kind, at most, are compared all with all."""

COVERED = 4000
"""About so many real images are looked at for a coverage by fewer samples, at least a subset."""


class Judge(NamedTuple):
    """A feature extractor, and what it says of images by itself.

    Attributes:
      name: of its features, see `jaxgan.metrics.protocol.score_name`.
      features: uint8 images `[N, H, W, C]` to `[N, D]`.
      opinion: images, their features and the labels `[N]` they should have, or None, to scores.
      weights: SHA-256 of its parameters.
      resizer: what brings images to its size, `none` if they have it.
    """

    name: str
    features: Callable[[np.ndarray], np.ndarray]
    opinion: Callable[[np.ndarray, np.ndarray, np.ndarray | None], Scores]
    weights: str
    resizer: str = "none"


def classifier_judge(config: Any, *, split: str, threshold: float) -> Judge:
    """A classifier, trained on the data set's labels; of stacked images it looks at each channel.

    Args:
      config: of the run, an `ImageConfig`.
      split: what to train it on.
      threshold: it is confident above this probability.

    Returns:
      The `Judge`. Its opinion: `confident`, the share of images it is confident of (in every channel); `class_0`, ...:
      the share of each class, or of stacked images `modes` (of 1,000) and `mode_kl`, as `labelled_modes` has them;
      `agreement`: the share to which it gives the label they should have.

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
            f"data set {config.dataset} has no labels to train a classifier with: "
            "experiments.evaluate --features inception needs none"
        )
    try:
        reader = train_classifier(as_bytes(base["image"]), base["label"])
    except ValueError as error:
        raise ValueError(
            f"no classifier can be trained on split {split} of {config.dataset}: {error}. "
            "experiments.evaluate --features inception needs none"
        ) from None
    if stacked:
        reader = _of_channels(reader)
    shares = np.bincount(base["label"], minlength=10) / len(base["label"])

    def opinion(pictures: np.ndarray, features: np.ndarray, labels: np.ndarray | None) -> Scores:
        seen = reader.probabilities(pictures)
        found = stacked_labels(np.stack([one.argmax(axis=1) for one in seen], axis=1), max(10, seen[0].shape[1]))
        if stacked:
            confident = np.min([one.max(axis=1) for one in seen], axis=0) > threshold
            counted = labelled_modes(found, 1000, expected=reduce(np.multiply.outer, [shares] * 3).ravel())
            result = {"confident": float(confident.mean()), "modes": counted["modes"], "mode_kl": counted["kl"]}
        else:
            result = confident_classes(seen[0], threshold)
        return result if labels is None else result | {"agreement": float((found == labels).mean())}

    return Judge("classifier", reader.features, opinion, reader.weights)


def _of_channels(reader: Reader) -> Reader:
    """A reader of grey images as one of stacked images: an attribute a channel, the features one after another."""
    split = lambda pictures: np.split(pictures, pictures.shape[3], axis=3)
    return Reader(
        lambda pictures: tuple(reader.probabilities(one)[0] for one in split(pictures)),
        lambda pictures: np.concatenate([reader.features(one) for one in split(pictures)], axis=1),
        reader.weights,
    )


def inception_judge(file: str | os.PathLike[str] | None = None, *, resizer: str = "antialiased") -> Judge:
    """The FID Inception network, which needs no labels.

    Args, Raises: as `jaxgan.metrics.inception.load_inception`.

    Returns:
      The `Judge`. Its opinion: `inception_score`.
    """
    network = load_inception(file, resizer=resizer)
    return Judge(
        "inception",
        lambda pictures: inception_features(network, pictures),
        lambda pictures, features, labels: inception_opinion(network, features),
        network.weights,
        network.resizer,
    )


def inception_features(network: Inception, pictures: np.ndarray) -> np.ndarray:
    """Features `[N, 2048]` of uint8 images, 32 at a time."""
    return extract(pictures, network.features, batch_size=32)


def inception_opinion(network: Inception, features: np.ndarray) -> Scores:
    """The `inception_score` of features, over ten random parts of them or as many as they make, and its `_std`."""
    splits = min(10, len(features) // 2)
    found = inception_score(np.asarray(network.probabilities(features)), splits=splits, seed=SUBSET_SEED)
    return {score_name("score", "inception"): found.mean, score_name("score_std", "inception"): found.std}


def feature_scorer(name: str, real: np.ndarray, fake_count: int) -> Callable[[np.ndarray], Scores]:
    """How sets of features lie to the real ones, besides their Frechet distance: the real ones are looked at once.

    Args:
      name: of the features.
      real: `[N, D]`, more than 5.
      fake_count: M, how many samples each set will have, more than 5.

    Returns:
      From features `[M, D]` to `kernel` and its `kernel_std` (where there is more than one subset), `precision`,
      `recall`, `density` and `coverage`, by the names that `score_name` gives them. The last four are of at most 10,000
      of each, a random subset of more. Coverage depends on the number of real images: of more than M, it is the mean
      over random subsets of M.
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
    """The scores of `feature_scorer`, of one set of samples."""
    return feature_scorer(name, real, len(fake))(fake)


def kernel_size(real_count: int, fake_count: int) -> int:
    """The size of the subsets that the kernel distance is a mean over: 1,000, or as many as there are."""
    return min(real_count, fake_count, SUBSET)


def coverage_scorer(real: np.ndarray, count: int) -> Callable[[np.ndarray], float]:
    """The coverage of as many real examples as there are samples, or of all.

    Args:
      real: `[N, D]`, more than 5.
      count: how many samples there will be, more than 5.

    Returns:
      From samples `[count, D]` to the share of real examples that have one of them nearby: the mean over random subsets
      of the real ones, so many that about 4,000 are looked at (but 8 at most), where there are more than samples.
    """
    parts = 1 if len(real) <= count else min(8, max(1, COVERED // count))
    rows = (random_subset(len(real), count, seed=(SUBSET_SEED, 2, part)) for part in range(parts))
    balls = [find_neighbours(real[chosen], 5) for chosen in rows]
    return lambda fake: float(np.mean([density_coverage(one, fake)["coverage"] for one in balls]))
