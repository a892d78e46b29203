"""The lock of a run folder: only one process at a time may write to it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

from jaxgan import files

NAME = ".lock"
_PATIENCE = 0.3  # seconds to retry, since `refuse_held` of another process may hold it for a moment


class Lock:
    """The exclusive lock of a folder, held while in its context.

    A missing folder is created, and removed again if it is empty at the end.

    It is `flock` on the file `.lock` in the folder, whose text names the holder. The lock ends with its process, also
    after a kill: the file that is left behind does not lock the folder. It excludes other processes, and other locks in
    the same process.

    On a network file system it works between hosts if these pass `flock` on to the server: NFS under Linux does, as a
    lock of the whole file, unless mounted with `nolock` or `local_lock`; Lustre if mounted with `flock`. If the file
    system has no locks, a warning is printed, and a second run is not excluded.

    Args:
      folder: the folder.

    Raises:
      ValueError: another process holds it; the message names the process.
      OSError: the folder or the file cannot be created.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._place = Path(os.path.abspath(folder))

    def __enter__(self) -> Lock:
        self._made = [path for path in (self._place, *self._place.parents) if not path.exists()]
        self._lock()
        # Kept open, so that no other folder can get its inode number.
        self._opened = os.open(self._place, os.O_RDONLY | os.O_DIRECTORY)
        return self

    def __exit__(self, *_: object) -> None:
        made = self._made if self._is_there() else []  # another folder may have its name now
        with contextlib.suppress(OSError):
            if _same(self._file, NAME, within=self._opened):  # also if the folder was moved
                os.unlink(NAME, dir_fd=self._opened)
        made = self._made if self._is_there() else []  # checked again: the folder may have been replaced since
        os.close(self._file)
        os.close(self._opened)
        with contextlib.suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()

    def check(self) -> None:
        """Checks that the lock is still held; to be called before each write.

        Raises:
          ValueError: the folder was moved, or its lock file was removed and another process has locked it since.
        """
        if not self._is_there():
            raise ValueError(
                f"{self.folder} was moved, deleted or replaced during the run: it stops, and the steps since its last "
                "checkpoint are lost"
            )
        if not self._is_ours():
            before = self._file
            self._lock()
            os.close(before)

    def _is_there(self) -> bool:
        return _same(self._opened, self._place, follow=True)

    def _is_ours(self) -> bool:
        return _same(self._file, self._place / NAME)

    def _lock(self) -> None:
        self._file = self._taken()
        with contextlib.suppress(OSError):  # a full disk; the lock works without the holder's name
            os.ftruncate(self._file, 0)
            os.write(self._file, _this_process().encode(errors="backslashreplace"))

    def _taken(self) -> int:
        deadline = time.monotonic() + _PATIENCE
        while True:
            with files.open_to_append(self._place / NAME, inside=self._place) as opened:
                number = os.dup(opened.fileno())
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                    message = "warning: the file system of {} has no locks: do not start a second run in it"
                    print(message.format(self.folder), file=sys.stderr)
                    return number
                os.close(number)
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() > deadline:
                    raise _held(self.folder) from None
                time.sleep(_PATIENCE / 10)
                continue
            if _same(number, self._place / NAME):  # else its last holder has just removed the file
                return number
            os.close(number)


def refuse_held(folder: str | os.PathLike[str]) -> None:
    """Raises the ValueError of `Lock` if a process holds the lock of a folder; creates nothing."""
    try:
        number = os.open(Path(folder) / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise _held(Path(folder)) from None
    finally:
        os.close(number)


def _held(folder: Path) -> ValueError:
    try:
        who = files.read_text(folder / NAME, most=10_000).strip()
    except (OSError, ValueError):
        who = ""
    who = "".join(letter if letter.isprintable() else "?" for letter in who) or "another process"
    return ValueError(f"{folder} is in use by {who}: wait until it ends, or give another --workdir")


def _this_process() -> str:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    command = shlex.join(sys.orig_argv)
    command = command if len(command) <= 1000 else f"{command[:1000]}..."
    return f"process {os.getpid()} on {socket.gethostname()} since {since} ({command})\n"


def _same(number: int, path: str | Path, *, follow: bool = False, within: int | None = None) -> bool:
    try:
        return os.path.samestat(os.fstat(number), os.stat(path, dir_fd=within, follow_symlinks=follow))
    except OSError:
        return False
