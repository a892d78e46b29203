"""Doubling and halving the size of maps, by itself and together with the 3x3 convolution before or after it.

A 3x3 convolution of doubled maps multiplies at 9 pixels of which at most 4 differ, and one whose results are averaged
could have averaged its kernel first. Together they take 4 products a pixel in place of 9, which on a CPU halves the
time, that of the gradients too. Accelerators, where the start of an operation costs more, do one after the other.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxgan.networks.convolutions import conv


def upsample(maps: Array) -> Array:
    """Doubles height and width by repeating every pixel: `[B, H, W, C]` to `[B, 2 H, 2 W, C]`."""
    batch, height, width, channels = maps.shape
    repeated = jnp.broadcast_to(maps[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return repeated.reshape(batch, 2 * height, 2 * width, channels)


def average_pool(maps: Array) -> Array:
    """Halves height and width by the mean of every 2x2 pixels: `[B, H, W, C]` to `[B, H / 2, W / 2, C]`."""
    batch, height, width, channels = maps.shape
    return maps.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def upsampled_conv(maps: Array, kernel: Array) -> Array:
    """`conv(upsample(maps), kernel)`.

    Args:
      maps: `[B, H, W, I]`.
      kernel: `[3, 3, I, O]`, of the same dtype.

    Returns:
      `[B, 2 H, 2 W, O]`.

    Raises:
      ValueError: another size of kernel.
    """
    _check_kernel(kernel)
    return lax.platform_dependent(maps, kernel, cpu=_in_phases, default=lambda maps, w: conv(upsample(maps), w))


def pooled_conv(maps: Array, kernel: Array) -> Array:
    """`average_pool(conv(maps, kernel))`.

    Args:
      maps: `[B, H, W, I]`, height and width even.
      kernel: `[3, 3, I, O]`, of the same dtype.

    Returns:
      `[B, H / 2, W / 2, O]`.

    Raises:
      ValueError: another size of kernel, or maps of an odd size.
    """
    _check_kernel(kernel)
    if maps.shape[1] % 2 or maps.shape[2] % 2:
        raise ValueError(f"maps of even height and width expected, not {maps.shape}")
    return lax.platform_dependent(maps, kernel, cpu=_in_strides, default=lambda maps, w: average_pool(conv(maps, w)))


def _check_kernel(kernel: Array) -> None:
    if kernel.shape[:2] != (3, 3):
        raise ValueError(f"a kernel [3, 3, I, O] expected, not {kernel.shape}")


# Which rows of the kernel meet which of the two rows of small maps that a row of doubled ones sees: the upper of a pair
# sees the row above and, twice, the pair's own, the lower of it its own, twice, and the one below. [of the pair, seen,
# of the kernel]
_MEETS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])


def _in_phases(maps: Array, kernel: Array) -> Array:
    """Each of the four pixels that one becomes has a 2x2 kernel of its own: four convolutions, interleaved."""
    batch, height, width, _ = maps.shape
    meets = jnp.asarray(_MEETS, kernel.dtype)
    kernels = jnp.einsum("pai,qbj,ijcd->pqabcd", meets, meets, kernel)
    phase = lambda p, q: conv(maps, kernels[p, q], padding=((1 - p, p), (1 - q, q)))
    rows = [jnp.stack([phase(p, 0), phase(p, 1)], axis=3) for p in (0, 1)]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1)


def _in_strides(maps: Array, kernel: Array) -> Array:
    """The mean of the kernel's four shifts by a pixel is a 4x4 kernel, at every other place."""
    sides = ((0, 1), (1, 0))
    shifts = [jnp.pad(kernel, (rows, columns, (0, 0), (0, 0))) for rows in sides for columns in sides]
    return conv(maps, sum(shifts[1:], shifts[0]) / 4, strides=2, padding=1)
