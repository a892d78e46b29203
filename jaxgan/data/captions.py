"""Images with captions: named data sets in memory, and batches of image-caption pairs."""

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
      - `shapes`, `emoji` and any other data set of TFDS with a text feature `caption` or `captions`.
      - `fashion_mnist`: tinted images with captions such as "a green ankle boot". The image in row r of a split of
        Fashion-MNIST has colour r mod 6 of `TINTS`, on black. Ten pairs of class and colour, those with class mod 6 =
        colour, occur only in the split `heldout`, which has the images of these pairs from Fashion-MNIST's test split.
        `train` and `test` have all other pairs.
      - `folder:PATH`: the image files of a folder, as for `images`, with captions in UTF-8. Either a `captions.jsonl`
        in the folder or in its sub-folders, with lines `{"file": "a.png", "captions": ["a red bird", "a bird"]}` (or
        `"caption"` for a single one; paths relative to the file; several lines per image are allowed), or a .txt beside
        each image with one caption per line. Duplicate captions count once, an image has at most 1,000. Empty lines
        and captions of images in other splits are ignored.

    Args:
      name: one of the above.
      split, data_dir, image_size, channels: as for `jaxgan.data.sources.images`.

    Returns:
      `image`: uint8 `[N, H, W, C]`; `captions`: N lists of str in Unicode NFC; `meaning`: int32 `[N]`, from the data
      set or from `meanings`. A caption is mismatched to every image with another meaning. `identity`: a function, as
      in `Source`; `notice`: a message for the user, or None.

    Raises:
      ValueError: as `images`; no captions, a caption without a word, captions of a missing image, a .txt of two images,
        an image without a caption, or a file that is not UTF-8, not JSON or too large; the message names file and line.
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
    """Groups images that share captions: images of different groups have no caption in common.

    Two images with a common caption have one meaning, and so do all images connected by a chain of common captions.
    Captions with the same words (`jaxgan.data.vocabulary.tokenize`) are the same.

    Args:
      captions: the captions of each image.

    Returns:
      Group indices, int32 `[N]`, from 0.

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
    """`Batches` of images with a random one of their captions; the data set is kept on the device.

    The choice of images and captions depends only on the seed, the update and the row of the batch. Images are not
    flipped, because captions say left and right.

    Attributes:
      size: number of examples.
      batch_size: number of examples in a batch.
      notice: a message for the user before training, or None.
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
        """Encodes each distinct text once.

        Args:
          examples: from `captioned_images`.
          encode: texts to the inputs of the text encoder: `[n, ...]`, integers (token ids) or floats (embeddings).
          batch_size, seed, d_steps: as for `DeviceBatches`.

        Raises:
          ValueError: as `DeviceBatches`, an image without a caption, or an `encode` that does not return one row per
            text.
        """
        captions = examples["captions"]
        if bare := [row for row, some in enumerate(captions) if not some]:
            raise ValueError(f"{len(bare)} images have no caption, the first in row {bare[0]}")
        texts = list(dict.fromkeys(text for some in captions for text in some))
        numbers = {text: number for number, text in enumerate(texts)}
        table = np.asarray(encode(texts))
        if table.shape[:1] != (len(texts),):
            raise ValueError(f"encode returned {list(table.shape)} for {len(texts)} texts, not [{len(texts)}, ...]")
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
          Batches of the fields `image`, float32 in [-1, 1] `[B, H, W, C]`; `text`, rows of the output of `encode`,
          `[B, ...]`; `meaning`, int32 `[B]`.
        """
        batches = self._examples(step)
        updates = range(step * self._d_steps, (step + 1) * self._d_steps)
        draws = np.stack([batch_draws(self._seed, update, self.batch_size)[:, 0] for update in updates])
        return _with_text(self._table, batches, draws)

    @property
    def identity(self) -> Identity:
        """The identity of the data, see `jaxgan.data.identity`."""
        return self._examples.identity


@jax.jit
def _with_text(table: jax.Array, batches: tuple[dict, ...], draws: jax.Array) -> tuple[dict, ...]:
    def chosen(batch: dict, draws: jax.Array) -> dict:
        # A random number may be rounded up to 1.0.
        choice = jnp.minimum((draws * batch["count"]).astype(jnp.int32), batch["count"] - 1)
        number = jnp.take_along_axis(batch["texts"], choice[:, None], axis=1)[:, 0]
        return {"image": batch["image"], "text": jnp.take(table, number, axis=0), "meaning": batch["meaning"]}

    return tuple(chosen(batch, draws[i]) for i, batch in enumerate(batches))


def _tinted_clothes(split: str, *, channels: int | None, image_size: int | None, data_dir: Any) -> dict[str, Any]:
    from jaxgan.data.prepared import read_features

    if channels not in (None, 3):
        raise ValueError(f"channels={channels}, but fashion_mnist with captions has 3 channels")
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
    """Tints grey images: white becomes the tint, black stays black.

    Args:
      grey: uint8 `[N, H, W, 1]`.
      colour: indices into `TINTS`, integers `[N]`.

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
