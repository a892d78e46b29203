"""Digests of a folder's files and its number: whether it is what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from jaxgan import files, records

NAME = "digests.json"


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
    """What of a folder named after its step is not as it was written; nothing where no digests were."""
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


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes them into the folder."""
    files.write(folder / NAME, json.dumps(record, indent=1), inside=folder)
