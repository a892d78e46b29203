"""Scores of images generated from captions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan.data.builders.scenes import attributes_of, place
from jaxgan.data.builders.scenes import draw as draw_scenes
from jaxgan.data.captions import TINTS, captioned_images, tinted
from jaxgan.data.sources import images
from jaxgan.evaluation.evaluation import Evaluation, Sampler, Scores, ordered, protocol, some, unit
from jaxgan.metrics.attributes import (
    Probabilities,
    attribute_accuracy,
    caption_diversity,
    likeliest,
    r_precision,
    scene_classifier,
)
from jaxgan.metrics.features import TrainedClassifier, train_attribute_classifier
from jaxgan.pixels import to_uint8


def caption_evaluation(
    config: Any, encode: Callable[[list[str]], np.ndarray], *, num_samples: int = 1000, seed: int = 0
) -> Evaluation:
    """Scores generated images by a classifier of the attributes that their captions describe.

    Args:
      config: configuration of the run, with `dataset` (`shapes` or `fashion_mnist`), `latent_dim` and `image_size`.
      encode: captions to inputs of the generator.
      num_samples: number of captions of each split, one image each; a fixed random subset.
      seed: seed of the latents.

    Returns:
      The `Evaluation`. Its scores for scenes are those of `attribute_accuracy`; for clothes the accuracies `clothes`
      and `colour`, their mean `attributes`, and `exact`, the fraction with both right. Also `r_precision` (among 100
      captions); the same scores with the prefix `heldout_` for combinations that do not occur in training;
      `real_attributes` and `real_exact` of real images; and `diversity`, the `caption_diversity` relative to that of
      real images.

    Raises:
      ValueError: a data set without a classifier of the captions' attributes.
    """
    name = config.dataset.split(":")[0].split("/")[0]
    if name not in _SUBJECTS:
        raise ValueError(f"caption scores exist for the data sets {' and '.join(_SUBJECTS)}, not for {config.dataset}")
    subject = _SUBJECTS[name](config)
    inputs, meanings, real, digests = {}, {}, {}, []
    key = jax.random.key(seed)
    options = {"data_dir": config.data_dir, "image_size": config.image_size, "channels": 3}
    for prefix, split in (("", "test"), ("heldout_", "heldout")):
        examples = captioned_images(config.dataset, split, **options)
        examples, digest = ordered({name: examples[name] for name in ("image", "captions", "meaning")})
        digests.append(digest)
        rows = some(np.arange(len(examples["image"])), num_samples, "real")
        wordings = [examples["captions"][row] for row in rows]
        texts = [captions[row % len(captions)] for row, captions in enumerate(wordings)]
        key, draw = jax.random.split(key)
        latents = np.asarray(jax.random.normal(draw, (len(texts), config.latent_dim)))
        inputs[prefix] = {"latents": latents, "text": encode(texts)}
        meanings[prefix] = examples["meaning"][rows]
        read = subject.classifier.probabilities(examples["image"][rows])
        real[prefix] = subject.accuracy(read, meanings[prefix])
    few, each = 64, 8
    few_captions = {
        "text": np.repeat(inputs[""]["text"][:few], each, axis=0),
        "latents": np.asarray(jax.random.normal(key, (few * each, config.latent_dim))),
    }
    wanted = np.repeat(meanings[""][:few], each)
    caption = np.repeat(np.arange(len(wanted) // each), each)
    spread = caption_diversity(unit(subject.real(wanted, np.random.RandomState(seed))), caption)

    def scores(sample: Sampler) -> Scores:
        result: Scores = {}
        for prefix, given in inputs.items():
            seen = subject.classifier.probabilities(to_uint8(sample(given)["samples"]))
            found = subject.accuracy(seen, meanings[prefix])
            found["r_precision"] = r_precision(seen, subject.attributes(meanings[prefix]))
            result |= {f"{prefix}{name}": value for name, value in found.items()}
        result["diversity"] = caption_diversity(unit(to_uint8(sample(few_captions)["samples"])), caption) / spread
        return result | {"real_attributes": real[""]["attributes"], "real_exact": real[""]["exact"]}

    made = ("test, heldout", len(meanings[""]), len(meanings[""]), subject.name, subject.classifier.weights)
    return Evaluation(scores, protocol(config, *made, digest=" ".join(digests), subset_size=num_samples))


class _Subject(NamedTuple):
    """The subject of a data set's captions.

    Attributes:
      name: name of the features in a stamp.
      classifier: classifier of the attributes.
      attributes: meanings `[N]` to attributes, integers `[N, A]`.
      accuracy: scores of predicted probabilities against meanings.
      real: random real images for meanings.
    """

    name: str
    classifier: TrainedClassifier
    attributes: Callable[[np.ndarray], np.ndarray]
    accuracy: Callable[[Probabilities, np.ndarray], Scores]
    real: Callable[[np.ndarray, np.random.RandomState], np.ndarray]


def _scenes(config: Any) -> _Subject:
    return _Subject(
        "scenes",
        scene_classifier(image_size=config.image_size),
        attributes_of,
        lambda read, meaning: attribute_accuracy(likeliest(read), attributes_of(meaning)),
        lambda meaning, random: draw_scenes(place(attributes_of(meaning), random), config.image_size),
    )


def _clothes(config: Any) -> _Subject:
    train, test = (
        images("fashion_mnist", split, data_dir=config.data_dir, image_size=config.image_size, channels=1)
        for split in ("train", "test")
    )
    test, _ = ordered(test)
    # Every class in every colour, so that the classifier also knows the held-out combinations.
    colour = np.random.RandomState(0).randint(len(TINTS), size=len(train["label"]))
    attributes = np.stack([train["label"], colour], axis=1)

    def of(meaning: np.ndarray) -> np.ndarray:
        return np.stack(np.divmod(meaning, len(TINTS)), axis=1)

    def accuracy(read: Probabilities, meaning: np.ndarray) -> Scores:
        right = likeliest(read) == of(meaning)
        clothes, tint = right.mean(axis=0).tolist()
        return {
            "clothes": clothes,
            "colour": tint,
            "attributes": float(right.mean()),
            "exact": float(right.all(axis=1).mean()),
        }

    def real(meaning: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        label, tint = of(meaning).T
        rows = [random.choice(np.flatnonzero(test["label"] == one)) for one in label]
        return tinted(test["image"][rows], tint)

    classifier = train_attribute_classifier(tinted(train["image"], colour), attributes, epochs=6, shift=2)
    return _Subject("clothes", classifier, of, accuracy, real)


_SUBJECTS: dict[str, Callable[[Any], _Subject]] = {"shapes": _scenes, "fashion_mnist": _clothes}
