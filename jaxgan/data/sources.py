"""Named data sets: all of one in memory, or its examples as they are asked for."""

from __future__ import annotations

import difflib
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.pixels import from_uint8, to_uint8

NAMES = ("mnist_5k", "noise", "fashion_mnist", "mnist", "cifar10", "cifar100", "emoji", "shapes", "shapes_styles")
NOISE_SPLITS = {"train": 1024, "test": 256}

Rows = Sequence[int] | np.ndarray


class Source(NamedTuple):
    """Examples at random access.

    Attributes:
      size: how many there are.
      read: rows `[n]` to fields by name, `[n, ...]`; several threads may call it at once.
    """

    size: int
    read: Callable[[Rows], dict[str, np.ndarray]]


class Stored(NamedTuple):
    """Images before they are decoded.

    Attributes:
      name: what a message calls the data set.
      size: how many there are.
      fetch: rows `[n]` to n images (anything `read_image` takes), and labels `[n]` int32 or None.
    """

    name: str
    size: int
    fetch: Callable[[Rows], tuple[Sequence[Any] | np.ndarray, np.ndarray | None]]


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
        sub-folder, these are the classes, in alphabetical order. A folder with a sub-folder `train`, `trainA` or
        `trainB` has its sub-folders for splits; any other is all `train`.
      - `PATH.npy`, `PATH.npz`: uint8 `[N, H, W]` or `[N, H, W, C]`, 2 and 4 channels ending in alpha; in an npz under
        `image`, with integers `[N]` under `label` where there are any. All `train`.

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


def read_all(source: Source) -> dict[str, np.ndarray]:
    """All examples of a source, read by as many threads as there are cores."""
    chunks = np.array_split(np.arange(source.size), -(-source.size // 128))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(source.read, chunks))
    return {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}


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
        from jaxgan.data.stacked import open_stacked  # here, since it reads by the functions of this module

        return open_stacked(name, split, data_dir=data_dir, image_size=image_size, channels=channels)
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

    return Source(stored.size, read)


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
    return _in_memory("noise", pixels, random.integers(10, size=count, dtype=np.int32), np.arange(count))


def _file(name: str, split: str) -> Stored:
    path = Path(name).expanduser()
    try:
        pixels, labels = _load(path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or (pixels.ndim == 4 and not 1 <= pixels.shape[3] <= 4):
        raise ValueError(
            f"{path} holds {pixels.dtype} of shape {list(pixels.shape)}, where images were expected: uint8 [N, H, W] "
            "or [N, H, W, C] with 1 to 4 channels"
        )
    if labels is not None:
        if labels.shape != pixels.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"{path} holds labels of type {labels.dtype} and shape {list(labels.shape)}, where integers "
                f"{list(pixels.shape[:1])} were expected"
            )
        labels = labels.astype(np.int32)
    return _in_memory(name, pixels, labels, split_rows(name, split, {"train": len(pixels)}))


def _load(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    if path.suffix == ".npy":
        return np.lib.format.open_memmap(path, mode="r"), None  # read row by row
    with path.open("rb") as file, np.lib.npyio.NpzFile(file) as arrays:
        if "image" not in arrays:
            raise ValueError(f"it holds no array 'image': there are {', '.join(arrays) or 'none'}")
        return arrays["image"], arrays.get("label")


def _in_memory(name: str, pixels: np.ndarray, labels: np.ndarray | None, rows: np.ndarray) -> Stored:
    def fetch(wanted: Rows):
        taken = rows[np.asarray(wanted)]
        return pixels[taken], None if labels is None else labels[taken]

    return Stored(name, len(rows), fetch)


def stored_folder(name: str, split: str) -> Stored:
    """The image files of `folder:PATH`; what `fetch` gives are their paths."""
    from jaxgan.data.folder import image_files

    root = Path(name.removeprefix("folder:")).expanduser()
    files = image_files(root)
    inside = [Path(file).relative_to(root).parts for file in files]
    sizes, below = {"train": len(files)}, 0
    if any((root / train).is_dir() for train in ("train", "trainA", "trainB")):
        splits = sorted(one.name for one in root.iterdir() if one.is_dir() and not one.name.startswith("."))
        sizes = {one: sum(parts[0] == one for parts in inside) for one in splits}
        files = [file for file, parts in zip(files, inside, strict=True) if len(parts) > 1]
        inside = [parts for parts in inside if len(parts) > 1]
        below = 1
    rows = split_rows(name, split, sizes)
    labels = None
    if all(len(parts) > below + 1 for parts in inside):
        # Over all splits, so that a class has one number in each of them.
        labels = np.unique([parts[below] for parts in inside], return_inverse=True)[1].astype(np.int32)

    def fetch(wanted: Rows):
        taken = rows[np.asarray(wanted)]
        return [files[row] for row in taken], None if labels is None else labels[taken]

    return Stored(name, len(rows), fetch)


def split_rows(name: str, split: str, sizes: Mapping[str, int]) -> np.ndarray:
    """The examples of a split, a slice or a sum, where the splits of these sizes lie one after another."""
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    if split in sizes:
        rows = starts[split] + np.arange(sizes[split])
    else:
        import tensorflow_datasets as tfds  # so that the words mean what they mean for its data sets

        try:
            infos = {key: tfds.core.SplitInfo(key, [size], 0) for key, size in sizes.items()}
            parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
        except (ValueError, NotImplementedError):  # TFDS raises either, by what is wrong with the words
            raise unknown_split(name, split, sizes) from None
        rows = np.concatenate(
            [starts[part.splitname] + np.arange(sizes[part.splitname])[part.from_ : part.to] for part in parts]
        )
    if not len(rows):
        raise ValueError(f"split {split!r} of {name} is empty")
    return rows


def unknown_split(name: str, split: str, sizes: Mapping[str, int]) -> ValueError:
    known = ", ".join(f"{key} ({size} examples)" for key, size in sizes.items())
    return ValueError(f"data set {name} has no split {split!r}: there are {known}")


def unknown_name(name: str) -> ValueError:
    if Path(name).expanduser().is_dir():
        meant = f"; did you mean folder:{name}?"
    else:
        near = difflib.get_close_matches(name, NAMES, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
    return ValueError(
        f"unknown data set {name!r}: there are {', '.join(NAMES)}, what TFDS has prepared, stacked:NAME, folder:PATH, "
        f"PATH.npy and PATH.npz{meant}"
    )
