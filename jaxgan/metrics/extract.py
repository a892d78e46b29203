"""Feature extraction, with the same steps for real and generated images.

Images are converted to uint8, as in files, resized to the input size of the feature network, and passed through the
network in batches of one shape.
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
    """Images as uint8, from uint8 or from floats with a declared range.

    The range of floats is never guessed, because their values do not tell whether 0 is black or grey.

    Args:
      images: uint8, or floats with a `value_range`, any shape.
      value_range: the values of black and white, `(0, 1)` or `(-1, 1)`; only for floats.

    Returns:
      The images as uint8; floats are rounded to nearest.

    Raises:
      ValueError: floats without a range, outside it or not finite, or another type.

    >>> as_bytes(np.array([0.0, 0.5, 1.0]), (0, 1)).tolist()
    [0, 128, 255]
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images of type {images.dtype}, but uint8 or floats were expected")
    low, high = float(images.min(initial=np.inf)), float(images.max(initial=-np.inf))
    if value_range is None:
        raise ValueError(f"floats from {low:.4g} to {high:.4g} without a value_range: declare (0, 1) or (-1, 1)")
    black, white = value_range
    slack = 1e-3 * (white - black)
    if images.size and not (black - slack <= low and high <= white + slack):  # false for NaN, too
        raise ValueError(f"floats from {low:.4g} to {high:.4g}, outside the declared range of {black} to {white}")
    return to_uint8((images.astype(np.float32) - black) / (white - black) * 2.0 - 1.0)


def resize(images: Array, size: int, resizer: str) -> Array:
    """Resizes images to the input size of a feature network.

    `antialiased`: bicubic with antialiasing, as Pillow on floats, clipped to 0..255.
    `legacy`: bilinear without antialiasing and with aligned corners, as in the TensorFlow 1 graph of the FID Inception:
    downsampled images are sampled instead of averaged, and upsampled ones are shifted by up to half a pixel.

    Args:
      images: `[B, H, W, C]`, values in 0..255.
      size: side of the result.
      resizer: one of `RESIZERS`.

    Returns:
      `[B, size, size, C]` float32 in 0..255, not rounded.

    Raises:
      ValueError: an unknown resizer.

    Paper: on the effect of resizing on FID: Parmar et al. 2021, arXiv:2104.11222.
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
    # In float32 from the rounded ratio, as in TensorFlow.
    places = np.arange(size, dtype=np.float32) * np.float32(length / size)
    below = places.astype(np.int32)
    weights = np.expand_dims(places - below, [other for other in range(images.ndim) if other != axis])
    low, high = (jnp.take(images, np.minimum(rows, length - 1), axis=axis) for rows in (below, below + 1))
    return low + (high - low) * weights


def extract_batches(
    images: np.ndarray, features_fn: Callable[[Array], Array], *, batch_size: int = 64, sharding: Sharding | None = None
) -> Iterator[np.ndarray]:
    """The features of images, batch by batch: for `gather_statistics`, if all features would not fit in memory.

    The last batch is padded with its first image, and the features of the padding are dropped, so that only one shape
    is compiled.

    Args:
      images: uint8 `[N, H, W, C]`.
      features_fn: a jitted function of uint8 images `[batch_size, H, W, C]` to features `[batch_size, D]`; each row
        depends on one image only.
      batch_size: images in a batch.
      sharding: the sharding of a batch, such as `jaxgan.devices.sharding.by_batch`; by default the first device.

    Yields:
      Features `[n, D]` on the host, in the order of the images; n is `batch_size`, less in the last batch.

    Raises:
      ValueError: no images, images that are not uint8, a batch size below 1, or features that are not finite.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ValueError(f"{images.dtype} images of shape {images.shape}, but uint8 [N, H, W, C] was expected")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}, but a batch needs at least 1 image")
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        count = len(batch)
        if count < batch_size:
            batch = np.concatenate([batch, np.repeat(batch[:1], batch_size - count, axis=0)])
        features = np.asarray(features_fn(jax.device_put(batch, sharding)))[:count]
        if not np.isfinite(features).all():
            raise ValueError("the feature extractor gives NaN or infinity for uint8 images: its weights are damaged")
        yield features


def extract(
    images: np.ndarray, features_fn: Callable[[Array], Array], *, batch_size: int = 64, sharding: Sharding | None = None
) -> np.ndarray:
    """The features of all images, see `extract_batches`.

    Returns:
      `[N, D]`.
    """
    return np.concatenate(list(extract_batches(images, features_fn, batch_size=batch_size, sharding=sharding)))
