"""Attributes of rendered scenes: a classifier that reads them from images, and scores of generated scenes.

The attributes, their order and their values are those of `jaxgan.data.builders.scenes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flax import linen as nn
from jax import Array
from numpy.typing import ArrayLike

from jaxgan.data.builders.scenes import ATTRIBUTES, NUM_MEANINGS, attributes_of, draw, place
from jaxgan.metrics.arrays import as_features
from jaxgan.metrics.features import TrainedClassifier, train_attribute_classifier
from jaxgan.networks.convolutions import Conv

Probabilities = Sequence[np.ndarray]
"""For each attribute the probabilities `[N, K]` of its K values in N images."""


class SceneNetwork(nn.Module):
    """Images `[B, H, W, 3]` to logits `[B, num_classes]` and features `[B, 256]`.

    A convolution at full resolution, because small shapes differ in single pixels, three strided convolutions and a
    dense layer. Images of 64 pixels and more are first average-pooled to at least 32 pixels, which is enough for all
    attributes.

    Attributes:
      num_classes: number of values of all attributes together.
    """

    num_classes: int

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        block = max(1, images.shape[1] // 32)
        hidden = nn.avg_pool(images, (block, block), (block, block))
        hidden = nn.relu(Conv(16, 3, 1, padding=1)(hidden))
        for width in (32, 64, 64):
            hidden = nn.relu(nn.GroupNorm(num_groups=8)(Conv(width, 4, 2, padding=1)(hidden)))
        hidden = nn.relu(nn.Dense(256)(hidden.reshape(len(hidden), -1)))
        return nn.Dense(self.num_classes)(hidden), hidden


def scene_classifier(
    style: str = "flat", *, image_size: int = 32, num_scenes: int = 40_000, epochs: int = 5, seed: int = 0
) -> TrainedClassifier:
    """Trains a `SceneNetwork` on rendered scenes with uniformly random attributes.

    Deterministic on the same machine.

    Args:
      style: style of the scenes, as for `jaxgan.data.builders.scenes.draw`: `flat` for `shapes` and domain A of
        `shapes_styles`, `chalk` for its domain B.
      image_size: side of the images.
      num_scenes: number of training scenes.
      epochs: passes over them.
      seed: seed of scenes, weights and order.

    Returns:
      The `TrainedClassifier` for uint8 images `[N, image_size, image_size, 3]`, with probabilities of the seven
      attributes.

    Raises:
      ValueError: an unknown style.
    """
    random = np.random.RandomState([3, seed])
    attributes = attributes_of(random.randint(NUM_MEANINGS, size=num_scenes))
    images = draw(place(attributes, random), image_size, style=style)
    return train_attribute_classifier(images, attributes, network=SceneNetwork, epochs=epochs, seed=seed)


def likeliest(probabilities: Probabilities) -> np.ndarray:
    """The most likely value of each attribute: integers `[N, A]`, one column per attribute.

    Raises:
      ValueError: NaN or infinity.

    >>> likeliest([np.array([[0.2, 0.8]]), np.array([[0.5, 0.1, 0.4]])]).tolist()
    [[1, 0]]
    """
    return np.stack([as_features("probabilities", values).argmax(axis=1) for values in probabilities], axis=1)


def attribute_accuracy(predicted: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """The accuracy of the attributes in generated scenes.

    Args:
      predicted: attributes that a classifier predicts, integers `[N, 7]`.
      truth: the requested attributes, `[N, 7]`.

    Returns:
      Fractions, 0 to 1:
        - the accuracy of each attribute by its name;
        - `shape`, `colour`, `size`: means over both objects; `attributes`: the mean over all seven attributes;
        - `objects`: fraction of objects whose shape and colour are both right;
        - `relation`: fraction of scenes whose axis is right and whose objects match the requested ones in at least as
          many attributes as with the two objects swapped;
        - `exact`: fraction of scenes with all seven attributes right.

    Raises:
      ValueError: arrays that are not both `[N, 7]` with N at least 1.

    >>> attribute_accuracy([[0, 1, 2, 0, 1, 3, 1]], [[0, 1, 2, 0, 1, 3, 0]])["attributes"] == 6 / 7
    True
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    if predicted.shape != truth.shape or predicted.shape[1:] != (len(ATTRIBUTES),) or not len(truth):
        raise ValueError(f"two arrays [N, {len(ATTRIBUTES)}] expected, not {predicted.shape} and {truth.shape}")
    right = predicted == truth
    scores = dict(zip(ATTRIBUTES, right.mean(axis=0).tolist(), strict=True))
    for kind in ("shape", "colour", "size"):
        scores[kind] = (scores[f"first_{kind}"] + scores[f"second_{kind}"]) / 2
    objects = right[:, 1:].reshape(-1, 2, 3)
    swapped = predicted[:, [4, 5, 6, 1, 2, 3]] == truth[:, 1:]
    ordered = right[:, 1:].sum(axis=1) >= swapped.sum(axis=1)
    return {
        **scores,
        "attributes": float(right.mean()),
        "objects": float(objects[..., :2].all(axis=-1).mean()),
        "relation": float((right[:, 0] & ordered).mean()),
        "exact": float(right.all(axis=1).mean()),
    }


def chance_accuracy(truth: ArrayLike) -> dict[str, float]:
    """The expected `attribute_accuracy` of the requested scenes in random order.

    Args:
      truth: the requested attributes, integers `[N, 7]`, N at least 2.

    Returns:
      The scores of `attribute_accuracy`, each the mean over all pairs of two different rows.

    Raises:
      ValueError: fewer than 2 rows, or not 7 columns.
    """
    truth = np.asarray(truth)
    if len(truth) < 2:
        raise ValueError(f"at least 2 scenes are needed, not {len(truth)}")
    scores = [attribute_accuracy(np.roll(truth, shift, axis=0), truth) for shift in range(1, len(truth))]
    return {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}


def caption_log_probabilities(probabilities: Probabilities, attributes: ArrayLike) -> np.ndarray:
    """The log probability of captions given images: the sum over the caption's attributes.

    Args:
      probabilities: predicted probabilities of A attributes in N images.
      attributes: the attributes in M captions, integers `[M, A]`.

    Returns:
      float64 `[N, M]`, at most 0.

    Raises:
      ValueError: unequal numbers of attributes, NaN or infinity.
    """
    attributes = np.asarray(attributes)
    if attributes.ndim != 2 or attributes.shape[1] != len(probabilities):
        raise ValueError(f"attributes [M, {len(probabilities)}] expected, not {attributes.shape}")
    fits = np.zeros((len(probabilities[0]), len(attributes)))
    for values, said in zip(probabilities, attributes.T, strict=True):
        values = np.maximum(as_features("probabilities", values), 1e-30)  # float32 rounds below 1e-45 to 0
        fits += np.log(values)[:, said]
    return fits


def r_precision(probabilities: Probabilities, attributes: ArrayLike, *, mismatched: int = 99, seed: int = 0) -> float:
    """R-precision: the fraction of images that fit their own caption better than random mismatched captions.

    For each image, mismatched captions are drawn from the other images' captions with other attributes. Chance is 1 /
    (mismatched + 1). Ties count as failures.

    Args:
      probabilities: predicted probabilities of A attributes in N images.
      attributes: the attributes in the caption of each image, integers `[N, A]`.
      mismatched: number of mismatched captions per image, drawn with replacement.
      seed: seed of the draws.

    Returns:
      A fraction, 0 to 1.

    Raises:
      ValueError: all captions have the same attributes, or unequal numbers of attributes or images.

    Paper: Xu et al. 2018, AttnGAN, arXiv:1711.10485.
    """
    said, meaning = np.unique(np.asarray(attributes), axis=0, return_inverse=True)
    meaning = meaning.reshape(-1)
    fits = caption_log_probabilities(probabilities, said)
    if len(fits) != len(meaning):
        raise ValueError(f"{len(fits)} images and {len(meaning)} captions: one caption per image expected")
    if len(said) < 2:
        raise ValueError("all captions have the same attributes, so none is mismatched")
    random = np.random.default_rng(seed)
    won = 0
    for image, own in enumerate(meaning):
        others = random.choice(meaning[meaning != own], size=mismatched)
        won += fits[image, own] > fits[image, others].max()
    return won / len(meaning)


def caption_diversity(images: ArrayLike, meaning: ArrayLike) -> float:
    """The mean absolute difference of two images of the same caption, over pixels, pairs and captions.

    Compare it with that of real images of the same captions. A generator that ignores its latents has 0.

    Args:
      images: floats `[N, ...]`, in any order.
      meaning: index of the caption of each image, integers `[N]`; captions with a single image are ignored.

    Returns:
      The mean, at least 0, in the unit of the images.

    Raises:
      ValueError: no caption has two images, images that are not floats, unequal counts, NaN or infinity.

    >>> caption_diversity([[0.0], [3.0], [1.0], [9.0]], [7, 7, 7, 8])
    2.0
    """
    images, meaning = np.asarray(images), np.asarray(meaning)
    if not np.issubdtype(images.dtype, np.floating) or meaning.shape != images.shape[:1]:
        raise ValueError(f"floats [N, ...] and [N] expected, not {images.dtype} {images.shape} and {meaning.shape}")
    if len(images):
        images = as_features("images", images)
    means = []
    for own in np.unique(meaning):
        if (count := int((meaning == own).sum())) > 1:
            # Of sorted values x_0 .. x_(n-1), the sum of all differences is the sum of (2 i - n + 1) x_i.
            values = np.sort(images[meaning == own], axis=0)
            weights = 2.0 * np.arange(count) - count + 1
            means.append((weights @ values).mean() / (count * (count - 1) / 2))
    if not means:
        raise ValueError("no two images have the same caption")
    return float(np.mean(means))
