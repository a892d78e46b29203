"""Named data sets as arrays in memory."""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

NOISE_SPLITS = {"train": 1024, "test": 256}


def images(
    name: str,
    split: str = "train",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    channels: int | None = None,
) -> dict[str, np.ndarray]:
    """Reads one split of a data set into memory.

    `mnist_5k`: 5,000 MNIST digits, 28x28 grey; train (4,500) and test (500). Prepared on first use.
    `noise`: random bytes and random labels of 10 classes, always the same, 32x32 RGB unless asked otherwise; train
    (1,024) and test (256). For benchmarks and dry runs.

    Args:
      name: one of the above.
      split: name of a split; for a TFDS data set also a slice or a sum, such as `"train[:50%]"` or `"train+test"`.
      data_dir: where TFDS keeps its data sets, by default `TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      image_size: side of the images. Others are cropped to the largest centred square and resized with an antialiased
        bicubic filter. As stored by default.
      channels: 1 or 3; grey images are repeated for 3, colour images are refused for 1. As stored by default.

    Returns:
      `{"image": [N, H, W, C] uint8, "label": [N] int32}`, in the order of the data set.

    Raises:
      ValueError: unknown name or split, empty split, or images that cannot be had in that form.
      ModuleNotFoundError: a package that the data set needs is missing; the message says how to install it.

    >>> images("noise", "test", image_size=64)["image"].shape
    (256, 64, 64, 3)
    """
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown data set {name!r}: there are {', '.join(SOURCES)}{meant}")
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size={image_size}, but an image needs at least 1 pixel")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels={channels}, but images have 1 (grey) or 3 (RGB)")
    return SOURCES[name](split, data_dir=data_dir, image_size=image_size, channels=channels)


def _noise(split, *, data_dir, image_size, channels) -> dict[str, np.ndarray]:
    del data_dir
    if split not in NOISE_SPLITS:
        raise _unknown_split("noise", split, NOISE_SPLITS)
    count, side = NOISE_SPLITS[split], image_size or 32
    shape = (count, side, side, channels or 3)
    random = np.random.default_rng(count)
    return {
        "image": random.integers(256, size=shape, dtype=np.uint8),
        "label": random.integers(10, size=count, dtype=np.int32),
    }


def _mnist_5k(split, *, data_dir, image_size, channels) -> dict[str, np.ndarray]:
    from jaxgan.data.builders.mnist_5k import Mnist5k

    return _read_tfds(_prepared(Mnist5k, data_dir), split, image_size=image_size, channels=channels)


SOURCES: Mapping[str, Callable[..., dict[str, np.ndarray]]] = {"mnist_5k": _mnist_5k, "noise": _noise}


def _prepared(builder_class: Callable[..., Any], data_dir: str | os.PathLike[str] | None) -> Any:
    """A builder whose data set lies in `data_dir`, prepared now if it did not."""
    import tensorflow_datasets as tfds

    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)  # TFDS would make a folder named ~
    # array_record is the format that can be written, and read at random, without TensorFlow.
    create = lambda: builder_class(data_dir=data_dir, file_format="array_record")
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
    if not builder.info.splits:
        raise ValueError(f"{builder.data_dir} is not a whole data set: remove it, and it will be prepared again")
    return builder


def _read_tfds(builder: Any, split: str, *, image_size: int | None, channels: int | None) -> dict[str, np.ndarray]:
    """All examples of a split. Images are decoded here, because TFDS converts neither their mode nor their size."""
    import tensorflow_datasets as tfds

    from jaxgan.data.folder import read_image

    name, splits = builder.name, builder.info.splits
    try:
        count = splits[split].num_examples
    except (AttributeError, KeyError, ValueError):
        raise _unknown_split(name, split, {key: info.num_examples for key, info in splits.items()}) from None
    if count < 1:
        raise ValueError(f"split {split!r} of {name} is empty")
    source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    examples = source.__getitems__(range(count))
    try:
        pictures = [read_image(io.BytesIO(one["image"]), image_size=image_size, channels=channels) for one in examples]
    except ValueError as error:
        raise ValueError(f"data set {name}: {error}") from None
    arrays = {"image": np.stack(pictures)}
    if "label" in builder.info.features:
        arrays["label"] = np.array([one["label"] for one in examples], np.int32)
    return arrays


def _unknown_split(name: str, split: str, sizes: Mapping[str, int]) -> ValueError:
    known = ", ".join(f"{key} ({size} examples)" for key, size in sizes.items())
    return ValueError(f"data set {name} has no split {split!r}: there are {known}")
