"""Scenes of two objects with captions, as a rendered TFDS data set."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgan.data.builders.scene_captions import describe
from jaxgan.data.builders.scenes import (
    ATTRIBUTES,
    COLOURS,
    NUM_MEANINGS,
    SHAPES,
    attributes_of,
    boxes,
    draw,
    meaning_of,
    place,
)
from jaxgan.data.folder import Image  # Pillow's; raises with advice if it is not installed

HELD_OUT = (("circle", "green"), ("square", "blue"), ("triangle", "red"))
"""The pairs of shape and colour that occur only in the split `heldout`."""

_SPLITS = {"train": 30_000, "test": 2_000, "heldout": 2_000}

_DESCRIPTION = """\
Procedural scenes: two objects on white, each a circle, square or triangle, red, green, blue or yellow, small or large,
one above the other or left of it, with random positions and exact sizes. Five captions describe each scene. Of the 12
pairs of shape and colour, 3 occur in no scene of train and test, and in every scene of heldout: {held_out}.

captions: five, each of at most 14 words, from a small grammar.
meaning: an integer, 0 to 1151, that two scenes share if and only if they have the same captions.
attributes: indices of {attributes}; the first object is the upper or the left one.
boxes: top, left, bottom, right of the first and the second object, as fractions of the image's side.
"""


def has_held_out(attributes: np.ndarray) -> np.ndarray:
    """Whether an object of a scene is in `HELD_OUT`: integers `[..., 7]` to bool `[...]`."""
    pairs = np.array([[SHAPES.index(shape), COLOURS.index(colour)] for shape, colour in HELD_OUT])
    objects = np.stack([attributes[..., 1:3], attributes[..., 4:6]], axis=-2)
    return (objects[..., None, :] == pairs).all(axis=-1).any(axis=(-2, -1))


def encoded(pixels: np.ndarray) -> io.BytesIO:
    """The image as a PNG file, which TFDS stores unchanged; TFDS would encode arrays with TensorFlow."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    file.seek(0)
    return file


class Shapes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """`image`: uint8 RGB; `captions`, `meaning`, `attributes`, `boxes`. Splits: train, test, heldout."""

    name = "shapes"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 (as TFDS declares it)
        tfds.core.BuilderConfig(name="32", description="32x32 pixels"),
        tfds.core.BuilderConfig(name="64", description="64x64 pixels"),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        size = self._image_size
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION.format(
                held_out=", ".join(f"{colour} {shape}" for shape, colour in HELD_OUT),
                attributes=", ".join(f"{name} ({', '.join(values)})" for name, values in ATTRIBUTES.items()),
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "meaning": tfds.features.Scalar(dtype=np.int32),
                    "attributes": tfds.features.Tensor(shape=(len(ATTRIBUTES),), dtype=np.int32),
                    "boxes": tfds.features.Tensor(shape=(2, 4), dtype=np.float32),
                }
            ),
            license="Rendered by jaxgan: Apache License 2.0",
            disable_shuffling=True,  # the order is random already
        )

    @property
    def _image_size(self) -> int:
        config: Any = self.builder_config
        return int(config.name)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in _SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        random = np.random.RandomState([1, list(_SPLITS).index(split)])
        everything = attributes_of(np.arange(NUM_MEANINGS))
        allowed = everything[has_held_out(everything) == (split == "heldout")]
        attributes = allowed[random.randint(len(allowed), size=_SPLITS[split])]
        scenes = place(attributes, random)
        fields = (describe(attributes, random), meaning_of(attributes).tolist(), attributes, boxes(scenes))
        images = draw(scenes, self._image_size)
        for row, (image, captions, meaning, one, box) in enumerate(zip(images, *fields, strict=True)):
            features = {"captions": captions, "meaning": meaning, "attributes": one, "boxes": box}
            yield row, {"image": encoded(image), **features}
