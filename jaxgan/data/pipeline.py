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
) -> DeviceBatches | StreamedBatches:
    """Batches of any data set that `jaxgan.data.sources.images` knows.

    A set that takes at most `resident_mib` is decoded now and kept on the device, where a batch costs next to nothing;
    a larger one is read and decoded while the run goes on. The batches are the same, bit for bit.

    Args:
      name: the data set, as for `images`.
      split: its split, as for `images`.
      batch_size: number of examples in a batch.
      seed: of the order, and of what is cut out and flipped.
      d_steps: number of batches in a step.
      image_size: side of the images.
      channels: 1 (grey) or 3 (RGB).
      load_size: side that the images are resized to first; then image_size is cut out of them, elsewhere each time. By
        default nothing is cut off but what makes an image square.
      flip: whether half of the images, others each time, are mirrored left to right.
      labels: name of the field for the labels (`"label"`, `"condition"`); by default they are left out.
      num_classes: how many classes there are. Another number in the data set is refused, and so is a class without an
        example, as far as both are known before images are read; a label outside 0..num_classes-1 always is.
      data_dir: where TFDS keeps its data sets.
      resident_mib: the largest set that is kept on the device, in MiB: 1,024 hold 87,000 RGB images of 64x64.

    Returns:
      `Batches` of the field `image`, `[B, image_size, image_size, channels]` float32 in [-1, 1], and the labels.

    Raises:
      ValueError: as `images`, or load_size below image_size, or labels asked for where there are none.

    >>> (batch,) = image_batches("noise", batch_size=4, image_size=8, channels=1, labels="condition")(0)
    >>> {field: values.shape for field, values in batch.items()}
    {'condition': (4,), 'image': (4, 8, 8, 1)}
    """
    if load_size is not None and load_size < image_size:
        raise ValueError(f"load_size={load_size} is smaller than image_size={image_size}, which is cut out of it")
    options = {"batch_size": batch_size, "seed": seed, "d_steps": d_steps, "flip": flip}
    options["crop_size"] = image_size if load_size else None

    source = open_images(name, split, data_dir=data_dir, image_size=load_size or image_size, channels=channels)
    num_classes = None if labels is None else num_classes
    if num_classes is not None:
        check_classes(name, source, num_classes)
    if source.size < batch_size:
        raise ValueError(f"data set {name} has {source.size} examples, fewer than one batch of {batch_size}")

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
        return StreamedBatches(source._replace(read=read), **options)
    fields = read_all(source)
    if num_classes is not None:
        check_classes(name, source._replace(labels=fields["label"]), num_classes)
    return DeviceBatches(chosen(fields), classes=source.classes, identity=source.identity, **options)


def configured_batches(
    config: Any, *, d_steps: int = 1, labels: str | None = None, num_classes: int | None = None
) -> DeviceBatches | StreamedBatches:
    """The `image_batches` that an experiment's flags ask for.

    Args:
      config: an `ImageConfig`, or anything with its fields.
      d_steps: number of batches in a step.
      labels: name of the field for the labels; by default they are left out.
      num_classes: how many classes there may be, if that is known.
    """
    fields = ("batch_size", "seed", "data_dir", "image_size", "channels", "load_size", "flip", "resident_mib")
    flags = {name: getattr(config, name) for name in fields}
    return image_batches(config.dataset, config.split, d_steps=d_steps, labels=labels, num_classes=num_classes, **flags)


class DeviceBatches:
    """`Batches` of a data set that lives on the device: the fastest source wherever the set fits.

    Pictures stay bytes there and become floats batch by batch. The order is that of
    `jaxgan.data.order.batch_indices`: a new permutation each epoch, the incomplete last batch dropped.

    By type, the fields become
      - uint8 `[N, H, W, C]`: pictures, float32 in [-1, 1]; uint8 of fewer than 3 axes are integers like any other;
      - floats: float32, unchanged. Points, embeddings, or pictures that are already in [-1, 1];
      - integers: int32. Labels, tokens.

    Attributes:
      size: number of examples.
      batch_size: number of examples in a batch.
      notice: what a user should know before training, None if nothing.
      classes: names of the labels 0, 1, 2, ..., None where they have none.
      identity: what tells these data from others, see `jaxgan.data.identity`.

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
          arrays: fields by name, each with one row an example; an array alone is the field `image`.
          batch_size: number of examples in a batch.
          seed: of the order, and of what is cut out and flipped.
          d_steps: number of batches in a step.
          crop_size: side of the square that is cut out of each picture, elsewhere each time, at one place in all the
            pictures of an example. None leaves them whole.
          flip: whether the pictures of half of the examples, others each time, are mirrored left to right.
          classes: names of the labels 0, 1, 2, ...
          identity: of a data set whose arrays these are; by default that of the arrays.

        Raises:
          ValueError: fields of unequal length, fewer examples than a batch, pictures smaller than crop_size, or values
            that cannot be meant: pictures without their channel axis or with it first, bytes held as floats, NaN,
            integers beyond 32 bits. Floats in [0, 1] or beyond [-1, 1] may be meant, and `notice` says so.
          TypeError: a field of another type (booleans, strings, objects, integers as pictures).
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
        self._plan.check_pictures(values)
        self.notice = _joined(self._plan.notice, None if identity else doubtful(values))
        self.classes = None if classes is None else tuple(classes)
        self._identity = identity
        # A copy: on the CPU a device array may otherwise share the caller's memory, who may change it.
        self._fields = {name: jnp.array(value) for name, value in values.items()}

    def __call__(self, step: int, /) -> tuple[Batch, ...]:
        """The `d_steps` batches of a step, counted from 0; the same bits however the step is reached."""
        updates = self._plan.updates(step)
        rows = np.stack([self._plan.rows(update) for update in updates]).astype(np.int32)
        return _gather(self._fields, rows, self._plan.draws(updates), self._plan.crop_size)

    @property
    def identity(self) -> Identity:
        if self._identity is not None:
            return self._identity()
        return of_arrays({name: np.asarray(field) for name, field in self._fields.items()})


class StreamedBatches:
    """`Batches` of a data set that is read while the run goes on: the batches `DeviceBatches` gives, bit for bit.

    A few batches are read ahead by as many threads as there are cores. A step that does not follow on the last begins
    to read anew from there. Of several processes each reads its own part of a batch, rows that lie together.

    Attributes:
      size: number of examples.
      batch_size: number of examples in a batch.
      notice: what a user should know before training.
      classes: names of the labels 0, 1, 2, ..., None where they have none.
      identity: what tells these data from others, None where that is unknown.

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
    ):
        """Reads one example, for its shapes.

        Args:
          source: the examples; fields as for `DeviceBatches`, of the same shape and type in every example.
          batch_size, seed, d_steps, crop_size, flip: as for `DeviceBatches`.

        Raises:
          ValueError, TypeError: as `DeviceBatches`; or a batch that does not divide among the processes.
          ModuleNotFoundError: Grain is missing.
        """
        try:
            import grain
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "reading images while a run goes on needs Grain: pip install -e '.[experiments]'"
            ) from None
        self.size = source.size
        self.batch_size = batch_size
        self._plan = plan = _Plan(self.size, batch_size, seed, d_steps, crop_size, flip)
        first = _read(source, np.array([0]))
        plan.check_pictures(first)
        doubt = None if source.identity else doubtful(first)
        self.notice = _joined("images are read and decoded while the run goes on", plan.notice, doubt)
        self.classes, self._identity = source.classes, source.identity

        count, number = jax.process_count(), jax.process_index()
        if batch_size % count:
            raise ValueError(f"batch_size={batch_size} does not divide among {count} processes")
        self._part = part = slice(number * batch_size // count, (number + 1) * batch_size // count)
        threads = os.cpu_count() or 1
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)

        def open_at(update: int) -> Any:
            updates = grain.MapDataset.range(update, sys.maxsize)
            return iter(updates.map(lambda update: _read(source, plan.rows(update)[part])).to_iter_dataset(options))

        self._open_at = open_at  # a closure without self, so that the threads do not keep alive what ends them
        self._close = lambda: None
        self._next: int | None = None  # the update that the reader gives next

    def __call__(self, step: int, /) -> tuple[Batch, ...]:
        """The `d_steps` batches of a step, counted from 0; the same bits however the step is reached."""
        updates = self._plan.updates(step)
        if updates.start != self._next:
            self._close()
            self._reader = self._open_at(updates.start)
            self._close = weakref.finalize(self, self._reader.close)
        self._next = None  # until all has gone well
        read = tuple(next(self._reader) for _ in updates)
        self._next = updates.stop
        draws = self._plan.draws(updates)
        return _finish(read, None if draws is None else draws[:, self._part], self._plan.crop_size)

    @property
    def identity(self) -> Identity | None:
        return self._identity() if self._identity else None


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What each step reads, and what becomes of it."""

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

    def check_pictures(self, fields: Mapping[str, np.ndarray]) -> None:
        for name, field in fields.items():
            if self.crop_size is not None and field.ndim == 4 and not 1 <= self.crop_size <= min(field.shape[1:3]):
                height, width = field.shape[1:3]
                raise ValueError(f"crop_size={self.crop_size} cannot be cut out of field {name!r}, {height} x {width}")

    @property
    def notice(self) -> str | None:
        if (dropped := self.size % self.batch_size) <= self.size / 10:
            return None
        return (
            f"batch_size={self.batch_size} leaves {dropped} of {self.size} examples out of each epoch, others each "
            "time (the incomplete last batch is dropped)"
        )

    def updates(self, step: int) -> range:
        if (first := operator.index(step) * self.d_steps) < 0:
            raise ValueError(f"steps count from 0, not {step}")
        return range(first, first + self.d_steps)

    def rows(self, update: int) -> np.ndarray:
        return batch_indices(self.seed, update, self.size, self.batch_size)

    def draws(self, updates: range) -> np.ndarray | None:
        """`[d_steps, batch_size, 3]`: down, across, and whether mirrored (below 1/2)."""
        if self.crop_size is None and not self.flip:
            return None
        draws = np.stack([batch_draws(self.seed, update, self.batch_size) for update in updates])
        if not self.flip:
            draws[..., 2] = 1.0
        return draws


# One program a step. The data set is an argument: closed over, it would be a constant in the compiled program.
@functools.partial(jax.jit, static_argnums=3)
def _gather(fields, rows, draws, crop_size):
    take = lambda indices: {name: jnp.take(field, indices, axis=0, mode="clip") for name, field in fields.items()}
    return _finish(tuple(take(rows[i]) for i in range(rows.shape[0])), draws, crop_size)


@functools.partial(jax.jit, static_argnums=2)
def _finish(batches, draws, crop_size):
    """Crops, mirrors and converts the pictures."""

    def finished(field: Array, draws: Array | None) -> Array:
        if draws is not None and field.ndim == 4:
            field = _mirrored(_cropped(field, draws[:, :2], crop_size), draws[:, 2])
        return from_uint8(field) if field.dtype == jnp.uint8 else field

    return tuple(
        {name: finished(field, None if draws is None else draws[i]) for name, field in batch.items()}
        for i, batch in enumerate(batches)
    )


def _cropped(pictures: Array, draws: Array, crop_size: int | None) -> Array:
    if crop_size is None:
        return pictures
    room = jnp.array([[side - crop_size + 1 for side in pictures.shape[1:3]]])
    corners = (draws * room).astype(jnp.int32)  # a draw of 1.0 would be one too far: dynamic_slice takes it back
    cut = lambda picture, corner: jax.lax.dynamic_slice(picture, (*corner, 0), (crop_size, crop_size, picture.shape[2]))
    return jax.vmap(cut)(pictures, corners)


def _mirrored(pictures: Array, draws: Array) -> Array:
    return jnp.where(draws[:, None, None, None] < 0.5, pictures[:, :, ::-1], pictures)


def _read(source: Source, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: as_field(name, np.asarray(field)) for name, field in source.read(rows).items()}


def _joined(*notices: str | None) -> str | None:
    return "; ".join(filter(None, notices)) or None
