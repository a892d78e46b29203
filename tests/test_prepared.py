"""TFDS data sets that lie prepared on disk."""

import json
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tiny_tfds import numbered, prepare

from jaxgan.data.sources import images

GREY = {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=20)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    prepare(path, "mine", GREY, {"train": numbered(20), "test": numbered(5)})
    return path


def numbers(arrays):
    return arrays["image"][:, 0, 0, 0].tolist()


@pytest.mark.parametrize("file_format", ["array_record", "parquet"])
def test_both_formats_that_need_no_tensorflow(tmp_path, file_format):
    prepare(tmp_path, "mine", GREY, {"train": numbered(6)}, file_format=file_format)
    found = images("mine", data_dir=tmp_path)
    assert found["image"].shape == (6, 8, 8, 1) and found["image"].dtype == np.uint8
    assert sorted(numbers(found)) == list(range(6))
    assert found["label"].tolist() == numbers(found) and found["label"].dtype == np.int32
    own = tfds.data_source("mine", data_dir=tmp_path, split="train")
    assert [one["label"] for one in own] == numbers(found)
    assert "tensorflow" not in sys.modules


def test_slices_and_sums(data_dir):
    whole = numbers(images("mine", data_dir=data_dir))
    assert numbers(images("mine", "train[:25%]", data_dir=data_dir)) == whole[:5]
    assert numbers(images("mine", "train[-2:]", data_dir=data_dir)) == whole[-2:]
    assert len(numbers(images("mine", "train+test", data_dir=data_dir))) == 25


def test_size_and_channels(data_dir):
    assert images("mine", data_dir=data_dir, image_size=4, channels=3)["image"].shape == (20, 4, 4, 3)


def test_versions(tmp_path):
    for version, count in (("1.0.0", 3), ("2.0.0", 4)):
        prepare(tmp_path, "mine", GREY, {"train": numbered(count)}, version=version)
    assert len(numbers(images("mine", data_dir=tmp_path))) == 4
    assert len(numbers(images("mine:1.0.0", data_dir=tmp_path))) == 3


def test_pixels_that_are_no_encoded_images(tmp_path):
    features = {"image": tfds.features.Tensor(shape=(4, 4, 3), dtype=np.uint8), "label": tfds.features.Text()}
    pixels = np.random.default_rng(0).integers(256, size=(4, 4, 3), dtype=np.uint8)
    prepare(tmp_path, "mine", features, {"train": [{"image": pixels, "label": "dog"}]})
    found = images("mine", data_dir=tmp_path)
    assert list(found) == ["image"]  # the label is no number
    np.testing.assert_array_equal(found["image"], pixels[None])


def test_a_damaged_example_is_named(tmp_path):
    examples = [*numbered(2), {"image": b"\x89PNG junk", "label": 2}]
    prepare(tmp_path, "mine", GREY, {"train": examples})
    with pytest.raises(ValueError, match=r"mine train, example \d: not an image"):
        images("mine", data_dir=tmp_path)


def test_a_format_that_only_tensorflow_reads(tmp_path):
    prepare(tmp_path, "mine", GREY, {"train": numbered(2)})
    path = tmp_path / "mine/1.0.0/dataset_info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match=r"1\.0\.0 is prepared as tfrecord, which only TensorFlow reads: remove it"):
        images("mine", data_dir=tmp_path)


def test_an_absent_feature_lists_those_there_are(tmp_path):
    features = {"img": GREY["image"], "label": GREY["label"]}
    prepare(tmp_path, "mine", features, {"train": [{"img": one["image"], "label": 0} for one in numbered(2)]})
    with pytest.raises(ValueError, match="data set mine has no feature 'image': there are img, label"):
        images("mine", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("validation", r"no split 'validation': there are train \(20 examples\), test \(5 examples\)"),
        ("train[", "no split"),
        ("train[:99]", "no split"),
        ("train[:1%]", r"split 'train\[:1%\]' of mine is empty"),
    ],
)
def test_splits_there_are_not(data_dir, split, message):
    with pytest.raises(ValueError, match=message):
        images("mine", split, data_dir=data_dir)


def test_a_data_set_that_is_not_prepared_gives_the_command(tmp_path):
    """What the message says runs: it is Python that TFDS understands, up to the download."""
    with pytest.raises(ValueError, match="data set cycle_gan/horse2zebra is not prepared") as refused:
        images("cycle_gan/horse2zebra", "trainA", data_dir=tmp_path)
    message = str(refused.value)
    assert "\n" not in message
    assert "pip install -e '.[tensorflow]'" in message and "Neither is needed for mnist_5k" in message
    program = message.split('python -c "')[1].split('"')[0]
    names: dict = {}
    exec(program.partition("; ")[0] + "; builder = " + program.partition("; ")[2].rpartition(".")[0], names)
    assert names["builder"].info.full_name.startswith("cycle_gan/horse2zebra/")
    assert names["builder"].info.file_format.value == "array_record"
    assert names["builder"].data_path.is_relative_to(tmp_path)
