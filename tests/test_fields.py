"""Which arrays are fields of a batch."""

import numpy as np
import pytest

from jaxgan.data.fields import as_field, doubtful

IMAGES = np.random.default_rng(0).integers(256, size=(50, 8, 6, 3), dtype=np.uint8)
LABELS = np.arange(50)


def test_images_that_were_standardised_are_taken():
    standardised = np.random.default_rng(0).normal(size=(8, 4, 4, 1))
    assert standardised.max() > 2
    field = as_field("image", standardised)
    np.testing.assert_array_equal(field, standardised.astype(np.float32))
    notice = doubtful({"image": field})
    assert "ranges from -2.33 to 2" in notice and "undo their standardization" in notice


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first_are_refused_with_the_cure(dtype, channels):
    cure = r"channels are first, but must be last \[N, H, W, C\]: images\.transpose\(0, 2, 3, 1\)"
    with pytest.raises(ValueError, match=cure):
        as_field("image", np.zeros((8, channels, 16, 16), dtype))


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("image", IMAGES[..., 0], ValueError, r"uint8 of shape \[50, 8, 6\], .* \[N, H, W, C\]"),
        ("image", IMAGES.reshape(50, -1), ValueError, r"\[N, H, W, C\]"),
        ("image", IMAGES.astype(np.int32), TypeError, "int32 .* uint8 in 0..255"),
        ("image", IMAGES.astype(np.uint16), TypeError, "uint16 .* uint8 in 0..255"),
        ("image", IMAGES.astype(np.float64), ValueError, "ranges from 0 to 255: give images as uint8"),
        ("image", IMAGES[:, :0], ValueError, "'image'.* holds images of 0 pixels"),
        ("image", (IMAGES / 255)[:, :, :0], ValueError, "'image'.* holds images of 0 pixels"),
        ("points", np.full((50, 2), np.nan), ValueError, "'points'.* not finite"),
        ("label", LABELS + 2**31, ValueError, "'label'.* beyond 32 bits"),
        ("label", LABELS.astype(str), TypeError, "'label'.* holds neither floats nor integers"),
        ("label", np.array(3), ValueError, "'label'.* no axis of examples"),
        ("mask", LABELS > 3, TypeError, "'mask', bool"),
    ],
)
def test_refusals(name, values, error, message):
    with pytest.raises(error, match=message):
        as_field(name, values)
