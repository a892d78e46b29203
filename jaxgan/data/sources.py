"""Named data sets: all of one in memory, or its examples as they are asked for."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data.base import Rows, Source, Stored, folder_of, read_all, split_rows, unknown_split
from jaxgan.data.classes import why_unlabelled
from jaxgan.data.identity import Identity, composed, digest, of_arrays, of_files
from jaxgan.data.stacked import open_stacked
from jaxgan.files import expanded
from jaxgan.messages import is_text
from jaxgan.pixels import from_uint8, to_uint8

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

    By name:
      - `mnist_5k`: 5,000 MNIST digits, 28x28 grey; train (4,500) and test (500). Prepared on first use.
      - `noise`: random bytes and random labels of 10 classes, always the same, 32x32 RGB unless asked otherwise; train
        (1,024) and test (256). For benchmarks and dry runs.
      - `fashion_mnist`, `mnist`, `cifar10`, `cifar100`: those of TFDS. Prepared on first use, without TensorFlow, from
        their authors' files where these lie in data_dir, in data_dir/NAME, in TFDS's folder of downloads or, for
        fashion_mnist, where Debian's package dataset-fashion-mnist puts them.
      - `emoji`: 3,786 emoji of two vendors, 64x64 RGB, and their category; train and test of both, or trainA and testA
        of Google's (Noto), trainB and testB of Twitter's (Twemoji), which are paired in test alone. Prepared on first
        use from the npm packages emoji-datasource-google and emoji-datasource-twitter, which `npm pack` gets.
      - `shapes`: 30,000 drawn scenes of two objects, with captions (`jaxgan.data.captions`); train, test, heldout.
        `shapes_styles`: such scenes in two styles; trainA and trainB (4,000 each), testA and testB (500, in pairs).
        32x32 RGB; `shapes/64`, `shapes_styles/64` 64x64. Drawn on first use.
      - `stacked:NAME`: three grey images of a data set with ten labels as the red, green and blue of one, 1,000 modes,
        see `jaxgan.data.stacked`; train (50,000) and test (25,600).
      - any other of TFDS, `name/config:version`, that is prepared as array_record or parquet: its feature `image`, and
        `label` where that is an integer.
      - `folder:PATH`: the image files in a folder and below it, see `jaxgan.data.folder`. If every file lies in a
        sub-folder and there are two of these or more, they are the classes, in alphabetical order; one without an image
        keeps its number. A folder with a sub-folder `train`, `trainA` or `trainB` has its sub-folders for splits; any
        other is all `train`.
      - `PATH.npy`, `PATH.npz`: uint8 `[N, H, W]` or `[N, H, W, C]`, 2 and 4 channels ending in alpha; in an npz under
        `image`, with integers `[N]` from 0 under `label` where there are any, and the classes' names, texts, under
        `names`. What might be one picture, `[H, W, 3]`, is refused. All `train`.

    Images become grey or RGB by the rules in `jaxgan.data.folder`. What is left open here the first image of a split
    decides for all of it: their size, their channels, and whether they have 8 bits or 16.

    Args:
      name: one of the above.
      split: name of a split, or a slice or a sum as TFDS writes it: `"train[:90%]"`, `"train+test"`.
      data_dir: where TFDS keeps its data sets, by default `TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      image_size: side of the images. Others are cropped to the largest centred square and resized with an antialiased
        bicubic filter. As stored by default.
      channels: 1 (grey) or 3 (RGB). As stored by default.

    Returns:
      `{"image": [N, H, W, C] uint8, "label": [N] int32}`, in the order of the data set; `label` where there are any. Of
      16-bit images, `image` is float32 in [-1, 1].

    Raises:
      ValueError: unknown name or split, empty split, a data set that is not prepared, or a file that cannot be read;
        the message names it.
      ModuleNotFoundError: a package that the data set needs is missing; the message says how to install it.

    >>> images("noise", "test", image_size=64)["image"].shape
    (256, 64, 64, 3)
    """
    return read_all(open_images(name, split, data_dir=data_dir, image_size=image_size, channels=channels))


def open_images(
    name: str,
    split: str = "train",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    channels: int | None = None,
) -> Source:
    """The examples of `images`, each read and decoded when it is asked for: for data sets larger than the memory.

    Args, Raises: as `images`; but a file that cannot be read is met when it is asked for.

    Returns:
      A `Source` of the fields that `images` returns.

    >>> source = open_images("noise", image_size=8)
    >>> source.size, source.read([3, 1])["image"].shape
    (1024, (2, 8, 8, 3))
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size={image_size}, but an image needs at least 1 pixel")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels={channels}, but images have 1 (grey) or 3 (RGB)")
    if name.startswith("stacked:"):
        if channels not in (None, 3):
            raise ValueError(f"channels={channels}, but images of {name} have 3: red, green and blue")
        return open_stacked(name, split, partial(open_images, data_dir=data_dir, image_size=image_size, channels=1))
    if name == "noise":
        stored = _noise(split, image_size or 32, channels or 3)
    elif name.startswith("folder:"):
        stored = stored_folder(name, split)
    elif name.endswith((".npy", ".npz")):
        stored = _file(name, split)
    else:
        from jaxgan.data.prepared import open_split

        stored = open_split(name, split, data_dir)
    return _decoded(stored, image_size, channels)


def _decoded(stored: Stored, image_size: int | None, channels: int | None) -> Source:
    def decode(image: Any, row: int, channels: int | None) -> np.ndarray:
        if isinstance(image, np.ndarray) and _is_decoded(image, image_size, channels):
            return image
        from jaxgan.data.folder import read_image  # here, since it needs Pillow

        try:
            return read_image(image, image_size=image_size, channels=channels)
        except ValueError as error:
            raise ValueError(str(error) if isinstance(image, str) else f"{described(image, row)}: {error}") from None

    def described(image: Any, row: int) -> str:
        return image if isinstance(image, str) else f"{stored.name}, example {row}"

    first = decode(stored.fetch([0])[0][0], 0, channels)

    def decode_alike(image: Any, row: int) -> np.ndarray:
        pixels = decode(image, row, first.shape[2])
        if pixels.dtype != first.dtype:
            pixels = to_uint8(pixels) if first.dtype == np.uint8 else np.asarray(from_uint8(pixels))
        if pixels.shape != first.shape:
            found, expected = (f"{height} x {width}" for height, width, _ in (pixels.shape, first.shape))
            raise ValueError(
                f"{described(image, row)} has {found} pixels, the first image {expected}: give an image_size for all"
            )
        return pixels

    def read(rows: Rows) -> dict[str, np.ndarray]:
        encoded, labels = stored.fetch(rows)
        pixels = np.stack([decode_alike(image, row) for image, row in zip(encoded, rows, strict=True)])
        return {"image": pixels} if labels is None else {"image": pixels, "label": labels}

    return Source(stored.size, read, stored.classes, stored.labels, stored.unlabelled, stored.identity)


def _is_decoded(pixels: np.ndarray, image_size: int | None, channels: int | None) -> bool:
    size = pixels.shape[:2] if image_size is None else (image_size, image_size)
    shapes = [(*size, number) for number in ((1, 3) if channels is None else (channels,))]
    return pixels.dtype == np.uint8 and pixels.shape in shapes


def _noise(split: str, side: int, channels: int) -> Stored:
    if split not in NOISE_SPLITS:
        raise unknown_split("noise", split, NOISE_SPLITS)
    count = NOISE_SPLITS[split]
    random = np.random.default_rng(count)
    pixels = random.integers(256, size=(count, side, side, channels), dtype=np.uint8)
    labels = random.integers(10, size=count, dtype=np.int32)
    return _in_memory("noise", pixels, labels, np.arange(count), identity=lambda: {"data set": f"noise {split}"})


def _file(name: str, split: str) -> Stored:
    from jaxgan.data.array_files import read_arrays

    pixels, labels, classes = read_arrays(expanded(name))
    rows = split_rows(name, split, {"train": len(pixels)})
    if classes is not None and labels is not None and labels.max() >= len(classes):
        raise ValueError(f"{name} has the label {labels.max()} and names for {len(classes)} classes")

    def identity() -> Identity:
        return of_arrays({"images": pixels} | ({} if labels is None else {"labels": labels[rows]}))

    return _in_memory(name, pixels, labels, rows, classes=classes, identity=identity)


def _in_memory(name: str, pixels: np.ndarray, labels: np.ndarray | None, rows: np.ndarray, **known: Any) -> Stored:
    def fetch(wanted: Rows):
        taken = rows[np.asarray(wanted)]
        return pixels[taken], None if labels is None else labels[taken]

    return Stored(name, len(rows), fetch, labels=None if labels is None else labels[rows], **known)


def stored_folder(name: str, split: str) -> Stored:
    """The image files of `folder:PATH`; what `fetch` gives are their paths.

    The classes are the sub-folders of the data set's folder, or of its splits, as torchvision has them: all that lies
    in one, however deep, is of its class. One class alone is none: it says nothing of an image.
    """
    from jaxgan.data.folder import image_files

    root = folder_of(name)
    files = image_files(root)
    start = len(os.path.join(root, ""))
    inside = [tuple(file[start:].split(os.sep)) for file in files]  # Path.relative_to takes 30 times as long
    sizes, places = {"train": len(files)}, [root]
    if any((root / train).is_dir() for train in ("train", "trainA", "trainB")):
        places = _folders(root)
        sizes = {place.name: sum(parts[0] == place.name for parts in inside) for place in places}
        files = [file for file, parts in zip(files, inside, strict=True) if len(parts) > 1]
        inside = [parts[1:] for parts in inside if len(parts) > 1]
    rows = split_rows(name, split, sizes)
    # Over all splits, so that a class has one number in each of them.
    classes = {composed(folder.name): None for place in places for folder in _folders(place)}
    classes = {name: number for number, name in enumerate(sorted(classes))}
    unlabelled = why_unlabelled(list(classes), files, inside)
    labels = None
    if not unlabelled:
        if broken := [name for name in classes if not is_text(name)]:
            raise ValueError(f"{root} has a class folder {broken[0]!r} whose name is not UTF-8: rename it")
        labels = np.array([classes[composed(parts[0])] for parts in inside], np.int32)[rows]

    def fetch(wanted: Rows):
        wanted = np.asarray(wanted)
        return [files[row] for row in rows[wanted]], None if labels is None else labels[wanted]

    def identity() -> Identity:
        taken = [files[row] for row in rows]
        names = ["/".join(inside[row]) for row in rows]
        return of_files(names, taken) | ({} if labels is None else {"labels": digest([labels])})

    return Stored(name, len(rows), fetch, None if unlabelled else tuple(classes), labels, unlabelled, identity)


def _folders(folder: Path) -> list[Path]:
    from jaxgan.data.folder import is_hidden

    return sorted(one for one in folder.iterdir() if one.is_dir() and not is_hidden(one.name))
