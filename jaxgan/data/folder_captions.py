"""Captions of image files, from a `captions.jsonl` or from a .txt beside each image."""

from __future__ import annotations

import codecs
import json
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan import files, records
from jaxgan.data.base import folder_of
from jaxgan.data.identity import composed
from jaxgan.data.sources import stored_folder

MOST_BYTES = 256 * 2**20
"""Largest size of a file of captions, in bytes."""

MOST_LINE = 2**20
"""Largest size of one of its lines, in bytes."""

MOST_CAPTIONS = 1000
"""Largest number of captions of an image."""

MOST_LETTERS = 10_000
"""Largest number of characters of a caption."""

_MOST_STRANGE = 1000  # reading stops after so many lines for missing images


def folder_captions(name: str, split: str) -> tuple[list[list[str]], str | None]:
    """The captions of each image of `folder:PATH`, and a notice for the user, or None.

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
                f"two images of {name} have the same name in two Unicode forms, {str(file)!r} and {str(other)!r}"
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
    """Captions by image name from the lines of all captions.jsonl files."""
    found: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    strange = []
    for where, file, captions in (line for path in lists for line in _json_lines(path)):
        key = _key(where.path.parent.relative_to(root) / file)
        if key not in known:
            strange.append(f"{where} has captions of {file[:200]!r}, but there is no such image in {root}")
            if len(strange) > _MOST_STRANGE:
                break
        counts[key] += max(1, len(captions))
        _check_count(counts[key], where, file)
        found.setdefault(key, []).extend(captions)
    if strange:
        least = "at least " if len(strange) > _MOST_STRANGE else ""
        more = f"; so have {least}{len(strange) - 1:,} more lines" if len(strange) > 1 else ""
        raise ValueError(strange[0] + more)
    return found


def _check_count(count: int, where: _Place, file: object) -> None:
    if count > MOST_CAPTIONS:
        raise ValueError(f"{where}: {str(file)[:200]!r} has more than {MOST_CAPTIONS:,} captions, the limit")


def _from_texts(root: Path, images: Iterable[Path]) -> tuple[dict[str, list[str]], str | None]:
    """Captions by image name without ending, from .txt files of the same names; and a notice."""
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
    notice = f"{len(of_none)} .txt files belong to no image, the first is {of_none[0]}" if of_none else None
    captions: dict[str, list[str]] = {key: [] for key in found}
    for key, text in found.items():
        for where, line in _lines(text):
            captions[key].append(checked(line, where))
            _check_count(len(captions[key]), where, named[key])
    return captions, notice


class _Place(NamedTuple):
    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}"


def _json_lines(path: Path) -> Iterator[tuple[_Place, str, list[str]]]:
    """Location, image file and captions of each line of a captions.jsonl."""
    for where, line in _lines(path):
        try:
            entry = json.loads(line, object_pairs_hook=records.unique)
        except (ValueError, RecursionError) as error:  # the latter for thousands of nested brackets
            raise ValueError(f"{where} is not JSON: {error}") from None
        captions = None
        if isinstance(entry, dict):
            if {"caption", "captions"} <= entry.keys():
                raise ValueError(f"{where} has both caption and captions: put all of them in captions")
            captions = entry.get("captions", [entry["caption"]] if "caption" in entry else None)
        strings = isinstance(captions, list) and all(isinstance(text, str) for text in captions)
        if not (isinstance(entry, dict) and isinstance(entry.get("file"), str) and strings):
            raise ValueError(f'{where} is not of the form {{"file": "a.png", "captions": ["a red bird"]}}')
        _check_count(len(captions or ()), where, entry["file"])
        yield where, entry["file"], [checked(text, where) for text in captions or ()]


def _lines(path: Path) -> Iterator[tuple[_Place, str]]:
    """Location and text of each non-empty line."""
    data = files.read(path, most=MOST_BYTES).removeprefix(codecs.BOM_UTF8)
    number, end = 1, 0
    # Not splitlines: it also splits at characters that JSON strings may contain, and holds all lines in memory.
    for found in re.finditer(rb"[^\r\n]+", data):
        between = data[end : found.start()]
        number += between.count(b"\n") + between.count(b"\r") - between.count(b"\r\n")
        end, where = found.end(), _Place(path, number)
        if (size := end - found.start()) > MOST_LINE:
            raise ValueError(f"{where} has {size:,} bytes, more than {MOST_LINE:,}")
        try:
            line = found[0].decode()
        except UnicodeDecodeError as error:
            byte = found[0][error.start]
            raise ValueError(f"{where} is not UTF-8: byte {byte:#04x}; save it as UTF-8") from None
        if line.strip():
            yield where, line


def checked(caption: str, where: object) -> str:
    """A caption in Unicode NFC; refused if it has no word, contains lone surrogates, or is too long."""
    if len(caption) > MOST_LETTERS:
        raise ValueError(f"{where} has a caption of {len(caption):,} characters, more than {MOST_LETTERS:,}")
    if not any(letter.isalnum() for letter in caption):
        raise ValueError(f"{where} has the caption {caption[:80]!r}, which has no word")
    if any(unicodedata.category(letter) == "Cs" for letter in caption):
        raise ValueError(f"{where} has the caption {caption[:80]!r}, which contains a lone surrogate")
    return unicodedata.normalize("NFC", caption).strip()


def _key(file: Path) -> str:
    """A file's path in the folder, in Unicode NFC."""
    return composed(posixpath.normpath(file.as_posix()))
