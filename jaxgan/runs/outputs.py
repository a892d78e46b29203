"""What a command writes for the user: files that say inside which command wrote them.

One rule for all commands: a file that is there is replaced if the same command wrote it, else refused; a folder
may hold nothing but such files, and is then replaced as a whole. So nobody's own files are lost, and what an earlier
command drew does not stay among what this one draws. Files that begin with a dot are passed over.
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
    """What stands in a file that a command wrote."""
    return f"jaxgan.{command}"


def is_by(path: Path, command: str) -> bool:
    """Whether this command wrote a file; of a link never."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if stat.S_ISREG(path.lstat().st_mode) else None
    if number is None:
        return False
    with os.fdopen(number, "rb"):
        if not os.fstat(number).st_size:
            return False
        with mmap.mmap(number, 0, access=mmap.ACCESS_READ) as content:
            return content.find(mark(command).encode()) >= 0


def check_file(path: Path, command: str, *, flag: str = "--output") -> None:
    """Refuses a file that could not be written, or would replace what this command did not write.

    Args:
      path: the file.
      command: that would write it.
      flag: with which a user gives another.

    Raises:
      ValueError: what is there is a folder, a link or no file of this command.
      OSError: it could not be made.
    """
    check_writable(path.parent)
    if path.is_dir():
        raise ValueError(f"output {path} is a folder, where a file was expected")
    if os.path.lexists(path) and not is_by(path, command):
        raise ValueError(f"output {path} is there and was not written by this command: move it, or give another {flag}")


def earlier(folder: Path, command: str, *, known: Callable[[str], bool]) -> list[Path]:
    """The files of a folder to write, all of which this command wrote before.

    Args:
      folder: the folder; it need not exist.
      command: its name.
      known: whether it writes a file of this path in the folder. The text beside a picture of the same name counts as
        written with it.

    Raises:
      ValueError: the folder holds something else.
      OSError: it could not be written.
    """
    check_writable(folder)
    found = [path for path in sorted(folder.rglob("*")) if not _is_hidden(path.relative_to(folder))]
    found = [path for path in found if path.is_symlink() or not path.is_dir()]
    for path in found:
        picture = path.with_suffix(".png") if path.suffix == ".txt" else path
        ours = known(path.relative_to(folder).as_posix()) and not path.is_symlink() and picture.exists()
        if not (ours and is_by(picture, command)):
            name = path.relative_to(folder)
            raise ValueError(f"output {folder} holds {name}, which is not of this command: give a new or empty folder")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def write_image(path: Path, drawing: Any, command: str, *, inside: files.StrPath | None = None) -> None:
    """Writes a drawing, see `jaxgan.runs.images.as_image`, as a PNG file."""
    from PIL import PngImagePlugin

    about = PngImagePlugin.PngInfo()
    about.add_text("Software", mark(command))
    files.write(path, _encoded([drawing], "png", pnginfo=about), inside=inside)


def write_animation(
    path: Path, frames: Iterable[Any], command: str, *, seconds: float = 0.05, inside: files.StrPath | None = None
) -> None:
    """Writes drawings of one size as an endless animation.

    Args:
      path: ends in `.gif` or `.webp`.
      frames: at least one drawing, see `jaxgan.runs.images.as_image`.
      command: that draws it.
      seconds: how long each is shown.
      inside: as in `files.write`.

    Raises:
      ValueError: another ending.
    """
    if path.suffix.lower() not in (".gif", ".webp"):
        raise ValueError(f"an animation is a .gif or a .webp file, not {path}")
    text = mark(command).encode()
    options = {"comment": text, "xmp": text, "save_all": True, "duration": round(1000 * seconds), "loop": 0}
    files.write(path, _encoded(frames, path.suffix[1:], **options), inside=inside)


def _encoded(drawings: Iterable[Any], form: str, **options: Any) -> bytes:
    from PIL import Image

    images = map(as_image, drawings)
    pictures = (Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in images)
    encoded = io.BytesIO()
    first = next(pictures)
    if options.get("save_all"):
        options["append_images"] = pictures
    first.save(encoded, format=form, **options)
    return encoded.getvalue()
