"""Digests of a folder's files and its number: whether it is what was written, and can be read without harm."""

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
"""So many bytes a file that describes the arrays has at most; theirs, which lie in folders named `d`, may have more."""

_DEPTH = 16


def digests(folder: Path, only: Container[str] | None = None) -> dict[str, str]:
    """BLAKE2b of the files of a folder, by their path in it; as the command `b2sum` gives it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (only is None or name in only) and path.is_file():
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "blake2b").hexdigest()
    return found


def changes(folder: Path, prefix: str = "") -> list[str]:
    """What of a folder named after its step is not as it was written; where no digests were, what cannot be read.

    Before any file is opened, all that lies in the folder is looked at: a pipe would be waited for, a device never
    ends, and a link leads elsewhere.
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
    """What is neither a regular file of bounded size nor a folder of such ones."""
    paths = [folder]
    while paths:
        path = paths.pop()
        name, status = path.relative_to(folder).as_posix(), path.lstat()
        if stat.S_ISDIR(status.st_mode) and name.count("/") < _DEPTH:
            paths += path.iterdir()
        elif stat.S_ISDIR(status.st_mode):
            yield f"{name[:40]}... lies deeper than any file of a step"
        elif not stat.S_ISREG(status.st_mode):
            yield f"{path.name if path == folder else name} is not a regular file"
        elif path.parent.name != "d" and status.st_size > MOST:
            yield f"{name} has more than {MOST:,} bytes"


def read(folder: Path) -> dict[str, Any] | None:
    """What `write` wrote: `files`, the digests by name, and `step`, which older ones lack; None where there is none.

    Raises:
      ValueError: it is something else.
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
    """Keeps the digests right while the body writes a file of the folder anew: a kill meanwhile leaves none wrong."""
    if (record := read(folder)) is None:
        yield
        return
    others = {other: digest for other, digest in record["files"].items() if other != name}
    write(folder, record | {"files": others})
    yield
    write(folder, record | {"files": others | digests(folder, [name])})


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes them into the folder."""
    files.write(folder / NAME, json.dumps(record, indent=1), inside=folder)
