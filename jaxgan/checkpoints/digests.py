"""Digests of the files of a step: whether they were changed since they were written, and can be read safely."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxgan import files, records

NAME = "digests.json"

MOST = 64 * 2**20
"""Largest size in bytes of a file that describes arrays. The arrays' own files, in folders named `d`, may be larger."""

_DEPTH = 16


def digests(folder: Path, only: Container[str] | None = None) -> dict[str, str]:
    """The BLAKE2b digests of the files of a folder by their paths in it, as the command `b2sum` prints them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (only is None or name in only) and path.is_file():
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "blake2b").hexdigest()
    return found


def changes(folder: Path, prefix: str = "") -> list[str]:
    """The changes to a step's folder since it was written, one line each; without digests only unreadable files.

    Before any file is opened, the types of all files are checked: reading a pipe blocks, reading a device may never
    end, and a link may point outside the folder.
    """
    if unreadable := sorted(_unreadable(folder)):
        return unreadable
    try:
        record = read(folder)
    except ValueError:
        return [f"{NAME} cannot be read"]
    if record is None:
        return []
    if record.get("step") not in (None, int(folder.name)):
        return [f"it was written as step {record['step']}"]
    written = {name: digest for name, digest in record["files"].items() if name.startswith(prefix)}
    found = digests(folder, written)
    return [
        f"{name} {f'does not match {NAME}' if name in found else 'is missing'}"
        for name, digest in written.items()
        if found.get(name) != digest
    ]


def _unreadable(folder: Path) -> Iterator[str]:
    """Everything in the folder that is not a folder or a regular file of bounded size."""
    paths = [folder]
    while paths:
        path = paths.pop()
        name, status = path.relative_to(folder).as_posix(), path.lstat()
        if stat.S_ISDIR(status.st_mode) and name.count("/") < _DEPTH:
            paths += path.iterdir()
        elif stat.S_ISDIR(status.st_mode):
            yield f"{name[:40]}... is nested deeper than any file of a step"
        elif not stat.S_ISREG(status.st_mode):
            yield f"{path.name if path == folder else name} is not a regular file"
        elif path.parent.name != "d" and status.st_size > MOST:
            yield f"{name} is larger than {MOST:,} bytes"


def read(folder: Path) -> dict[str, Any] | None:
    """The record of `write`: `files`, digests by name, and `step`, missing in older records. None if there is no file.

    Raises:
      ValueError: the file is not such a record.
    """
    try:
        record = records.parse(files.read_text(folder / NAME))
    except FileNotFoundError:
        return None
    if not isinstance(record, dict):
        raise ValueError("not an object")
    record = record if "files" in record else {"files": record}
    if not isinstance(record["files"], dict) or not all(isinstance(digest, str) for digest in record["files"].values()):
        raise ValueError("no digests by name")
    return record


@contextmanager
def replacing(folder: Path, name: str) -> Iterator[None]:
    """Updates the digest of a file that the body rewrites; if the process is killed meanwhile, no digest is wrong."""
    if (record := read(folder)) is None:
        yield
        return
    others = {other: digest for other, digest in record["files"].items() if other != name}
    write(folder, record | {"files": others})
    yield
    write(folder, record | {"files": others | digests(folder, [name])})


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes the record into the folder."""
    files.write(folder / NAME, json.dumps(record, indent=1), inside=folder)
