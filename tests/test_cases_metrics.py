"""Bugs that others met in public code of scores, by number; the others are in test_cases."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.data.sources import images
from jaxgan.devices.sharding import by_batch, data_mesh
from jaxgan.metrics.extract import as_bytes, extract, extract_batches, resize
from jaxgan.metrics.frechet import bias_warning, frechet_distance, gather_statistics
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.protocol import Stamp, load_reference, save_reference
from jaxgan.pixels import from_uint8


def normals(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        ([0, 2], [1, 3], 1.0),
        ([0, 2], [0, 4], 3.0),  # 2.0 if the covariance is divided by n
        ([[0, 0], [2, 0]], [[0, 0], [0, 2]], 6.0),
        (normals(0, 10, 64), normals(1, 10, 64), 99.1742),
        (normals(0, 10, 2048), normals(1, 10, 2048), 4256.162),
        (normals(0, 64, 8), np.zeros((64, 8)), 8.28628),
    ],
)
def test_case_30_few_samples_and_collapse_have_a_distance(real, fake, expected):
    """The matrix square root was complex, NaN or huge, and two equal sets were 7 or a little below 0 apart."""
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)
    if np.shape(real)[-1] < 100:  # the same from covariances, where the rank is short
        assert frechet_distance(gather_statistics([real]), gather_statistics([fake])) == pytest.approx(expected, 1e-6)
    for same in (real, fake):
        assert 0.0 <= frechet_distance(same, same) < 1e-6


def test_case_30_one_sample_is_refused_and_few_are_warned_about():
    with pytest.raises(ValueError, match="at least 2 samples"):
        frechet_distance(normals(0, 1, 8), normals(1, 5, 8))
    assert "with 10 samples and 64 features" in bias_warning(10, 10, 64)


def flattened(images):
    return images.reshape(len(images), -1).astype(jnp.float32)


@pytest.mark.parametrize("count", [100, 128, 5])
def test_case_32_exactly_as_many_samples_as_asked_for(count):
    """Counts were rounded to batches, the last part was dropped or empty, and few images gave NaN."""
    pictures = np.random.default_rng(count).integers(256, size=(count, 2, 2, 1), dtype=np.uint8)
    batches = list(extract_batches(pictures, flattened, batch_size=64))
    assert sum(len(batch) for batch in batches) == count
    np.testing.assert_array_equal(np.concatenate(batches), pictures.reshape(count, 4))


def test_case_32_unequal_counts_and_any_batch_size():
    assert frechet_distance(normals(0, 20, 4), normals(1, 50, 4)) == pytest.approx(0.614079, rel=1e-5)
    random = np.random.default_rng(0)
    real, fake = (random.integers(256, size=(count, 2, 2, 1), dtype=np.uint8) for count in (7, 23))
    values = [
        frechet_distance(*(gather_statistics(extract_batches(one, flattened, batch_size=size)) for one in (real, fake)))
        for size in (1, 7, 64)
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-9)


def test_case_33_reduced_images_are_averaged():
    """A resizer without antialiasing saw or missed whole lines."""
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, 1::4] = 255
    resized = resize(jnp.asarray(stripes), 16, "antialiased")
    np.testing.assert_allclose(resized[0, 2:-2, 2:-2], 63.75, atol=1e-3)  # 127.5 without, 0 by the nearest


def test_case_33_declared_ranges_agree_and_none_is_guessed():
    """Floats were read as bytes or in another range."""
    pictures = np.random.default_rng(0).integers(256, size=(50, 4, 4, 3), dtype=np.uint8)
    unit, signed = pictures / np.float32(255), np.asarray(from_uint8(pictures))
    ways = [as_bytes(pictures), as_bytes(unit, (0, 1)), as_bytes(signed, (-1, 1))]
    features = [extract(way, flattened, batch_size=25) for way in ways]
    assert max(frechet_distance(features[0], other) for other in features[1:]) < 1e-2
    for floats in (signed, pictures.astype(np.float32)):
        with pytest.raises(ValueError, match="without a value_range"):
            as_bytes(floats)


def test_case_33_a_mixed_folder(tmp_path):
    """Folders of several sizes, or with grey files among them, crashed."""
    random = np.random.default_rng(0)
    for name, shape in (("a", (32, 32, 3)), ("b", (40, 48, 3)), ("c", (32, 32))):
        Image.fromarray(random.integers(256, size=shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    pictures = images(f"folder:{tmp_path}", image_size=16, channels=3)["image"]
    assert extract(as_bytes(pictures), flattened, batch_size=2).shape == (3, 16 * 16 * 3)
    np.testing.assert_array_equal(pictures[2, ..., 0], pictures[2, ..., 2])


def test_case_33_a_reference_made_otherwise_is_refused_by_name(tmp_path):
    """A cached reference of another resolution was taken for this one."""
    stamp = Stamp(
        dataset="folder:x", split="train", real_count=3, fake_count=3, image_size=32, features="inception",
        feature_weights="ab", resizer="antialiased", quantized=True, averaged=True, step=1,
    )  # fmt: skip
    save_reference(tmp_path / "reference.npz", gather_statistics([np.eye(3)]), stamp)
    for name, value in (("image_size", 64), ("resizer", "legacy"), ("features", "classifier")):
        with pytest.raises(ValueError, match=f"computed with {name} {getattr(stamp, name)}, not {value}"):
            load_reference(tmp_path / "reference.npz", dataclasses.replace(stamp, **{name: value}))


def test_case_50_a_distance_is_of_all_shards_together():
    """Distances of each device's own samples were averaged."""
    values = np.array([0, 2, 4, 6], np.uint8).reshape(4, 1, 1, 1)
    on_two = extract(values, jax.jit(flattened), batch_size=4, sharding=by_batch(data_mesh(2)))
    assert frechet_distance([0, 2, 4, 6], on_two) == pytest.approx(0.0, abs=1e-12)
    mean_of_shards = np.mean([frechet_distance([0, 2, 4, 6], part) for part in np.split(on_two, 2)])
    assert mean_of_shards == pytest.approx(5.3637, abs=1e-4)  # what was reported


def test_case_50_a_short_batch_counts_as_what_it_is():
    """Means of batches were averaged, so one image of a last batch weighed as much as a whole one."""
    values = np.array([1, 1, 1, 1, 0], np.uint8).reshape(5, 1, 1, 1)
    statistics = gather_statistics(extract_batches(values, flattened, batch_size=4))
    assert statistics.count == 5 and statistics.mean.tolist() == [0.8]  # 0.5 as a mean of means


def scores(devices):
    """Frechet and kernel distance of 19 and of 30 images, on so many devices."""
    random = np.random.default_rng(0)
    real, fake = (random.integers(256, size=(count, 4, 4, 1), dtype=np.uint8) for count in (30, 19))
    weights = jnp.asarray(random.normal(size=(16, 3)), jnp.float32)
    features = jax.jit(lambda images: jnp.tanh(flattened(images) @ weights / 255.0))
    real, fake = (
        extract(one, features, batch_size=8, sharding=by_batch(data_mesh(devices, batch_size=8)))
        for one in (real, fake)
    )
    assert len(fake) == 19
    return [frechet_distance(real, fake), kernel_distance(real, fake, subset_size=10, subsets=5).mean]


@pytest.mark.parametrize("devices", [2, 4])
def test_case_50_devices_do_not_change_a_score(devices):
    """The number of devices did, and rows of padding were counted as images."""
    np.testing.assert_allclose(scores(devices), scores(1), rtol=1e-4)


@pytest.mark.slow
def test_case_50_eight_devices_do_not_change_a_score():
    code = (
        "import jax; jax.config.update('jax_platforms', 'cpu'); jax.config.update('jax_num_cpu_devices', 8); "
        "import test_cases_metrics as cases; print(*cases.scores(8))"
    )
    tests = Path(__file__).parent
    output = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tests)!r}, {str(tests.parent)!r}]; {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    np.testing.assert_allclose([float(value) for value in output.stdout.split()], scores(1), rtol=1e-4)
