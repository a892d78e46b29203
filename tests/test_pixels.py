import jax
import numpy as np
import pytest

from jaxgan.pixels import NonFiniteSamplesError, drawn_by, from_uint8, to_uint8


def test_every_byte_survives_the_way_there_and_back():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(from_uint8(every)), every)


def test_range_is_exact_also_under_jit():
    # [derived] 51 = 255 / 5, so (2 * 51 - 255) / 255 = -3/5.
    values = np.array([0, 51, 255], np.uint8)
    for convert in (from_uint8, jax.jit(from_uint8)):
        np.testing.assert_array_equal(convert(values), np.float32([-1.0, -0.6, 1.0]))


def test_values_outside_are_clipped_not_wrapped():
    np.testing.assert_array_equal(to_uint8(np.float32([-1.5, 1.5])), [0, 255])


def test_only_bytes_are_taken_for_bytes():
    with pytest.raises(TypeError, match="float32"):
        from_uint8(np.float32([0.0]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_has_no_byte(bad):
    images = np.zeros((1200, 2, 2, 1), np.float32)
    images[::2, 1, 1] = bad
    with pytest.raises(ValueError, match=r"^600 of 1,200 samples are not finite \(NaN or infinity\)$"):
        to_uint8(images)
    with (
        pytest.raises(NonFiniteSamplesError, match=r"^checkpoint 7 of runs/a generated 1 of 1 samples that are not"),
        drawn_by("checkpoint 7 of runs/a"),
    ):
        to_uint8(np.float32(bad))
    assert to_uint8(np.zeros((0, 2, 2, 1))).shape == (0, 2, 2, 1)
