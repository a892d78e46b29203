"""Scenes in two styles as a rendered TFDS data set: paired for tests, for training paired or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgan.data.builders.scenes import ATTRIBUTES, boxes, draw, masks, place
from jaxgan.data.builders.shapes import encoded

FREQUENCIES = {"shape": (0.5, 0.33, 0.17), "colour": (0.48, 0.28, 0.16, 0.08)}
"""Probabilities of shapes and colours, in both domains; sizes and axes are equally frequent."""

# Random stream, number of scenes and style of each split.
_SPLITS = {
    "trainA": (0, 4_000, "flat"),
    "trainB": (1, 4_000, "chalk"),
    "testA": (2, 500, "flat"),
    "testB": (2, 500, "chalk"),
}

_DESCRIPTION = """\
Procedural scenes of two objects, each a circle, square or triangle of one of four colours and two sizes. Domain A has
flat colours on white, domain B outlines and hatching in lighter colours on a dark woven board. The training scenes of A
and B are different (unpaired); in the test splits row i of both is the same scene (paired).

In the configs `paired_*` the training scenes are paired, too: trainB shows those of trainA.

Shapes and colours have different frequencies, the same in both domains, because unpaired data cannot distinguish
equally frequent values. In the configs `equal_*` all values are equally frequent, to demonstrate this.

mask: 255 on objects, else 0.
attributes: indices of {attributes}; the first object is the upper or the left one.
boxes: top, left, bottom, right of the first and the second object, as fractions of the image's side.
"""


def draw_attributes(count: int, random: np.random.RandomState, *, equal: bool = False) -> np.ndarray:
    """Random attributes of scenes, with the probabilities in `FREQUENCIES`.

    Args:
      count: number of scenes.
      random: the random generator.
      equal: whether all values have equal probability.

    Returns:
      int32 `[count, 7]`, columns as in `scenes.ATTRIBUTES`.
    """
    draws = random.random_sample((count, len(ATTRIBUTES)))
    columns = []
    for column, (name, values) in enumerate(ATTRIBUTES.items()):
        even = (1 / len(values),) * len(values)
        frequencies = even if equal else FREQUENCIES.get(name.split("_")[-1], even)
        columns.append(np.searchsorted(np.cumsum(frequencies)[:-1], draws[:, column], side="right"))
    return np.stack(columns, axis=1).astype(np.int32)


class ShapesStyles(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """`image`: uint8 RGB; `mask`, `attributes`, `boxes`. Splits: trainA, trainB, and testA and testB in pairs."""

    name = "shapes_styles"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 (as TFDS declares it)
        tfds.core.BuilderConfig(name="32", description="32x32 pixels"),
        tfds.core.BuilderConfig(name="64", description="64x64 pixels"),
        tfds.core.BuilderConfig(name="paired_32", description="32x32 pixels, training scenes in pairs, too"),
        tfds.core.BuilderConfig(name="paired_64", description="64x64 pixels, training scenes in pairs, too"),
        tfds.core.BuilderConfig(name="equal_32", description="32x32 pixels, all values equally frequent"),
        tfds.core.BuilderConfig(name="equal_64", description="64x64 pixels, all values equally frequent"),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        size = self._image_size
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION.format(
                attributes=", ".join(f"{name} ({', '.join(values)})" for name, values in ATTRIBUTES.items())
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "mask": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "attributes": tfds.features.Tensor(shape=(len(ATTRIBUTES),), dtype=np.int32),
                    "boxes": tfds.features.Tensor(shape=(2, 4), dtype=np.float32),
                }
            ),
            license="Rendered by jaxgan: Apache License 2.0",
            disable_shuffling=True,  # testA and testB are paired by their order
        )

    @property
    def _image_size(self) -> int:
        return int(self._config_name.rpartition("_")[2])

    @property
    def _config_name(self) -> str:
        config: Any = self.builder_config
        return config.name

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in _SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        stream, count, style = _SPLITS[split]
        if self._config_name.startswith("paired_"):
            stream, *_ = _SPLITS[f"{split[:-1]}A"]
        random = np.random.RandomState([2, stream])
        equal = self._config_name.startswith("equal_")
        scenes = place(draw_attributes(count, random, equal=equal), random)
        images = draw(scenes, self._image_size, style=style)
        where = masks(scenes, self._image_size).astype(np.uint8) * 255
        for row, (image, mask, one, box) in enumerate(
            zip(images, where, scenes.attributes, boxes(scenes), strict=True)
        ):
            yield row, {"image": encoded(image), "mask": encoded(mask), "attributes": one, "boxes": box}
