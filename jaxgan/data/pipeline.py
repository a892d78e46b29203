"""Batches for training."""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxgan.data.base import Rows, Source, read_all
from jaxgan.data.classes import check_classes, check_labels
from jaxgan.data.fields import as_field, doubtful
from jaxgan.data.identity import Identity, of_arrays
from jaxgan.data.order import batch_draws, batch_indices, check_order
from jaxgan.data.sources import open_images
from jaxgan.pixels import from_uint8
from jaxgan.types import Batch


def image_batches(
    name: str,
    split: str = "train",
    *,
    batch_size: int,
    seed: int = 0,
    d_steps: int = 1,
    image_size: int,
    channels: int,
    load_size: int | None = None,
    flip: bool = False,
    labels: str | None = None,
    num_classes: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    resident_mib: int = 1024,
    num_workers: int | None = None,
) -> DeviceBatches | StreamedBatches:
    """Batches of any data set that `jaxgan.data.sources.images` knows.

    A data set of at most `resident_mib` is decoded in advance and kept on the device, which makes batches almost free.
    A larger one is read and decoded during training. The batches are bit-identical.

    Args:
      name: the data set, as for `images`.
      split: its split, as for `images`.
      batch_size: number of examples in a batch.
      seed: seed of the order, the crops and the flips.
      d_steps: number of batches in a step.
      image_size: side of the images in pixels.
      channels: 1 (grey) or 3 (RGB).
      load_size: center-crop the images to squares and resize them to this many pixels, then take a random crop of
        image_size. By default there is no random crop.
      flip: whether each image is flipped left to right with probability 1/2.
      labels: name of the field for the labels (`"label"`, `"condition"`); by default there is none.
      num_classes: number of classes. A data set with another number of classes, or with a class without an example, is
        refused if that is known without reading the images. Labels outside 0..num_classes-1 are always refused.
      data_dir: the folder of TFDS's data sets.
      resident_mib: size limit for data sets kept on the device, in MiB: 1,024 hold 87,000 RGB images of 64x64.
      num_workers: threads that read and decode a larger one; by default one for each core.

    Returns:
      `Batches` of the field `image`, `[B, image_size, image_size, channels]` float32 in [-1, 1], and the labels.

    Raises:
      ValueError: as `images`; load_size below image_size; or a data set without labels if `labels` is given.

    >>> (batch,) = image_batches("noise", batch_size=4, image_size=8, channels=1, labels="condition")(0)
    >>> {field: values.shape for field, values in batch.items()}
    {'condition': (4,), 'image': (4, 8, 8, 1)}
    """
    if load_size is not None and load_size < image_size:
        raise ValueError(f"load_size={load_size} is smaller than image_size={image_size}, the size of the crop")
    options = {"batch_size": batch_size, "seed": seed, "d_steps": d_steps, "flip": flip}
    options["crop_size"] = image_size if load_size else None

    source = open_images(name, split, data_dir=data_dir, image_size=load_size or image_size, channels=channels)
    num_classes = None if labels is None else num_classes
    if num_classes is not None:
        check_classes(name, source, num_classes)
    if source.size < batch_size:
        few = f"{source.size} examples, fewer than one batch of {batch_size}"
        raise ValueError(f"data set {name} has {few}: lower --batch-size")

    def chosen(fields: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if labels is None:
            return {"image": fields["image"]}
        if "label" not in fields:
            raise ValueError(f"data set {name} has no labels{source.unlabelled and f': {source.unlabelled}'}")
        return {"image": fields["image"], labels: fields["label"]}

    def read(rows: Rows) -> dict[str, np.ndarray]:
        fields = source.read(rows)
        if num_classes is not None:
            check_labels(name, fields["label"], num_classes)
        return chosen(fields)

    one = chosen(source.read([0]))
    if source.size * sum(field.nbytes for field in one.values()) > resident_mib * 2**20:
        return StreamedBatches(source._replace(read=read), num_workers=num_workers, **options)
    fields = read_all(source)
    if num_classes is not None:
        check_classes(name, source._replace(labels=fields["label"]), num_classes)
    return DeviceBatches(chosen(fields), classes=source.classes, identity=source.identity, **options)


def configured_batches(
    config: Any, *, d_steps: int = 1, labels: str | None = None, num_classes: int | None = None
) -> DeviceBatches | StreamedBatches:
    """The `image_batches` of an experiment's configuration.

    Args:
      config: an `ImageConfig`, or an object with its fields.
      d_steps: number of batches in a step.
      labels: name of the field for the labels; by default there is none.
      num_classes: number of classes to check the labels against, or None.
    """
    fields = ("batch_size", "seed", "data_dir", "image_size", "channels", "load_size", "flip", "resident_mib")
    flags = {name: getattr(config, name) for name in (*fields, "num_workers")}
    return image_batches(config.dataset, config.split, d_steps=d_steps, labels=labels, num_classes=num_classes, **flags)


class DeviceBatches:
    """`Batches` of a data set that is kept on the device: the fastest source if the data set fits.

    Images are stored as uint8 and converted to floats batch by batch. The order is that of
    `jaxgan.data.order.batch_indices`: a new permutation each epoch, without the incomplete last batch.

    Fields are converted by their type:
      - uint8 `[N, H, W, C]`: images, to float32 in [-1, 1]; uint8 with fewer than 3 axes are other integers;
      - floats: points, embeddings, or images that are already in [-1, 1], to float32 without scaling;
      - integers: labels or token ids, to int32.

    Attributes:
      size: number of examples.
      batch_size: number of examples in a batch.
      notice: a message for the user before training, or None.
      classes: names of the labels 0, 1, 2, ..., None if they have no names.
      identity: the identity of the data, see `jaxgan.data.identity`.

    >>> batches = DeviceBatches({"image": np.zeros((10, 8, 8, 1), np.uint8), "label": np.arange(10)}, batch_size=4)
    >>> (batch,) = batches(0)
    >>> batch["image"].shape, batch["image"].dtype.name, batch["label"].tolist()
    ((4, 8, 8, 1), 'float32', [3, 7, 6, 4])
    """

    def __init__(
        self,
        arrays: ArrayLike | Mapping[str, ArrayLike],
        *,
        batch_size: int,
        seed: int = 0,
        d_steps: int = 1,
        crop_size: int | None = None,
        flip: bool = False,
        classes: Sequence[str] | None = None,
        identity: Callable[[], Identity] | None = None,
    ):
        """Copies the arrays to the device.

        Args:
          arrays: fields by name, each with one row per example; a single array is the field `image`.
          batch_size: number of examples in a batch.
          seed: seed of the order, the crops and the flips.
          d_steps: number of batches in a step.
          crop_size: side of a random square crop in pixels, at the same position in all image fields of an example.
            None for no crop.
          flip: whether the images of each example are flipped left to right with probability 1/2.
          classes: names of the labels 0, 1, 2, ...
          identity: identity of the data set; by default that of the arrays.

        Raises:
          ValueError: fields of unequal length, fewer examples than a batch, images smaller than crop_size, or invalid
            values: images without a channel axis or with channels first, floats in 0..255, NaN, integers beyond 32
            bits. Floats in [0, 1] or beyond [-1, 1] are accepted with a `notice`.
          TypeError: a field of another type (booleans, strings, objects, images of other integers than uint8).
        """
        fields = arrays if isinstance(arrays, Mapping) else {"image": arrays}
        values = {name: as_field(name, np.asarray(field)) for name, field in fields.items()}
        sizes = {name: len(value) for name, value in values.items()}
        if len(set(sizes.values())) != 1:
            found = ", ".join(f"{name} has {size}" for name, size in sizes.items()) or "there are none"
            raise ValueError(f"all fields need the same number of examples: {found}")
        self.size = next(iter(sizes.values()))
        self.batch_size = batch_size
        self._plan = _Plan(self.size, batch_size, seed, d_steps, crop_size, flip)
        self._plan.check_images(values)
        self.notice = _joined(self._plan.notice, None if identity else doubtful(values))
        self.classes = None if classes is None else tuple(classes)
        self._identity = identity
        # A copy: on the CPU a device array may otherwise share the caller's memory, which may change.
        self._fields = {name: jnp.array(value) for name, value in values.items()}

    def __call__(self, step: int, /) -> tuple[Batch, ...]:
        """The `d_steps` batches of a step, counted from 0: a deterministic function of the step."""
        updates = self._plan.updates(step)
        rows = np.stack([self._plan.rows(update) for update in updates]).astype(np.int32)
        return _gather(self._fields, rows, self._plan.draws(updates), self._plan.crop_size)

    @property
    def identity(self) -> Identity:
        if self._identity is not None:
            return self._identity()
        return of_arrays({name: np.asarray(field) for name, field in self._fields.items()})


class StreamedBatches:
    """`Batches` of a data set that is read during training: bit-identical to the batches of `DeviceBatches`.

    Threads read a few batches ahead. A step that does not follow the last one restarts the reader. Each
    process of a multi-process run reads its own contiguous rows of a batch.

    Attributes:
      size: number of examples.
      batch_size: number of examples in a batch.
      notice: a message for the user before training.
      classes: names of the labels 0, 1, 2, ..., None if they have no names.
      identity: the identity of the data, None if unknown.

    >>> batches = StreamedBatches(open_images("noise", image_size=8), batch_size=4)
    >>> batches(1000)[0]["image"].shape
    (4, 8, 8, 3)
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        seed: int = 0,
        d_steps: int = 1,
        crop_size: int | None = None,
        flip: bool = False,
        num_workers: int | None = None,
    ):
        """Reads the first example to get the shapes.

        Args:
          source: the examples, with fields as for `DeviceBatches`, of the same shape and type in every example.
          batch_size, seed, d_steps, crop_size, flip: as for `DeviceBatches`.
          num_workers: threads, each of which reads a batch at a time; by default one for each core.

        Raises:
          ValueError, TypeError: as `DeviceBatches`; or a batch that does not divide among the processes.
          ModuleNotFoundError: Grain is not installed.
        """
        try:
            import grain
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "reading images during training needs Grain: pip install -e '.[experiments]'"
            ) from None
        self.size = source.size
        self.batch_size = batch_size
        self._plan = plan = _Plan(self.size, batch_size, seed, d_steps, crop_size, flip)
        first = _read(source, np.array([0]))
        plan.check_images(first)
        doubt = None if source.identity else doubtful(first)
        self.notice = _joined("images are read and decoded during training", plan.notice, doubt)
        self.classes, self._identity = source.classes, source.identity

        count, number = jax.process_count(), jax.process_index()
        if batch_size % count:
            raise ValueError(f"batch_size={batch_size} does not divide among {count} processes")
        self._part = part = slice(number * batch_size // count, (number + 1) * batch_size // count)
        threads = (os.cpu_count() or 1) if num_workers is None else operator.index(num_workers)
        if threads < 1:
            raise ValueError(f"num_workers={num_workers}: at least 1 expected")
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)

        def open_at(update: int) -> Any:
            updates = grain.MapDataset.range(update, sys.maxsize)
            return iter(updates.map(lambda update: _read(source, plan.rows(update)[part])).to_iter_dataset(options))

        self._open_at = open_at  # a closure without self, so that the threads do not keep self alive
        self._close = lambda: None
        self._next: int | None = None  # the next update of the reader

    def __call__(self, step: int, /) -> tuple[Batch, ...]:
        """The `d_steps` batches of a step, counted from 0: a deterministic function of the step."""
        updates = self._plan.updates(step)
        if updates.start != self._next:
            self._close()
            self._reader = self._open_at(updates.start)
            self._close = weakref.finalize(self, self._reader.close)
        self._next = None  # set again after all reads succeeded
        read = tuple(next(self._reader) for _ in updates)
        self._next = updates.stop
        draws = self._plan.draws(updates)
        return _finish(read, None if draws is None else draws[:, self._part], self._plan.crop_size)

    @property
    def identity(self) -> Identity | None:
        return self._identity() if self._identity else None


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Which examples each step reads, and how they are cropped and flipped."""

    size: int
    batch_size: int
    seed: int
    d_steps: int
    crop_size: int | None
    flip: bool

    def __post_init__(self):
        check_order(self.seed, self.size, self.batch_size)
        if self.d_steps < 1:
            raise ValueError(f"d_steps={self.d_steps}, but a step needs at least 1 batch")

    def check_images(self, fields: Mapping[str, np.ndarray]) -> None:
        for name, field in fields.items():
            if self.crop_size is not None and field.ndim == 4 and not 1 <= self.crop_size <= min(field.shape[1:3]):
                height, width = field.shape[1:3]
                raise ValueError(f"crop_size={self.crop_size} does not fit into field {name!r}, {height} x {width}")

    @property
    def notice(self) -> str | None:
        if (dropped := self.size % self.batch_size) <= self.size / 10:
            return None
        return (
            f"batch_size={self.batch_size} leaves {dropped} of {self.size} examples out of each epoch, a random choice "
            "(the incomplete last batch is dropped)"
        )

    def updates(self, step: int) -> range:
        if (first := operator.index(step) * self.d_steps) < 0:
            raise ValueError(f"steps count from 0, not {step}")
        return range(first, first + self.d_steps)

    def rows(self, update: int) -> np.ndarray:
        return batch_indices(self.seed, update, self.size, self.batch_size)

    def draws(self, updates: range) -> np.ndarray | None:
        """`[d_steps, batch_size, 3]`: vertical and horizontal position of the crop, and whether to flip (below 1/2)."""
        if self.crop_size is None and not self.flip:
            return None
        draws = np.stack([batch_draws(self.seed, update, self.batch_size) for update in updates])
        if not self.flip:
            draws[..., 2] = 1.0
        return draws


# One program per step. The data set is an argument: a closure would make it a constant in the compiled program.
@functools.partial(jax.jit, static_argnums=3)
def _gather(fields, rows, draws, crop_size):
    take = lambda indices: {name: jnp.take(field, indices, axis=0, mode="clip") for name, field in fields.items()}
    return _finish(tuple(take(rows[i]) for i in range(rows.shape[0])), draws, crop_size)


@functools.partial(jax.jit, static_argnums=2)
def _finish(batches, draws, crop_size):
    """Crops, flips and converts images."""

    def finished(field: Array, draws: Array | None) -> Array:
        if draws is not None and field.ndim == 4:
            field = _flipped(_cropped(field, draws[:, :2], crop_size), draws[:, 2])
        return from_uint8(field) if field.dtype == jnp.uint8 else field

    return tuple(
        {name: finished(field, None if draws is None else draws[i]) for name, field in batch.items()}
        for i, batch in enumerate(batches)
    )


def _cropped(images: Array, draws: Array, crop_size: int | None) -> Array:
    if crop_size is None:
        return images
    room = jnp.array([[side - crop_size + 1 for side in images.shape[1:3]]])
    corners = (draws * room).astype(jnp.int32)  # a random number may be 1.0: dynamic_slice clamps the corner
    crop = lambda image, corner: jax.lax.dynamic_slice(image, (*corner, 0), (crop_size, crop_size, image.shape[2]))
    return jax.vmap(crop)(images, corners)


def _flipped(images: Array, draws: Array) -> Array:
    return jnp.where(draws[:, None, None, None] < 0.5, images[:, :, ::-1], images)


def _read(source: Source, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: as_field(name, np.asarray(field)) for name, field in source.read(rows).items()}


def _joined(*notices: str | None) -> str | None:
    return "; ".join(filter(None, notices)) or None
