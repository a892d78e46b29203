"""Finding and decoding image files.

Every image becomes grey or RGB by the same rules, whatever its format:
  - it is EXIF-rotated; of several frames the first is read;
  - transparency (an alpha channel, a transparent palette entry or colour) is composited over white;
  - palettes are expanded, 1-bit images become 0 and 255, CMYK and other colour spaces become RGB; colour profiles are
    ignored;
  - grey is repeated to three channels; colour becomes grey by its luma (0.299 R + 0.587 G + 0.114 B);
  - 16-bit grey keeps its depth, as floats in [-1, 1] (0 to 65535); of 16-bit colour the upper 8 bits are read;
  - 32-bit grey is refused, because its range is unknown.

Files are not trusted. The content decides the format, not the ending. Only the formats in `FORMATS` are read, none of
which runs another program, and only images of at most `PIL.Image.MAX_IMAGE_PIXELS` (89 million) pixels.
"""

from __future__ import annotations

import os
from typing import BinaryIO, NamedTuple

import numpy as np

from jaxgan.data.identity import composed
from jaxgan.files import expanded

try:
    from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
except ModuleNotFoundError:
    raise ModuleNotFoundError("reading images needs Pillow: pip install -e '.[experiments]'") from None

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

MOST_LINKS = 10_000
"""Largest number of links to folders that are followed: folders that link to each other have very many paths."""


def image_files(folder: str | os.PathLike[str]) -> list[str]:
    """The image files in a folder and its sub-folders.

    Images are files that end in one of `SUFFIXES`, in upper or lower case. Other files, hidden ones and `__MACOSX` are
    ignored. Links are followed, except to a parent folder; at most `MOST_LINKS` links to folders.

    Args:
      folder: the folder.

    Returns:
      Their paths without duplicates, sorted by their names in Unicode NFC: the same list at every call.

    Raises:
      ValueError: no such folder, no image in it, something with the name of an image that is not a file, or too many
        links.
    """
    files = files_in(folder, SUFFIXES)
    if not files:
        raise ValueError(f"{expanded(folder)} holds 0 images: no file ends in {', '.join(SUFFIXES)}")
    return files


def files_in(folder: str | os.PathLike[str], suffixes: tuple[str, ...]) -> list[str]:
    """The files in a folder and its sub-folders with one of these endings, found as by `image_files`."""
    found = content(folder, suffixes)
    for path in sorted(found.broken):
        raise ValueError(f"{path} is {found.broken[path]}")
    return found.files


class Content(NamedTuple):
    """The content of a folder and its sub-folders.

    Attributes:
      files: files with the wanted endings, sorted by their names in Unicode NFC, including broken ones.
      broken: those of them that are not files, and unreadable sub-folders, each with the reason.
      others: files with other endings.
      links: links to folders that were followed, and their targets.
    """

    files: list[str]
    broken: dict[str, str]
    others: list[str]
    links: dict[str, str]


def content(folder: str | os.PathLike[str], suffixes: tuple[str, ...] = SUFFIXES) -> Content:
    """Lists a folder and its sub-folders without failing at broken files.

    Args:
      folder: the folder.
      suffixes: endings of the wanted files, in lower case.

    Returns:
      The `Content`. Hidden files are ignored and links followed as by `image_files`.

    Raises:
      ValueError: no such folder, or too many links.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} {'is a file' if folder.exists() else 'does not exist'}, but a folder was expected")
    found = Content([], {}, [], {})
    _walk(str(folder), suffixes, found)
    return found._replace(files=sorted(sorted(found.files), key=composed))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is ignored."""
    return name.startswith(".") or name == "__MACOSX"


def _walk(folder: str, suffixes: tuple[str, ...], found: Content) -> None:
    waiting: list[tuple[str, str, frozenset[str]]] = [(folder, os.path.realpath(folder), frozenset())]
    while waiting:
        inner, real, above = waiting.pop()
        try:
            entries = sorted(os.scandir(inner), key=lambda entry: entry.name)
        except OSError as error:
            if inner == folder:
                raise
            found.broken[inner] = f"a folder that cannot be read ({error.strerror})"
            continue
        above |= {real}
        for entry in entries:
            if is_hidden(entry.name):
                continue
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # such as a link to itself
                is_folder = is_file = False
            if is_folder:
                leads = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)
                if leads in above:
                    continue
                if entry.is_symlink():
                    found.links[entry.path] = leads
                    if len(found.links) > MOST_LINKS:
                        raise ValueError(
                            f"{folder} contains more than {MOST_LINKS:,} links to folders, one of them {entry.path}: "
                            "do they point to each other?"
                        )
                waiting.append((entry.path, leads, above))
            elif entry.name.lower().endswith(suffixes):
                found.files.append(entry.path)
                if not is_file:
                    if not entry.is_symlink():
                        found.broken[entry.path] = "not a regular file"
                    elif os.path.exists(entry.path):
                        found.broken[entry.path] = "a link whose target is not a regular file"
                    else:
                        found.broken[entry.path] = "a link whose target does not exist"
            elif is_file:
                found.others.append(entry.path)


def read_image(
    file: str | os.PathLike[str] | BinaryIO | np.ndarray, *, image_size: int | None = None, channels: int | None = None
) -> np.ndarray:
    """Decodes one image by the rules at the top of this module.

    Args:
      file: a path, an open binary file, or pixels: uint8 `[height, width]` or `[height, width, C]` with 1 to 4
        channels; the last of 2 or 4 channels is alpha.
      image_size: side of the result: the image is center-cropped to a square and resized with Pillow's antialiased
        bicubic filter. By default it keeps its size.
      channels: 1 or 3; by default 1 for grey images and 3 for others.

    Returns:
      `[height, width, channels]` uint8, or float32 in [-1, 1] for a 16-bit grey image.

    Raises:
      ValueError: the file is damaged, too large, not an image, or of an unsupported kind; the message names it.

    >>> read_image(np.zeros((6, 8), np.uint8), image_size=4, channels=3).shape
    (4, 4, 3)
    """
    try:
        with _open(file) as image:
            if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {Image.MAX_IMAGE_PIXELS:,}")
            ImageOps.exif_transpose(image, in_place=True)
            return _pixels(image, image_size, channels)
    except UnidentifiedImageError:
        reason = f"not an image in a supported format ({', '.join(FORMATS)})"
    except Exception as error:  # decoders raise many types of errors for damaged files
        reason = str(error) or type(error).__name__
    raise ValueError(f"{os.fspath(file)}: {reason}" if isinstance(file, str | os.PathLike) else reason)


def has_frames(file: str | os.PathLike[str]) -> bool:
    """Whether an image has several frames, of which `read_image` reads the first; False for a damaged image."""
    try:
        with _open(file) as image:
            return getattr(image, "is_animated", False)
    except Exception:  # decoders raise many types of errors for damaged files
        return False


def size_of(file: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Width and height of an EXIF-rotated image, without decoding it; None for a damaged image."""
    try:
        with _open(file) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else image.size
    except Exception:  # decoders raise many types of errors for damaged files
        return None


def _open(file) -> Image.Image:
    if not isinstance(file, np.ndarray):
        return Image.open(file, formats=FORMATS)
    if file.dtype != np.uint8:
        raise ValueError(f"pixels of type {file.dtype}, but uint8 was expected")
    return Image.fromarray(file[..., 0] if file.shape[2:] == (1,) else file)


def _pixels(image: Image.Image, image_size: int | None, channels: int | None) -> np.ndarray:
    grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I;16")
    channels = channels or (1 if grey else 3)
    if image.mode.startswith("I;16"):
        image = _deep(image)
    elif image.mode in ("I", "F"):
        raise ValueError(f"an image of mode {image.mode} (32 bits), but 8 or 16 bits per channel were expected")
    else:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
    if image_size is not None and image.size != (image_size, image_size):
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
    pixels = np.array(image)
    if image.mode == "F":
        pixels = np.clip(pixels, -1.0, 1.0)  # the filter overshoots at edges
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], channels, axis=2)


def _deep(image: Image.Image) -> Image.Image:
    """16 bits as floats in [-1, 1], which Pillow resizes without loss."""
    values = np.array(image, np.float32)
    if (transparent := image.info.get("transparency")) is not None:
        values[values == transparent] = 65535.0
    return Image.fromarray((2.0 * values - 65535.0) / 65535.0)
