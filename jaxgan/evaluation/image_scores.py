"""Scores of generated images: by a feature extractor, and by pixel distances to the data."""

from __future__ import annotations

import os
from typing import Any, Literal

import jax
import numpy as np

from jaxgan.data.sources import images
from jaxgan.evaluation.evaluation import Evaluation, Sampler, Scores, ordered, protocol, quantized, ratios, some, unit
from jaxgan.evaluation.feature_extractors import (
    NEIGHBOURS,
    classifier_extractor,
    coverage_scorer,
    feature_scorer,
    inception_extractor,
    kernel_size,
)
from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.neighbours import nearest_distances, pairwise_diversity
from jaxgan.metrics.protocol import score_name
from jaxgan.pixels import to_uint8

FeatureName = Literal["classifier", "inception"]

FEW = 1000
"""Largest number of images for scores of pixels: a random subset of more."""

FEWEST = 6
"""Smallest number of images of each kind: one, and five neighbours for density and coverage."""

AT_ONCE = 2500
"""Number of samples in memory as floats."""


def image_evaluation(
    config: Any,
    *,
    num_samples: int = 1000,
    seed: int = 0,
    threshold: float = 0.9,
    train_split: str = "train",
    test_split: str = "test",
    features: FeatureName = "classifier",
    resizer: str = "antialiased",
    inception_weights: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Scores generated images by a feature extractor, and by pixel distances to the data.

    Args:
      config: configuration of the run: an `ImageConfig` with `latent_dim`, and `num_classes` for a class-conditional
        generator.
      num_samples: number of samples, at least 6; a class-conditional generator gets all labels equally often. For
        stacked images 25,600 are usual: 1,000 samples, uniform over 1,000 modes, cover only 632 of them.
      seed: seed of the latents.
      threshold: probability above which the classifier is confident.
      train_split: split to train the classifier on; it may differ from the run's split.
      test_split: split to compare the samples with.
      features: `classifier`, trained on the data set's labels, or `inception`, which needs no labels.
      resizer: method that resizes images to Inception's input size, see `jaxgan.metrics.extract.resize`.
      inception_weights: file of the weights, see `jaxgan.metrics.inception.load_inception`.

    Returns:
      The `Evaluation`. Its scores:
        - of the classifier: `confident`, the fraction of samples classified with a probability above `threshold`;
          `class_0`, ...: the fraction of samples in each class, or for stacked images `modes` and `mode_kl`;
          `agreement`: for class-conditional generators, the fraction classified as the requested label;
          `classifier_accuracy` and `real_confident`: agreement and confident of the test images;
        - of Inception: `inception_score`, and `real_inception_score` of the test images; their standard deviations
          over parts, `inception_score_std` and `real_inception_score_std`;
        - samples against test images, in the classifier's 128 features (384 for stacked images): `classifier_frechet`,
          `classifier_kernel` (squared MMD), `classifier_kernel_std` (of single subsets), `classifier_precision`,
          `classifier_recall`, `classifier_density`, `classifier_coverage`; in Inception's 2,048 features `fid`, `kid`,
          `kid_std`, `inception_precision` etc.;
        - `coverage`: coverage of the test images in pixel space;
        - `nearest`: median distance of samples to the nearest training image, relative to that of test images. It is
          far below 1 if samples are copies, and infinite if the run was trained on the test images;
        - `diversity`: mean pixel distance of two samples, relative to that of two test images.

      Scores do not depend on the order of the images. There is no `_std` of a single subset, and `nearest` and
      `diversity` are left out, with a note, if they are 0 / 0.

    Raises:
      ValueError: as `images` and `load_inception`, unknown features, labels that no classifier can be trained on, or
        too few images.
      OSError: as `load_inception`.
    """
    if num_samples < FEWEST:
        raise ValueError(f"num_samples={num_samples} must be at least {FEWEST}, for nearest-neighbour scores")
    if features == "inception":
        extractor = inception_extractor(inception_weights, resizer=resizer)
    elif features == "classifier":
        extractor = classifier_extractor(config, split=train_split, threshold=threshold)
    else:
        raise ValueError(f"unknown features {features!r}: there are classifier, inception")
    (test, digest), (shown, _) = (ordered(_bytes_of(config, split)) for split in (test_split, config.split))
    if len(test["image"]) < FEWEST:
        raise ValueError(
            f"split {test_split} of {config.dataset} has {len(test['image'])} images: scores need at least {FEWEST}"
        )
    real = extractor.features(test["image"])
    about = {
        {"agreement": "classifier_accuracy"}.get(name, f"real_{name}"): value
        for name, value in extractor.scores(test["image"], real, test.get("label")).items()
        if name in ("agreement", "confident", "inception_score", "inception_score_std")
    }
    by_features = feature_scorer(extractor.name, real, num_samples)
    most = min(num_samples, FEW)
    by_pixels = coverage_scorer(test["image"], most)
    few_real = some(test["image"], most, "real")
    unseen, spread = np.median(nearest_distances(few_real, shown["image"])), pairwise_diversity(unit(few_real))
    inputs = {"latents": np.asarray(jax.random.normal(jax.random.key(seed), (num_samples, config.latent_dim)))}
    if number := getattr(config, "num_classes", None):
        inputs["condition"] = np.arange(num_samples, dtype=np.int32) % number

    def drawn(sample: Sampler) -> np.ndarray:
        slices = [slice(start, start + AT_ONCE) for start in range(0, num_samples, AT_ONCE)]
        parts = ({name: rows[part] for name, rows in inputs.items()} for part in slices)
        return np.concatenate([to_uint8(sample(part)["samples"]) for part in parts])

    def scores(sample: Sampler) -> Scores:
        samples = drawn(sample)
        found, few = extractor.features(samples), some(samples, FEW, "fake")
        result = extractor.scores(samples, found, inputs.get("condition"))
        result[score_name("frechet", extractor.name)] = frechet_distance(real, found)
        result |= by_features(found)
        result["coverage"] = by_pixels(few)
        result |= ratios(
            nearest=(np.median(nearest_distances(few, shown["image"])), unseen),
            diversity=(pairwise_diversity(unit(few)), spread),
        )
        return result | about

    made = (test_split, len(real), num_samples, extractor.name, extractor.weights)
    sizes = {
        "subset_size": NEIGHBOURS,
        "pixel_subset_size": FEW,
        "kernel_subset_size": kernel_size(len(real), num_samples),
    }
    made_of = protocol(config, *made, digest=digest, resizer=extractor.resizer, **sizes)
    return Evaluation(scores, made_of, num_features=real.shape[1])


def _bytes_of(config: Any, split: str) -> dict[str, np.ndarray]:
    options = {name: getattr(config, name) for name in ("data_dir", "image_size", "channels")}
    data = images(config.dataset, split, **options)
    return data | {"image": quantized(data["image"])}
