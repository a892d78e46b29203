"""Batches from a data set on the device."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.data.order import batch_indices
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.pixels import to_uint8

PICTURES = np.random.default_rng(0).integers(256, size=(50, 8, 6, 3), dtype=np.uint8)
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
    batches = DeviceBatches({"image": PICTURES, "label": LABELS}, batch_size=8, seed=3, d_steps=5)
    assert batches.size == 50 and batches.batch_size == 8
    for step in (0, 1, 7):
        taken = batches(step)
        assert len(taken) == 5
        for i, batch in enumerate(taken):
            rows = batch_indices(3, 5 * step + i, 50, 8)
            np.testing.assert_array_equal(batch["label"], rows)
            np.testing.assert_array_equal(to_uint8(batch["image"]), PICTURES[rows])


def test_pictures_become_floats_and_labels_stay():
    every_byte = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    (batch,) = DeviceBatches({"image": every_byte, "label": np.arange(4, dtype=np.uint8)}, batch_size=4)(0)
    assert batch["image"].dtype == jnp.float32 and batch["label"].dtype == jnp.int32
    expected = every_byte[np.asarray(batch["label"])].astype(np.float64) / 127.5 - 1.0
    np.testing.assert_allclose(batch["image"], expected, rtol=0, atol=2e-7)


def test_the_same_step_is_the_same_bits_however_reached():
    sequence = [jax.device_get(one) for one in map(DeviceBatches(PICTURES, batch_size=8), range(20))]
    batches = DeviceBatches(PICTURES, batch_size=8)
    for step in (19, 3, np.int64(7), jnp.int32(6), 3):
        np.testing.assert_array_equal(batches(step)[0]["image"], sequence[int(step)][0]["image"])


def test_one_program_for_all_steps():
    batches = DeviceBatches({"image": PICTURES, "label": LABELS}, batch_size=8, d_steps=2)
    batches(0)
    with counted_compilations() as compilations:
        for step in range(1, 20):
            batches(step)
        again = DeviceBatches({"image": PICTURES, "label": LABELS}, batch_size=8, d_steps=2, seed=1)
        again(0)
    assert not compilations


def test_floats_pass_unchanged():
    points = np.random.default_rng(0).normal(size=(50, 2)) * 100
    (batch,) = DeviceBatches(points, batch_size=8)(0)
    assert batch["image"].dtype == jnp.float32
    np.testing.assert_array_equal(batch["image"], points.astype(np.float32)[batch_indices(0, 0, 50, 8)])
    pictures = np.linspace(-1, 1, PICTURES.size, dtype=np.float32).reshape(PICTURES.shape)
    (batch,) = DeviceBatches(pictures, batch_size=8)(0)
    np.testing.assert_array_equal(batch["image"], pictures[batch_indices(0, 0, 50, 8)])
    (batch,) = DeviceBatches({"text": points.astype(jnp.bfloat16)}, batch_size=8)(0)
    assert batch["text"].dtype == jnp.float32


def test_pictures_that_were_standardised_are_taken():
    standardised = np.random.default_rng(0).normal(size=(8, 4, 4, 1))
    assert standardised.max() > 2
    (batch,) = DeviceBatches(standardised, batch_size=8)(0)
    np.testing.assert_allclose(jnp.max(batch["image"]), standardised.max(), rtol=1e-6)


def test_every_uint8_picture_field_is_converted():
    (batch,) = DeviceBatches({"a": PICTURES, "b": 255 - PICTURES}, batch_size=8)(0)
    np.testing.assert_allclose(batch["a"], -batch["b"], atol=2e-7)


def test_changing_the_array_afterwards_changes_nothing():
    memory = np.empty(PICTURES.size + 64, np.uint8)
    start = -memory.ctypes.data % 64  # aligned: memory that JAX shares where it may
    pictures = memory[start : start + PICTURES.size].reshape(PICTURES.shape)
    pictures[:] = PICTURES
    batches = DeviceBatches(pictures, batch_size=50)
    before = jax.device_get(batches(0)[0]["image"])
    pictures[:] = 0
    np.testing.assert_array_equal(batches(0)[0]["image"], before)


def test_a_notice_only_where_much_is_thrown_away():
    assert DeviceBatches(PICTURES, batch_size=10).notice is None
    assert DeviceBatches(PICTURES, batch_size=15).notice is None  # 5 of 50: a tenth
    assert "16 of 50" in DeviceBatches(PICTURES, batch_size=17).notice


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ({"image": PICTURES, "label": LABELS[:-1]}, {}, ValueError, "image has 50, label has 49"),
        ({}, {}, ValueError, "there are none"),
        (PICTURES[..., 0], {}, ValueError, r"uint8 of shape \[50, 8, 6\], .* \[N, H, W, C\]"),
        (PICTURES.reshape(50, -1), {}, ValueError, r"\[N, H, W, C\]"),
        (PICTURES.astype(np.int32), {}, TypeError, "int32 .* uint8 in 0..255"),
        (PICTURES.astype(np.uint16), {}, TypeError, "uint16 .* uint8 in 0..255"),
        (PICTURES.astype(np.float64), {}, ValueError, "reaches from 0 to 255: give pictures as uint8"),
        (np.full((50, 2), np.nan), {}, ValueError, "not finite"),
        ({"image": PICTURES, "label": LABELS + 2**31}, {}, ValueError, "'label'.* beyond 32 bits"),
        (
            {"image": PICTURES, "label": LABELS.astype(str)},
            {},
            TypeError,
            "'label'.* neither of floats nor of integers",
        ),
        ({"image": PICTURES, "mask": LABELS > 3}, {}, TypeError, "'mask', bool"),
        ({"image": PICTURES, "label": 3}, {}, ValueError, "'label'.* no axis of examples"),
        (PICTURES, {"batch_size": 51}, ValueError, "50 examples, fewer than one batch of 51"),
        (PICTURES[:0], {}, ValueError, "0 examples"),
        (PICTURES, {"d_steps": 0}, ValueError, "d_steps=0"),
        (PICTURES, {"seed": -1}, ValueError, "seed=-1"),
    ],
)
def test_refusals(arrays, options, error, message):
    with pytest.raises(error, match=message):
        DeviceBatches(arrays, **{"batch_size": 8, **options})
