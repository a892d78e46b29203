"""Scores of images: by a feature extractor, and by their nearest neighbours in the data."""

from __future__ import annotations

import os
from typing import Any, Literal

import jax
import numpy as np

from jaxgan.data.sources import images
from jaxgan.evaluation.evaluation import Evaluation, Sampler, Scores, as_bytes, ordered, protocol, ratios, some, unit
from jaxgan.evaluation.feature_extractors import (
    NEIGHBOURS,
    classifier_judge,
    coverage_scorer,
    feature_scorer,
    inception_judge,
    kernel_size,
)
from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.neighbours import nearest_distances, pairwise_diversity
from jaxgan.metrics.protocol import score_name
from jaxgan.pixels import to_uint8

FeatureName = Literal["classifier", "inception"]

FEW = 1000
"""So many images, at most, are compared by their pixels: a random subset of more."""

FEWEST = 6
"""So many images of each kind are needed: one, and the five neighbours that density and coverage look for."""

AT_ONCE = 2500
"""So many samples are held as floats."""


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
    """Scores images by a feature extractor, and by their nearest neighbours in the data.

    Args:
      config: of the run: an `ImageConfig` with `latent_dim`, and `num_classes` where images are drawn of labels.
      num_samples: how many images are drawn, at least 6; of labels, as many of each. Of stacked images 25,600 are
        usual: 1,000 that are spread evenly over 1,000 modes reach 632 of them.
      seed: of their latents.
      threshold: the classifier is confident above this probability.
      train_split: what to train the classifier on, whatever the run was trained on.
      test_split: what to compare the samples with.
      features: `classifier`, trained on the data set's labels, or `inception`, which needs none.
      resizer: what brings images to Inception's size, see `jaxgan.metrics.extract.resize`.
      inception_weights: their file, see `jaxgan.metrics.inception.load_inception`.

    Returns:
      The `Evaluation`, its scores:
        - of the classifier: `confident`, the share of samples it is confident of; `class_0`, ...: the share of each
          class, or of stacked images `modes` and `mode_kl`; `agreement`: where images are drawn of labels, the share
          that it gives the label asked for; `classifier_accuracy`, `real_confident`: the same two of the test images;
        - of Inception: `inception_score`, and `real_inception_score` of the test images; their standard deviations
          over parts, `inception_score_std` and `real_inception_score_std`;
        - `classifier_frechet`, `classifier_kernel` (squared discrepancy) and `classifier_kernel_std` (of a single
          subset's), `classifier_precision`, `classifier_recall`, `classifier_density`, `classifier_coverage`: samples
          against test images, in its 128 features (384 of stacked images); of Inception's 2,048 `fid`, `kid`,
          `kid_std`, `inception_precision` and so on;
        - `coverage`: of the test images among the samples' pixels;
        - `nearest`: median distance to the nearest image the run was shown, over that of the test images: far below 1,
          the samples are copies; infinite if the run was shown the test images;
        - `diversity`: mean distance of two samples' pixels over that of two test images.

      No score depends on the order of the images. Those of one subset alone have no `_std`, and `nearest` and
      `diversity` are left out, with a notice, where they are 0 over 0.

    Raises:
      ValueError: as `images` and `load_inception`, other features, labels that train no classifier, or too few images.
      OSError: as `load_inception`.
    """
    if num_samples < FEWEST:
        raise ValueError(
            f"num_samples={num_samples} must be at least {FEWEST}: neighbours are looked for among samples"
        )
    if features == "inception":
        judge = inception_judge(inception_weights, resizer=resizer)
    elif features == "classifier":
        judge = classifier_judge(config, split=train_split, threshold=threshold)
    else:
        raise ValueError(f"unknown features {features!r}: there are classifier, inception")
    (test, digest), (shown, _) = (ordered(_bytes_of(config, split)) for split in (test_split, config.split))
    if len(test["image"]) < FEWEST:
        raise ValueError(
            f"split {test_split} of {config.dataset} has {len(test['image'])} images: scores need at least {FEWEST}"
        )
    real = judge.features(test["image"])
    about = {
        {"agreement": "classifier_accuracy"}.get(name, f"real_{name}"): value
        for name, value in judge.opinion(test["image"], real, test.get("label")).items()
        if name in ("agreement", "confident", "inception_score", "inception_score_std")
    }
    by_features = feature_scorer(judge.name, real, num_samples)
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
        found, few = judge.features(samples), some(samples, FEW, "fake")
        result = judge.opinion(samples, found, inputs.get("condition"))
        result[score_name("frechet", judge.name)] = frechet_distance(real, found)
        result |= by_features(found)
        result["coverage"] = by_pixels(few)
        result |= ratios(
            nearest=(np.median(nearest_distances(few, shown["image"])), unseen),
            diversity=(pairwise_diversity(unit(few)), spread),
        )
        return result | about

    made = (test_split, len(real), num_samples, judge.name, judge.weights)
    sizes = {
        "subset_size": NEIGHBOURS,
        "pixel_subset_size": FEW,
        "kernel_subset_size": kernel_size(len(real), num_samples),
    }
    made_of = protocol(config, *made, digest=digest, resizer=judge.resizer, **sizes)
    return Evaluation(scores, made_of, num_features=real.shape[1])


def _bytes_of(config: Any, split: str) -> dict[str, np.ndarray]:
    options = {name: getattr(config, name) for name in ("data_dir", "image_size", "channels")}
    data = images(config.dataset, split, **options)
    return data | {"image": as_bytes(data["image"])}
