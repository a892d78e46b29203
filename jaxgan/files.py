"""Files of a run: written whole or not at all and through nobody's links, read within bounds; and optional imports."""

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
"""So many bytes, at most, `read` takes of a file."""


def expanded(path: StrPath) -> Path:
    """The path with `~` and `~NAME` as the home folders they stand for.

    Raises:
      ValueError: there is no such home folder.
    """
    found = os.path.expanduser(path)
    if found.startswith("~"):
        home = found.partition("/")[0]
        raise ValueError(f"there is no home folder for {home}; a file of this name is written ./{found}")
    return Path(found)


def write(path: StrPath, content: str | bytes, *, inside: StrPath | None = None) -> None:
    """Writes a file whole or not at all; missing folders are made, and what had this name is replaced.

    The content first goes to a file of a random name beside it. So a link of the same name is replaced and not
    followed, two processes do not meet in one draft, and every name that the file system takes can be written.

    Args:
      path: the file.
      content: bytes, or text that is written as UTF-8.
      inside: a folder whose content may come from others, such as a run folder: no folder between it and the file may
        be a link.

    Raises:
      OSError: it cannot be written, or a folder on the way is a link.
    """
    with draft(path, inside=inside) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def draft(path: StrPath, *, inside: StrPath | None = None) -> Iterator[BinaryIO]:
    """A file to write that gets the name `path` once the body has succeeded, and is removed where it raises.

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
        raise OSError(error.errno, error.strerror, str(path)) from None  # a name that the user knows
    finally:
        beside.unlink(missing_ok=True)


def open_to_append(path: StrPath, *, inside: StrPath | None = None) -> TextIO:
    """Opens a text file (UTF-8) to add lines at its end; it and missing folders are made.

    Args:
      path, inside: as in `write`.

    Raises:
      OSError: it cannot be opened, it or a folder on the way is a link, it has a second name (a hard link), or it is
        no regular file.
    """
    make_folder(Path(path).parent, inside=inside)
    try:
        # Without O_NONBLOCK a pipe of this name would be waited for.
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
    """Adds text at the end of a file, see `open_to_append`."""
    with open_to_append(path, inside=inside) as file:
        file.write(text)


def make_folder(folder: StrPath, *, inside: StrPath | None = None) -> None:
    """Makes a folder and those above it where they are missing.

    Raises:
      OSError: it cannot be made, or one between `inside` and it (itself included) is a link.
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
      most: bytes it may have.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is a folder, a pipe or a device, or has more bytes; the message names it.
      OSError: it cannot be read.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe of this name would be waited for
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ValueError(f"{os.fspath(path)} is no regular file")
        with os.fdopen(number, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(number)
    if len(content) > most:
        raise ValueError(f"{os.fspath(path)} has more than {most:,} bytes, and no more are read")
    return content


def read_text(path: StrPath, *, most: int = MOST) -> str:
    """The content of a file in UTF-8, see `read`.

    Raises:
      ValueError: also where it holds bytes that are no UTF-8.
    """
    try:
        return read(path, most=most).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fspath(path)} is no text in UTF-8: {error}") from None


class LinkError(OSError):
    """A path is a link, has a second name, or is a pipe or a device: what is written there would come out elsewhere."""

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


def refuse_link(path: StrPath, *, folder: bool = False) -> None:
    """Refuses, before anything is written, what `open_to_append` would refuse; for a folder, what `make_folder` would.

    Raises:
      LinkError: it is a link or nothing of this kind.
      OSError: it cannot be looked at.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    plain = stat.S_ISDIR(status.st_mode) if folder else stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if not plain:
        raise _refused(path, "folder" if folder else "regular file")


def _refused(path: StrPath, kind: str = "regular file") -> LinkError:
    message = f"is a link or no {kind}, and nothing is written through it: replace it by what it leads to, or remove it"
    return LinkError(errno.ELOOP, message, os.fspath(path))


def import_extra(name: str) -> Any:
    """A module that the extra `experiments` installs.

    Raises:
      ModuleNotFoundError: it is missing; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is missing: pip install -e '.[experiments]'", name=error.name
        ) from None
