"""Reading and writing files safely: atomic writes that follow no links, reads of bounded size; optional imports."""

from __future__ import annotations

import errno
import importlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

StrPath = str | os.PathLike[str]

MOST = 256 * 2**20
"""Largest size of a file that `read` accepts by default, in bytes."""


def expanded(path: StrPath) -> Path:
    """The path with a leading `~` or `~NAME` replaced by the home folder.

    Raises:
      ValueError: the home folder does not exist.
    """
    found = os.path.expanduser(path)
    if found.startswith("~"):
        home = found.partition("/")[0]
        raise ValueError(f"there is no home folder for {home}; for a file of this name write ./{found}")
    return Path(found)


def write(path: StrPath, content: str | bytes, *, inside: StrPath | None = None) -> None:
    """Writes a file atomically; makes missing folders and replaces an existing file.

    The content is written to a temporary file of a random name in the same folder, which is then renamed. So a link of
    the same name is replaced instead of followed, and two processes never write to the same temporary file.

    Args:
      path: the file.
      content: bytes, or text, which is written as UTF-8.
      inside: a folder whose content may come from others, such as a run folder. No folder between it and the file may
        be a link.

    Raises:
      OSError: it cannot be written, or a folder of its path is a link.
    """
    with draft(path, inside=inside) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def draft(path: StrPath, *, inside: StrPath | None = None) -> Iterator[BinaryIO]:
    """A temporary file that is renamed to `path` if the body succeeds, and removed if it raises.

    Args, Raises: as `write`.
    """
    path = Path(path)
    make_folder(path.parent, inside=inside)
    beside = path.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            yield file
        os.replace(beside, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(beside)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None  # name the file, not the temporary one
    finally:
        beside.unlink(missing_ok=True)


def open_to_append(path: StrPath, *, inside: StrPath | None = None) -> TextIO:
    """Opens a text file (UTF-8) to append to; makes it and missing folders.

    Args:
      path, inside: as in `write`.

    Raises:
      OSError: it cannot be opened, it or a folder of its path is a link, it has a second name (a hard link), or it is
        not a regular file.
    """
    make_folder(Path(path).parent, inside=inside)
    try:
        # Without O_NONBLOCK, opening a pipe of this name would block.
        number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _refused(path) from None
        raise
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(number)
        raise _refused(path)
    return os.fdopen(number, "a", encoding="utf-8", newline="\n")


def append(path: StrPath, text: str, *, inside: StrPath | None = None) -> None:
    """Appends text to a file, see `open_to_append`."""
    with open_to_append(path, inside=inside) as file:
        file.write(text)


def make_folder(folder: StrPath, *, inside: StrPath | None = None) -> None:
    """Makes a folder and its parents if they are missing.

    Raises:
      OSError: it cannot be made, or it or a folder between `inside` and it is a link.
    """
    folder = Path(folder)
    if inside is not None:
        below = Path(os.path.abspath(folder)).relative_to(os.path.abspath(inside)).parts
        for number in range(1, len(below) + 1):
            part = Path(inside, *below[:number])
            if part.is_symlink():
                raise _refused(part, "folder")
    folder.mkdir(parents=True, exist_ok=True)


def read(path: StrPath, *, most: int = MOST) -> bytes:
    """The content of a file that may come from others: a regular file, or a link to one, of bounded size.

    Args:
      path: the file.
      most: largest size in bytes.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: it is a folder, a pipe or a device, or is larger than `most`; the message names it.
      OSError: it cannot be read.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without O_NONBLOCK, opening a pipe would block
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ValueError(f"{os.fspath(path)} is not a regular file")
        with os.fdopen(number, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(number)
    if len(content) > most:
        raise ValueError(f"{os.fspath(path)} is larger than {most:,} bytes, the limit")
    return content


def read_text(path: StrPath, *, most: int = MOST) -> str:
    """The content of a UTF-8 text file, see `read`.

    Raises:
      ValueError: as `read`, or the file is not valid UTF-8.
    """
    try:
        return read(path, most=most).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fspath(path)} is not valid UTF-8: {error}") from None


class LinkError(OSError):
    """A path is a link, has a second name, or is a pipe or a device: writing there would change something else."""

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


def refuse_link(path: StrPath, *, folder: bool = False) -> None:
    """Checks in advance that `open_to_append`, or `make_folder` for a folder, will accept a path.

    Raises:
      LinkError: the path is a link, or not a regular file (or folder).
      OSError: the path cannot be inspected.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    plain = stat.S_ISDIR(status.st_mode) if folder else stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if not plain:
        raise _refused(path, "folder" if folder else "regular file")


def _refused(path: StrPath, kind: str = "regular file") -> LinkError:
    message = f"is a link or not a {kind}, and links are not followed: replace it by its target, or remove it"
    return LinkError(errno.ELOOP, message, os.fspath(path))


def import_extra(name: str, extra: str = "experiments") -> Any:
    """Imports a module that an extra of this package installs.

    Raises:
      ModuleNotFoundError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is missing: pip install -e '.[{extra}]'", name=error.name) from None
