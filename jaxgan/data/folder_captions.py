"""Captions of image files: in a `captions.jsonl`, or in a .txt beside each image."""

from __future__ import annotations

import json
import posixpath
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan import files
from jaxgan.data.identity import composed
from jaxgan.data.sources import folder_of, stored_folder

MOST_BYTES = 256 * 2**20
"""So large a file of captions may be."""


def folder_captions(name: str, split: str) -> tuple[list[list[str]], str | None]:
    """The captions of each image of `folder:PATH`, and what a user should know of them, None if nothing.

    Raises:
      ValueError: as `jaxgan.data.captions.captioned_images`.
    """
    from jaxgan.data.folder import image_files

    stored = stored_folder(name, split)
    root = folder_of(name)
    paths: Any = stored.fetch(np.arange(stored.size))[0]
    inside = lambda file: Path(file).relative_to(root)
    wanted = [inside(file) for file in paths]
    known: dict[str, Path] = {}
    for file in map(inside, image_files(root)):
        if (other := known.setdefault(_key(file), file)) != file:
            raise ValueError(
                f"two images of {name} have one name in two Unicode forms, {str(file)!r} and {str(other)!r}"
            )
    if lists := [*root.glob("captions.jsonl"), *sorted(root.glob("*/captions.jsonl"))]:
        found, notice, expected = _from_lists(lists, root, known), None, f"a line in {lists[0]}"
        captions = [found.get(_key(file), []) for file in wanted]
    else:
        found, notice = _from_texts(root, known.values())
        expected = f"a line in a .txt beside it, or in {root / 'captions.jsonl'}"
        captions = [found.get(_key(file.with_suffix("")), []) for file in wanted]
    if bare := [file for file, some in zip(wanted, captions, strict=True) if not some]:
        raise ValueError(f"{len(bare)} images of {name} have no caption, the first is {bare[0]}: expected {expected}")
    return [list(dict.fromkeys(some)) for some in captions], notice


def _from_lists(lists: Sequence[Path], root: Path, known: Container[str]) -> dict[str, list[str]]:
    """Captions by the names of images, as the lines of several captions.jsonl give them."""
    found: dict[str, list[str]] = {}
    strange = []
    for path in lists:
        for where, file, captions in _json_lines(path):
            key = _key(path.parent.relative_to(root) / file)
            if key not in known:
                strange.append(f"{where} has captions of {file[:200]!r}, and there is no such image in {root}")
            found.setdefault(key, []).extend(captions)
    if strange:
        raise ValueError(strange[0] + (f"; {len(strange) - 1} more lines are so" if len(strange) > 1 else ""))
    return found


def _from_texts(root: Path, images: Iterable[Path]) -> tuple[dict[str, list[str]], str | None]:
    """Captions by the names of images without their endings, as .txt files of the same names give them; a notice."""
    from jaxgan.data.folder import files_in

    named: dict[str, Path] = {}
    found: dict[str, Path] = {}
    texts = {text: _key(text.relative_to(root).with_suffix("")) for text in map(Path, files_in(root, (".txt",)))}
    captioned = set(texts.values())
    for image in images:
        key = _key(image.with_suffix(""))
        if (other := named.setdefault(key, image)) != image and key in captioned:
            raise ValueError(f"{other} and {image} in {root} share the captions of one .txt: rename one of them")
    for text, key in texts.items():
        if key in named and (other := found.setdefault(key, text)) != text:
            raise ValueError(f"{other} and {text} both have captions of {named[key]}: remove one of them")
    of_none = [text for text, key in texts.items() if key not in named]
    notice = f"{len(of_none)} .txt files are of no image, the first is {of_none[0]}" if of_none else None
    captions = {key: [checked(line, where) for where, line in _lines(text)] for key, text in found.items()}
    return captions, notice


def _json_lines(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Where it stands, the file and its captions, of each line of a captions.jsonl."""
    for where, line in _lines(path):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:  # the latter from thousands of brackets
            raise ValueError(f"{where} is not JSON: {error}") from None
        captions = None
        if isinstance(entry, dict):
            captions = entry.get("captions", [entry["caption"]] if "caption" in entry else None)
        strings = isinstance(captions, list) and all(isinstance(text, str) for text in captions)
        if not (isinstance(entry, dict) and isinstance(entry.get("file"), str) and strings):
            raise ValueError(f'{where} is not of the form {{"file": "a.png", "captions": ["a red bird"]}}')
        yield where, entry["file"], [checked(text, where) for text in captions or ()]


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where it stands, and the text, of each line that is not empty."""
    data = files.read(path, most=MOST_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line} is not UTF-8: byte {data[error.start]:#04x}; save it as UTF-8") from None
    # Not splitlines, which also splits at characters that JSON allows inside a text.
    for number, line in enumerate(re.split("\r\n|\r|\n", text), start=1):
        if line.strip():
            yield f"{path}, line {number}", line


def checked(caption: str, where: str) -> str:
    if not any(letter.isalnum() for letter in caption):
        raise ValueError(f"{where} has the caption {caption[:80]!r}, which has no word")
    if any(unicodedata.category(letter) == "Cs" for letter in caption):
        raise ValueError(f"{where} has the caption {caption[:80]!r}, which holds half a character")
    return unicodedata.normalize("NFC", caption).strip()


def _key(file: Path) -> str:
    """A file's name from the folder, the same however its accents are encoded."""
    return composed(posixpath.normpath(file.as_posix()))
