"""Named image data sets: read into memory, or opened for random access."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data.base import Rows, Source, Stored, folder_of, read_all, split_rows, unknown_split
from jaxgan.data.classes import why_unlabelled
from jaxgan.data.identity import Identity, composed, digest, of_arrays, of_files
from jaxgan.data.pairs import PREFIX, halves, side_of
from jaxgan.data.stacked import open_stacked
from jaxgan.files import expanded, import_extra
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
      - `mnist_5k`: 5,000 MNIST digits, 28x28 grey; splits train (4,500) and test (500). Prepared on first use.
      - `noise`: random bytes and random labels of 10 classes from a fixed seed, by default 32x32 RGB; splits train
        (1,024) and test (256). For benchmarks and dry runs.
      - `fashion_mnist`, `mnist`, `cifar10`, `cifar100`: as in TFDS. Prepared on first use, without TensorFlow, from
        their authors' files in data_dir, data_dir/NAME, TFDS's folder of downloads or, for fashion_mnist, the Debian
        package dataset-fashion-mnist.
      - `emoji`: 3,786 emoji of two vendors, 64x64 RGB, with their category as label. Splits train and test hold both
        vendors; trainA and testA are Google's (Noto), trainB and testB Twitter's (Twemoji), paired only in test.
        Prepared on first use from the npm packages emoji-datasource-google and emoji-datasource-twitter, which `npm
        pack` downloads.
      - `shapes`: 30,000 rendered scenes of two objects, with captions (`jaxgan.data.captions`); splits train, test,
        heldout. `shapes_styles`: such scenes in two styles; splits trainA and trainB (4,000 each, unpaired), testA and
        testB (500, paired). 32x32 RGB, or 64x64 as `shapes/64` and `shapes_styles/64`. `shapes_styles/paired_32` and
        `paired_64`: training scenes in pairs, too. Rendered on first use.
      - `stacked:NAME`: three grey images of a data set with ten classes as the RGB channels of one, 1,000 modes, see
        `jaxgan.data.stacked`; splits train (50,000) and test (25,600).
      - any other data set of TFDS, `name/config:version`, prepared as array_record or parquet: its feature `image`, and
        `label` if that is an integer.
      - `folder:PATH`: the image files in a folder and its sub-folders, see `jaxgan.data.folder`. If every file is in
        one of two or more sub-folders, these are the classes, in alphabetical order, including empty ones. If there is
        a sub-folder `train`, `trainA` or `trainB`, the sub-folders are splits; otherwise all images are `train`.
      - `pairs:PATH`: image files of two images of equal size side by side. The split trainA is the left images of the
        folder `train`, trainB the right ones, and so on.
      - `PATH.npy`, `PATH.npz`: uint8 `[N, H, W]` or `[N, H, W, C]`, where the last of 2 or 4 channels is alpha. An npz
        has images under `image`, optionally labels from 0, integers `[N]`, under `label`, and class names under
        `names`. An array that may be a single image, `[H, W, 3]`, is refused. All images are `train`.

    Images become grey or RGB by the rules in `jaxgan.data.folder`. Size and channels, if not given, and the depth of 8
    or 16 bits are those of the first image of the split, for all images.

    Args:
      name: one of the above.
      split: name of a split, or a slice or sum in TFDS's syntax: `"train[:90%]"`, `"train+test"`.
      data_dir: the folder of TFDS's data sets, by default `TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      image_size: side of the images in pixels: they are center-cropped to squares and resized with an antialiased
        bicubic filter. By default they keep their size.
      channels: 1 (grey) or 3 (RGB). By default those of the first image.

    Returns:
      `{"image": [N, H, W, C] uint8, "label": [N] int32}`, in the order of the data set; `label` only if there are any.
      For 16-bit images, `image` is float32 in [-1, 1].

    Raises:
      ValueError: unknown name or split, empty split, a data set that is not prepared, or an unreadable file; the
        message names it.
      ModuleNotFoundError: a package that the data set needs is not installed; the message says how to install it.

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
    """The data set of `images` with random access: examples are read and decoded on demand, for large data sets.

    Args, Raises: as `images`, except that an unreadable file raises only when it is read.

    Returns:
      A `Source` of the fields that `images` returns.

    >>> source = open_images("noise", image_size=8)
    >>> source.size, source.read([3, 1])["image"].shape
    (1024, (2, 8, 8, 3))
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size={image_size}, but an image has at least 1 pixel")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels={channels}, but images have 1 (grey) or 3 (RGB) channels")
    if name.startswith("stacked:"):
        if channels not in (None, 3):
            raise ValueError(f"channels={channels}, but images of {name} have 3 channels")
        return open_stacked(name, split, partial(open_images, data_dir=data_dir, image_size=image_size, channels=1))
    if name == "noise":
        stored = _noise(split, image_size or 32, channels or 3)
    elif name.startswith("folder:"):
        stored = stored_folder(name, split)
    elif name.startswith(PREFIX):
        part, side = side_of(name, split)
        try:
            files = stored_folder(f"folder:{name.removeprefix(PREFIX)}", part)
        except ValueError as error:
            folder = name.removeprefix(PREFIX)
            in_two = Path(expanded(folder), split.partition("[")[0]).is_dir()
            cure = f"; if the images of a pair are in two folders, give folder:{folder}"
            raise ValueError(str(error).replace("folder:", PREFIX) + cure * in_two) from None
        stored = halves(files, f"{name} {split}", side)
    elif name.endswith((".npy", ".npz")):
        stored = _file(name, split)
    else:
        import_extra("tensorflow_datasets", "train")
        from jaxgan.data.prepared import open_split

        stored = open_split(name, split, data_dir)
    return _decoded(stored, image_size, channels)


def _decoded(stored: Stored, image_size: int | None, channels: int | None) -> Source:
    def decode(image: Any, row: int, channels: int | None) -> np.ndarray:
        if isinstance(image, np.ndarray) and _is_decoded(image, image_size, channels):
            return image
        from jaxgan.data.folder import read_image  # imported here, because it needs Pillow

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
                f"{described(image, row)} has {found} pixels, but the first image {expected}: give an image_size"
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
        raise ValueError(f"{name} has the label {labels.max()}, but names for {len(classes)} classes")

    def identity() -> Identity:
        return of_arrays({"images": pixels} | ({} if labels is None else {"labels": labels[rows]}))

    return _in_memory(name, pixels, labels, rows, classes=classes, identity=identity)


def _in_memory(name: str, pixels: np.ndarray, labels: np.ndarray | None, rows: np.ndarray, **known: Any) -> Stored:
    def fetch(wanted: Rows):
        taken = rows[np.asarray(wanted)]
        return pixels[taken], None if labels is None else labels[taken]

    return Stored(name, len(rows), fetch, labels=None if labels is None else labels[rows], **known)


def stored_folder(name: str, split: str) -> Stored:
    """The image files of `folder:PATH`; `fetch` returns their paths.

    The classes are the sub-folders of the data set's folder, or of its splits, as in torchvision's ImageFolder; nested
    files belong to the class too. There are no labels if there is only one class.
    """
    from jaxgan.data.folder import image_files

    root = folder_of(name)
    files = image_files(root)
    start = len(os.path.join(root, ""))
    inside = [tuple(file[start:].split(os.sep)) for file in files]  # Path.relative_to is 30 times slower
    sizes, places = {"train": len(files)}, [root]
    if any((root / train).is_dir() for train in ("train", "trainA", "trainB")):
        places = _folders(root)
        sizes = {place.name: sum(parts[0] == place.name for parts in inside) for place in places}
        files = [file for file, parts in zip(files, inside, strict=True) if len(parts) > 1]
        inside = [parts[1:] for parts in inside if len(parts) > 1]
    rows = split_rows(name, split, sizes)
    # Over all splits, so that a class has the same label in all of them.
    classes = {composed(folder.name): None for place in places for folder in _folders(place)}
    classes = {name: number for number, name in enumerate(sorted(classes))}
    unlabelled = why_unlabelled(list(classes), files, inside)
    labels = None
    if not unlabelled:
        if broken := [name for name in classes if not is_text(name)]:
            raise ValueError(f"{root} has a class folder {broken[0]!r} whose name is not valid UTF-8: rename it")
        labels = np.array([classes[composed(parts[0])] for parts in inside], np.int32)[rows]

    def fetch(wanted: Rows):
        wanted = np.asarray(wanted)
        return [files[row] for row in rows[wanted]], None if labels is None else labels[wanted]

    def names() -> list[str]:
        return ["/".join(inside[row]) for row in rows]

    def identity() -> Identity:
        taken = [files[row] for row in rows]
        return of_files(names(), taken) | ({} if labels is None else {"labels": digest([labels])})

    return Stored(name, len(rows), fetch, None if unlabelled else tuple(classes), labels, unlabelled, identity, names)


def _folders(folder: Path) -> list[Path]:
    from jaxgan.data.folder import is_hidden

    return sorted(one for one in folder.iterdir() if one.is_dir() and not is_hidden(one.name))
