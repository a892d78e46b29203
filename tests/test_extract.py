"""The way from images to features: bytes, sizes, batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from test_frechet import normals

from jaxgan.data.sources import images
from jaxgan.metrics.extract import as_bytes, extract, extract_batches, resize
from jaxgan.metrics.frechet import frechet_distance, gather_statistics
from jaxgan.pixels import from_uint8

BYTES = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1)])
def test_every_byte_survives_as_a_declared_float(value_range, dtype):
    black, white = value_range
    floats = (black + (white - black) * (BYTES / 255.0)).astype(dtype)
    np.testing.assert_array_equal(as_bytes(floats, value_range), BYTES)
    assert as_bytes(BYTES) is BYTES


@pytest.mark.parametrize(
    ("images", "value_range", "message"),
    [
        (np.array([-1.0, 1.0]), None, "floats from -1 to 1 without a value_range"),
        (np.array([-1.0, 1.0]), (0, 1), "floats from -1 to 1, outside the declared range of 0 to 1"),
        (np.array([0.0, 255.0]), (-1, 1), "floats from 0 to 255, outside"),
        (np.array([0.0, np.nan]), (-1, 1), "outside the declared range"),
        (np.array([0, 255]), (0, 1), "type int64, but uint8 or floats"),
    ],
)
def test_a_range_is_never_guessed(images, value_range, message):
    with pytest.raises(ValueError, match=message):
        as_bytes(images, value_range)


@pytest.mark.parametrize("size", [7, 16, 45])
def test_antialiased_is_pillows_bicubic_filter(size):
    images = np.random.default_rng(0).integers(256, size=(1, 30, 30, 2), dtype=np.uint8)
    resized = np.asarray(resize(jnp.asarray(images), size, "antialiased"))
    for channel in range(2):
        image = Image.fromarray(images[0, ..., channel].astype(np.float32))
        expected = np.clip(np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)), 0.0, 255.0)
        np.testing.assert_allclose(resized[0, ..., channel], expected, atol=1e-3)


def test_legacy_takes_corners_for_pixels():
    # Pixel i of the result lies at i * (3 / 6) of the row 0, 100, 40; past its end the last pixel is repeated.
    row = jnp.asarray([0, 100, 40], jnp.uint8)
    expected = [0, 50, 100, 70, 40, 40]
    wide = resize(jnp.broadcast_to(row[None, None, :, None], (1, 3, 3, 1)), 6, "legacy")
    np.testing.assert_allclose(wide[0, 0, :, 0], expected)
    tall = resize(jnp.broadcast_to(row[None, :, None, None], (1, 3, 3, 1)), 6, "legacy")
    np.testing.assert_allclose(tall[0, :, 5, 0], expected)
    # Reduced to a third, it takes every third pixel and averages nothing.
    many = jnp.arange(81, dtype=jnp.uint8).reshape(1, 9, 9, 1)
    np.testing.assert_array_equal(resize(many, 3, "legacy")[0, ..., 0], np.arange(81).reshape(9, 9)[::3, ::3])


@pytest.mark.parametrize("resizer", ["antialiased", "legacy"])
def test_images_of_the_size_are_left_alone(resizer):
    np.testing.assert_allclose(resize(jnp.asarray(BYTES), 16, resizer), BYTES, atol=1e-4)


def test_unknown_resizer():
    with pytest.raises(ValueError, match="unknown resizer 'bilinear': there are antialiased, legacy"):
        resize(jnp.asarray(BYTES), 8, "bilinear")


def numbered(count):
    images = np.zeros((count, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


def test_one_shape_is_compiled_and_every_image_counts_once():
    shapes = []

    @jax.jit
    def features(images):
        shapes.append(images.shape)
        return images.reshape(len(images), -1).astype(jnp.float32)

    batches = list(extract_batches(numbered(10), features, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 2] and shapes == [(4, 2, 2, 1)]
    np.testing.assert_array_equal(extract(numbered(10), features, batch_size=4)[:, 0], np.arange(10))
    np.testing.assert_array_equal(extract(numbered(3), features, batch_size=4)[:, 0], np.arange(3))
    assert len(list(extract_batches(numbered(8), features, batch_size=4))) == 2  # no empty batch at the end


@pytest.mark.parametrize(
    ("images", "batch_size", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), 4, "float32 images of shape .2, 4, 4, 3., but uint8"),
        (np.zeros((0, 4, 4, 3), np.uint8), 4, "shape .0, 4, 4, 3."),
        (np.zeros((4, 4, 3), np.uint8), 4, r"uint8 \[N, H, W, C\] was expected"),
        (numbered(3), 0, "batch_size=0"),
    ],
)
def test_refusals(images, batch_size, message):
    with pytest.raises(ValueError, match=message):
        extract(images, lambda images: images, batch_size=batch_size)


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="the feature extractor gives NaN or infinity"):
        extract(numbered(3), lambda images: images.reshape(len(images), -1) * jnp.nan, batch_size=2)


def flattened(images):
    return images.reshape(len(images), -1).astype(jnp.float32)


@pytest.mark.parametrize("count", [100, 128, 5])
def test_every_image_is_read_once(count):
    """GaParmar/clean-fid#32: counts were rounded to whole batches."""
    pictures = np.random.default_rng(count).integers(256, size=(count, 2, 2, 1), dtype=np.uint8)
    batches = list(extract_batches(pictures, flattened, batch_size=64))
    assert sum(len(batch) for batch in batches) == count
    np.testing.assert_array_equal(np.concatenate(batches), pictures.reshape(count, 4))


def test_unequal_counts_and_any_batch_size():
    """GaParmar/clean-fid#32: counts were rounded to whole batches."""
    assert frechet_distance(normals(0, 20, 4), normals(1, 50, 4)) == pytest.approx(0.614079, rel=1e-5)
    random = np.random.default_rng(0)
    real, fake = (random.integers(256, size=(count, 2, 2, 1), dtype=np.uint8) for count in (7, 23))
    values = [
        frechet_distance(*(gather_statistics(extract_batches(one, flattened, batch_size=size)) for one in (real, fake)))
        for size in (1, 7, 64)
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-9)


def test_reduced_images_are_averaged():
    """mseitzer/pytorch-fid#74: how images of other sizes are resized was not said, and changes the score."""
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, 1::4] = 255
    resized = resize(jnp.asarray(stripes), 16, "antialiased")
    np.testing.assert_allclose(resized[0, 2:-2, 2:-2], 63.75, atol=1e-3)  # 127.5 without, 0 by the nearest


def test_declared_ranges_agree_and_none_is_guessed():
    """Lightning-AI/torchmetrics#1244: which range floats have was guessed."""
    pictures = np.random.default_rng(0).integers(256, size=(50, 4, 4, 3), dtype=np.uint8)
    unit, signed = pictures / np.float32(255), np.asarray(from_uint8(pictures))
    ways = [as_bytes(pictures), as_bytes(unit, (0, 1)), as_bytes(signed, (-1, 1))]
    features = [extract(way, flattened, batch_size=25) for way in ways]
    assert max(frechet_distance(features[0], other) for other in features[1:]) < 1e-2
    for floats in (signed, pictures.astype(np.float32)):
        with pytest.raises(ValueError, match="without a value_range"):
            as_bytes(floats)


def test_a_folder_of_several_sizes_and_kinds(tmp_path):
    """mseitzer/pytorch-fid#81: a folder of several sizes was an error."""
    random = np.random.default_rng(0)
    for name, shape in (("a", (32, 32, 3)), ("b", (40, 48, 3)), ("c", (32, 32))):
        Image.fromarray(random.integers(256, size=shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    pictures = images(f"folder:{tmp_path}", image_size=16, channels=3)["image"]
    assert extract(as_bytes(pictures), flattened, batch_size=2).shape == (3, 16 * 16 * 3)
    np.testing.assert_array_equal(pictures[2, ..., 0], pictures[2, ..., 2])
