"""TFDS data sets that lie prepared on disk, read without TensorFlow; some are prepared here on first use."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
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
    if not re.fullmatch(r"\w+(/[\w.-]+)?(:[\d.*]+)?", name):
        raise unknown_name(name)
    builder = _builder(name, Path(data_dir or constants.DATA_DIR).expanduser())
    features, splits = builder.info.features, builder.info.splits
    if not splits:
        raise ValueError(f"{builder.data_dir} is not a whole data set: remove it, and it will be prepared again")
    if "image" not in features:
        raise ValueError(f"data set {name} has no feature 'image': there are {', '.join(sorted(features))}")
    try:
        size = splits[split].num_examples
    except (AttributeError, KeyError, ValueError):
        raise unknown_split(name, split, {key: info.num_examples for key, info in splits.items()}) from None
    if size < 1:
        raise ValueError(f"split {split!r} of {name} is empty")

    # Images are decoded by us, because TFDS converts neither their mode nor their size.
    encoded = isinstance(features["image"], tfds.features.Image)
    try:
        source = builder.as_data_source(
            split=split, decoders={"image": tfds.decode.SkipDecoding()} if encoded else None
        )
    except NotImplementedError:  # what TFDS raises for a format without random access, such as tfrecord
        raise ValueError(
            f"{builder.data_dir} is prepared as {builder.info.file_format.value}, which only TensorFlow reads: remove "
            f"it or give another data_dir, then {_how_to_prepare(name, builder.data_path.parents[1])}"
        ) from None
    labelled = "label" in features and features["label"].shape == ()
    labelled = labelled and np.issubdtype(features["label"].np_dtype, np.integer)

    def fetch(rows):
        examples = source.__getitems__([int(row) for row in rows])
        pictures = [io.BytesIO(one["image"]) if encoded else one["image"] for one in examples]
        return pictures, np.array([one["label"] for one in examples], np.int32) if labelled else None

    return Stored(f"{name} {split}", size, fetch)


def _builder(name: str, data_dir: Path) -> Any:
    """A builder whose data set lies in `data_dir`, prepared now if it did not and can be."""
    try:
        return read_only_builder.builder_from_files(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        pass
    if name == "mnist_5k":
        from jaxgan.data.builders.mnist_5k import Mnist5k

        return _prepared(Mnist5k, data_dir)
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
        "with TensorFlow (pip install 'jaxgan[tensorflow]') and a network, python -c \"import tensorflow_datasets as "
        f"tfds; tfds.builder('{name}', data_dir='{data_dir}', file_format='{_FORMAT}').download_and_prepare()\" "
        "prepares it once. Neither is needed for mnist_5k, noise, folder:PATH, PATH.npy, PATH.npz"
    )
    if name not in published.BUILDERS:
        return f"{command}; nor, from their files, for {', '.join(published.BUILDERS)}"
    files = ", ".join(f"{file}.gz" for file in published.BUILDERS[name].FILES)
    places = " or ".join(str(folder) for folder in published.folders(name, data_dir))
    debian = "apt-get install dataset-fashion-mnist; or " if name == "fashion_mnist" else ""
    return f"{debian}put {files} into {places}; or, {command}"
