"""Arrays as the fields of a batch: what they may hold, and what is probably not meant."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from jaxgan.data.array_files import misread

ROUNDING = 0.01
"""By so much, pictures of floats may lie outside of [-1, 1], as after resizing."""


def as_field(name: str, values: np.ndarray) -> np.ndarray:
    """The array as it is kept: uint8 for pictures, else float32 or int32."""
    described = f"field {name!r}, {values.dtype} of shape {list(values.shape)},"
    if values.ndim == 0:
        raise ValueError(f"{described} has no axis of examples")
    if values.ndim == 4 and 0 in values.shape[1:]:
        raise ValueError(f"{described} is taken for pictures, and these have 0 pixels")
    if jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise ValueError(f"{described} holds values that are not finite float32 numbers")
        if reason := misread(values.shape):
            raise ValueError(f"{described} is taken for pictures: {reason}")
        if values.ndim == 4 and values.size and values.min() >= 0 and values.max() > 2:
            raise ValueError(
                f"{described} reaches from {values.min():g} to {values.max():g}: give pictures as uint8 in 0..255, "
                "or as floats in [-1, 1]: images / 127.5 - 1"
            )
        return values
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(f"{described} is neither of floats nor of integers")
    if name == "image" or values.ndim >= 3:
        if values.dtype != np.uint8:
            raise TypeError(f"{described} is taken for pictures, and those are uint8 in 0..255 or floats in [-1, 1]")
        if values.ndim != 4:
            raise ValueError(f"{described} is taken for pictures, and those are [N, H, W, C]")
        if reason := misread(values.shape):
            raise ValueError(f"{described} is taken for pictures: {reason}")
        return values
    if values.size and (values.min() < -(2**31) or values.max() >= 2**31):
        raise ValueError(f"{described} holds integers beyond 32 bits")
    return values.astype(np.int32)


def doubtful(fields: Mapping[str, np.ndarray]) -> str | None:
    """What to say of pictures that are not in [-1, 1], or only in the brighter half of it.

    A refusal would be wrong: all of them may be bright, and networks of one's own may draw other values.
    """
    for name, values in fields.items():
        if values.ndim != 4 or values.dtype != np.float32:
            continue
        low, high = float(values.min()), float(values.max())
        found = f"field {name!r} reaches from {low:.3g} to {high:.3g}, where pictures are taken to be in [-1, 1]"
        if max(-low, high) > 1 + ROUNDING:
            return f"{found}: undo their standardization (images * std + mean), or give uint8 in 0..255"
        if low >= 0 and high > 0:
            return f"{found}, black at -1: if black is 0 in these, give images * 2 - 1"
    return None
