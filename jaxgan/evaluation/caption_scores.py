"""Scores of images drawn of captions."""

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
    scene_reader,
)
from jaxgan.metrics.features import Reader, train_reader
from jaxgan.pixels import to_uint8


def caption_evaluation(
    config: Any, encode: Callable[[list[str]], np.ndarray], *, num_samples: int = 1000, seed: int = 0
) -> Evaluation:
    """Scores images drawn of captions by a network that reads in them what the captions say.

    Args:
      config: of the run: `dataset` one of `shapes` or `fashion_mnist`, `latent_dim`, `image_size`.
      encode: captions to what the generator takes.
      num_samples: captions of each split, one image each: of a random subset of its images, always the same.
      seed: of the latents.

    Returns:
      The `Evaluation`; its scores: of scenes those of `attribute_accuracy`, of clothes the shares `clothes` and
      `colour` that are as asked for, `attributes`, the mean of these, and `exact`, where both are; `r_precision` (among
      100 captions); the same named `heldout_...` for combinations that never were in training; `real_attributes` and
      `real_exact` of real images; and `diversity`: that of images of one caption, over that of real ones.

    Raises:
      ValueError: a data set of which nothing tells whether an image shows what a caption says.
    """
    name = config.dataset.split(":")[0].split("/")[0]
    if name not in _SUBJECTS:
        raise ValueError(f"captions are scored on the data sets {' and '.join(_SUBJECTS)}, not on {config.dataset}")
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
        texts = [captions[place % len(captions)] for place, captions in enumerate(wordings)]  # another one for each
        key, draw = jax.random.split(key)
        latents = np.asarray(jax.random.normal(draw, (len(texts), config.latent_dim)))
        inputs[prefix] = {"latents": latents, "text": encode(texts)}
        meanings[prefix] = examples["meaning"][rows]
        read = subject.reader.probabilities(examples["image"][rows])
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
            seen = subject.reader.probabilities(to_uint8(sample(given)["samples"]))
            found = subject.accuracy(seen, meanings[prefix])
            found["r_precision"] = r_precision(seen, subject.attributes(meanings[prefix]))
            result |= {f"{prefix}{name}": value for name, value in found.items()}
        result["diversity"] = caption_diversity(unit(to_uint8(sample(few_captions)["samples"])), caption) / spread
        return result | {"real_attributes": real[""]["attributes"], "real_exact": real[""]["exact"]}

    made = ("test, heldout", len(meanings[""]), len(meanings[""]), subject.name, subject.reader.weights)
    return Evaluation(scores, protocol(config, *made, digest=" ".join(digests), subset_size=num_samples))


class _Subject(NamedTuple):
    """What captions are about.

    Attributes:
      name: of the features, in a stamp.
      reader: of the attributes.
      attributes: of meanings `[N]`, integers `[N, A]`.
      accuracy: of what was read, against meanings.
      real: real images of meanings, others each time.
    """

    name: str
    reader: Reader
    attributes: Callable[[np.ndarray], np.ndarray]
    accuracy: Callable[[Probabilities, np.ndarray], Scores]
    real: Callable[[np.ndarray, np.random.RandomState], np.ndarray]


def _scenes(config: Any) -> _Subject:
    return _Subject(
        "scenes",
        scene_reader(image_size=config.image_size),
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
    # Every class in every colour, so that those held out of a run's captions can be read too.
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

    reader = train_reader(tinted(train["image"], colour), attributes, epochs=6, shift=2)
    return _Subject("clothes", reader, of, accuracy, real)


_SUBJECTS: dict[str, Callable[[Any], _Subject]] = {"shapes": _scenes, "fashion_mnist": _clothes}
