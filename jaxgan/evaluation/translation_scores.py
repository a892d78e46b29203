"""Scores of the two translations of a CycleGAN."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxgan.data.sources import images
from jaxgan.evaluation.evaluation import Evaluation, Sampler, Scores, as_bytes, ordered, protocol, some, unit
from jaxgan.metrics.attributes import attribute_accuracy, likeliest, scene_reader
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
    """Scores both translations of a CycleGAN: against the truth where test pictures come in pairs.

    Args:
      config: of the run, a `DomainsConfig`.
      split_a: test pictures of domain a, by default testA, or test where the domains are two data sets.
      split_b: of domain b, by default testB, or test.
      paired: whether row i of both is one scene; by default so for `shapes_styles` and `emoji`.
      most: how many pictures are translated: a random subset of more, always the same; of pairs the same rows.

    Returns:
      The `Evaluation`; its scores are named `a_to_b_...` and `b_to_a_...`: `pixel_kernel` (the squared discrepancy
      of translated to real pictures, in pixels), `unchanged_pixel_kernel` (that of the pictures as they were, where the
      domains have one number of channels) and `cycle_l1`; of pairs, those of `translation_scores`; of
      `shapes_styles`, `objects` (the share of objects whose shape and colour are read as they should be) and the other
      scores of `attribute_accuracy`.

    Raises:
      ValueError: as `images`, fewer than 2 test pictures, or pairs of unequal numbers.
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
        return as_bytes(images(names[domain], split, channels=channels[domain], **options)["image"])

    test = {"a": read("a", split_a), "b": read("b", split_b)}
    counts = {domain: len(pictures) for domain, pictures in test.items()}
    if min(counts.values()) < 2 or (paired and counts["a"] != counts["b"]):
        raise ValueError(
            f"split {split_a} has {counts['a']} pictures and {split_b} {counts['b']}, where at least 2 of each"
            f"{', as many of both since they are pairs,' if paired else ''} were expected"
        )

    def described(split: str) -> dict[str, np.ndarray]:
        """What scenes show, and where; nothing of other pictures."""
        if not scenes:
            return {}
        from jaxgan.data.prepared import read_features  # here, since it loads TFDS

        return read_features(config.dataset, split, names=("attributes", "mask"), data_dir=config.data_dir)

    if paired:
        both, digest = ordered(test | described(split_a))
        examples = {domain: both | {"image": both[domain]} for domain in test}
    else:
        (a, digest_a), (b, digest_b) = (
            ordered({"image": test[domain]} | described(split)) for domain, split in (("a", split_a), ("b", split_b))
        )
        examples, digest = {"a": a, "b": b}, f"{digest_a} {digest_b}"
    # Where these are pairs, the rows are the same in both; else others are taken, so that no pair is left by chance.
    chosen = {
        "a": some(np.arange(counts["a"]), most, "real"),
        "b": some(np.arange(counts["b"]), most, "real" if paired else "fake"),
    }
    test = {domain: examples[domain]["image"][rows] for domain, rows in chosen.items()}
    train = {domain: some(ordered({"": read(domain, split)})[0][""], most, "real") for domain, split in trained.items()}
    mask = None
    truth: dict[str, np.ndarray] = {}
    readers: dict[str, Any] = {}
    if scenes:
        truth = {domain: examples[domain]["attributes"][rows] for domain, rows in chosen.items()}
        if paired and both["mask"].shape[1:3] == test["a"].shape[1:3]:
            mask = both["mask"][chosen["a"]][..., 0] > 0
        readers = {
            domain: scene_reader(style, image_size=config.image_size)
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
                found |= attribute_accuracy(likeliest(readers[target].probabilities(translated)), truth[source])
            result |= {f"{name}_{key}": value for key, value in found.items()}
        return result

    features, weights = ("scenes", readers["b"].weights) if readers else ("pixels", "")
    made = (f"{split_a}, {split_b}", len(test["b"]), len(test["a"]), features, weights)
    return Evaluation(scores, protocol(config, *made, digest=digest, subset_size=most))


def _discrepancy(real: np.ndarray, fake: np.ndarray) -> float:
    """The squared kernel discrepancy of bytes, in pixels, of all there are at once."""
    size = min(len(real), len(fake))
    return kernel_distance(unit(real), unit(fake), subset_size=size, subsets=1).mean
