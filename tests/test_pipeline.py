"""Batches, from a data set on the device and from one that is read as it is needed."""

import contextlib
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.data.base import Source
from jaxgan.data.order import batch_draws, batch_indices
from jaxgan.data.pipeline import DeviceBatches, StreamedBatches, configured_batches, image_batches
from jaxgan.data.sources import open_images
from jaxgan.pixels import to_uint8
from jaxgan.runs.config import RunConfig
from jaxgan.runs.image_config import ImageConfig

IMAGES = np.random.default_rng(0).integers(256, size=(50, 8, 6, 3), dtype=np.uint8)
LABELS = np.arange(50)


@contextlib.contextmanager
def counted_compilations():
    """A list that grows by one with every program that is handed to the compiler."""
    compilations = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compilations.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compilations
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_step_is_its_d_steps_batches_in_the_documented_order():
    batches = DeviceBatches({"image": IMAGES, "label": LABELS}, batch_size=8, seed=3, d_steps=5)
    assert batches.size == 50 and batches.batch_size == 8
    for step in (0, 1, 7):
        taken = batches(step)
        assert len(taken) == 5
        for i, batch in enumerate(taken):
            rows = batch_indices(3, 5 * step + i, 50, 8)
            np.testing.assert_array_equal(batch["label"], rows)
            np.testing.assert_array_equal(to_uint8(batch["image"]), IMAGES[rows])


def test_images_become_floats_and_labels_stay():
    every_byte = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    (batch,) = DeviceBatches({"image": every_byte, "label": np.arange(4, dtype=np.uint8)}, batch_size=4)(0)
    assert batch["image"].dtype == jnp.float32 and batch["label"].dtype == jnp.int32
    expected = every_byte[np.asarray(batch["label"])].astype(np.float64) / 127.5 - 1.0
    np.testing.assert_allclose(batch["image"], expected, rtol=0, atol=2e-7)


def test_the_same_step_is_the_same_bits_however_reached():
    sequence = [jax.device_get(one) for one in map(DeviceBatches(IMAGES, batch_size=8), range(20))]
    batches = DeviceBatches(IMAGES, batch_size=8)
    for step in (19, 3, np.int64(7), jnp.int32(6), 3):
        np.testing.assert_array_equal(batches(step)[0]["image"], sequence[int(step)][0]["image"])


def test_one_program_for_all_steps():
    batches = DeviceBatches({"image": IMAGES, "label": LABELS}, batch_size=8, d_steps=2)
    batches(0)
    with counted_compilations() as compilations:
        for step in range(1, 20):
            batches(step)
        again = DeviceBatches({"image": IMAGES, "label": LABELS}, batch_size=8, d_steps=2, seed=1)
        again(0)
    assert not compilations


def test_floats_pass_unchanged():
    points = np.random.default_rng(0).normal(size=(50, 2)) * 100
    (batch,) = DeviceBatches(points, batch_size=8)(0)
    assert batch["image"].dtype == jnp.float32
    np.testing.assert_array_equal(batch["image"], points.astype(np.float32)[batch_indices(0, 0, 50, 8)])
    pictures = np.linspace(-1, 1, IMAGES.size, dtype=np.float32).reshape(IMAGES.shape)
    (batch,) = DeviceBatches(pictures, batch_size=8)(0)
    np.testing.assert_array_equal(batch["image"], pictures[batch_indices(0, 0, 50, 8)])
    (batch,) = DeviceBatches({"text": points.astype(jnp.bfloat16)}, batch_size=8)(0)
    assert batch["text"].dtype == jnp.float32


def test_images_in_zero_to_one_are_named():
    """They train without an error, to grey and white images; a set of bright images in [-1, 1] looks the same."""
    values = np.random.default_rng(0).uniform(size=(8, 4, 4, 1))
    for batches in (
        DeviceBatches(values, batch_size=8),
        StreamedBatches(Source(8, lambda rows: {"image": values[np.asarray(rows)]}), batch_size=8),
    ):
        assert "should be in [-1, 1], with black at -1: if black is 0, give images * 2 - 1" in batches.notice
    for silent in (values * 2 - 1, values[:, 0, 0], np.zeros((8, 4, 4, 1)), 1.005 * (values * 2 - 1)):
        assert DeviceBatches(silent, batch_size=8).notice is None


def test_every_uint8_image_field_is_converted():
    (batch,) = DeviceBatches({"a": IMAGES, "b": 255 - IMAGES}, batch_size=8)(0)
    np.testing.assert_allclose(batch["a"], -batch["b"], atol=2e-7)


def test_changing_the_array_afterwards_changes_nothing():
    memory = np.empty(IMAGES.size + 64, np.uint8)
    start = -memory.ctypes.data % 64  # aligned: memory that JAX shares where it may
    pictures = memory[start : start + IMAGES.size].reshape(IMAGES.shape)
    pictures[:] = IMAGES
    batches = DeviceBatches(pictures, batch_size=50)
    before = jax.device_get(batches(0)[0]["image"])
    pictures[:] = 0
    np.testing.assert_array_equal(batches(0)[0]["image"], before)


def test_a_notice_only_where_much_is_thrown_away():
    assert DeviceBatches(IMAGES, batch_size=10).notice is None
    assert DeviceBatches(IMAGES, batch_size=15).notice is None  # 5 of 50: a tenth
    assert "16 of 50" in DeviceBatches(IMAGES, batch_size=17).notice


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ({"image": IMAGES, "label": LABELS[:-1]}, {}, ValueError, "image has 50, label has 49"),
        ({}, {}, ValueError, "there are none"),
        ({"image": IMAGES, "label": LABELS + 2**31}, {}, ValueError, "'label'.* beyond 32 bits"),
        (IMAGES, {"batch_size": 51}, ValueError, "50 examples, fewer than one batch of 51"),
        (IMAGES[:0], {}, ValueError, "0 examples"),
        (IMAGES, {"d_steps": 0}, ValueError, "d_steps=0"),
        (IMAGES, {"seed": -1}, ValueError, "seed=-1"),
    ],
)
def test_refusals(arrays, options, error, message):
    with pytest.raises(error, match=message):
        DeviceBatches(arrays, **{"batch_size": 8, **options})


# Images whose pixels say where they are: [..., 0] the row, [..., 1] the column, [..., 2] which image.
PLACES = np.stack([*np.meshgrid(np.arange(8), np.arange(6), indexing="ij"), np.zeros((8, 6))], axis=-1)
PLACES = np.stack([PLACES + np.array([0, 0, i]) for i in range(50)]).astype(np.uint8)


def test_flipping_mirrors_half_of_the_images():
    plain = DeviceBatches(PLACES, batch_size=50)
    flipped = DeviceBatches(PLACES, batch_size=50, flip=True)
    count = 0
    for step in range(8):
        draws = batch_draws(0, step, 50)[:, 2]
        (before,), (after,) = plain(step), flipped(step)
        for i in range(50):
            expected = before["image"][i, :, ::-1] if draws[i] < 0.5 else before["image"][i]
            np.testing.assert_array_equal(after["image"][i], expected)
            count += draws[i] < 0.5
    assert abs(count - 200) < 5 * 10  # of 400


@pytest.mark.parametrize("flip", [False, True])
def test_cropping_cuts_windows_at_the_drawn_places(flip):
    batches = DeviceBatches({"image": PLACES, "label": np.arange(50)}, batch_size=50, crop_size=4, flip=flip)
    corners = set()
    for step in range(4):
        (batch,) = batches(step)
        assert batch["image"].shape == (50, 4, 4, 3)
        draws = batch_draws(0, step, 50)
        for pixels, label, (down, across, mirrored) in zip(
            to_uint8(batch["image"]), batch["label"], draws, strict=True
        ):
            top, left = int(down * 5), int(across * 3)
            expected = PLACES[label, top : top + 4, left : left + 4]
            np.testing.assert_array_equal(pixels, expected[:, ::-1] if flip and mirrored < 0.5 else expected)
            corners.add((top, left))
    assert corners == set(itertools.product(range(5), range(3)))


def test_a_draw_of_one_stays_inside(monkeypatch):
    monkeypatch.setattr("jaxgan.data.pipeline.batch_draws", lambda *_: np.ones((8, 3), np.float32))
    (batch,) = DeviceBatches(PLACES, batch_size=8, crop_size=4)(0)
    np.testing.assert_array_equal(to_uint8(batch["image"])[0, 0, 0, :2], [4, 2])


def test_fields_of_an_example_are_cropped_alike():
    (batch,) = DeviceBatches({"a": PLACES, "b": PLACES, "text": LABELS[:, None]}, batch_size=8, crop_size=2)(0)
    np.testing.assert_array_equal(batch["a"], batch["b"])
    assert batch["text"].shape == (8, 1)


@pytest.mark.parametrize("crop_size", [0, 7, 9])
def test_crops_that_do_not_fit(crop_size):
    with pytest.raises(ValueError, match=f"crop_size={crop_size} does not fit into field 'image', 8 x 6"):
        DeviceBatches(IMAGES, batch_size=8, crop_size=crop_size)


def reading(arrays, seen=None):
    """Arrays as a source, which notes what is asked of it."""

    def read(rows):
        if seen is not None:
            seen.append(rows.tolist())
        return {name: field[rows] for name, field in arrays.items()}

    return Source(len(next(iter(arrays.values()))), read)


def assert_same_bits(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """12 files of three kinds, sizes and classes."""
    path = tmp_path_factory.mktemp("folder")
    random = np.random.default_rng(0)
    for i in range(12):
        pixels = random.integers(256, size=(12 + i % 3, 14, 3), dtype=np.uint8)
        (path / f"class{i % 3}").mkdir(exist_ok=True)
        Image.fromarray(pixels).convert(("RGB", "L", "RGBA")[i % 3]).save(path / f"class{i % 3}/{i}.png")
    return path


@pytest.mark.parametrize("options", [{}, {"load_size": 10, "flip": True, "labels": "condition", "d_steps": 2}])
def test_both_ways_give_the_same_bits_from_files(folder, options):
    options = {"batch_size": 4, "seed": 3, "image_size": 8, "channels": 3, **options}
    resident = image_batches(f"folder:{folder}", **options)
    streamed = image_batches(f"folder:{folder}", resident_mib=0, **options)
    assert isinstance(resident, DeviceBatches) and isinstance(streamed, StreamedBatches)
    for step in (0, 1, 2, 7, 3):
        assert_same_bits(streamed(step), resident(step))
    (batch, *_) = resident(0)
    assert batch["image"].shape == (4, 8, 8, 3)
    assert set(batch) == ({"image", "condition"} if "labels" in options else {"image"})


def test_the_size_in_memory_decides(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1025, 32, 32, 1), np.uint8))  # 1 KiB each, so one over a MiB
    options = {"batch_size": 4, "image_size": 32, "channels": 1, "resident_mib": 1}
    assert isinstance(image_batches(f"{tmp_path}/a.npy", **options), StreamedBatches)
    assert isinstance(image_batches(f"{tmp_path}/a.npy", "train[1:]", **options), DeviceBatches)
    assert isinstance(image_batches(f"{tmp_path}/a.npy", **(options | {"image_size": 16})), DeviceBatches)
    assert isinstance(image_batches(f"{tmp_path}/a.npy", **options, load_size=33), StreamedBatches)


def test_labels_are_asked_for(folder, tmp_path):
    options = {"batch_size": 4, "image_size": 8, "channels": 1}
    (batch,) = image_batches(f"folder:{folder}", labels="label", **options)(0)
    np.testing.assert_array_equal(batch["label"], np.repeat([0, 1, 2], 4)[batch_indices(0, 0, 12, 4)])
    np.save(tmp_path / "a.npy", IMAGES)
    for resident_mib in (0, 1):
        with pytest.raises(ValueError, match=r"a\.npy has no labels"):
            image_batches(f"{tmp_path}/a.npy", labels="condition", resident_mib=resident_mib, **options)


def test_a_load_size_must_hold_the_image():
    with pytest.raises(ValueError, match="load_size=7 is smaller than image_size=8"):
        image_batches("noise", batch_size=4, image_size=8, channels=1, load_size=7)


def test_every_flag_of_image_config_reaches_the_batches(monkeypatch):
    flags = {field.name for field in dataclasses.fields(ImageConfig)} - {f.name for f in dataclasses.fields(RunConfig)}
    given = {}
    monkeypatch.setattr(
        "jaxgan.data.pipeline.image_batches", lambda *names, **options: given.update(options, names=names)
    )
    changed = {"split": "test", "data_dir": "x", "image_size": 9, "channels": 3, "load_size": 10, "flip": True}
    config = ImageConfig(dataset="noise", batch_size=5, seed=6, resident_mib=7, num_workers=8, **changed)
    configured_batches(config, d_steps=2, labels="label")
    assert given.pop("names") == ("noise", "test")
    expected = changed | {"batch_size": 5, "seed": 6, "resident_mib": 7, "d_steps": 2, "labels": "label"}
    expected["num_workers"] = 8
    expected["num_classes"] = None
    assert given == {name: value for name, value in expected.items() if name != "split"}
    assert flags <= {"dataset", "augment", "microbatches", "remat", "freeze_d", *expected}  # four of the training step


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("resident_mib", [1024, 0])
def test_labels_outside_the_classes_are_refused(monkeypatch, resident_mib, known):
    """Of prepared data sets the labels are known as they are read."""
    if not known:
        opened = lambda *args, **options: open_images(*args, **options)._replace(labels=None)
        monkeypatch.setattr("jaxgan.data.pipeline.open_images", opened)
    options = {"batch_size": 4, "image_size": 8, "channels": 1, "labels": "condition", "resident_mib": resident_mib}
    assert image_batches("noise", num_classes=10, **options)(0)[0]["condition"].max() < 10
    cure = ": give --num-classes 10" if known or resident_mib else ""
    with pytest.raises(ValueError, match=rf"data set noise has label \d, outside 0\.\.num_classes-1=1{cure}$"):
        image_batches("noise", num_classes=2, **options)(0)
