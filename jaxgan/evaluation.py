"""Scores of a generator: the same while a run goes on (`fit(evaluate=...)`) and of a finished one.

What they have in common is a `Sampler`; each function reads its data and trains its networks once, and then scores as
many states as one likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan.data.builders.scene_captions import parse
from jaxgan.data.builders.scenes import draw as draw_scenes
from jaxgan.data.builders.scenes import place
from jaxgan.data.captions import captioned_images
from jaxgan.data.sources import images
from jaxgan.metrics.features import train_classifier
from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.modes import confident_classes
from jaxgan.metrics.neighbours import nearest_distances, pairwise_diversity
from jaxgan.metrics.precision_recall import density_coverage, precision_recall
from jaxgan.metrics.protocol import score_name
from jaxgan.metrics.scenes import attribute_accuracy, caption_diversity, likeliest, r_precision, scene_reader
from jaxgan.metrics.translation import translation_scores
from jaxgan.pixels import from_uint8, to_uint8
from jaxgan.sharding import in_parts
from jaxgan.types import GAN

Sampler = Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]
"""Inputs of `GAN.sample`, any number of rows, to its outputs, for one state."""

Scores = dict[str, float]


class Evaluation(NamedTuple):
    """How to score one state after another in the same way.

    Attributes:
      scores: of the state that a `Sampler` draws from.
      protocol: how they are made: the fields of `jaxgan.metrics.protocol.Stamp` that no state changes.
    """

    scores: Callable[[Sampler], Scores]
    protocol: dict[str, Any]


def while_training(make: Callable[[Any], Evaluation], gan: GAN, config: Any) -> Callable[[Any], Scores] | None:
    """The `evaluate` of `fit` that a run's flags ask for, None where they ask for none.

    Args:
      make: from the configuration to an `Evaluation`, which reads data and trains networks.
      gan: what is trained.
      config: a `RunConfig`; `evaluate_every` or `best` ask for scores.
    """
    if not config.evaluate_every and config.best is None:
        return None
    evaluation = make(config)
    return lambda state: evaluation.scores(in_parts(partial(gan.sample, state)))


def image_evaluation(
    config: Any,
    *,
    num_samples: int = 1000,
    seed: int = 0,
    threshold: float = 0.9,
    train_split: str = "train",
    test_split: str = "test",
) -> Evaluation:
    """Scores images by a classifier that is trained on the data set's labels, and by their neighbours in the data.

    Args:
      config: of the run: an `ImageConfig` with `latent_dim`, and `num_classes` where images are drawn of labels.
      num_samples: how many images are drawn; of labels, as many of each.
      seed: of their latents.
      threshold: the classifier is sure above this probability.
      train_split: what to train the classifier on, whatever the run was trained on.
      test_split: what to compare the samples with.

    Returns:
      The `Evaluation`, its scores:
        - `confident`: share of samples the classifier is sure of; `class_0`, ...: share of each class;
        - `agreement`: where images are drawn of labels, share that it gives the label asked for;
        - `classifier_frechet`, `classifier_kernel` (squared discrepancy), `classifier_precision`, `classifier_recall`,
          `classifier_density`, `classifier_coverage`: samples against test images, in its 128 features;
        - `coverage`: of the test images among the samples' pixels;
        - `nearest`: median distance to the nearest image the run was shown, over that of the test images: far below 1,
          the samples are copies;
        - `diversity`: mean distance of two samples' pixels over that of two test images;
        - `classifier_accuracy`, `real_confident`: what the classifier makes of the test images.

    Raises:
      ValueError: as `images`, or a data set without labels.
    """
    train, test, shown = (_bytes_of(config, split) for split in (train_split, test_split, config.split))
    if "label" not in train or "label" not in test:
        raise ValueError(f"data set {config.dataset} has no labels to train a classifier with")
    classifier = train_classifier(train["image"], train["label"])
    (probabilities,), features = classifier.probabilities(test["image"]), classifier.features(test["image"])
    some = test["image"][: min(num_samples, 1000)]
    unseen, spread = np.median(nearest_distances(some, shown["image"])), pairwise_diversity(_unit(some))
    inputs = {"latents": np.asarray(jax.random.normal(jax.random.key(seed), (num_samples, config.latent_dim)))}
    if number := getattr(config, "num_classes", None):
        inputs["condition"] = np.arange(num_samples, dtype=np.int32) % number
    about = {
        "classifier_accuracy": float((probabilities.argmax(axis=1) == test["label"]).mean()),
        "real_confident": confident_classes(probabilities, threshold)["confident"],
    }

    def scores(sample: Sampler) -> Scores:
        samples = to_uint8(sample(inputs)["samples"])
        (seen,), found = classifier.probabilities(samples), classifier.features(samples)
        result = confident_classes(seen, threshold)
        if number:
            result["agreement"] = float((seen.argmax(axis=1) == inputs["condition"]).mean())
        equal = features[: len(found)]
        distances = {
            "frechet": frechet_distance(features, found),
            "kernel": kernel_distance(features, found, subset_size=min(len(features), len(found), 1000)).mean,
            **precision_recall(equal, found),
            **density_coverage(equal, found),
        }
        result |= {score_name(kind, "classifier"): value for kind, value in distances.items()}
        result["coverage"] = density_coverage(some, samples[:1000])["coverage"]
        result["nearest"] = float(np.median(nearest_distances(samples[:1000], shown["image"])) / unseen)
        result["diversity"] = pairwise_diversity(_unit(samples[:1000])) / spread
        return result | about

    return Evaluation(
        scores,
        _protocol(config, test_split, len(test["image"]), num_samples, "classifier", classifier.weights),
    )


def translation_evaluation(
    config: Any, *, split_a: str = "testA", split_b: str = "testB", paired: bool | None = None, most: int = 500
) -> Evaluation:
    """Scores both translations of a CycleGAN: against the truth where test pictures come in pairs.

    Args:
      config: of the run, a `DomainsConfig`.
      split_a: test pictures of domain a.
      split_b: of domain b.
      paired: whether row i of both is one scene; by default so for `shapes_styles` and `emoji`.
      most: how many pictures are translated.

    Returns:
      The `Evaluation`; its scores are named `a_to_b_...` and `b_to_a_...`: `pixel_kernel` (the squared discrepancy
      of translated to real pictures, in pixels) and `cycle_l1`; of pairs, those of `translation_scores`; of
      `shapes_styles`, `objects` (the share of objects whose shape and colour are read as they should be) and the other
      scores of `attribute_accuracy`.
    """
    scenes = config.dataset.split(":")[0].split("/")[0] == "shapes_styles" and config.dataset_b is None
    paired = scenes or config.dataset.startswith("emoji") if paired is None else paired
    names = {"a": config.dataset, "b": config.dataset_b or config.dataset}
    usual = ("trainA", "trainB") if config.dataset_b is None else ("train", "train")
    trained = {"a": config.split_a or usual[0], "b": config.split_b or usual[1]}
    options = {"data_dir": config.data_dir, "image_size": config.image_size}
    channels = {"a": config.channels_a, "b": config.channels_b}

    def read(domain: str, split: str) -> np.ndarray:
        return _as_bytes(images(names[domain], split, channels=channels[domain], **options)["image"])[:most]

    test = {"a": read("a", split_a), "b": read("b", split_b)}
    train = {domain: read(domain, split) for domain, split in trained.items()}
    mask = truth = None
    readers: dict[str, Any] = {}
    if scenes:
        from jaxgan.data.prepared import read_features  # here, since it loads TFDS

        more = read_features(config.dataset, split_a, names=("attributes", "mask"), data_dir=config.data_dir)
        truth = np.asarray(more["attributes"])[:most]
        if np.shape(more["mask"])[1:3] == test["a"].shape[1:3]:
            mask = np.asarray(more["mask"])[:most, :, :, 0] > 0
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
            size = min(len(real), len(translated))
            found: Scores = {
                "pixel_kernel": kernel_distance(_unit(real), _unit(translated), subset_size=size, subsets=1).mean,
                "cycle_l1": float(np.abs(_unit(back) - _unit(test[source])).mean()),
            }
            if paired:
                found |= translation_scores(
                    translated, real, source=test[source], target_train=train[target], mask=mask, reconstructed=back
                )
            if truth is not None:
                found |= attribute_accuracy(likeliest(readers[target].probabilities(translated)), truth)
            result |= {f"{name}_{key}": value for key, value in found.items()}
        return result

    features, weights = ("scenes", readers["b"].weights) if readers else ("pixels", "")
    return Evaluation(
        scores, _protocol(config, f"{split_a}, {split_b}", len(test["b"]), len(test["a"]), features, weights)
    )


def caption_evaluation(
    config: Any, encode: Callable[[list[str]], np.ndarray], *, num_samples: int = 1000, seed: int = 0
) -> Evaluation:
    """Scores scenes drawn of captions by a network that reads their attributes.

    Args:
      config: of the run: `dataset` one of `shapes`, `latent_dim`, `image_size`.
      encode: captions to what the generator takes.
      num_samples: captions of each split, one image each.
      seed: of the latents.

    Returns:
      The `Evaluation`; its scores: those of `attribute_accuracy` and `r_precision` (among 100 captions) for the
      combinations seen in training, the same named `heldout_...` for those that never were, `real_attributes` and
      `real_exact` of real scenes, and `diversity`: that of images of one caption, over that of real scenes.
    """
    if config.dataset.split(":")[0].split("/")[0] != "shapes":
        raise ValueError(f"captions are scored on the data set shapes, not {config.dataset}")
    read = scene_reader(image_size=config.image_size)
    inputs, truths, real = {}, {}, {}
    key = jax.random.key(seed)
    options = {"data_dir": config.data_dir, "image_size": config.image_size, "channels": 3}
    for prefix, split in (("", "test"), ("heldout_", "heldout")):
        examples = captioned_images(config.dataset, f"{split}[:{num_samples}]", **options)
        # Another wording for each.
        texts = [captions[row % len(captions)] for row, captions in enumerate(examples["captions"])]
        key, draw = jax.random.split(key)
        latents = np.asarray(jax.random.normal(draw, (len(texts), config.latent_dim)))
        inputs[prefix] = {"latents": latents, "text": encode(texts)}
        truths[prefix] = np.stack([parse(text) for text in texts])
        real[prefix] = attribute_accuracy(likeliest(read.probabilities(examples["image"])), truths[prefix])
    few, each = 64, 8
    few_captions = {
        "text": np.repeat(inputs[""]["text"][:few], each, axis=0),
        "latents": np.asarray(jax.random.normal(key, (few * each, config.latent_dim))),
    }
    random = np.random.RandomState(seed)
    drawn = draw_scenes(place(np.repeat(truths[""][:few], each, axis=0), random), config.image_size)
    caption = np.repeat(np.arange(few), each)
    spread = caption_diversity(_unit(drawn), caption)

    def scores(sample: Sampler) -> Scores:
        result: Scores = {}
        for prefix, given in inputs.items():
            seen = read.probabilities(to_uint8(sample(given)["samples"]))
            found = attribute_accuracy(likeliest(seen), truths[prefix])
            found["r_precision"] = r_precision(seen, truths[prefix])
            result |= {f"{prefix}{name}": value for name, value in found.items()}
        result["diversity"] = caption_diversity(_unit(to_uint8(sample(few_captions)["samples"])), caption) / spread
        return result | {"real_attributes": real[""]["attributes"], "real_exact": real[""]["exact"]}

    return Evaluation(scores, _protocol(config, "test, heldout", len(truths[""]), num_samples, "scenes", read.weights))


def _protocol(config: Any, split: str, real: int, fake: int, features: str, weights: str) -> dict[str, Any]:
    return {
        "dataset": config.dataset,
        "split": split,
        "real_count": real,
        "fake_count": fake,
        "image_size": config.image_size,
        "features": features,
        "feature_weights": weights,
        "resizer": "none",  # the networks are trained at the images' own size
        "quantized": True,
    }


def _bytes_of(config: Any, split: str) -> dict[str, np.ndarray]:
    options = {name: getattr(config, name) for name in ("data_dir", "image_size", "channels")}
    data = images(config.dataset, split, **options)
    return data | {"image": _as_bytes(data["image"])}


def _as_bytes(pictures: np.ndarray) -> np.ndarray:
    return to_uint8(pictures) if pictures.dtype == np.float32 else pictures


def _unit(pictures: np.ndarray) -> np.ndarray:
    """Bytes to floats in [0, 1]."""
    return pictures.astype(np.float32) / 255.0
