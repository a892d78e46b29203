"""Images with captions: named data sets in memory, and batches of images with a caption each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from jaxgan.data.base import Source, read_all, split_rows
from jaxgan.data.folder_captions import checked, folder_captions
from jaxgan.data.identity import Identity, digest
from jaxgan.data.order import batch_draws
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.data.sources import open_images
from jaxgan.data.vocabulary import tokenize
from jaxgan.types import Batch

TINTS = {
    "red": (255, 60, 60),
    "green": (60, 220, 90),
    "blue": (80, 120, 255),
    "yellow": (255, 225, 60),
    "purple": (190, 90, 255),
    "white": (255, 255, 255),
}
CLOTHES = (
    ("a", "t-shirt"),
    ("a", "pair of trousers"),
    ("a", "pullover"),
    ("a", "dress"),
    ("a", "coat"),
    ("a", "sandal"),
    ("a", "shirt"),
    ("a", "sneaker"),
    ("a", "bag"),
    ("an", "ankle boot"),
)


def captioned_images(
    name: str,
    split: str = "train",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    channels: int | None = None,
) -> dict[str, Any]:
    """Reads one split of a data set with captions into memory.

    By name:
      - `shapes`, `emoji` and any other of TFDS with a feature `caption` or `captions`, texts all.
      - `fashion_mnist`: its images, each in a colour, and what they are: "a green ankle boot". The image in row r of a
        split of Fashion-MNIST has colour r mod 6 of `TINTS`, on black. Ten pairs of class and colour, those with class
        mod 6 = colour, are in `heldout` alone: that has the images of Fashion-MNIST's test split of these pairs,
        `train` and `test` have the others.
      - `folder:PATH`: the image files in a folder as `images` finds them, and their captions, in UTF-8: lines such as
        `{"file": "a.png", "captions": ["a red bird", "a bird"]}`, or `"caption"` for one, in a `captions.jsonl` in the
        folder or in its sub-folders, files named from where it lies, several lines to one if need be; if there is none,
        a .txt beside each image, every line of it a caption. A caption given twice counts once, and an image has
        1,000 at most. Empty lines are passed over, and so are images of other splits.

    Args:
      name: one of the above.
      split, data_dir, image_size, channels: as for `jaxgan.data.sources.images`.

    Returns:
      `image`: uint8 `[N, H, W, C]`; `captions`: N lists of str, in Unicode's composed form; `meaning`: int32 `[N]`, the
      data set's own, else as `meanings` finds it. A caption of an image is wrong for another of another meaning.
      `identity`: a function, as of a `Source`; `notice`: what a user should know of them, None if nothing.

    Raises:
      ValueError: as `images`; or no captions, a caption without a word, captions of a file that is not there, a .txt
        of two images, an image without a caption, a file that is not UTF-8, not JSON or too large;
        says which file and line.
    """
    options: dict[str, Any] = {"data_dir": data_dir, "image_size": image_size, "channels": channels}
    meaning, notice = None, None
    if name == "fashion_mnist":
        return _tinted_clothes(split, **options)
    if name.startswith("folder:"):
        captions, notice = folder_captions(name, split)
    elif name == "noise" or name.endswith((".npy", ".npz")):
        raise ValueError(f"data set {name} has no captions")
    else:
        captions, meaning = _prepared_captions(name, split, data_dir)
    source = open_images(name, split, **options)
    meaning = meanings(captions) if meaning is None else meaning
    return {
        "image": read_all(source)["image"],
        "captions": captions,
        "meaning": meaning,
        "identity": _identity(source, captions, meaning),
        "notice": notice,
    }


def _identity(source: Source, captions: Sequence[Sequence[str]], meaning: np.ndarray) -> Callable[[], Identity]:
    def identity() -> Identity:
        found = source.identity() if source.identity else {}
        texts = digest(text for some in captions for text in (str(len(some)), *some))
        return found | {"captions": texts, "meanings": digest([meaning])}

    return identity


def meanings(captions: Sequence[Sequence[str]]) -> np.ndarray:
    """Numbers the meanings of images by their captions, so that no caption of another meaning is right for an image.

    Two images with a caption in common, which either of them may be shown with, have one meaning; and so have the first
    and the last of a chain of such images. Captions with the same words (`jaxgan.data.vocabulary.tokenize`) are one.

    Args:
      captions: of each image.

    Returns:
      int32 `[N]`, counted from 0.

    >>> meanings([["a red bird", "a bird"], ["A bird!"], ["a dog"]]).tolist()
    [0, 0, 1]
    """
    numbers: dict[tuple[str, ...], int] = {}
    texts = [[numbers.setdefault(tuple(tokenize(text)), len(numbers)) for text in some] for some in captions]
    image = np.repeat(np.arange(len(texts)), [len(some) for some in texts])
    text = np.array([number for some in texts for number in some], int) + len(texts)
    links = csr_array((np.ones(len(image)), (image, text)), shape=(len(texts) + len(numbers),) * 2)
    component = connected_components(links, directed=False)[1][: len(texts)]
    return np.unique(component, return_inverse=True)[1].astype(np.int32)


class CaptionedBatches:
    """`Batches` of images with one of their captions each, another one each time; all of it lives on the device.

    Which caption, as which images, depends on the seed, the update and the row of the batch alone. Images are not
    mirrored, since captions say left and right.

    Attributes:
      size: number of examples.
      batch_size: number of examples in a batch.
      notice: what a user should know before training, None if nothing.
    """

    def __init__(
        self,
        examples: dict[str, Any],
        encode: Callable[[Sequence[str]], ArrayLike],
        *,
        batch_size: int,
        seed: int = 0,
        d_steps: int = 1,
    ):
        """Encodes each text once.

        Args:
          examples: as `captioned_images` returns them.
          encode: texts to what the text encoder takes: `[n, ...]`, integers (tokens) or floats (embeddings).
          batch_size, seed, d_steps: as for `DeviceBatches`.

        Raises:
          ValueError: as `DeviceBatches`, an image without a caption, or an encode that does not give a row a text.
        """
        captions = examples["captions"]
        if bare := [row for row, some in enumerate(captions) if not some]:
            raise ValueError(f"{len(bare)} images have no caption, the first is number {bare[0]}")
        texts = list(dict.fromkeys(text for some in captions for text in some))
        numbers = {text: number for number, text in enumerate(texts)}
        table = np.asarray(encode(texts))
        if table.shape[:1] != (len(texts),):
            raise ValueError(f"encode gave {list(table.shape)} for {len(texts)} texts, not [{len(texts)}, ...]")
        self._table = jnp.array(table, jnp.float32 if np.issubdtype(table.dtype, np.floating) else jnp.int32)
        most = max(len(some) for some in captions)
        fields = {
            "image": examples["image"],
            "meaning": examples["meaning"],
            "count": np.array([len(some) for some in captions]),
            "texts": np.array([[numbers[some[i % len(some)]] for i in range(most)] for some in captions]),
        }
        options: dict[str, Any] = {"identity": examples.get("identity")}
        self._examples = DeviceBatches(fields, batch_size=batch_size, seed=seed, d_steps=d_steps, **options)
        self._seed, self._d_steps = seed, d_steps
        self.size, self.batch_size = self._examples.size, batch_size
        self.notice = "; ".join(filter(None, (examples.get("notice"), self._examples.notice))) or None

    def __call__(self, step: int, /) -> tuple[Batch, ...]:
        """The `d_steps` batches of a step.

        Returns:
          Of each batch `image`, float32 in [-1, 1] `[B, H, W, C]`; `text`, a row of what `encode` gave for each, `[B,
          ...]`; `meaning`, int32 `[B]`.
        """
        batches = self._examples(step)
        updates = range(step * self._d_steps, (step + 1) * self._d_steps)
        draws = np.stack([batch_draws(self._seed, update, self.batch_size)[:, 0] for update in updates])
        return _with_text(self._table, batches, draws)

    @property
    def identity(self) -> Identity:
        """What tells these data from others, see `jaxgan.data.identity`."""
        return self._examples.identity


@jax.jit
def _with_text(table: jax.Array, batches: tuple[dict, ...], draws: jax.Array) -> tuple[dict, ...]:
    def chosen(batch: dict, draws: jax.Array) -> dict:
        # A draw rounded up to 1.0 would be one too far.
        choice = jnp.minimum((draws * batch["count"]).astype(jnp.int32), batch["count"] - 1)
        number = jnp.take_along_axis(batch["texts"], choice[:, None], axis=1)[:, 0]
        return {"image": batch["image"], "text": jnp.take(table, number, axis=0), "meaning": batch["meaning"]}

    return tuple(chosen(batch, draws[i]) for i, batch in enumerate(batches))


def _tinted_clothes(split: str, *, channels: int | None, image_size: int | None, data_dir: Any) -> dict[str, Any]:
    from jaxgan.data.prepared import read_features

    if channels not in (None, 3):
        raise ValueError(f"channels={channels}, but fashion_mnist with captions is in colour: 3")
    name, options = "fashion_mnist", {"data_dir": data_dir, "image_size": image_size, "channels": 1}
    num_train = open_images(name, "train", **options).size
    label = read_features(name, "train+test", names=("label",), data_dir=data_dir)["label"]
    row = np.arange(len(label))
    tested = row >= num_train
    colour = np.where(tested, row - num_train, row) % len(TINTS)
    held_out = label % len(TINTS) == colour
    parts = {"train": ~tested & ~held_out, "test": tested & ~held_out, "heldout": tested & held_out}
    placed = np.concatenate([np.flatnonzero(part) for part in parts.values()])
    rows = placed[split_rows(name, split, {part: int(where.sum()) for part, where in parts.items()})]

    whole = open_images(name, "train+test", **options)
    grey = read_all(Source(len(rows), lambda wanted: whole.read(rows[wanted])))["image"]
    label, colour = label[rows], colour[rows]
    pixels = tinted(grey, colour)
    words = [[_clothes_captions(tint, *thing) for tint in TINTS] for thing in CLOTHES]
    captions = [list(words[one][tint]) for one, tint in zip(label.tolist(), colour.tolist(), strict=True)]
    meaning = (label * len(TINTS) + colour).astype(np.int32)
    return {
        "image": pixels,
        "captions": captions,
        "meaning": meaning,
        "identity": _identity(whole, captions, meaning),
    }


def tinted(grey: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Images in one of `TINTS` each, white becoming the tint and black staying black.

    Args:
      grey: uint8 `[N, H, W, 1]`.
      colour: integers `[N]`, places in `TINTS`.

    Returns:
      uint8 `[N, H, W, 3]`, rounded to nearest.

    >>> tinted(np.full((1, 1, 1, 1), 255, np.uint8), np.array([1])).ravel().tolist()
    [60, 220, 90]
    """
    tints = np.array(list(TINTS.values()), np.uint16)[colour][:, None, None]
    return ((grey.astype(np.uint16) * tints + 127) // 255).astype(np.uint8)


def _clothes_captions(tint: str, article: str, thing: str) -> list[str]:
    return [f"a {tint} {thing}", f"{article} {thing} in {tint}", f"a picture of a {tint} {thing}"]


def _prepared_captions(name: str, split: str, data_dir: Any) -> tuple[list[list[str]], np.ndarray | None]:
    from jaxgan.data.prepared import read_features

    found = read_features(name, split, names=("captions", "caption", "meaning"), data_dir=data_dir)
    captions = found.get("captions", found.get("caption"))
    if captions is None:
        raise ValueError(f"data set {name} has no feature 'caption' or 'captions'")
    where = f"{name} {split}, example"
    listed = [[one] if isinstance(one, str) else one for one in captions]
    texts = [[checked(text, f"{where} {row}") for text in some] for row, some in enumerate(listed)]
    if bare := [row for row, some in enumerate(texts) if not some]:
        raise ValueError(f"{where} {bare[0]} has no caption")
    return texts, found["meaning"].astype(np.int32) if "meaning" in found else None
