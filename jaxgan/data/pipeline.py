"""Batches for training."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxgan.data.order import batch_indices, check_order
from jaxgan.pixels import from_uint8
from jaxgan.types import Batch


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

    >>> batches = DeviceBatches({"image": np.zeros((10, 8, 8, 1), np.uint8), "label": np.arange(10)}, batch_size=4)
    >>> (batch,) = batches(0)
    >>> batch["image"].shape, batch["image"].dtype.name, batch["label"].tolist()
    ((4, 8, 8, 1), 'float32', [3, 7, 6, 4])
    """

    def __init__(
        self, arrays: ArrayLike | Mapping[str, ArrayLike], *, batch_size: int, seed: int = 0, d_steps: int = 1
    ):
        """Copies the arrays to the device.

        Args:
          arrays: fields by name, each with one row an example; an array alone is the field `image`.
          batch_size: number of examples in a batch.
          seed: of the order.
          d_steps: number of batches in a step.

        Raises:
          ValueError: fields of unequal length, fewer examples than a batch, or values that cannot be meant: pictures
            without their channel axis, bytes held as floats, NaN, integers beyond 32 bits.
          TypeError: a field of another type (booleans, strings, objects, integers as pictures).
        """
        fields = arrays if isinstance(arrays, Mapping) else {"image": arrays}
        values = {name: _as_field(name, np.asarray(field)) for name, field in fields.items()}
        sizes = {name: len(value) for name, value in values.items()}
        if len(set(sizes.values())) != 1:
            found = ", ".join(f"{name} has {size}" for name, size in sizes.items()) or "there are none"
            raise ValueError(f"all fields need the same number of examples: {found}")
        self.size = next(iter(sizes.values()))
        check_order(seed, self.size, batch_size)
        if d_steps < 1:
            raise ValueError(f"d_steps={d_steps}, but a step needs at least 1 batch")
        self.batch_size = batch_size
        self.notice = None
        if (dropped := self.size % batch_size) > self.size / 10:
            self.notice = (
                f"batch_size={batch_size} leaves {dropped} of {self.size} examples out of each epoch, others each time "
                "(the incomplete last batch is dropped)"
            )
        self._seed = seed
        self._d_steps = d_steps
        # A copy: on the CPU a device array may otherwise share the caller's memory, who may change it.
        self._fields = {name: jnp.array(value) for name, value in values.items()}

    def __call__(self, step: int, /) -> tuple[Batch, ...]:
        """The `d_steps` batches of a step, counted from 0; the same bits however the step is reached."""
        first = operator.index(step) * self._d_steps
        updates = range(first, first + self._d_steps)
        rows = np.stack([batch_indices(self._seed, update, self.size, self.batch_size) for update in updates])
        return _gather(self._fields, rows.astype(np.int32))


# One program a step. The data set is an argument: closed over, it would be a constant in the compiled program.
@jax.jit
def _gather(fields: dict[str, Array], rows: Array) -> tuple[dict[str, Array], ...]:
    def batch(indices):
        taken = {name: jnp.take(field, indices, axis=0, mode="clip") for name, field in fields.items()}
        return {name: from_uint8(value) if value.dtype == jnp.uint8 else value for name, value in taken.items()}

    return tuple(batch(rows[i]) for i in range(rows.shape[0]))


def _as_field(name: str, values: np.ndarray) -> np.ndarray:
    """The array as it is kept: uint8 for pictures, else float32 or int32."""
    described = f"field {name!r}, {values.dtype} of shape {list(values.shape)},"
    if values.ndim == 0:
        raise ValueError(f"{described} has no axis of examples")
    if jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise ValueError(f"{described} holds values that are not finite float32 numbers")
        if values.ndim == 4 and values.size and values.min() >= 0 and values.max() > 2:
            raise ValueError(
                f"{described} reaches from {values.min():g} to {values.max():g}: give pictures as uint8 in 0..255, "
                "or as floats in [-1, 1]"
            )
        return values
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(f"{described} is neither of floats nor of integers")
    if name == "image" or values.ndim >= 3:
        if values.dtype != np.uint8:
            raise TypeError(f"{described} is taken for pictures, and those are uint8 in 0..255 or floats in [-1, 1]")
        if values.ndim != 4:
            raise ValueError(f"{described} is taken for pictures, and those are [N, H, W, C]")
        return values
    if values.size and (values.min() < -(2**31) or values.max() >= 2**31):
        raise ValueError(f"{described} holds integers beyond 32 bits")
    return values.astype(np.int32)
