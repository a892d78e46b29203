"""Images in `.npy` and `.npz` files."""

from __future__ import annotations

import contextlib
import io
import math
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from jaxgan.data.identity import spread

MOST_PIXELS = 89_478_485
"""Largest number of pixels in an image; the same limit as Pillow's."""

MOST_NPZ = 4 * 2**30
"""Largest size in bytes of an array in an npz file, which is read into memory. npy files are memory-mapped."""

MOST_NAMES = 100_000

MOST_TEXT = 64 * 2**20
"""Largest size in bytes of all class names of an npz file."""

MOST_HEADER = 10_000
"""Largest size in bytes of an array's header, as in NumPy."""


class Arrays(NamedTuple):
    """The content of a file.

    Attributes:
      pixels: uint8 `[N, H, W]` or `[N, H, W, C]`.
      labels: int32 `[N]`, or None.
      names: names of the classes, or None.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...] | None


def read_arrays(path: Path) -> Arrays:
    """Reads a `.npy` file of images, or an `.npz` file with `image` and optionally `label` and `names`.

    Raises:
      ValueError: the file is damaged, or its arrays are not images, labels and names; the message names the file and
        says what to do.
    """
    with contextlib.ExitStack() as stack:
        with readable(path):
            known = open_arrays(path, stack, ("image", "label", "names"))
        image, label, names = (known.get(name) for name in ("image", "label", "names"))
        assert image is not None
        # All headers are checked before anything is unpacked.
        _check_images(image, path)
        if label is not None and (label.shape != image.shape[:1] or not np.issubdtype(label.dtype, np.integer)):
            raise ValueError(
                f"{path} holds labels of type {label.dtype} and shape {list(label.shape)}, but integers "
                f"{list(image.shape[:1])} were expected"
            )
        if names is not None and (
            len(names.shape) != 1 or names.dtype.kind != "U" or names.shape[0] > MOST_NAMES or names.size > MOST_TEXT
        ):
            raise ValueError(
                f"{path} holds names of type {names.dtype} and shape {list(names.shape)}, but strings of at most "
                f"{MOST_NAMES:,} classes were expected, {MOST_TEXT:,} bytes in total"
            )
        with readable(path):
            found = [None if one is None else one.load() for one in (image, label, names)]
    pixels, labels, texts = found
    assert pixels is not None
    if labels is not None:
        labels = as_labels(labels, str(path))
    return Arrays(pixels, labels, None if texts is None else as_texts(texts, f"{path} has a name of class"))


def as_labels(labels: np.ndarray, where: str, *, least: int = 0) -> np.ndarray:
    """Integers as int32; values below `least` or beyond 32 bits are refused."""
    if wrong := labels[(labels < least) | (labels >= 2**31)].tolist():
        raise ValueError(f"{where} has the label {wrong[0]}, but integers from {least} to 2**31 - 1 were expected")
    return labels.astype(np.int32)


def _check_images(image: Header, path: Path) -> None:
    shape, dtype = image.shape, image.dtype
    held = f"{path} holds {dtype} of shape {list(shape)}"
    if reason := misread(shape):
        raise ValueError(f"{held}: {reason}")
    if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and not 1 <= shape[3] <= 4):
        with readable(path):
            advice = _conversion_advice(image.load()) if np.issubdtype(dtype, np.floating) else ""
        raise ValueError(
            f"{held}, but images were expected: uint8 [N, H, W] or [N, H, W, C] with 1 to 4 channels{advice}"
        )
    if not all(shape[1:]):
        raise ValueError(f"{held}: images of 0 pixels")
    if len(shape) == 3 and shape[2] <= 4 and shape[1] != shape[2]:
        raise ValueError(
            f"{held}: either one image, or grey images of {shape[1]} x {shape[2]} pixels: save images[None] for one "
            "image, images[..., None] for grey images"
        )
    if shape[1] * shape[2] > MOST_PIXELS:
        raise ValueError(f"{path} holds images of {shape[1]} x {shape[2]} pixels, more than {MOST_PIXELS:,}")


def misread(shape: Sequence[int]) -> str | None:
    """Why images of this shape have the wrong order of axes, and what to do; None if they may be right.

    >>> misread((8, 3, 32, 32))
    'channels are first, but must be last [N, H, W, C]: images.transpose(0, 2, 3, 1)'
    """
    if len(shape) == 4 and shape[1] in (1, 3) and min(shape[2:]) > 4:
        return "channels are first, but must be last [N, H, W, C]: images.transpose(0, 2, 3, 1)"
    return None


def _conversion_advice(pixels: np.ndarray) -> str:
    """How to convert floats to uint8, if their range tells."""
    if not pixels.size:
        return ""
    some = pixels[spread(len(pixels), 256)]
    low, high = float(some.min()), float(some.max())
    if low >= 0 and high <= 1:
        convert = "(images * 255).round().astype('uint8')"
    elif low >= -1 and high <= 1:
        convert = "((images + 1) * 127.5).round().astype('uint8')"
    elif low >= 0 and high <= 255:
        convert = "images.round().astype('uint8')"
    else:
        return f"; its values range from {low:g} to {high:g}"
    return f"; its values range from {low:g} to {high:g}: save {convert}"


class Header(NamedTuple):
    """Shape and type of an array in a file, and a function that reads it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns every error of reading a file into a ValueError that names it."""
    try:
        yield
    except Exception as error:  # damaged headers raise many types of errors
        raise ValueError(f"{path} cannot be read: {str(error) or type(error).__name__}") from None


def open_arrays(path: Path, stack: contextlib.ExitStack, names: Sequence[str]) -> dict[str, Header]:
    """The headers of the arrays of these names, the first of which must be there; an `.npy` file is the first.

    The file stays open until the stack is closed. Damaged files raise many types of errors: see `readable`.
    """
    if not path.is_file():
        raise ValueError("it is a folder or not a regular file" if path.exists() else f"no such file: {path}")
    file = stack.enter_context(path.open("rb"))
    if path.suffix == ".npy":
        return {names[0]: Header(*_read_header(file)[:2], lambda: np.lib.format.open_memmap(path, mode="r"))}
    members = stack.enter_context(zipfile.ZipFile(file))
    known = [name.removesuffix(".npy") for name in members.namelist()]
    if names[0] not in known:
        raise ValueError(f"it has no array '{names[0]}', only {', '.join(known[:10])}" if known else "it has no arrays")
    return {name: _member(members, name) for name in names if name in known}


def _member(members: zipfile.ZipFile, name: str) -> Header:
    """The header of an array of an npz file, checked against the size of the array."""
    info = members.getinfo(f"{name}.npy")
    with members.open(info) as file:
        shape, dtype, start = _read_header(file)

    def load() -> np.ndarray:
        with members.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    found = Header(shape, dtype, load)
    if dtype.hasobject:
        raise ValueError(f"object arrays such as '{name}' may run code and are not loaded")
    if found.size > MOST_NPZ:
        raise ValueError(
            f"'{name}' has {found.size:,} bytes, more than {MOST_NPZ:,}: save it as .npy, which is memory-mapped"
        )
    if start + found.size != info.file_size:
        raise ValueError(f"'{name}' has {info.file_size:,} bytes, but its header says {start + found.size:,}")
    return found


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and type of an array, and the offset of its data."""
    magic = file.read(8)
    version = np.lib.format.read_magic(io.BytesIO(magic))
    width = 2 if version == (1, 0) else 4
    size = file.read(width)
    if (length := int.from_bytes(size, "little")) > MOST_HEADER:
        raise ValueError(f"its header has {length:,} bytes, more than {MOST_HEADER:,}")
    header = io.BytesIO(size + file.read(length))
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(header)
    if any(one < 0 for one in shape):
        raise ValueError(f"its shape is {list(shape)}")
    return shape, dtype, len(magic) + width + length


def as_texts(texts: np.ndarray, what: str) -> tuple[str, ...]:
    """Strings `[N]` of a file; one that is not valid Unicode is refused, with `what` and its number."""
    if texts.size and texts.itemsize:
        codes = np.ascontiguousarray(texts.astype(texts.dtype.newbyteorder("="))).view(np.uint32)
        strange = (codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))
        if strange.any():
            row = np.flatnonzero(strange.reshape(len(texts), -1).any(axis=1))[0]
            raise ValueError(f"{what} {row} that is not valid Unicode: rename it")
    return tuple(map(str, texts))
