"""TFDS data sets that lie prepared on disk, read without TensorFlow; some are prepared here on first use."""

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
from tensorflow_datasets.core import constants, read_only_builder

from jaxgan.data.builders import published
from jaxgan.data.sources import Stored, unknown_name, unknown_split

# array_record is the format that can be written, and read at random, without TensorFlow.
_FORMAT = "array_record"


def open_split(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> Stored:
    """A split of a TFDS data set, each image as it is stored.

    Args:
      name: as TFDS writes it: `name`, `name/config`, `name:1.0.0`.
      split: a split, or a slice or sum of them.
      data_dir: where TFDS keeps its data sets.

    Returns:
      Its `Stored` images, with the feature `label` where that is an integer.

    Raises:
      ValueError: no such data set or split, nothing prepared and nothing to prepare it from, a data set without the
        feature `image`, or one in a format that only TensorFlow reads.
    """
    features, source = _open(name, split, data_dir)
    if "image" not in features:
        raise ValueError(f"data set {name} has no feature 'image': there are {', '.join(sorted(features))}")
    encoded = isinstance(features["image"], tfds.features.Image)
    labelled = "label" in features and features["label"].shape == ()
    labelled = labelled and np.issubdtype(features["label"].np_dtype, np.integer)

    def fetch(rows):
        examples = source.__getitems__([int(row) for row in rows])
        pictures = [io.BytesIO(one["image"]) if encoded else one["image"] for one in examples]
        return pictures, np.array([one["label"] for one in examples], np.int32) if labelled else None

    return Stored(f"{name} {split}", len(source), fetch)


def read_features(
    name: str, split: str = "train", *, names: Sequence[str], data_dir: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """What a TFDS data set holds besides its images: captions, masks, the truth about a scene.

    Args:
      name, split, data_dir: as for `open_split`.
      names: the features wanted, `image` not among them.

    Returns:
      By name, those of them that there are, in the order of `images`: an array with a row an example, or a list where
      examples differ in shape or are texts (str, or lists of str).

    Raises:
      ValueError: as `open_split`.
    """
    features, source = _open(name, split, data_dir)
    columns = {key: [] for key in names if key in features}
    for first in range(0, len(source), 1024):
        for example in source.__getitems__(list(range(first, min(first + 1024, len(source))))):
            for key, column in columns.items():
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


def _open(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> tuple[Any, Any]:
    """The features of a data set, and the examples of a split, each image of them as it is stored."""
    if not re.fullmatch(r"\w+(/[\w.-]+)?(:[\d.*]+)?", name):
        raise unknown_name(name)
    builder = _builder(name, Path(data_dir or constants.DATA_DIR).expanduser())
    features, splits = builder.info.features, builder.info.splits
    if not splits:
        raise ValueError(f"{builder.data_dir} is not a whole data set: remove it, and it will be prepared again")
    try:
        size = splits[split].num_examples
    except (AttributeError, KeyError, ValueError):
        raise unknown_split(name, split, {key: info.num_examples for key, info in splits.items()}) from None
    if size < 1:
        raise ValueError(f"split {split!r} of {name} is empty")

    # Images are decoded by us, because TFDS converts neither their mode nor their size.
    encoded = "image" in features and isinstance(features["image"], tfds.features.Image)
    try:
        source = builder.as_data_source(
            split=split, decoders={"image": tfds.decode.SkipDecoding()} if encoded else None
        )
    except NotImplementedError:  # what TFDS raises for a format without random access, such as tfrecord
        raise ValueError(
            f"{builder.data_dir} is prepared as {builder.info.file_format.value}, which only TensorFlow reads: remove "
            f"it or give another data_dir, then {_how_to_prepare(name, builder.data_path.parents[1])}"
        ) from None
    return features, source


def _builder(name: str, data_dir: Path) -> Any:
    """A builder whose data set lies in `data_dir`, prepared now if it did not and can be."""
    # TFDS finds a default config by a builder's code, which is not loaded here.
    name = re.sub(r"^(shapes|shapes_styles)(?=:|$)", r"\1/32", name)
    try:
        return read_only_builder.builder_from_files(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        pass
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


def _prepared(builder_class: Callable[..., Any], data_dir: Path) -> Any:
    create = lambda: builder_class(data_dir=data_dir, file_format=_FORMAT)
    builder = create()
    if not builder.data_path.exists():
        try:
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        except OSError:
            # TFDS prepares in a temporary folder and renames it at the end: that fails where another process, doing
            # the same, was first. Its data set is as good as ours.
            if not builder.data_path.exists():
                raise
        builder = create()  # anew: this one has not read what another process prepared meanwhile
    return builder


def _not_prepared(name: str, data_dir: Path) -> ValueError:
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
        return f"{command}; nor, from their files, for {', '.join((*published.BUILDERS, 'emoji'))}"
    files = ", ".join(f"{file}.gz" for file in published.BUILDERS[name].FILES)
    places = " or ".join(str(folder) for folder in published.folders(name, data_dir))
    debian = "apt-get install dataset-fashion-mnist; or " if name == "fashion_mnist" else ""
    return f"{debian}put {files} into {places}; or, {command}"
