"""Checks of arrays that become the fields of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from jaxgan.data.array_files import misread

ROUNDING = 0.01
"""Floating-point images may exceed [-1, 1] by so much, as after resizing."""


def as_field(name: str, values: np.ndarray) -> np.ndarray:
    """The array as stored on the device: uint8 for images, else float32 or int32."""
    described = f"field {name!r}, {values.dtype} of shape {list(values.shape)},"
    if values.ndim == 0:
        raise ValueError(f"{described} has no axis of examples")
    if values.ndim == 4 and 0 in values.shape[1:]:
        raise ValueError(f"{described} holds images of 0 pixels")
    if jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise ValueError(f"{described} holds values that are not finite float32 numbers")
        if reason := misread(values.shape):
            raise ValueError(f"{described} is read as images: {reason}")
        if values.ndim == 4 and values.size and values.min() >= 0 and values.max() > 2:
            raise ValueError(
                f"{described} ranges from {values.min():g} to {values.max():g}: give images as uint8 in 0..255, "
                "or as floats in [-1, 1]: images / 127.5 - 1"
            )
        return values
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(f"{described} holds neither floats nor integers")
    if name == "image" or values.ndim >= 3:
        if values.dtype != np.uint8:
            raise TypeError(f"{described} is read as images, which must be uint8 in 0..255 or floats in [-1, 1]")
        if values.ndim != 4:
            raise ValueError(f"{described} is read as images, which must be [N, H, W, C]")
        if reason := misread(values.shape):
            raise ValueError(f"{described} is read as images: {reason}")
        return values
    if values.size and (values.min() < -(2**31) or values.max() >= 2**31):
        raise ValueError(f"{described} holds integers beyond 32 bits")
    return values.astype(np.int32)


def doubtful(fields: Mapping[str, np.ndarray]) -> str | None:
    """A notice about images that are not in [-1, 1], or only in [0, 1]; None if there is nothing to say.

    They are not refused: all of them may be bright, and a generator may have another range.
    """
    for name, values in fields.items():
        if values.ndim != 4 or values.dtype != np.float32:
            continue
        low, high = float(values.min()), float(values.max())
        found = f"field {name!r} ranges from {low:.3g} to {high:.3g}, but images should be in [-1, 1]"
        if max(-low, high) > 1 + ROUNDING:
            return f"{found}: undo their standardization (images * std + mean), or give uint8 in 0..255"
        if low >= 0 and high > 0:
            return f"{found}, with black at -1: if black is 0, give images * 2 - 1"
    return None
