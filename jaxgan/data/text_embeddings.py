"""Embeddings of texts, computed by a model of another project, such as CLIP or T5, in place of captions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.data.array_files import MOST_TEXT, as_texts, open_arrays, readable
from jaxgan.data.base import folder_of, read_all
from jaxgan.data.identity import composed, digest
from jaxgan.data.sources import open_images, stored_folder
from jaxgan.files import expanded


class TextEmbeddings(NamedTuple):
    """Embeddings of the texts of N images or of N prompts.

    Attributes:
      rows: float32 `[N, K, E]`, K texts of each.
      names: their N names; None if they have none.
      encoder: name of the model that computed them, empty if it is not known.
    """

    rows: np.ndarray
    names: tuple[str, ...] | None
    encoder: str


def read_text_embeddings(path: str | os.PathLike[str]) -> TextEmbeddings:
    """Reads an `.npz` file of embeddings.

    Args:
      path: a file with `embeddings`, floats `[N, E]` or `[N, K, E]` for K texts of each image or prompt; optionally
        `names`, N distinct strings; and `encoder`, one string. At most 4 GiB an array.

    Returns:
      The `TextEmbeddings`.

    Raises:
      ValueError: the file is damaged, or its arrays are not of these shapes and types, or not finite; the message names
        the file.
    """
    path = Path(expanded(os.fspath(path)))
    with contextlib.ExitStack() as stack:
        with readable(path):
            if path.suffix != ".npz":
                raise ValueError("an .npz file with the array 'embeddings' was expected")
            known = open_arrays(path, stack, ("embeddings", "names", "encoder"))
        rows, names, encoder = (known.get(name) for name in ("embeddings", "names", "encoder"))
        assert rows is not None
        if not (np.issubdtype(rows.dtype, np.floating) and len(rows.shape) in (2, 3) and all(rows.shape)):
            raise ValueError(
                f"{path} holds embeddings of type {rows.dtype} and shape {list(rows.shape)}, but floats [N, E] or "
                "[N, K, E] were expected"
            )
        for name, one, shape in (("names", names, rows.shape[:1]), ("encoder", encoder, ())):
            if one is not None and (one.shape != shape or one.dtype.kind != "U" or one.size > MOST_TEXT):
                raise ValueError(
                    f"{path} holds '{name}' of type {one.dtype} and shape {list(one.shape)}, but strings {list(shape)} "
                    f"were expected, at most {MOST_TEXT:,} bytes"
                )
        with readable(path):
            values = rows.load().astype(np.float32).reshape(rows.shape[0], -1, rows.shape[-1])
            strings = [None if one is None else one.load().reshape(-1) for one in (names, encoder)]
    texts, models = (None if one is None else as_texts(one, f"{path} has a name") for one in strings)
    if broken := np.flatnonzero(~np.isfinite(values).all(axis=(1, 2))).tolist():
        raise ValueError(
            f"{len(broken)} of {len(values)} embeddings in {path} are not finite, the first in row {broken[0]}"
        )
    if texts is not None and len(set(map(composed, texts))) < len(texts):
        raise ValueError(f"{path} has a name twice: one row for each image or prompt was expected")
    return TextEmbeddings(values, texts, models[0] if models else "")


def embedded_images(
    name: str,
    split: str,
    embeddings: TextEmbeddings,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    channels: int | None = None,
) -> tuple[dict[str, Any], Callable[[Sequence[str]], np.ndarray]]:
    """Reads one split of a data set into memory, with embeddings in place of captions.

    A caption is the name of its image, numbered where an image has several texts.

    Args:
      name: as for `jaxgan.data.sources.images`.
      split, data_dir, image_size, channels: likewise.
      embeddings: with names, those of the images of `folder:PATH`, relative to PATH, in any order, others are ignored;
        without names, one row for each image of the split, in its order.

    Returns:
      Examples as of `captioned_images`, and the function that gives the embeddings `[n, E]` of captions.

    Raises:
      ValueError: as `images`; names without a folder, an image without an embedding, or another number of rows.
    """
    options: dict[str, Any] = {"data_dir": data_dir, "image_size": image_size, "channels": channels}
    source = open_images(name, split, **options)
    texts = embeddings.rows.shape[1]
    if embeddings.names is None:
        if len(embeddings.rows) != source.size:
            raise ValueError(
                f"{len(embeddings.rows)} embeddings for the {source.size} images of {name} {split}: one for each was "
                "expected, or the names of the images"
            )
        called, rows = [f"image {row}" for row in range(source.size)], embeddings.rows
    else:
        called = _paths_in_folder(name, split)
        known = {composed(one): row for row, one in enumerate(embeddings.names)}
        if missing := [one for one in called if one not in known]:
            raise ValueError(
                f"{len(missing)} images of {name} {split} have no embedding, the first is {missing[0]}: the names are "
                "paths inside the folder, such as train/a.png"
            )
        rows = embeddings.rows[[known[one] for one in called]]
    captions = [[f"{one} ({text + 1})" for text in range(texts)] if texts > 1 else [one] for one in called]
    numbers = {caption: number for number, caption in enumerate(caption for some in captions for caption in some)}
    table = rows.reshape(-1, rows.shape[-1])

    def identity() -> dict[str, Any]:
        found = source.identity() if source.identity else {}
        return found | {"embeddings": digest([table]), "text encoder": embeddings.encoder}

    examples = {
        "image": read_all(source)["image"],
        "captions": captions,
        "meaning": np.arange(source.size, dtype=np.int32),
        "identity": identity,
    }
    return examples, lambda wanted: table[[numbers[caption] for caption in wanted]]


def _paths_in_folder(name: str, split: str) -> list[str]:
    if not name.startswith("folder:"):
        raise ValueError(f"the images of {name} have no names: leave 'names' out, and give the rows in their order")
    stored, root = stored_folder(name, split), folder_of(name)
    files: Any = stored.fetch(np.arange(stored.size))[0]
    return [composed(Path(file).relative_to(root).as_posix()) for file in files]
