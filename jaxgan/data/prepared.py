"""Prepared TFDS data sets, read without TensorFlow; some are prepared on first use."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants

from jaxgan.data.array_files import as_labels
from jaxgan.data.base import Stored, unknown_name, unknown_split
from jaxgan.data.builders import published
from jaxgan.data.folder import read_image
from jaxgan.data.identity import MOST_EXAMPLES, Identity, digest, spread
from jaxgan.data.tfds_folder import (
    Folder,
    classes_of,
    damaged,
    find_folder,
    is_image,
    is_plain,
    read_folder,
    shard_files,
)
from jaxgan.data.trust import PREPARED
from jaxgan.files import expanded

# array_record is the format that can be written, and read at random, without TensorFlow.
_FORMAT = "array_record"
READABLE = (_FORMAT, "parquet")

MADE_HERE = ("mnist_5k", "shapes", "shapes_styles", "emoji", *published.BUILDERS)
"""Data sets that this package prepares, from the same sources on every machine."""


def open_split(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> Stored:
    """Opens a split of a TFDS data set, without decoding its images.

    Args:
      name: in TFDS's syntax: `name`, `name/config`, `name:1.0.0`.
      split: a split, or a slice or sum of splits.
      data_dir: the folder of TFDS's data sets.

    Returns:
      Its `Stored` images, with the feature `label` if that is an integer.

    Raises:
      ValueError: no such data set or split; a data set that is not prepared and cannot be prepared here; a data set
        without the feature `image`, damaged, with feature classes other than TFDS's own, or in a format that only
        TensorFlow reads.
    """
    folder = _folder(name, data_dir)
    if "image" not in folder.features:
        raise ValueError(f"data set {name} has no feature 'image': there are {', '.join(sorted(folder.features))}")
    label = folder.features.get("label")
    labelled = label is not None and (label.HasField("class_label") or _is_integer(label))
    builder, source = _open(folder, name, split, ("image", "label") if labelled else ("image",))
    encoded = is_image(folder.features["image"])

    def fetch(rows):
        with damaged(folder.path):
            examples = source.__getitems__([int(row) for row in rows])
        stored = [io.BytesIO(one["image"]) if encoded else one["image"] for one in examples]
        labels = np.array([one["label"] for one in examples], np.int64) if labelled else None
        return stored, None if labels is None else as_labels(labels, f"{name} {split}", least=-1)

    def identity() -> Identity:
        rows = spread(len(source), MOST_EXAMPLES)
        stored, labels = fetch(rows)
        if encoded and folder.info.name in MADE_HERE:
            # On another machine the files differ, but their pixels do not.
            pixels = [read_image(one) for one in stored]
        else:
            pixels = [one.getvalue() if isinstance(one, io.BytesIO) else one for one in stored]
            pixels.append(np.array([path.stat().st_size for path in shard_files(builder, split)], np.int64))
        found = {"data set": folder.full_name, "images": digest(pixels)}
        return found if labels is None else found | {"labels": digest([labels])}

    classes = classes_of(folder, "label") if labelled else None
    return Stored(f"{name} {split}", len(source), fetch, classes=classes, identity=identity)


def _is_integer(feature: Any) -> bool:
    return (
        feature.HasField("tensor")
        and not feature.tensor.shape.dimensions
        and feature.tensor.dtype.startswith(("int", "uint"))
    )


def read_features(
    name: str, split: str = "train", *, names: Sequence[str], data_dir: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Reads features of a TFDS data set other than its images, such as captions, masks or attributes.

    Args:
      name, split, data_dir: as for `open_split`.
      names: the features to read, without `image`.

    Returns:
      The existing ones of these features by name, in the order of `images`: an array with one row per example, or a
      list if examples differ in shape or are texts (str, or lists of str).

    Raises:
      ValueError: as `open_split`.
    """
    folder = _folder(name, data_dir)
    columns: dict[str, list] = {key: [] for key in names if key in folder.features}
    if not columns:
        return {}
    _, source = _open(folder, name, split, tuple(columns))
    for first in range(0, len(source), 1024):
        with damaged(folder.path):
            examples = source.__getitems__(list(range(first, min(first + 1024, len(source)))))
        for example in examples:
            for key, column in columns.items():
                if is_image(folder.features[key]):
                    column.append(read_image(io.BytesIO(example[key])))
                else:
                    column.append(_as_text(example[key]))
    return {key: _stacked(column) for key, column in columns.items()}


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [_as_text(one) for one in value]
    return value


def _stacked(column: list) -> Any:
    numbers = all(isinstance(value, int | float | np.generic | np.ndarray) for value in column)
    alike = numbers and len({np.shape(value) for value in column}) == 1
    return np.stack(column) if alike else column


def _folder(name: str, data_dir: str | os.PathLike[str] | None) -> Folder:
    if not PREPARED.fullmatch(name):
        raise unknown_name(name)
    # TFDS takes a default config from the builder's code, which is not loaded here.
    name = re.sub(r"^(shapes|shapes_styles)(?=:|$)", r"\1/32", name)
    try:
        place = expanded(data_dir or constants.DATA_DIR)
    except ValueError as error:
        raise ValueError(f"no folder for the data set {name}: {error}. Give --data-dir") from None
    return read_folder(find_folder(name, place) or _prepare(name, place))


def _open(folder: Folder, name: str, split: str, wanted: tuple[str, ...]) -> tuple[Any, Any]:
    """A builder with these features, and the examples of a split with encoded images."""
    if hidden := [key for key in wanted if not is_image(folder.features[key]) and not is_plain(folder.features[key])]:
        raise ValueError(f"feature {hidden[0]!r} of data set {name} contains nested images or compressed arrays")
    builder = folder.builder(wanted)
    splits = builder.info.splits
    if not splits:
        raise ValueError(f"{folder.path} is an incomplete data set: remove it, and it will be prepared again")
    try:
        size = splits[split].num_examples
    except (AttributeError, KeyError, ValueError):
        raise unknown_split(name, split, {key: info.num_examples for key, info in splits.items()}) from None
    if size < 1:
        raise ValueError(f"split {split!r} of {name} is empty according to dataset_info.json in {folder.path}")

    if (written := builder.info.file_format.value) not in READABLE:
        raise ValueError(
            f"{folder.path} is prepared as {written}, which only TensorFlow reads: remove it or give another data_dir, "
            f"then {_how_to_prepare(name, builder.data_path.parents[1])}"
        )
    shard_files(builder, split)
    # Images are decoded by `read_image`: TFDS converts neither mode nor size, and accepts all formats of Pillow.
    decoders: Any = {key: tfds.decode.SkipDecoding() for key in wanted if is_image(folder.features[key])}
    with damaged(folder.path):
        source = builder.as_data_source(split=split, decoders=decoders or None)
        source.__getitems__([size - 1])  # checks the number of examples
    return builder, source


def _prepare(name: str, data_dir: Path) -> Path:
    """Prepares a data set in `data_dir`, if this package can."""
    if name == "mnist_5k":
        from jaxgan.data.builders.mnist_5k import Mnist5k

        return _prepared(Mnist5k, data_dir)
    base, _, config = name.partition("/")
    if base in ("shapes", "shapes_styles") and ":" not in name:
        from jaxgan.data.builders.shapes import Shapes
        from jaxgan.data.builders.shapes_styles import ShapesStyles

        builder_class = {"shapes": Shapes, "shapes_styles": ShapesStyles}[base]
        if config not in builder_class.builder_configs:
            raise ValueError(f"{base} has no config {config!r}: there are {', '.join(builder_class.builder_configs)}")
        return _prepared(partial(builder_class, config=config), data_dir)
    if name == "emoji":
        from jaxgan.data.builders import emoji

        if (files := emoji.find_files(data_dir)) is None:
            raise ValueError(f"data set emoji is not prepared in {data_dir}: {emoji.how_to_get(data_dir)}")
        return _prepared(partial(emoji.Emoji, files=files), data_dir)
    if name in published.BUILDERS and (files := published.find_files(name, data_dir)):
        return _prepared(partial(published.BUILDERS[name], files=files), data_dir)
    raise _not_prepared(name, data_dir)


def _prepared(builder_class: Callable[..., Any], data_dir: Path) -> Path:
    create = lambda: builder_class(data_dir=data_dir, file_format=_FORMAT)
    builder = create()
    if not builder.data_path.exists():
        try:
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        except OSError:
            # TFDS prepares in a temporary folder and renames it at the end. That fails if another process has prepared
            # the same data set meanwhile, which can be used instead.
            if not builder.data_path.exists():
                raise
    if not (builder.data_path / "features.json").exists():
        raise ValueError(f"{builder.data_path} is an incomplete data set: remove it, and it will be prepared again")
    return Path(builder.data_path)


def _not_prepared(name: str, data_dir: Path) -> ValueError:
    place = data_dir / name.partition(":")[0]
    versions = [one for one in (place.iterdir() if place.is_dir() else ()) if (one / "dataset_info.json").exists()]
    if halves := [one for one in versions if not (one / "features.json").exists()]:
        return ValueError(
            f"{halves[0]} has no features.json, so the data set is incomplete: remove it and prepare it again"
        )
    try:
        tfds.builder_cls(re.split("[/:]", name)[0])
    except tfds.core.DatasetNotFoundError:
        return unknown_name(name)
    return ValueError(f"data set {name} is not prepared in {data_dir}: {_how_to_prepare(name, data_dir)}")


def _how_to_prepare(name: str, data_dir: Path) -> str:
    command = (
        "with TensorFlow (pip install -e '.[tensorflow]') and a network, python -c \"import tensorflow_datasets as "
        f"tfds; tfds.builder('{name}', data_dir='{data_dir}', file_format='{_FORMAT}').download_and_prepare()\" "
        "prepares it once. Neither is needed for mnist_5k, noise, shapes, shapes_styles, folder:PATH, PATH.npy, "
        "PATH.npz"
    )
    if name not in published.BUILDERS:
        return f"{command}; nor for {', '.join((*published.BUILDERS, 'emoji'))}, if their files are in the folder"
    files = ", ".join(f"{file}.gz" for file in published.BUILDERS[name].FILES)
    places = " or ".join(str(folder) for folder in published.folders(name, data_dir))
    debian = "apt-get install dataset-fashion-mnist; or " if name == "fashion_mnist" else ""
    return f"{debian}put {files} into {places}; or, {command}"
