"""Batches that are read during training: those of the device, from threads that end with them."""

import gc
import sys
import threading
import time

import numpy as np
import pytest
from test_pipeline import assert_same_bits, counted_compilations, reading

from jaxgan.data.base import Source
from jaxgan.data.order import batch_indices
from jaxgan.data.pipeline import DeviceBatches, StreamedBatches

IMAGES = np.random.default_rng(0).integers(256, size=(50, 8, 6, 3), dtype=np.uint8)
LABELS = np.arange(50)


@pytest.mark.parametrize("options", [{}, {"d_steps": 3, "seed": 5}, {"crop_size": 5, "flip": True}, {"flip": True}])
def test_streamed_batches_are_those_of_the_device(options):
    arrays = {"image": IMAGES, "label": LABELS, "text": np.linspace(0, 1, 100).reshape(50, 2)}
    on_device = DeviceBatches(arrays, batch_size=8, **options)
    streamed = StreamedBatches(reading(arrays), batch_size=8, **options)
    assert (streamed.size, streamed.batch_size) == (on_device.size, on_device.batch_size)
    for step in (0, 1, 2, 3, 17, np.int64(18), 5, 5, 0):
        assert_same_bits(streamed(step), on_device(step))


def test_streamed_sixteen_bit_images_pass_as_floats():
    pictures = np.linspace(-1, 1, IMAGES.size, dtype=np.float32).reshape(IMAGES.shape)
    options = {"batch_size": 8, "crop_size": 5, "flip": True}
    assert_same_bits(StreamedBatches(reading({"image": pictures}), **options)(3), DeviceBatches(pictures, **options)(3))


def test_streaming_reads_ahead_from_the_step_asked_for():
    seen = []
    streamed = StreamedBatches(reading({"image": IMAGES}, seen), batch_size=8)
    assert seen == [[0]]  # one example, for its shapes
    streamed(100)
    count = 0
    while count < len(seen):  # until it has read as far as it will
        count = len(seen)
        time.sleep(0.3)
    assert 3 <= count < 40
    first = [batch_indices(0, update, 50, 8).tolist() for update in range(100, 99 + count)]
    assert sorted(seen[1:]) == sorted(first)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_as_many_threads_read_as_asked_for(num_workers):
    reading_now, most = set(), []

    def read(rows):
        reading_now.add(threading.get_ident())
        most.append(len(reading_now))
        time.sleep(0.02)
        reading_now.discard(threading.get_ident())
        return {"image": IMAGES[rows]}

    streamed = StreamedBatches(Source(50, read), batch_size=8, num_workers=num_workers)
    for step in range(8):
        assert_same_bits(streamed(step), DeviceBatches(IMAGES, batch_size=8)(step))
    assert max(most) == num_workers


def test_streaming_compiles_one_program():
    streamed = StreamedBatches(reading({"image": IMAGES}), batch_size=8, d_steps=2, flip=True)
    streamed(0)
    with counted_compilations() as compilations:
        for step in (1, 2, 3, 9):
            streamed(step)
    assert not compilations


def test_what_cannot_be_read_is_met_in_its_turn_and_passed_after():
    def read(rows):
        if 17 in rows:
            raise ValueError("x/17.png: broken")
        return {"image": IMAGES[rows]}

    streamed = StreamedBatches(Source(50, read), batch_size=5)
    holds_17 = [step for step in range(10) if 17 in batch_indices(0, step, 50, 5)]
    for step in range(10):
        if step in holds_17:
            with pytest.raises(ValueError, match=r"^x/17\.png: broken"):
                streamed(step)
        else:
            streamed(step)
    for batches in (streamed, DeviceBatches(IMAGES, batch_size=5)):
        with pytest.raises(ValueError, match="steps count from 0, not -1"):
            batches(-1)


def test_the_threads_end_with_the_batches():
    before = set(threading.enumerate())
    streamed = StreamedBatches(reading({"image": IMAGES}), batch_size=8)
    streamed(0)
    streamed(50)
    own = set(threading.enumerate()) - before
    assert own
    del streamed
    gc.collect()
    deadline = time.monotonic() + 10
    while any(thread.is_alive() for thread in own) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [thread for thread in own if thread.is_alive()]


def test_streamed_refusals(monkeypatch):
    with pytest.raises(ValueError, match="50 examples, fewer than one batch of 51"):
        StreamedBatches(reading({"image": IMAGES}), batch_size=51)
    with pytest.raises(ValueError, match="d_steps=0"):
        StreamedBatches(reading({"image": IMAGES}), batch_size=8, d_steps=0)
    for number in (0, -1):
        with pytest.raises(ValueError, match=f"num_workers={number}: at least 1 expected"):
            StreamedBatches(reading({"image": IMAGES}), batch_size=8, num_workers=number)
    with pytest.raises(TypeError, match="uint16"):
        StreamedBatches(reading({"image": IMAGES.astype(np.uint16)}), batch_size=8)
    with pytest.raises(ValueError, match="crop_size=9"):
        StreamedBatches(reading({"image": IMAGES}), batch_size=8, crop_size=9)
    assert "16 of 50" in StreamedBatches(reading({"image": IMAGES}), batch_size=17).notice
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs Grain: pip install -e '\.\[experiments\]'$"):
        StreamedBatches(reading({"image": IMAGES}), batch_size=8)
