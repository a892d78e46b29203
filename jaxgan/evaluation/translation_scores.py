"""Scores of the two translations of a CycleGAN."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxgan.data.sources import images
from jaxgan.evaluation.evaluation import Evaluation, Sampler, Scores, ordered, protocol, quantized, some, unit
from jaxgan.metrics.attributes import attribute_accuracy, likeliest, scene_classifier
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.translation import translation_scores
from jaxgan.pixels import from_uint8, to_uint8


def translation_evaluation(
    config: Any,
    *,
    split_a: str | None = None,
    split_b: str | None = None,
    paired: bool | None = None,
    most: int = 500,
) -> Evaluation:
    """Scores both translations of a CycleGAN, against the ground truth if test images are paired.

    Args:
      config: configuration of the run, a `DomainsConfig`.
      split_a: test split of domain a; by default testA, or test if the domains are two data sets.
      split_b: test split of domain b; by default testB, or test.
      paired: whether row i of both splits is a pair; by default true for `shapes_styles` and `emoji`.
      most: largest number of images to translate: a fixed random subset of more, the same rows of paired splits.

    Returns:
      The `Evaluation`. Its scores have the prefixes `a_to_b_` and `b_to_a_`: `pixel_kernel` (squared MMD between
      translated and real images, in pixels), `unchanged_pixel_kernel` (the same for untranslated images, if both
      domains have equal channels) and `cycle_l1`; for pairs, those of `translation_scores`; for `shapes_styles` those
      of `attribute_accuracy`, such as `objects` (the fraction of objects with right shape and colour).

    Raises:
      ValueError: as `images`, fewer than 2 test images, or paired splits of unequal sizes.
    """
    scenes = config.dataset.split(":")[0].split("/")[0] == "shapes_styles" and config.dataset_b is None
    paired = scenes or config.dataset.startswith("emoji") if paired is None else paired
    names = {"a": config.dataset, "b": config.dataset_b or config.dataset}
    ends = ("A", "B") if config.dataset_b is None else ("", "")
    trained = {"a": config.split_a or f"train{ends[0]}", "b": config.split_b or f"train{ends[1]}"}
    split_a, split_b = split_a or f"test{ends[0]}", split_b or f"test{ends[1]}"
    options = {"data_dir": config.data_dir, "image_size": config.image_size}
    channels = {"a": config.channels_a, "b": config.channels_b}

    def read(domain: str, split: str) -> np.ndarray:
        return quantized(images(names[domain], split, channels=channels[domain], **options)["image"])

    test = {"a": read("a", split_a), "b": read("b", split_b)}
    counts = {domain: len(found) for domain, found in test.items()}
    if min(counts.values()) < 2 or (paired and counts["a"] != counts["b"]):
        raise ValueError(
            f"split {split_a} has {counts['a']} images and {split_b} {counts['b']}, but at least 2 of each"
            f"{', and equal numbers of pairs,' if paired else ''} were expected"
        )

    def described(split: str) -> dict[str, np.ndarray]:
        """Attributes and masks of scenes; empty for other data sets."""
        if not scenes:
            return {}
        from jaxgan.data.prepared import read_features  # imported here, because it loads TFDS

        return read_features(config.dataset, split, names=("attributes", "mask"), data_dir=config.data_dir)

    if paired:
        both, digest = ordered(test | described(split_a))
        examples = {domain: both | {"image": both[domain]} for domain in test}
    else:
        (a, digest_a), (b, digest_b) = (
            ordered({"image": test[domain]} | described(split)) for domain, split in (("a", split_a), ("b", split_b))
        )
        examples, digest = {"a": a, "b": b}, f"{digest_a} {digest_b}"
    # The same rows in both splits for pairs; different random rows otherwise, so that no pairs occur by chance.
    chosen = {
        "a": some(np.arange(counts["a"]), most, "real"),
        "b": some(np.arange(counts["b"]), most, "real" if paired else "fake"),
    }
    test = {domain: examples[domain]["image"][rows] for domain, rows in chosen.items()}
    train = {domain: some(ordered({"": read(domain, split)})[0][""], most, "real") for domain, split in trained.items()}
    mask = None
    truth: dict[str, np.ndarray] = {}
    classifiers: dict[str, Any] = {}
    if scenes:
        truth = {domain: examples[domain]["attributes"][rows] for domain, rows in chosen.items()}
        if paired and both["mask"].shape[1:3] == test["a"].shape[1:3]:
            mask = both["mask"][chosen["a"]][..., 0] > 0
        classifiers = {
            domain: scene_classifier(style, image_size=config.image_size)
            for domain, style in (("a", "flat"), ("b", "chalk"))
        }

    def scores(sample: Sampler) -> Scores:
        result: Scores = {}
        for source, target in (("a", "b"), ("b", "a")):
            name = f"{source}_to_{target}"
            outputs = sample({source: np.asarray(from_uint8(test[source]))})
            translated, back = to_uint8(outputs[name]), to_uint8(outputs[f"{name}_to_{source}"])
            real = test[target]
            found: Scores = {
                "pixel_kernel": _discrepancy(real, translated),
                "cycle_l1": float(np.abs(unit(back) - unit(test[source])).mean()),
            }
            if test[source].shape[1:] == real.shape[1:]:
                found["unchanged_pixel_kernel"] = _discrepancy(real, test[source])
            if paired:
                found |= translation_scores(
                    translated, real, source=test[source], target_train=train[target], mask=mask, reconstructed=back
                )
            if scenes:
                found |= attribute_accuracy(likeliest(classifiers[target].probabilities(translated)), truth[source])
            result |= {f"{name}_{key}": value for key, value in found.items()}
        return result

    features, weights = ("scenes", classifiers["b"].weights) if classifiers else ("pixels", "")
    made = (f"{split_a}, {split_b}", len(test["b"]), len(test["a"]), features, weights)
    return Evaluation(scores, protocol(config, *made, digest=digest, subset_size=most))


def _discrepancy(real: np.ndarray, fake: np.ndarray) -> float:
    """The squared MMD of uint8 images in pixel space, with one subset of all images."""
    size = min(len(real), len(fake))
    return kernel_distance(unit(real), unit(fake), subset_size=size, subsets=1).mean
