"""TFDS data sets that lie prepared on disk."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tiny_tfds import numbered, prepare

from jaxgan.data.prepared import read_features
from jaxgan.data.sources import images
from jaxgan.data.tfds_folder import find_folder

GREY = {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=20)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    prepare(path, "mine", GREY, {"train": numbered(20), "test": numbered(5)})
    return path


def numbers(arrays):
    return arrays["image"][:, 0, 0, 0].tolist()


@pytest.mark.parametrize("file_format", ["array_record", "parquet"])
def test_some_of_the_features(tmp_path, file_format):
    features = GREY | {"mask": GREY["image"], "captions": tfds.features.Sequence(tfds.features.Text())}
    parts = zip(numbered(3), numbered(3), strict=True)
    examples = [one | {"mask": two["image"], "captions": ["a", str(one["label"])]} for one, two in parts]
    prepare(tmp_path, "mine", features, {"train": examples}, file_format=file_format)
    found = read_features("mine", names=("captions", "label", "mask", "none"), data_dir=tmp_path)
    assert found["captions"] == [["a", str(label)] for label in found["label"]]
    assert numbers({"image": found["mask"]}) == found["label"].tolist()
    assert set(found) == {"captions", "label", "mask"}


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


def changed(path, change):
    """A prepared set, with one of its JSON files changed by `change`."""
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path.parent


NAMED = {"pythonClassName": "evil_features.Evil", "jsonFeature": {"json": "{}"}}
IN_JSON = {"type": "evil_features.Evil", "content": {}}


@pytest.mark.parametrize(
    "change",
    [
        lambda features, info: features["featuresDict"]["features"].update(extra=NAMED),
        lambda features, info: features["featuresDict"]["features"].update(image=NAMED),
        lambda features, info: features.update(pythonClassName="evil_features.Evil"),
        lambda features, info: features["featuresDict"]["features"].update(
            many={
                "pythonClassName": "tensorflow_datasets.core.features.sequence_feature.Sequence",
                "sequence": {"feature": NAMED},
            }
        ),
        lambda features, info: features["featuresDict"]["features"].update(
            inner={
                "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
                "jsonFeature": {"json": json.dumps({"a": IN_JSON})},
            }
        ),
        lambda features, info: (features.clear(), features.update(IN_JSON)),
        lambda features, info: info.update(features=NAMED),
        lambda features, info: info.update(moduleName="evil_features"),
    ],
)
def test_a_data_set_names_no_code(tmp_path, change, monkeypatch):
    """TFDS imports the module of whatever class these files name."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/evil_features.py").write_text("raise SystemExit('code of the data set ran')")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    prepare(tmp_path, "mine", GREY, {"train": numbered(3)})
    folder = tmp_path / "mine/1.0.0"
    features, info = (json.loads((folder / name).read_text()) for name in ("features.json", "dataset_info.json"))
    change(features, info)
    (folder / "features.json").write_text(json.dumps(features))
    (folder / "dataset_info.json").write_text(json.dumps(info))
    if "evil" in json.dumps(features):
        with pytest.raises(
            ValueError, match=r"1\.0\.0.*(evil_features\.Evil|has no features_dict|cannot be read)"
        ) as stop:
            images("mine", data_dir=tmp_path)
        assert "\n" not in str(stop.value)
    else:  # of dataset_info.json the features are not read
        assert len(images("mine", data_dir=tmp_path)["image"]) == 3
    assert "evil_features" not in sys.modules


def test_tfds_decodes_no_image(tmp_path, monkeypatch):
    """It would by OpenCV or in every format of Pillow's, with programs such as Ghostscript among them."""
    features = GREY | {"mask": tfds.features.Image(shape=(8, 8, 1)), "more": tfds.features.Sequence(GREY["image"])}
    parts = zip(numbered(3), numbered(3), numbered(3), strict=True)
    examples = [one | {"mask": two["image"], "more": [three["image"]]} for one, two, three in parts]
    prepare(tmp_path, "mine", features, {"train": examples})
    decode = lambda self, example: pytest.fail("decoded by TFDS")
    monkeypatch.setattr(tfds.features.Image, "decode_example_np", decode)
    whole = images("mine", data_dir=tmp_path)["image"]
    np.testing.assert_array_equal(read_features("mine", names=("mask",), data_dir=tmp_path)["mask"], whole)
    with pytest.raises(ValueError, match="feature 'more' of data set mine contains nested images or compressed arrays"):
        read_features("mine", names=("more",), data_dir=tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("dataset_info.json", b"{"),
        ("dataset_info.json", b"[]"),
        ("dataset_info.json", b'{"splits": 3}'),
        ("dataset_info.json", b"\xff"),
        ("dataset_info.json", b'{"name": "mine", "version": "2.0.0"}'),
        ("features.json", b"null"),
        ("features.json", b'{"pythonClassName": 3}'),
        ("features.json", b""),
        ("mine-train.array_record-00000-of-00001", b""),
        ("mine-train.array_record-00000-of-00001", b"\x00" * 70_000),
        ("mine-train.array_record-00000-of-00001", None),
        ("label.labels.txt", b"a\nb\n"),
    ],
)
def test_a_damaged_folder_is_one_sentence_with_the_cure(tmp_path, file, content):
    prepare(tmp_path, "mine", GREY, {"train": numbered(3)})
    path = tmp_path / "mine/1.0.0" / file
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine/1\.0\.0.*remove .*prepare.* again") as refused:
        images("mine", data_dir=tmp_path)
    assert "\n" not in str(refused.value)


def test_a_data_set_with_another_number_of_examples_than_it_says(tmp_path):
    prepare(tmp_path, "mine", GREY, {"train": numbered(3)})
    path = tmp_path / "mine/1.0.0/dataset_info.json"
    for number in ("9000000000000", "2"):
        changed(path, lambda record, number=number: record["splits"][0].update(shardLengths=[number]))
        with pytest.raises(ValueError, match=r"has 3 examples, but dataset_info\.json says [29].*remove"):
            images("mine", data_dir=tmp_path)


def in_split(**values):
    return lambda features, info: info["splits"][0].update(values)


def with_label(**tensor):
    label = {"pythonClassName": "tensorflow_datasets.core.features.scalar.Scalar", "tensor": {"shape": {}, **tensor}}
    return lambda features, info: features["featuresDict"]["features"].update(label=label)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_split(filepathTemplate="{DATASET:>6000000000}"), "filepathTemplate"),
        (in_split(filepathTemplate="{DATASET.__class__}"), "filepathTemplate"),
        (in_split(filepathTemplate="{SPLIT[0]}"), "filepathTemplate"),
        (in_split(filepathTemplate="{SPLIT!r}"), "filepathTemplate"),
        (in_split(filepathTemplate="../../x"), "filepathTemplate"),
        (in_split(filepathTemplate=".."), "filepathTemplate"),
        (in_split(filepathTemplate="{SPLIT}" * 10_000), "filepathTemplate"),
        (in_split(name="../../x"), r"names the split '\.\./\.\./x'"),
        (in_split(name="x" * 1000), "names the split"),
        (in_split(shardLengths=["1"] * 200_000), "splits of 200,001 shards are more than 20,000"),
        (in_split(shardLengths=["-5"]), "a shard of -5 examples"),
        (in_split(shardLengths="3"), "cannot be read"),
        (in_split(shardLengths=[[3]]), "cannot be read"),
        (lambda features, info: info.update(name="../../x"), "names the data set"),
        (lambda features, info: info.update(configName="../../x"), "names the config"),
        (with_label(dtype="intfoo"), "names the type 'intfoo'"),
    ],
)
def test_a_data_set_leads_tfds_nowhere_else(tmp_path, data_dir, change, message):
    shutil.copytree(data_dir / "mine/1.0.0", tmp_path / "mine/1.0.0")
    paths = [tmp_path / "mine/1.0.0" / name for name in ("features.json", "dataset_info.json")]
    features, info = records = [json.loads(path.read_text()) for path in paths]
    change(features, info)
    for path, record in zip(paths, records, strict=True):
        path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"{message}.*remove .*mine/1\.0\.0 and prepare") as refused:
        images("mine", data_dir=tmp_path)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("place", ["/dev/zero", "{folder}/pipe", "/etc/passwd", "{folder}"])
def test_shards_that_are_no_shards(tmp_path, place):
    """A device without an end, and a pipe that would be waited for."""
    prepare(tmp_path, "mine", GREY, {"train": numbered(3)})
    path = tmp_path / "mine/1.0.0/dataset_info.json"
    os.mkfifo(tmp_path / "pipe")
    place = place.format(folder=tmp_path)
    changed(path, lambda record: record["splits"][0].update(filepathTemplate=place))
    with pytest.raises(ValueError, match=r"remove .*mine/1\.0\.0 and prepare the data set again"):
        images("mine", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["mine/..", "mine/../../x", "mine/.hidden", "../mine"])
def test_names_that_lead_elsewhere(data_dir, name):
    with pytest.raises(ValueError, match="unknown data set"):
        images(name, data_dir=data_dir / "mine")


def test_the_folder_of_a_name(tmp_path):
    for version in ("shapes/32/1.0.0", "shapes/32/1.10.0", "shapes/32/1.9.0", "shapes/64/3.0.0", "shapes/32/2.0.0"):
        (tmp_path / version).mkdir(parents=True)
        (tmp_path / version / "features.json").touch()
    (tmp_path / "shapes/32/2.0.0/features.json").unlink()  # what an interrupted preparation leaves
    metadata = tmp_path / "shapes/.config/metadata.json"
    metadata.parent.mkdir()
    metadata.write_text('{"default_config_name": "32"}')
    for name, expected in (("shapes", "32/1.10.0"), ("shapes/32:1.9.*", "32/1.9.0"), ("shapes/64", "64/3.0.0")):
        assert find_folder(name, tmp_path) == tmp_path / "shapes" / expected
    assert find_folder("shapes/32:2.*.*", tmp_path) is None and find_folder("none", tmp_path) is None
    metadata.write_text('{"default_config_name": "../../elsewhere"}')
    with pytest.raises(ValueError, match="names the config"):
        find_folder("shapes", tmp_path)


def test_half_a_data_set_is_named(tmp_path):
    prepare(tmp_path, "mine", GREY, {"train": numbered(3)})
    (tmp_path / "mine/1.0.0/features.json").unlink()
    with pytest.raises(ValueError, match=r"mine/1\.0\.0 has no features\.json, so the data set is incomplete"):
        images("mine", data_dir=tmp_path)
