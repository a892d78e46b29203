"""Scenes of two objects: their attributes, where they lie, and drawings of them in two styles.

A scene has seven attributes, which are all that a caption says of it. Objects are told apart by place, the first being
the upper or the left one, so "a red circle above a blue square" and "a blue square below a red circle" are one scene.

Drawings are the same bits on every machine: the random stream is frozen, and only operations are used that IEEE 754
rounds exactly.
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
"""The attributes and their values, in the order of their columns; an attribute is held as its value's number."""

NUM_VALUES = tuple(len(values) for values in ATTRIBUTES.values())
NUM_MEANINGS = int(np.prod(NUM_VALUES))

STYLES = ("flat", "chalk")

_RADII = np.array([(0.105, 0.12), (0.17, 0.19)])  # of the small and the large, in sides of the image
_EXTENTS = np.array([(1.0, 1.0), (0.88, 0.88), (1.1, 1.0)])  # half width and height of each shape, in radii
_MARGIN, _GAP = 0.03, 0.05

_FLAT = np.array([(222, 55, 48), (40, 160, 75), (45, 95, 220), (248, 196, 30)], np.float32)
_CHALK = np.array([(255, 110, 125), (120, 230, 130), (110, 180, 255), (255, 225, 110)], np.float32)
_BOARD = np.array([(38, 44, 52), (54, 62, 72)], np.float32)


class Scenes(NamedTuple):
    """Scenes as they are drawn, N of them, all lengths in sides of the image.

    Attributes:
      attributes: `[N, 7]` int32, columns as in `ATTRIBUTES`.
      centres: `[N, 2, 2]`, of the first and the second object: across from the left, down from the top.
      radii: `[N, 2]`.
    """

    attributes: np.ndarray
    centres: np.ndarray
    radii: np.ndarray


def meaning_of(attributes: np.ndarray) -> np.ndarray:
    """The number of a scene's meaning: two scenes have the same if and only if the same captions are true of them.

    Args:
      attributes: integers `[..., 7]`, columns as in `ATTRIBUTES`.

    Returns:
      int32 `[...]` in 0..1151.

    Raises:
      ValueError: a value that its attribute does not have.

    >>> int(meaning_of(np.array([1, 2, 3, 1, 2, 3, 1])))
    1151
    """
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(attributes, -1, 0)), NUM_VALUES), np.int32)


def attributes_of(meaning: np.ndarray) -> np.ndarray:
    """The inverse of `meaning_of`: int32 `[..., 7]` of integers `[...]`."""
    return np.stack(np.unravel_index(meaning, NUM_VALUES), axis=-1).astype(np.int32)


def place(attributes: np.ndarray, random: np.random.RandomState) -> Scenes:
    """Gives every object a place and an exact size, others each time.

    The objects lie wholly inside, apart from each other along their axis by at least a twentieth of the side, and are
    never further apart across it than half of what they are along it.

    Args:
      attributes: integers `[N, 7]`, columns as in `ATTRIBUTES`.
      random: where the places come from.

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

    # Along the axis, what the objects leave free is cut in three at random: before, between and after them.
    free = 1 - 2 * _MARGIN - _GAP - 2 * (along[:, 0] + along[:, 1])
    cuts = np.sort(draws[:, 2:4], axis=1) * free[:, None]
    first = _MARGIN + along[:, 0] + cuts[:, 0]
    second = _MARGIN + 2 * along[:, 0] + _GAP + along[:, 1] + cuts[:, 1]

    # Across it, the difference is drawn first, then a place at which both objects are inside.
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
    """Of each object top, left, bottom and right, in sides of the image: float32 `[N, 2, 4]`."""
    extents = _EXTENTS[scenes.attributes[:, [1, 4]]] * scenes.radii[..., None]
    corners = np.concatenate([scenes.centres - extents, scenes.centres + extents], axis=-1)
    return corners[..., [1, 0, 3, 2]].astype(np.float32)


def draw(scenes: Scenes, image_size: int, *, style: str = "flat") -> np.ndarray:
    """Draws scenes, their edges antialiased by how much of a pixel is covered.

    Args:
      scenes: what to draw.
      image_size: side in pixels, 32 or more for shapes that can be told apart.
      style: `flat`, one colour on white; or `chalk`, an outline and hatching in a lighter colour on a woven board. The
        weave and the hatching repeat every 4 pixels, at the same place in every image.

    Returns:
      uint8 `[N, image_size, image_size, 3]`.

    Raises:
      ValueError: no such style.
    """
    if style not in STYLES:
        raise ValueError(f"no style {style!r}: there are {', '.join(STYLES)}")
    images = np.empty((len(scenes.radii), image_size, image_size, 3), np.uint8)
    for rows, part in _parts(scenes):
        images[rows] = _paint(part, image_size, style)
    return images


def masks(scenes: Scenes, image_size: int) -> np.ndarray:
    """Where the objects are: bool `[N, image_size, image_size]`, true where at least half of a pixel is covered."""
    inside = np.empty((len(scenes.radii), image_size, image_size), bool)
    for rows, part in _parts(scenes):
        inside[rows] = (_distances(part, image_size) <= 0).any(axis=1)
    return inside


def _parts(scenes: Scenes) -> Iterator[tuple[slice, Scenes]]:
    """A few hundred at a time, since what is computed of each takes a hundred times the bytes of its image."""
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
    """How far each pixel's middle lies outside each object, in pixels: float32 `[N, 2, image_size, image_size]`."""
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
