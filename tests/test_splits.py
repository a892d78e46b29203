"""Splits and features of a data set: those that are not there, slices, and images of another form."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from test_folder_files import pixels
from tiny_tfds import numbered, png, prepare

from jaxgan.data.sources import images


def test_an_unknown_split_lists_the_splits():
    """clovaai/donut#57: a split was missing that the program took for granted."""
    with pytest.raises(ValueError, match=r"no split 'validation': there are train \(1024 examples\), test \(256"):
        images("noise", "validation")


GREY = {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=20)}


def test_splits_and_features_that_are_not_there(tmp_path):
    """clovaai/donut#57: a split was missing that the program took for granted."""
    prepare(tmp_path, "mine", GREY, {"train": numbered(20)})
    with pytest.raises(ValueError, match=r"no split 'validation': there are train \(20 examples\)"):
        images("mine", "validation", data_dir=tmp_path)
    with pytest.raises(ValueError, match="is empty"):
        images("mine", "train[:1%]", data_dir=tmp_path)
    prepare(tmp_path, "other", {"img": GREY["image"]}, {"train": [{"img": one["image"]} for one in numbered(3)]})
    with pytest.raises(ValueError, match="no feature 'image': there are img"):
        images("other", data_dir=tmp_path)


def test_disjoint_slices_do_not_meet(tmp_path):
    """tensorflow/datasets#291: parts cut from a shuffled split shared examples."""
    prepare(tmp_path, "mine", GREY, {"train": numbered(20)})
    both = []
    for _ in range(2):
        parts = [images("mine", split, data_dir=tmp_path) for split in ("train[:70%]", "train[70%:]")]
        hashes = [{hash(one.tobytes()) for one in part["image"]} for part in parts]
        assert [len(part) for part in hashes] == [14, 6]
        assert not hashes[0] & hashes[1]
        both.append(hashes)
    assert both[0] == both[1]


def test_images_of_another_form_than_asked_for(tmp_path):
    """16-bit images, grey ones where colour was asked for, and unequal sizes in one data set."""
    deep = {"image": tfds.features.Image(shape=(1, 4, 1), dtype=np.uint16)}
    prepare(tmp_path, "deep", deep, {"train": [{"image": png(np.array([[0, 256, 32768, 65535]], np.uint16))}]})
    found = images("deep", data_dir=tmp_path)["image"]
    np.testing.assert_allclose(found.ravel(), [-1.0, -0.99219, 0.0000153, 1.0], atol=1e-4)

    prepare(tmp_path, "mine", GREY, {"train": numbered(4)})
    found = images("mine", data_dir=tmp_path, channels=3)["image"]
    assert found.shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])

    uneven = {"image": tfds.features.Image(shape=(None, None, 3))}
    sizes = [(8, 8, 3), (9, 7, 3), (30, 20, 3)]
    prepare(tmp_path, "uneven", uneven, {"train": [{"image": png(pixels(*size))} for size in sizes]})
    assert images("uneven", data_dir=tmp_path, image_size=8)["image"].shape == (3, 8, 8, 3)
    with pytest.raises(ValueError, match=r"uneven train, example \d has .* give an image_size"):
        images("uneven", data_dir=tmp_path)
