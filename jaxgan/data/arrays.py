"""Images in `.npy` and `.npz` files."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.data.identity import spread

MOST_PIXELS = 89_478_485
"""Of an image: as many as Pillow takes for an image and no attack."""

MOST_NPZ = 4 * 2**30
"""Bytes of an array in an npz file, which is read into memory; an npy file is read row by row, however large."""

MOST_NAMES = 100_000


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
    try:
        pixels, labels, names = _load(path)
    except Exception as error:  # a damaged header ends in one of a dozen ways
        raise ValueError(f"{path} cannot be read: {str(error) or type(error).__name__}") from None
    if reason := misread(pixels):
        raise ValueError(f"{path} holds {pixels.dtype} of shape {list(pixels.shape)}: {reason}")
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or (pixels.ndim == 4 and not 1 <= pixels.shape[3] <= 4):
        raise ValueError(
            f"{path} holds {pixels.dtype} of shape {list(pixels.shape)}, where images were expected: uint8 [N, H, W] "
            f"or [N, H, W, C] with 1 to 4 channels{_as_bytes(pixels)}"
        )
    if pixels.shape[1] * pixels.shape[2] > MOST_PIXELS:
        raise ValueError(f"{path} holds images of {pixels.shape[1]} x {pixels.shape[2]} pixels, above {MOST_PIXELS:,}")
    if labels is not None:
        if labels.shape != pixels.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"{path} holds labels of type {labels.dtype} and shape {list(labels.shape)}, where integers "
                f"{list(pixels.shape[:1])} were expected"
            )
        labels = as_labels(labels, str(path))
    if names is not None:
        names = _names(names, path)
    return Arrays(pixels, labels, names)


def as_labels(labels: np.ndarray, where: str, *, least: int = 0) -> np.ndarray:
    """Integers as int32, refused where they are below `least` or beyond 32 bits."""
    if wrong := labels[(labels < least) | (labels >= 2**31)].tolist():
        raise ValueError(f"{where} has the label {wrong[0]}, where integers from {least} to 2**31 - 1 were expected")
    return labels.astype(np.int32)


def misread(pixels: np.ndarray) -> str | None:
    """Why images are surely held in another order of axes, and the cure; None where nothing says so.

    >>> misread(np.zeros((8, 3, 32, 32), np.uint8))
    'the channels come first, give [N, H, W, C]: images.transpose(0, 2, 3, 1)'
    """
    if pixels.ndim == 4 and pixels.shape[1] in (1, 3) and min(pixels.shape[2:]) > 4:
        return "the channels come first, give [N, H, W, C]: images.transpose(0, 2, 3, 1)"
    return None


def _as_bytes(pixels: np.ndarray) -> str:
    """How floats become bytes, where their values say what they are."""
    if not np.issubdtype(pixels.dtype, np.floating) or not pixels.size:
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


def _load(path: Path) -> tuple[np.ndarray, np.ndarray | None, Any]:
    if not path.is_file():
        raise ValueError("it is a folder or no regular file" if path.exists() else f"No such file: {path}")
    if path.suffix == ".npy":
        return np.lib.format.open_memmap(path, mode="r"), None, None  # read row by row
    with path.open("rb") as file, zipfile.ZipFile(file) as members:
        known = [name.removesuffix(".npy") for name in members.namelist()]
        if "image" not in known:
            raise ValueError(f"it holds no array 'image': there are {', '.join(known) or 'none'}")
        return tuple(_member(members, name) if name in known else None for name in ("image", "label", "names"))  # pyright: ignore


def _member(members: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of an npz file, whose header is compared with its size before memory is taken."""
    info = members.getinfo(f"{name}.npy")
    with members.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
        shape, _, dtype = read_header(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"Object arrays such as '{name}' are programs, and are not loaded")
        if size > MOST_NPZ:
            raise ValueError(f"'{name}' has {size:,} bytes, above {MOST_NPZ:,}: save it as .npy, read row by row")
        if file.tell() + size != info.file_size:
            raise ValueError(f"'{name}' has {info.file_size:,} bytes, where its header says {file.tell() + size:,}")
    with members.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _names(names: np.ndarray, path: Path) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) > MOST_NAMES:
        raise ValueError(
            f"{path} holds names of type {names.dtype} and shape {list(names.shape)}, where the texts of at most "
            f"{MOST_NAMES:,} classes were expected"
        )
    return tuple(map(str, names))
