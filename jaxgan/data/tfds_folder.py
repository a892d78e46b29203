"""The folder of a prepared TFDS data set: its metadata are checked before TFDS opens it.

TFDS imports any class named in `features.json` and `dataset_info.json`, and so could run code from an untrusted folder.
Here a data set is refused unless the classes of its features are in `CLASSES`. TFDS gets only the requested features,
and does not decode images.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from google.protobuf import json_format
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.naming import DEFAULT_FILENAME_TEMPLATE
from tensorflow_datasets.core.proto import dataset_info_pb2, feature_pb2

from jaxgan import files, records

CLASSES = {
    "features_dict.FeaturesDict": "features_dict",
    "image_feature.Image": "image",
    "labeled_image.LabeledImage": "image",
    "class_label_feature.ClassLabel": "class_label",
    "text_feature.Text": "text",
    "tensor_feature.Tensor": "tensor",
    "scalar.Scalar": "tensor",
    "sequence_feature.Sequence": "sequence",
    "bounding_boxes.BBoxFeature": "bounding_box",
}
"""The supported feature classes in `tensorflow_datasets.core.features`, and the message field of their content."""

MOST_CLASSES = 100_000

MOST_SHARDS = 20_000
"""Largest number of shards of all splits: TFDS creates an object for each before it looks for the files."""

_INFO, _FEATURE = cast("Any", dataset_info_pb2), cast("Any", feature_pb2)  # their names are defined at import time
_MODULE = "tensorflow_datasets.core.features."
_MOST = 16 * 2**20  # bytes of each of these files
_PLAIN = re.compile(r"\w[\w.+-]{,199}")
_TEMPLATE = re.compile(r"(?!\.)([\w.-]|\{(DATASET|SPLIT|FILEFORMAT|SHARD_INDEX|NUM_SHARDS|SHARD_X_OF_Y)\}){,99}")
_DTYPE = re.compile(r"(u?int(8|16|32|64)|float(16|32|64)|bfloat16|bool|string|bytes|object|)")


class Folder(NamedTuple):
    """The metadata of a prepared data set.

    Attributes:
      path: the folder, including the version.
      info: `dataset_info.json`, without its features.
      features: the features in `features.json` by name, all of classes in `CLASSES`.
    """

    path: Path
    info: Any
    features: dict[str, Any]

    @property
    def full_name(self) -> str:
        """Name, config and version: `shapes/32/1.0.0`."""
        return "/".join(filter(None, (self.info.name, self.info.config_name, self.info.version)))

    def builder(self, names: Collection[str]) -> Any:
        """A TFDS builder that reads only these features."""
        info = _INFO.DatasetInfo()
        info.CopyFrom(self.info)
        info.features.python_class_name = f"{_MODULE}features_dict.FeaturesDict"
        for name in names:
            info.features.features_dict.features[name].CopyFrom(self.features[name])
        with damaged(self.path):
            if strange := [one for name in names for one in _dtypes(self.features[name]) if not _DTYPE.fullmatch(one)]:
                raise ValueError(f"features.json names the type {strange[0][:80]!r}")
            return read_only_builder.builder_from_metadata(self.path, info)


def find_folder(name: str, data_dir: Path) -> Path | None:
    """The folder of the highest prepared version of `name`, `name/config` or `name:1.*.*`, None if there is none."""
    base, _, version = name.partition(":")
    places = [data_dir / base]
    if "/" not in base and (config := _default_config(data_dir / base)):
        places.append(data_dir / base / config)
    pattern = re.escape(version or "*.*.*").replace(r"\*", r"\d+")
    for place in places:
        if place.is_dir():
            found = [one for one in place.iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", one.name)]
            found = [one for one in found if re.fullmatch(pattern, one.name) and (one / "features.json").exists()]
            if found:
                return max(found, key=lambda one: tuple(map(int, one.name.split("."))))
    return None


def _default_config(folder: Path) -> str | None:
    path = folder / ".config/metadata.json"
    if not path.is_file():
        return None
    with damaged(folder):
        config = records.parse(files.read_text(path, most=_MOST))["default_config_name"]
        if config is not None and not re.fullmatch(r"\w[\w.+-]*", config):
            raise ValueError(f"{path} names the config {config!r}")
        return config


def read_folder(path: Path) -> Folder:
    """Reads and checks `dataset_info.json` and `features.json`.

    Raises:
      ValueError: they are damaged, or name a class that is not in `CLASSES`.
    """
    with damaged(path):
        info = json_format.Parse(files.read_text(path / "dataset_info.json", most=_MOST), _INFO.DatasetInfo())
        features = json_format.Parse(files.read_text(path / "features.json", most=_MOST), _FEATURE.Feature())
        _check_info(info, path)
        for file in path.glob("*.labels.txt"):
            files.read_text(file, most=_MOST)  # TFDS reads them without a size limit
    _check(features, path)
    if not features.HasField("features_dict"):
        raise ValueError(f"{path / 'features.json'} has no named features")
    for name in ("features", "module_name"):
        info.ClearField(name)
    return Folder(path, info, dict(features.features_dict.features))


def _check_info(info: Any, path: Path) -> None:
    """Refuses metadata that would make TFDS read files outside the folder, or search missing files for minutes."""
    if info.version != path.name:
        raise ValueError(f"dataset_info.json has version {info.version!r}")
    names = [("data set", info.name), *(("split", split.name) for split in info.splits)]
    if info.config_name:
        names.append(("config", info.config_name))
    for kind, name in names:
        if not _PLAIN.fullmatch(name):
            raise ValueError(f"dataset_info.json names the {kind} {name[:80]!r}, expected letters and digits")
    for split in info.splits:
        if not _TEMPLATE.fullmatch(split.filepath_template):  # TFDS passes it to str.format
            raise ValueError(
                f"dataset_info.json has the filepathTemplate {split.filepath_template[:80]!r}, but TFDS writes "
                f"{DEFAULT_FILENAME_TEMPLATE}"
            )
        if any(length < 0 for length in split.shard_lengths):
            raise ValueError(f"split {split.name} has a shard of {min(split.shard_lengths)} examples")
    if (shards := sum(len(split.shard_lengths) for split in info.splits)) + len(info.splits) > MOST_SHARDS:
        raise ValueError(f"{len(info.splits):,} splits of {shards:,} shards are more than {MOST_SHARDS:,}")


def _check(feature: Any, path: Path) -> None:
    name = feature.python_class_name
    kind = CLASSES.get(name.removeprefix(_MODULE)) if name.startswith(_MODULE) else None
    if kind is None:
        known = ", ".join(one.rpartition(".")[2] for one in CLASSES)
        raise ValueError(
            f"{path / 'features.json'} names the class {name[:200]!r}, which is not loaded: supported are "
            f"TFDS's {known}"
        )
    if feature.WhichOneof("content") != kind:
        raise ValueError(f"{path / 'features.json'} is damaged: {name} has no {kind}")
    for inner in inside(feature):
        _check(inner, path)


def inside(feature: Any) -> Iterator[Any]:
    """The features inside a feature."""
    if feature.HasField("features_dict"):
        yield from feature.features_dict.features.values()
    if feature.HasField("sequence"):
        yield feature.sequence.feature


def _dtypes(feature: Any) -> Iterator[str]:
    content = getattr(feature, feature.WhichOneof("content"))
    yield getattr(content, "dtype", "")
    for inner in inside(feature):
        yield from _dtypes(inner)


def is_image(feature: Any) -> bool:
    return feature.HasField("image")


def is_plain(feature: Any) -> bool:
    """Whether a feature contains no images or compressed arrays, which TFDS would decode."""
    if is_image(feature) or (feature.HasField("tensor") and feature.tensor.encoding == "zlib"):
        return False
    return all(map(is_plain, inside(feature)))


def classes_of(folder: Folder, name: str) -> tuple[str, ...] | None:
    """The class names of a feature from `NAME.labels.txt`, else their numbers; None if it has no classes."""
    feature = folder.features[name]
    if not feature.HasField("class_label") or not 0 < feature.class_label.num_classes <= MOST_CLASSES:
        return None
    count = feature.class_label.num_classes
    path = folder.path / f"{name}.labels.txt"
    if path.is_file():
        names = tuple(line.strip() for line in files.read_text(path, most=_MOST).split("\n") if line.strip())
        if len(names) != count:
            raise ValueError(f"{path} has {len(names)} names, but features.json {count} classes: {again(folder.path)}")
        return names
    return tuple(map(str, range(count)))


def again(path: Path) -> str:
    return f"remove {path} and prepare the data set again"


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turns any error inside into a ValueError of one sentence about a damaged data set."""
    try:
        yield
    except Exception as error:  # TFDS and its readers raise many types of errors
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}): {again(path)}") from None


def shard_files(builder: Any, split: str) -> Sequence[Path]:
    """The files of a split, slice or sum of splits.

    Raises:
      ValueError: a file is missing, or its number of examples differs from `dataset_info.json`.
    """
    parts = builder.info.splits[split].file_instructions
    expected = {Path(part.filename): part.examples_in_shard for part in parts}
    for path, number in expected.items():
        if not path.is_file():
            raise ValueError(f"{path} does not exist or is not a file: {again(builder.data_path)}")
        with damaged(builder.data_path):
            if (found := _size(path, builder.info.file_format.value)) != number:
                raise ValueError(f"{path.name} has {found:,} examples, but dataset_info.json says {number:,}")
    return list(expected)


def _size(path: Path, file_format: str) -> int:
    if file_format == "parquet":
        from pyarrow import parquet

        return parquet.read_metadata(path).num_rows
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(str(path), options="readahead_buffer_size:0,max_parallelism:0")
    try:
        return reader.num_records()
    finally:
        reader.close()
