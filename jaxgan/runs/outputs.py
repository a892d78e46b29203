"""Output files of commands, such as `sample`. Each file contains the name of the command that wrote it.

The rule of all commands: an existing file is replaced if the same command wrote it, else refused. A folder may contain
only such files, and all of them are replaced. So a user's own files are never lost, and outputs of an earlier command
are not mixed with new ones. Hidden files are ignored.
"""

from __future__ import annotations

import io
import mmap
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jaxgan import files
from jaxgan.runs.config import check_writable
from jaxgan.runs.images import as_image


def mark(command: str) -> str:
    """The text by which a file names the command that wrote it."""
    return f"jaxgan.{command}"


def is_by(path: Path, command: str) -> bool:
    """Whether this command wrote a file; False for a link."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if stat.S_ISREG(path.lstat().st_mode) else None
    if number is None:
        return False
    with os.fdopen(number, "rb"):
        if not os.fstat(number).st_size:
            return False
        with mmap.mmap(number, 0, access=mmap.ACCESS_READ) as content:
            return content.find(mark(command).encode()) >= 0


def check_file(path: Path, command: str, *, flag: str = "--output") -> None:
    """Refuses an output file that cannot be written, or that exists and was not written by this command.

    Args:
      path: the file.
      command: name of the command.
      flag: the flag of the path, for the message.

    Raises:
      ValueError: the path is a folder, a link, or a file of something else.
      OSError: the file cannot be created.
    """
    check_writable(path.parent)
    if path.is_dir():
        raise ValueError(f"output {path} is a folder, where a file was expected")
    if os.path.lexists(path) and not is_by(path, command):
        raise ValueError(f"output {path} exists and was not written by this command: move it, or give another {flag}")


def earlier(folder: Path, command: str, *, known: Callable[[str], bool]) -> list[Path]:
    """The files in an output folder that this command wrote before; refuses a folder with any other file.

    Args:
      folder: the folder; it need not exist.
      command: name of the command.
      known: whether the command writes a file of this relative path. A text file beside an image of the same name
        belongs to the image.

    Raises:
      ValueError: the folder holds another file.
      OSError: the folder cannot be written.
    """
    check_writable(folder)
    found = [path for path in sorted(folder.rglob("*")) if not _is_hidden(path.relative_to(folder))]
    found = [path for path in found if path.is_symlink() or not path.is_dir()]
    for path in found:
        marked = path.with_suffix(".png") if path.suffix == ".txt" else path
        ours = known(path.relative_to(folder).as_posix()) and not path.is_symlink() and marked.exists()
        if not (ours and is_by(marked, command)):
            name = path.relative_to(folder)
            raise ValueError(f"output {folder} holds {name}, not written by this command: give a new or empty folder")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def write_image(path: Path, figure: Any, command: str, *, inside: files.StrPath | None = None) -> None:
    """Writes an image or a figure, see `jaxgan.runs.images.as_image`, as a PNG file."""
    files.write(path, image_bytes(figure, command), inside=inside)


def image_bytes(figure: Any, command: str) -> bytes:
    """The contents of the file that `write_image` writes."""
    from PIL import PngImagePlugin

    about = PngImagePlugin.PngInfo()
    about.add_text("Software", mark(command))
    return _encoded([figure], "png", pnginfo=about)


def write_animation(
    path: Path, frames: Iterable[Any], command: str, *, seconds: float = 0.05, inside: files.StrPath | None = None
) -> None:
    """Writes images of equal size as an animation that repeats forever.

    Args:
      path: ends in `.gif` or `.webp`.
      frames: one image or figure or more, see `jaxgan.runs.images.as_image`.
      command: name of the command.
      seconds: duration of a frame.
      inside: as in `files.write`.

    Raises:
      ValueError: the path has another suffix.
    """
    if path.suffix.lower() not in (".gif", ".webp"):
        raise ValueError(f"an animation is a .gif or a .webp file, not {path}")
    files.write(path, animation_bytes(frames, path.suffix[1:], command, seconds=seconds), inside=inside)


def animation_bytes(frames: Iterable[Any], form: str, command: str, *, seconds: float = 0.05) -> bytes:
    """The contents of the file that `write_animation` writes in a format, `gif` or `webp`."""
    text = mark(command).encode()
    options = {"comment": text, "xmp": text, "save_all": True, "duration": round(1000 * seconds), "loop": 0}
    return _encoded(frames, form, **options)


def _encoded(frames: Iterable[Any], form: str, **options: Any) -> bytes:
    from PIL import Image

    images = map(as_image, frames)
    pil_images = (Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in images)
    encoded = io.BytesIO()
    first = next(pil_images)
    if options.get("save_all"):
        options["append_images"] = pil_images
    first.save(encoded, format=form, **options)
    return encoded.getvalue()
