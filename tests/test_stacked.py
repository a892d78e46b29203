"""Stacked images: each channel is an image of the base data set, with its digit in the label."""

import numpy as np
import pytest

from jaxgan.data.sources import images, open_images
from jaxgan.data.stacked import SPLITS


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_channel_is_an_image_of_the_split_and_a_digit_of_the_label(split):
    base = images("noise", split, image_size=8, channels=1)
    digits = {image.tobytes(): label for image, label in zip(base["image"], base["label"], strict=True)}
    source = open_images("stacked:noise", split, image_size=8, channels=3)
    assert source.size == SPLITS[split]
    data = source.read(np.arange(0, source.size, 500))
    assert data["image"].shape[1:] == (8, 8, 3) and data["label"].dtype == np.int32
    for image, label in zip(data["image"], data["label"], strict=True):
        assert [digits[image[:, :, channel].tobytes()] for channel in range(3)] == [
            int(digit) for digit in f"{label:03}"
        ]


def test_the_triples_are_random_and_always_the_same():
    test = images("stacked:noise", "test", image_size=4)
    again = images("stacked:noise", "train[-2:]+test[:3]", image_size=4)
    np.testing.assert_array_equal(again["image"][2:], test["image"][:3])
    np.testing.assert_array_equal(again["label"][2:], test["label"][:3])
    # Each digit of the label has the base's law: 25,600 draws of 256 images.
    labels = images("noise", "test", image_size=4, channels=1)["label"]
    for place in (100, 10, 1):
        shares = np.bincount(test["label"] // place % 10, minlength=10) / SPLITS["test"]
        np.testing.assert_allclose(shares, np.bincount(labels, minlength=10) / 256, atol=0.01)
    # Neither are two channels the same image more often than by chance, once in 256.
    same = (test["image"][..., 0] == test["image"][..., 1]).all(axis=(1, 2)).mean()
    assert 0.0 < same < 0.01


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (None, {}, "bare.npz has no labels"),
        (np.arange(11), {}, "has labels 0 to 10, but stacked images need 0 to 9"),
        (np.zeros(11, int), {"channels": 1}, "channels=1, but images of stacked:.*bare.npz have 3"),
        (np.zeros(11, int), {"split": "test"}, r"bare.npz has no split 'test': there are train \(11 examples\)"),
        (np.zeros(11, int), {"split": "dev"}, r"no split 'dev': there are train \(50000 examples\), test \(25600"),
    ],
)
def test_refusals(labels, options, message, tmp_path):
    arrays = {"image": np.zeros((11, 4, 4), np.uint8)} | ({} if labels is None else {"label": labels})
    np.savez(tmp_path / "bare.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        open_images(f"stacked:{tmp_path / 'bare.npz'}", **options)
