import time

import pytest

from benchmarks import input_pipeline
from experiments import gaussians_2d
from jaxgan.data.sources import images

SMALL = ("--width", "4", "--batch-size", "16")


@pytest.mark.slow
def test_a_slow_source_is_the_greater_part_of_a_step(monkeypatch):
    make = gaussians_2d.batches

    def slow(config):
        source = make(config)
        return lambda step: (time.sleep(0.01), source(step))[1]

    monkeypatch.setattr(input_pipeline, "BATCHES", 5)
    monkeypatch.setattr(gaussians_2d, "batches", slow)
    found = input_pipeline.share_of_a_step("gaussians_2d", SMALL, turns=3)
    assert found["batches_ms"] > 10
    assert found["fed_ms"] > found["step_ms"] > 0
    assert 0.5 < found["share"] < 1


def test_images_a_second():
    """A source that takes 5 ms for 8 images gives at most 1,600 a second."""
    rate = input_pipeline.images_per_second(lambda step: time.sleep(0.005), 8, 10)
    assert 100 < rate < 1600


def test_images_of_the_size_asked_for(tmp_path):
    input_pipeline.write_images(tmp_path, 3, 16)
    found = images(f"folder:{tmp_path}", image_size=16, channels=3)["image"]
    assert found.shape == (3, 16, 16, 3) and len({image.tobytes() for image in found}) == 3
