"""Conversion of images between uint8, as in files, and floats in [-1, 1], as in networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


def from_uint8(images: ArrayLike) -> Array:
    """`(2 images - 255) / 255`: uint8 in 0..255 to float32 in [-1, 1], any shape; 0 and 255 become exactly -1 and 1.

    >>> from_uint8(np.array([0, 255], np.uint8)).tolist()
    [-1.0, 1.0]
    """
    images = jnp.asarray(images)
    if images.dtype != jnp.uint8:
        raise TypeError(f"from_uint8 takes uint8 images, not {images.dtype}")
    # Not x / 127.5 - 1: under jit that multiplies by a rounded reciprocal and leaves [-1, 1] by one ulp.
    return (images.astype(jnp.float32) * 2.0 - 255.0) / 255.0


def to_uint8(images: ArrayLike) -> np.ndarray:
    """The inverse of `from_uint8`, rounded to nearest, with values outside [-1, 1] clipped, on the host.

    Raises:
      NonFiniteSamplesError: NaN or infinity. A cast to uint8 would silently make black images of them.

    >>> to_uint8(np.array([-1.0, 0.0, 1.0])).tolist()
    [0, 128, 255]
    """
    floats = np.asarray(images, np.float32)
    check_finite(floats)
    return np.rint(np.clip((floats + 1.0) * 127.5, 0.0, 255.0)).astype(np.uint8)


class NonFiniteSamplesError(ValueError):
    """Samples that hold NaN or infinity.

    Attributes:
      bad: number of samples with NaN or infinity.
      count: number of all samples.
    """

    def __init__(self, bad: int, count: int, source: str = ""):
        those = f"{bad:,} of {count:,} samples"
        said = f"{source} generated {those} that are not finite" if source else f"{those} are not finite"
        super().__init__(f"{said} (NaN or infinity)")
        self.bad, self.count = bad, count


def check_finite(images: np.ndarray) -> None:
    """Raises a `NonFiniteSamplesError` if images `[N, ...]` hold NaN or infinity.

    >>> check_finite(np.array([[0.0], [np.nan]]))
    Traceback (most recent call last):
    jaxgan.pixels.NonFiniteSamplesError: 1 of 2 samples are not finite (NaN or infinity)
    """
    finite = np.isfinite(images)
    if not np.all(finite):
        rows = np.reshape(finite, (*np.shape(finite)[:1], -1)).all(axis=-1).ravel()
        raise NonFiniteSamplesError(int((~rows).sum()), len(rows))


@contextlib.contextmanager
def drawn_by(source: str) -> Iterator[None]:
    """Adds to a `NonFiniteSamplesError` raised inside what generated the samples.

    Args:
      source: what generated them, such as "checkpoint 200 of runs/gan".
    """
    try:
        yield
    except NonFiniteSamplesError as error:
        raise NonFiniteSamplesError(error.bad, error.count, source) from None
