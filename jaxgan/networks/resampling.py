"""Upsampling and pooling of feature maps, alone and fused with a 3x3 convolution.

A 3x3 convolution of upsampled feature maps reads 9 pixels of which at most 4 differ. Pooling after a convolution is
linear, so it can be applied to the kernel instead. Fused, both take 4 products per pixel instead of 9, which on a CPU
halves the time of the forward pass and of the gradients. On accelerators, where launching operations costs more, they
are not fused.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxgan.networks.convolutions import conv


def upsample(maps: Array) -> Array:
    """Nearest-neighbour upsampling, which repeats every pixel: `[B, H, W, C]` to `[B, 2 H, 2 W, C]`."""
    batch, height, width, channels = maps.shape
    repeated = jnp.broadcast_to(maps[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return repeated.reshape(batch, 2 * height, 2 * width, channels)


def average_pool(maps: Array) -> Array:
    """2x2 average pooling: `[B, H, W, C]` to `[B, H / 2, W / 2, C]`."""
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
      ValueError: a kernel that is not 3x3.
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
      ValueError: a kernel that is not 3x3, or an odd height or width.
    """
    _check_kernel(kernel)
    if maps.shape[1] % 2 or maps.shape[2] % 2:
        raise ValueError(f"feature maps of even height and width expected, not {maps.shape}")
    return lax.platform_dependent(maps, kernel, cpu=_in_strides, default=lambda maps, w: average_pool(conv(maps, w)))


def _check_kernel(kernel: Array) -> None:
    if kernel.shape[:2] != (3, 3):
        raise ValueError(f"a kernel [3, 3, I, O] expected, not {kernel.shape}")


# Each row of the input becomes a pair of rows after upsampling. The 3 kernel rows centred on the upper row of a pair
# read the input row above once and the pair's own row twice; those centred on the lower row read the own row twice and
# the row below once. _MEETS[upper or lower, first or second input row read, kernel row].
_MEETS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])


def _in_phases(maps: Array, kernel: Array) -> Array:
    """Each of the four output pixels of an input pixel has its own 2x2 kernel: four interleaved convolutions."""
    batch, height, width, _ = maps.shape
    meets = jnp.asarray(_MEETS, kernel.dtype)
    kernels = jnp.einsum("pai,qbj,ijcd->pqabcd", meets, meets, kernel)
    phase = lambda p, q: conv(maps, kernels[p, q], padding=((1 - p, p), (1 - q, q)))
    rows = [jnp.stack([phase(p, 0), phase(p, 1)], axis=3) for p in (0, 1)]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1)


def _in_strides(maps: Array, kernel: Array) -> Array:
    """A convolution of stride 2 with the 4x4 mean of the kernel's four shifts by a pixel."""
    sides = ((0, 1), (1, 0))
    shifts = [jnp.pad(kernel, (rows, columns, (0, 0), (0, 0))) for rows in sides for columns in sides]
    return conv(maps, sum(shifts[1:], shifts[0]) / 4, strides=2, padding=1)
