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
"""Of an image: as many as Pillow takes for an image and no attack."""

MOST_NPZ = 4 * 2**30
"""Bytes of an array in an npz file, which is read into memory; an npy file is read row by row, however large."""

MOST_NAMES = 100_000

MOST_TEXT = 64 * 2**20
"""Bytes of all names of an npz file."""

MOST_HEADER = 10_000
"""Bytes of an array's header, as NumPy has it."""


class Arrays(NamedTuple):
    """What a file holds.

    Attributes:
      pixels: uint8 `[N, H, W]` or `[N, H, W, C]`.
      labels: int32 `[N]`, if any.
      names: of the classes, if any.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...] | None


def read_arrays(path: Path) -> Arrays:
    """Reads a `.npy` file of images, or an `.npz` file with `image` and, if there are any, `label` and `names`.

    Raises:
      ValueError: the file is damaged, or holds what cannot be meant; the message names it and the cure.
    """
    with contextlib.ExitStack() as stack:
        with _readable(path):
            known = _open(path, stack)
        image, label, names = (known.get(name) for name in ("image", "label", "names"))
        assert image is not None
        # All headers are looked at before anything is unpacked.
        _check_images(image, path)
        if label is not None and (label.shape != image.shape[:1] or not np.issubdtype(label.dtype, np.integer)):
            raise ValueError(
                f"{path} holds labels of type {label.dtype} and shape {list(label.shape)}, where integers "
                f"{list(image.shape[:1])} were expected"
            )
        if names is not None and (
            len(names.shape) != 1 or names.dtype.kind != "U" or names.shape[0] > MOST_NAMES or names.size > MOST_TEXT
        ):
            raise ValueError(
                f"{path} holds names of type {names.dtype} and shape {list(names.shape)}, where the texts of at most "
                f"{MOST_NAMES:,} classes were expected, {MOST_TEXT:,} bytes in all"
            )
        with _readable(path):
            found = [None if one is None else one.load() for one in (image, label, names)]
    pixels, labels, texts = found
    assert pixels is not None
    if labels is not None:
        labels = as_labels(labels, str(path))
    return Arrays(pixels, labels, None if texts is None else _names(texts, path))


def as_labels(labels: np.ndarray, where: str, *, least: int = 0) -> np.ndarray:
    """Integers as int32, refused where they are below `least` or beyond 32 bits."""
    if wrong := labels[(labels < least) | (labels >= 2**31)].tolist():
        raise ValueError(f"{where} has the label {wrong[0]}, where integers from {least} to 2**31 - 1 were expected")
    return labels.astype(np.int32)


def _check_images(image: _Header, path: Path) -> None:
    shape, dtype = image.shape, image.dtype
    held = f"{path} holds {dtype} of shape {list(shape)}"
    if reason := misread(shape):
        raise ValueError(f"{held}: {reason}")
    if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and not 1 <= shape[3] <= 4):
        with _readable(path):
            cure = _as_bytes(image.load()) if np.issubdtype(dtype, np.floating) else ""
        raise ValueError(
            f"{held}, where images were expected: uint8 [N, H, W] or [N, H, W, C] with 1 to 4 channels{cure}"
        )
    if not all(shape[1:]):
        raise ValueError(f"{held}: images of 0 pixels")
    if len(shape) == 3 and shape[2] <= 4 and shape[1] != shape[2]:
        raise ValueError(
            f"{held}: one picture, or grey ones of {shape[1]} x {shape[2]} pixels: give images[None] for one picture, "
            "images[..., None] for grey ones"
        )
    if shape[1] * shape[2] > MOST_PIXELS:
        raise ValueError(f"{path} holds images of {shape[1]} x {shape[2]} pixels, above {MOST_PIXELS:,}")


def misread(shape: Sequence[int]) -> str | None:
    """Why images of this shape are surely held in another order of axes, and the cure; None where nothing says so.

    >>> misread((8, 3, 32, 32))
    'the channels come first, give [N, H, W, C]: images.transpose(0, 2, 3, 1)'
    """
    if len(shape) == 4 and shape[1] in (1, 3) and min(shape[2:]) > 4:
        return "the channels come first, give [N, H, W, C]: images.transpose(0, 2, 3, 1)"
    return None


def _as_bytes(pixels: np.ndarray) -> str:
    """How floats become bytes, where their values say what they are."""
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
        return f"; its values reach from {low:g} to {high:g}"
    return f"; its values reach from {low:g} to {high:g}: save {convert}"


class _Header(NamedTuple):
    """An array that is not read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a damaged header ends in one of a dozen ways
        raise ValueError(f"{path} cannot be read: {str(error) or type(error).__name__}") from None


def _open(path: Path, stack: contextlib.ExitStack) -> dict[str, _Header]:
    """The arrays of a file by name, as their headers describe them; the file is open until the stack is left."""
    if not path.is_file():
        raise ValueError("it is a folder or no regular file" if path.exists() else f"No such file: {path}")
    file = stack.enter_context(path.open("rb"))
    if path.suffix == ".npy":
        return {"image": _Header(*_read_header(file)[:2], lambda: np.lib.format.open_memmap(path, mode="r"))}  # by rows
    members = stack.enter_context(zipfile.ZipFile(file))
    known = [name.removesuffix(".npy") for name in members.namelist()]
    if "image" not in known:
        raise ValueError(f"it holds no array 'image': there are {', '.join(known[:10]) or 'none'}")
    return {name: _member(members, name) for name in ("image", "label", "names") if name in known}


def _member(members: zipfile.ZipFile, name: str) -> _Header:
    """An array of an npz file, whose header is compared with its size."""
    info = members.getinfo(f"{name}.npy")
    with members.open(info) as file:
        shape, dtype, start = _read_header(file)

    def load() -> np.ndarray:
        with members.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    found = _Header(shape, dtype, load)
    if dtype.hasobject:
        raise ValueError(f"Object arrays such as '{name}' are programs, and are not loaded")
    if found.size > MOST_NPZ:
        raise ValueError(f"'{name}' has {found.size:,} bytes, above {MOST_NPZ:,}: save it as .npy, read row by row")
    if start + found.size != info.file_size:
        raise ValueError(f"'{name}' has {info.file_size:,} bytes, where its header says {start + found.size:,}")
    return found


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and type of an array, and where its data begin."""
    magic = file.read(8)
    version = np.lib.format.read_magic(io.BytesIO(magic))
    width = 2 if version == (1, 0) else 4
    size = file.read(width)
    if (length := int.from_bytes(size, "little")) > MOST_HEADER:
        raise ValueError(f"its header has {length:,} bytes, above {MOST_HEADER:,}")
    header = io.BytesIO(size + file.read(length))
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(header)
    if any(one < 0 for one in shape):
        raise ValueError(f"its shape is {list(shape)}")
    return shape, dtype, len(magic) + width + length


def _names(names: np.ndarray, path: Path) -> tuple[str, ...]:
    if names.size and names.itemsize:
        codes = np.ascontiguousarray(names.astype(names.dtype.newbyteorder("="))).view(np.uint32)
        strange = (codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))
        if strange.any():
            row = np.flatnonzero(strange.reshape(len(names), -1).any(axis=1))[0]
            raise ValueError(f"{path} holds a name of class {row} with what is no character: give it another")
    return tuple(map(str, names))
