"""Scenes of two objects: their attributes, positions, and rendered images in two styles.

Captions describe a scene by seven attributes. The first object is the upper or the left one, so "a red circle above a
blue square" and "a blue square below a red circle" are the same scene.

Images are bit-identical on every machine: the random stream never changes, and all operations are correctly rounded
under IEEE 754.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

AXES = ("vertical", "horizontal")
SHAPES = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow")
SIZES = ("small", "large")

ATTRIBUTES = {
    "axis": AXES,
    "first_shape": SHAPES,
    "first_colour": COLOURS,
    "first_size": SIZES,
    "second_shape": SHAPES,
    "second_colour": COLOURS,
    "second_size": SIZES,
}
"""The attributes and their values, in the order of the columns; an attribute is stored as the index of its value."""

NUM_VALUES = tuple(len(values) for values in ATTRIBUTES.values())
NUM_MEANINGS = int(np.prod(NUM_VALUES))

STYLES = ("flat", "chalk")

_RADII = np.array([(0.105, 0.12), (0.17, 0.19)])  # ranges for small and large, as fractions of the image's side
_EXTENTS = np.array([(1.0, 1.0), (0.88, 0.88), (1.1, 1.0)])  # half width and height of each shape, in radii
_MARGIN, _GAP = 0.03, 0.05

_FLAT = np.array([(222, 55, 48), (40, 160, 75), (45, 95, 220), (248, 196, 30)], np.float32)
_CHALK = np.array([(255, 110, 125), (120, 230, 130), (110, 180, 255), (255, 225, 110)], np.float32)
_BOARD = np.array([(38, 44, 52), (54, 62, 72)], np.float32)


class Scenes(NamedTuple):
    """N scenes with positions and exact sizes; all lengths are fractions of the image's side.

    Attributes:
      attributes: `[N, 7]` int32, columns as in `ATTRIBUTES`.
      centres: `[N, 2, 2]`, (x from the left, y from the top) of both objects.
      radii: `[N, 2]`.
    """

    attributes: np.ndarray
    centres: np.ndarray
    radii: np.ndarray


def meaning_of(attributes: np.ndarray) -> np.ndarray:
    """The meaning of a scene as one integer: two scenes have the same if and only if they have the same captions.

    Args:
      attributes: integers `[..., 7]`, columns as in `ATTRIBUTES`.

    Returns:
      int32 `[...]` in 0..1151.

    Raises:
      ValueError: a value out of range.

    >>> int(meaning_of(np.array([1, 2, 3, 1, 2, 3, 1])))
    1151
    """
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(attributes, -1, 0)), NUM_VALUES), np.int32)


def attributes_of(meaning: np.ndarray) -> np.ndarray:
    """The inverse of `meaning_of`: int32 `[..., 7]` of integers `[...]`."""
    return np.stack(np.unravel_index(meaning, NUM_VALUES), axis=-1).astype(np.int32)


def place(attributes: np.ndarray, random: np.random.RandomState) -> Scenes:
    """Gives every object a random position and exact size.

    The objects are completely inside the image. Along their axis, the gap between them is at least a twentieth of the
    side. Across it, their distance is at most half of the distance along it.

    Args:
      attributes: integers `[N, 7]`, columns as in `ATTRIBUTES`.
      random: the random generator.

    Returns:
      The `Scenes`.
    """
    attributes = np.asarray(attributes, np.int32)
    axis, shapes, sizes = attributes[:, 0], attributes[:, [1, 4]], attributes[:, [3, 6]]
    draws = random.random_sample((len(attributes), 6))
    low, high = _RADII[sizes, 0], _RADII[sizes, 1]
    radii = low + (high - low) * draws[:, :2]
    extents = _EXTENTS[shapes] * radii[..., None]
    upright = axis[:, None] == 0
    along = np.where(upright, extents[..., 1], extents[..., 0])
    across = np.where(upright, extents[..., 0], extents[..., 1])

    # Along the axis, the free space is divided at random into three parts: before, between and after the objects.
    free = 1 - 2 * _MARGIN - _GAP - 2 * (along[:, 0] + along[:, 1])
    cuts = np.sort(draws[:, 2:4], axis=1) * free[:, None]
    first = _MARGIN + along[:, 0] + cuts[:, 0]
    second = _MARGIN + 2 * along[:, 0] + _GAP + along[:, 1] + cuts[:, 1]

    # Across it, the difference of positions is drawn first, then a position at which both objects are inside.
    room = 1 - 2 * _MARGIN - across[:, 0] - across[:, 1]
    shift = (2 * draws[:, 4] - 1) * np.minimum(room, (second - first) / 2)
    lowest = np.maximum(_MARGIN + across[:, 0], _MARGIN + across[:, 1] - shift)
    highest = np.minimum(1 - _MARGIN - across[:, 0], 1 - _MARGIN - across[:, 1] - shift)
    aside = lowest + (highest - lowest) * draws[:, 5]

    down = np.stack([first, second], axis=1)
    right = np.stack([aside, aside + shift], axis=1)
    centres = np.stack([np.where(upright, right, down), np.where(upright, down, right)], axis=-1)
    return Scenes(attributes, centres, radii)


def boxes(scenes: Scenes) -> np.ndarray:
    """Bounding boxes: top, left, bottom, right of each object, as fractions of the side, float32 `[N, 2, 4]`."""
    extents = _EXTENTS[scenes.attributes[:, [1, 4]]] * scenes.radii[..., None]
    corners = np.concatenate([scenes.centres - extents, scenes.centres + extents], axis=-1)
    return corners[..., [1, 0, 3, 2]].astype(np.float32)


def draw(scenes: Scenes, image_size: int, *, style: str = "flat") -> np.ndarray:
    """Renders scenes with antialiased edges.

    Args:
      scenes: the scenes.
      image_size: side in pixels; shapes are distinguishable at 32 or more.
      style: `flat`, one colour on white; or `chalk`, outline and hatching in a lighter colour on a woven board. Weave
        and hatching have a period of 4 pixels and the same phase in every image.

    Returns:
      uint8 `[N, image_size, image_size, 3]`.

    Raises:
      ValueError: an unknown style.
    """
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}: there are {', '.join(STYLES)}")
    images = np.empty((len(scenes.radii), image_size, image_size, 3), np.uint8)
    for rows, part in _parts(scenes):
        images[rows] = _paint(part, image_size, style)
    return images


def masks(scenes: Scenes, image_size: int) -> np.ndarray:
    """Foreground masks: bool `[N, image_size, image_size]`, true where objects cover at least half of a pixel."""
    inside = np.empty((len(scenes.radii), image_size, image_size), bool)
    for rows, part in _parts(scenes):
        inside[rows] = (_distances(part, image_size) <= 0).any(axis=1)
    return inside


def _parts(scenes: Scenes) -> Iterator[tuple[slice, Scenes]]:
    """The scenes, 256 at a time: intermediate results take a hundred times the memory of the images."""
    for start in range(0, len(scenes.radii), 256):
        rows = slice(start, start + 256)
        yield rows, Scenes(*(field[rows] for field in scenes))


def _paint(scenes: Scenes, image_size: int, style: str) -> np.ndarray:
    distances = _distances(scenes, image_size)
    colours = scenes.attributes[:, [2, 5]]
    down, right = np.arange(image_size)[:, None], np.arange(image_size)
    if style == "flat":
        pixels = np.full((len(colours), image_size, image_size, 3), 255, np.float32)
        layers = [(distances, _FLAT[colours][:, :, None, None])]
    else:
        pixels = np.repeat(_BOARD[(down // 2 + right // 2) % 2][None], len(colours), axis=0)
        hatching = np.where((down + right) % 4 < 2, np.float32(0.75), np.float32(0.4))
        chalk = _CHALK[colours][:, :, None, None]
        width = np.float32(1.5 * image_size / 32)
        ring = np.abs(distances + width / 2) - width / 2
        layers = [(distances, hatching[..., None] * chalk), (ring, chalk)]
    for distance, ink in layers:
        cover = np.clip(0.5 - distance, 0, 1)[..., None]
        for one in range(2):
            pixels += cover[:, one] * (ink[:, one] - pixels)
    return np.rint(pixels).astype(np.uint8)


def _distances(scenes: Scenes, image_size: int) -> np.ndarray:
    """Signed distance of each pixel's centre to each object, in pixels: float32 `[N, 2, image_size, image_size]`."""
    middles = np.arange(image_size, dtype=np.float32) + np.float32(0.5)
    radii = (scenes.radii * image_size).astype(np.float32)[..., None, None]
    centres = (scenes.centres * image_size).astype(np.float32)
    across = np.abs(middles - centres[:, :, 0, None])[:, :, None]
    down = (middles - centres[:, :, 1, None])[..., None]
    shapes = scenes.attributes[:, [1, 4]]
    distances = np.empty((*shapes.shape, image_size, image_size), np.float32)
    for shape, outside in enumerate((_outside_circle, _outside_square, _outside_triangle)):
        chosen = shapes == shape
        distances[chosen] = outside(across[chosen], down[chosen], radii[chosen])
    return distances


def _outside_circle(across: np.ndarray, down: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.sqrt(across * across + down * down) - radius


def _outside_square(across: np.ndarray, down: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.maximum(across, np.abs(down)) - np.float32(_EXTENTS[1, 0]) * radius


def _outside_triangle(across: np.ndarray, down: np.ndarray, radius: np.ndarray) -> np.ndarray:
    width = np.float32(_EXTENTS[2, 0])
    side = (2 * across - width * (down + radius)) / np.sqrt(4 + width * width)
    return np.maximum(down - radius, side)
