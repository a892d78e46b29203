"""The one place where bytes become floats in [-1, 1] and back: images are floats inside jaxgan, bytes outside."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


def from_uint8(images: ArrayLike) -> Array:
    """`(2 images - 255) / 255`: uint8 in 0..255 to float32 in [-1, 1], any shape, the ends exactly.

    >>> from_uint8(np.array([0, 255], np.uint8)).tolist()
    [-1.0, 1.0]
    """
    images = jnp.asarray(images)
    if images.dtype != jnp.uint8:
        raise TypeError(f"from_uint8 takes uint8 images, not {images.dtype}")
    # Not x / 127.5 - 1: jitted, that becomes a product with a rounded reciprocal and leaves [-1, 1] by an ulp.
    return (images.astype(jnp.float32) * 2.0 - 255.0) / 255.0


def to_uint8(images: ArrayLike) -> np.ndarray:
    """The inverse of `from_uint8`, rounded to nearest, values outside [-1, 1] clipped, on the host.

    >>> to_uint8(np.array([-1.0, 0.0, 1.0])).tolist()
    [0, 128, 255]
    """
    scaled = (np.asarray(images, np.float32) + 1.0) * 127.5
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
