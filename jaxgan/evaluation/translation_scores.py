"""Scores of the translations of a CycleGAN or a pix2pix."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from jaxgan.data.domains import check_paired
from jaxgan.data.sources import images
from jaxgan.evaluation.evaluation import Evaluation, Sampler, Scores, ordered, protocol, quantized, some, unit
from jaxgan.metrics.attributes import attribute_accuracy, likeliest, scene_classifier
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.translation import translation_scores
from jaxgan.pixels import from_uint8, to_uint8


def translation_evaluation(
    config: Any,
    *,
    split: str = "test",
    split_a: str | None = None,
    split_b: str | None = None,
    paired: bool | None = None,
    most: int = 500,
) -> Evaluation:
    """Scores both translations of a CycleGAN or the one of a pix2pix, against the ground truth if there are test pairs.

    Args:
      config: configuration of the run, a `TranslationConfig`.
      split: test split of two data sets, or of one without the A and B at the end of its splits: `val` for valA and
        valB.
      split_a: test split of domain a, instead.
      split_b: test split of domain b, instead.
      paired: whether row i of both splits is a pair; by default as `has_test_pairs`.
      most: largest number of images to translate: a fixed random subset of more, the same rows of paired splits.

    Returns:
      The `Evaluation`. Its scores have the prefixes `a_to_b_` and `b_to_a_`, a pix2pix one of them: `pixel_kernel`
      (squared MMD between translated and real images, in pixels), `unchanged_pixel_kernel` (the same for untranslated
      images, if both domains have equal channels) and, for a CycleGAN, `cycle_l1`; for pairs, those of
      `translation_scores`; for `shapes_styles` those of `attribute_accuracy`, such as `objects` (the fraction of
      objects with right shape and colour).

    Raises:
      ValueError: as `images`, fewer than 2 test images, or paired splits of unequal sizes or, for a pix2pix, with
        unequal file names.
    """
    scenes = _name(config) == "shapes_styles"
    paired = has_test_pairs(config) if paired is None else paired
    names = {"a": config.dataset, "b": config.dataset_b or config.dataset}
    ends = ("A", "B") if config.dataset_b is None else ("", "")
    trained = {"a": config.split_a or f"train{ends[0]}", "b": config.split_b or f"train{ends[1]}"}
    split_a, split_b = split_a or _ending(split, ends[0]), split_b or _ending(split, ends[1])
    directions = [config.direction] if _is_directed(config) else ["a_to_b", "b_to_a"]
    if _is_directed(config):
        check_paired((names["a"], split_a), (names["b"], split_b))
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
        for name in directions:
            source, target = name.split("_to_")
            outputs = sample({source: np.asarray(from_uint8(test[source]))})
            translated, real = to_uint8(outputs[name]), test[target]
            back = None if _is_directed(config) else to_uint8(outputs[f"{name}_to_{source}"])
            found: Scores = {"pixel_kernel": _discrepancy(real, translated)}
            if back is not None:
                found["cycle_l1"] = float(np.abs(unit(back) - unit(test[source])).mean())
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


def has_test_pairs(config: Any) -> bool:
    """Whether the test images of a run are pairs: those of `shapes_styles` and `emoji`, and of every pix2pix."""
    return _is_directed(config) or _name(config) in ("shapes_styles", "emoji")


def _is_directed(config: Any) -> bool:
    """Whether a run translates in one direction alone, which a `direction` in its configuration says."""
    return hasattr(config, "direction")


def _name(config: Any) -> str:
    """Name of the prepared data set that both domains are of, without its config and version."""
    return config.dataset.split(":")[0].split("/")[0] if config.dataset_b is None else ""


def _ending(split: str, end: str) -> str:
    """A split with a letter after each of its names.

    >>> _ending("test+val[:50%]", "A")
    'testA+valA[:50%]'
    """
    return re.sub(r"[A-Za-z_]\w*(?=\[|\+|$)", lambda name: name[0] + end, split)


def _discrepancy(real: np.ndarray, fake: np.ndarray) -> float:
    """The squared MMD of uint8 images in pixel space, with one subset of all images."""
    size = min(len(real), len(fake))
    return kernel_distance(unit(real), unit(fake), subset_size=size, subsets=1).mean
