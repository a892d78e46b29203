"""From images to features: one path for real and generated images, so that nothing but the images differs.

Bytes first, since that is what files hold; then the feature network's size; then the network, in batches of one shape
whatever the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Sharding
from jax.typing import ArrayLike

from jaxgan.pixels import to_uint8

RESIZERS = ("antialiased", "legacy")


def as_bytes(images: ArrayLike, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """Images as bytes, from bytes or from floats whose range is declared.

    Nothing in floats tells black from grey: the range is never guessed.

    Args:
      images: uint8, or floats with their `value_range`, any shape.
      value_range: the values of black and white, `(0, 1)` or `(-1, 1)`; of floats only.

    Returns:
      The images in uint8, floats rounded to nearest.

    Raises:
      ValueError: floats without a range, outside of it or not finite, or another type.

    >>> as_bytes(np.array([0.0, 0.5, 1.0]), (0, 1)).tolist()
    [0, 128, 255]
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images of type {images.dtype}, where uint8 or floats were expected")
    low, high = float(images.min(initial=np.inf)), float(images.max(initial=-np.inf))
    if value_range is None:
        raise ValueError(f"floats from {low:.4g} to {high:.4g} without a value_range: declare (0, 1) or (-1, 1)")
    black, white = value_range
    slack = 1e-3 * (white - black)
    if images.size and not (black - slack <= low and high <= white + slack):  # false for NaN, too
        raise ValueError(f"floats from {low:.4g} to {high:.4g}, outside the declared range of {black} to {white}")
    return to_uint8((images.astype(np.float32) - black) / (white - black) * 2.0 - 1.0)


def resize(images: Array, size: int, resizer: str) -> Array:
    """Images at the size a feature network wants.

    `antialiased`: bicubic, the filter widened with the reduction, as Pillow does it on floats; clipped to bytes' range.
    `legacy`: bilinear between pixels' corners and without antialiasing, as the TensorFlow 1 graph of the FID Inception
    does it: reduced images are sampled, not averaged, and enlarged ones shift by up to half a pixel.

    Args:
      images: `[B, H, W, C]`, values of bytes.
      size: side of the result.
      resizer: one of `RESIZERS`.

    Returns:
      `[B, size, size, C]` float32 in 0..255, not rounded.

    Raises:
      ValueError: another resizer.

    Papers: why it matters: Parmar et al. 2021, arXiv:2104.11222.
    """
    if resizer not in RESIZERS:
        raise ValueError(f"unknown resizer {resizer!r}: there are {', '.join(RESIZERS)}")
    images = images.astype(jnp.float32)
    if resizer == "legacy":
        return _legacy(_legacy(images, 1, size), 2, size)
    shape = (images.shape[0], size, size, images.shape[3])
    return jnp.clip(jax.image.resize(images, shape, "bicubic", antialias=True), 0.0, 255.0)


def _legacy(images: Array, axis: int, size: int) -> Array:
    length = images.shape[axis]
    # In float32 from the rounded ratio, as TensorFlow counts.
    places = np.arange(size, dtype=np.float32) * np.float32(length / size)
    below = places.astype(np.int32)
    weights = np.expand_dims(places - below, [other for other in range(images.ndim) if other != axis])
    low, high = (jnp.take(images, np.minimum(rows, length - 1), axis=axis) for rows in (below, below + 1))
    return low + (high - low) * weights


def extract_batches(
    images: np.ndarray, features_fn: Callable[[Array], Array], *, batch_size: int = 64, sharding: Sharding | None = None
) -> Iterator[np.ndarray]:
    """The features of images, batch by batch: for `gather_statistics`, where all would not fit in memory.

    The last batch is filled up with its first image, and what comes of the filling is dropped: one shape is compiled,
    and every image counts once.

    Args:
      images: uint8 `[N, H, W, C]`.
      features_fn: uint8 images `[batch_size, H, W, C]` to features `[batch_size, D]`, each image by itself; jitted.
      batch_size: images at once.
      sharding: how a batch lies on the devices, such as `jaxgan.devices.sharding.by_batch`; by default on the first.

    Yields:
      Features `[n, D]` on the host, in the order of the images, `n = batch_size` but for the last.

    Raises:
      ValueError: no images, none in bytes, an empty batch, or features that are not finite.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ValueError(f"{images.dtype} images of shape {images.shape}, where uint8 [N, H, W, C] was expected")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}, but a batch needs at least 1 image")
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        count = len(batch)
        if count < batch_size:
            batch = np.concatenate([batch, np.repeat(batch[:1], batch_size - count, axis=0)])
        features = np.asarray(features_fn(jax.device_put(batch, sharding)))[:count]
        if not np.isfinite(features).all():
            raise ValueError(
                "the feature extractor gives NaN or infinity for images, which are bytes: its weights are bad"
            )
        yield features


def extract(
    images: np.ndarray, features_fn: Callable[[Array], Array], *, batch_size: int = 64, sharding: Sharding | None = None
) -> np.ndarray:
    """The features of all images, see `extract_batches`.

    Returns:
      `[N, D]`.
    """
    return np.concatenate(list(extract_batches(images, features_fn, batch_size=batch_size, sharding=sharding)))
