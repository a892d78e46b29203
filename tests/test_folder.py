"""Image files to arrays."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxgan.data.folder import read_image


def encoded(array, mode=None):
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, "png")
    file.seek(0)
    return file


RANDOM = np.random.default_rng(0).integers(256, size=(12, 10, 3), dtype=np.uint8)


def test_pixels_come_back_exactly():
    np.testing.assert_array_equal(read_image(encoded(RANDOM)), RANDOM)
    np.testing.assert_array_equal(read_image(encoded(RANDOM[..., 0])), RANDOM[..., :1])
    square = RANDOM[:10]
    np.testing.assert_array_equal(read_image(encoded(square), image_size=10), square)


def test_a_path_is_read_as_well(tmp_path):
    Image.fromarray(RANDOM).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RANDOM)


def test_grey_is_repeated_for_three_channels():
    grey = RANDOM[..., 0]
    np.testing.assert_array_equal(read_image(encoded(grey), channels=3), np.repeat(grey[..., None], 3, axis=2))
    assert read_image(encoded(grey), channels=3, image_size=16).shape == (16, 16, 3)


def test_reducing_is_antialiased():
    """Every fourth column white: a quarter of 255 is 64 everywhere, where picking pixels gives 0 or 255."""
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, 1::4] = 255
    reduced = read_image(encoded(stripes), image_size=16)
    np.testing.assert_allclose(reduced[:, 2:-2].astype(float), 64, atol=3)


def test_the_centre_of_an_oblong_image_is_kept():
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 200
    np.testing.assert_array_equal(read_image(encoded(wide), image_size=8), np.full((8, 8, 1), 200))
    np.testing.assert_array_equal(read_image(encoded(wide.T), image_size=8), np.full((8, 8, 1), 200))


@pytest.mark.parametrize("mode", ["LA", "P", "1", "RGBA"])
def test_other_kinds_of_image_are_refused(mode):
    with pytest.raises(ValueError, match=f"mode {mode}"):
        read_image(encoded(RANDOM, mode))


def test_sixteen_bits_are_refused():
    with pytest.raises(ValueError, match="mode I;16"):
        read_image(encoded(np.full((4, 4), 300, np.uint16)))


def test_colour_for_one_channel_is_refused():
    with pytest.raises(ValueError, match="channels=1"):
        read_image(encoded(RANDOM), channels=1)
