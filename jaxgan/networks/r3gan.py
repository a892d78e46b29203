"""Residual networks without normalization, after configuration E of R3GAN (Huang et al. 2025, arXiv:2501.05441).

The initialization replaces normalization: each block starts as the identity, and the initial scale of its inner layers
falls with the number of blocks (Fixup: Zhang et al. 2019, arXiv:1901.09321). Use these networks with `relativistic`
losses and with `r1_penalty` and `r2_penalty` together.

The paper's networks for 32 pixels have width 768 and two blocks at each of the four sizes; those for larger images have
fewer channels at the larger sizes. The paper's conditional networks are not implemented.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from jaxgan.networks.convolutions import Conv, conv
from jaxgan.networks.linen import from_linen
from jaxgan.types import Network

# Keeps the mean square through a leaky ReLU with negative slope 0.2.
GAIN = (2 / (1 + 0.2**2)) ** 0.5


def _normal(gain: float = 1.0):
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class GroupedConv(Conv):
    """Convolution by groups as a layer; the parameters are those of `flax.linen.Conv`.

    Attributes:
      groups: number of groups, a divisor of the channels of input and output.
    """

    groups: int = 1

    @nn.compact
    def __call__(self, images: Array) -> Array:
        channels = images.shape[3] // self.groups
        function = partial(conv, groups=self.groups, strides=self.strides, padding=self.padding)
        return self._apply(function, images, (channels, self.features))


def bilinear_upsample(maps: Array) -> Array:
    """Doubles height and width bilinearly, with zero padding: `[B, H, W, C]` to `[B, 2 H, 2 W, C]`."""
    rows, columns = (_bilinear(size, maps.dtype) for size in maps.shape[1:3])
    return jnp.einsum("uh,bhwc,vw->buvc", rows, maps, columns)


def bilinear_downsample(maps: Array) -> Array:
    """Halves height and width with the same filter: `[B, 2 H, 2 W, C]` to `[B, H, W, C]`.

    The transpose of `bilinear_upsample`, divided by 4 so that constants are preserved away from the edges.
    """
    rows, columns = (_bilinear(size // 2, maps.dtype) for size in maps.shape[1:3])
    return jnp.einsum("uh,buvc,vw->bhwc", rows, maps, columns) / 4


def _bilinear(size: int, dtype: DTypeLike) -> Array:
    """The matrix `[2 size, size]` that doubles one axis: each new pixel is 3/4 of the nearer and 1/4 of the next one.

    A product with a matrix is cheap, and so is its gradient.
    """
    pixels = np.arange(2 * size)
    nearer = pixels // 2
    further = nearer + np.where(pixels % 2, 1, -1)
    lines = np.arange(size)
    return jnp.asarray(0.75 * (nearer[:, None] == lines) + 0.25 * (further[:, None] == lines), dtype)


class Block(nn.Module):
    """`x + W3 a(W2 a(W1 x))`: 1x1 expansion W1, grouped 3x3 W2, 1x1 projection W3 (initially 0); a is leaky ReLU (0.2).

    Attributes:
      expansion: channels inside the block, relative to its input.
      group_size: channels of a group.
      gain: initial scale of W1 and W2, relative to the scale that keeps the mean square through the activation.
      dtype: dtype of the computation.
    """

    expansion: int
    group_size: int
    gain: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Array) -> Array:
        channels = maps.shape[3]
        inside = channels * self.expansion
        scaled = {"dtype": self.dtype, "kernel_init": _normal(GAIN * self.gain)}
        hidden = nn.leaky_relu(Conv(inside, 1, name="layer_0", **scaled)(maps), 0.2)
        grouped = GroupedConv(inside, 3, groups=inside // self.group_size, name="layer_1", **scaled)
        hidden = nn.leaky_relu(grouped(hidden), 0.2)
        zero = nn.initializers.zeros_init()
        return maps + Conv(channels, 1, use_bias=False, dtype=self.dtype, kernel_init=zero, name="layer_2")(hidden)


class R3GANGenerator(nn.Module):
    """Latents `[B, latent_dim]` to images `[B, size, size, channels]`; the output is not bounded to [-1, 1].

    Learned 4x4 feature maps, each channel multiplied by a linear function of the latents; at each size the blocks, then
    bilinear upsampling; a 1x1 convolution at the end.

    Attributes:
      channels: channels of the image.
      widths: channels at 4x4, 8x8, ... and the full size.
      blocks: number of blocks at each size.
      expansion: see `Block`.
      group_size: see `Block`.
      dtype: dtype of the computation; parameters are float32.
    """

    channels: int
    widths: tuple[int, ...]
    blocks: int
    expansion: int
    group_size: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        del train
        gain = _gain(self.blocks * len(self.widths))
        linear = {"use_bias": False, "dtype": self.dtype, "kernel_init": _normal()}
        basis = self.param("basis", nn.initializers.normal(1.0), (4, 4, self.widths[0]))
        scale = nn.Dense(self.widths[0], name="base", **linear)(latents)
        hidden = basis[None].astype(self.dtype) * scale[:, None, None]
        for stage, width in enumerate(self.widths):
            if stage:
                if width != hidden.shape[3]:
                    hidden = Conv(width, 1, name=f"change_{stage}", **linear)(hidden)
                hidden = bilinear_upsample(hidden)
            for index in range(self.blocks):
                block = Block(self.expansion, self.group_size, gain, self.dtype, name=f"block_{stage}_{index}")
                hidden = block(hidden)
        return Conv(self.channels, 1, name="image", **linear)(hidden)


class R3GANDiscriminator(nn.Module):
    """Images `[B, size, size, channels]` to raw scores `[B]`: the layers of the generator in reverse.

    Attributes:
      widths: channels at 4x4, 8x8, ... and the full size.
      blocks: number of blocks at each size.
      expansion: see `Block`.
      group_size: see `Block`.
      dtype: dtype of the computation; parameters are float32.
    """

    widths: tuple[int, ...]
    blocks: int
    expansion: int
    group_size: int
    dtype: DTypeLike = jnp.float32

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        sizes = reversed(range(len(self.widths)))
        stages = [(*(f"block_{size}_{index}" for index in range(self.blocks)), f"change_{size}") for size in sizes]
        return (("image", *stages[0]), *stages[1:])

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        del train
        size = 2 * 2 ** len(self.widths)
        if images.shape[1:3] != (size, size):
            raise ValueError(f"this discriminator takes images of {size} x {size}, not {images.shape[1:3]}")
        gain = _gain(self.blocks * len(self.widths))
        linear = {"use_bias": False, "dtype": self.dtype, "kernel_init": _normal()}
        hidden = Conv(self.widths[-1], 1, name="image", **linear)(images)
        for stage in reversed(range(len(self.widths))):
            for index in range(self.blocks):
                block = Block(self.expansion, self.group_size, gain, self.dtype, name=f"block_{stage}_{index}")
                hidden = block(hidden)
            if stage:
                hidden = bilinear_downsample(hidden)
                if self.widths[stage - 1] != hidden.shape[3]:
                    hidden = Conv(self.widths[stage - 1], 1, name=f"change_{stage}", **linear)(hidden)
        basis = self.param("basis", nn.initializers.normal(0.25), (4, 4, self.widths[0]))
        hidden = jnp.einsum("bhwc,hwc->bc", hidden, basis.astype(self.dtype))
        return nn.Dense(1, name="score", **linear)(hidden)[:, 0]


def r3gan_generator(
    size: int,
    *,
    channels: int,
    width: int | Sequence[int] = 64,
    blocks: int = 1,
    expansion: int = 2,
    group_size: int = 16,
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """An `R3GANGenerator` as a `Network`.

    Args:
      size: 8, 16, 32, ... pixels.
      channels: channels of the image.
      width: channels at every size, or one number for each of 4x4, 8x8, ... and the full size.
      blocks: number of blocks at each size, 2 in the paper.
      expansion: channels inside a block, relative to its input.
      group_size: channels of a group in the 3x3 convolution of a block, a divisor of width times expansion.
      dtype: dtype of the computation.

    Raises:
      ValueError: a size that is not a power of 2, the wrong number of widths, or a group size that does not divide.
    """
    widths = _check(size, width, blocks, expansion, group_size)
    return from_linen(R3GANGenerator(channels, widths, blocks, expansion, group_size, dtype))


def r3gan_discriminator(
    size: int,
    *,
    width: int | Sequence[int] = 64,
    blocks: int = 1,
    expansion: int = 2,
    group_size: int = 16,
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """An `R3GANDiscriminator` as a `Network`; arguments as for `r3gan_generator`.

    Raises:
      ValueError: as `r3gan_generator`.
    """
    widths = _check(size, width, blocks, expansion, group_size)
    return from_linen(R3GANDiscriminator(widths, blocks, expansion, group_size, dtype))


def _gain(blocks: int) -> float:
    """Fixup's initial scale of the two inner layers of each block, given the number of blocks."""
    return blocks**-0.25


def _check(size: int, width: int | Sequence[int], blocks: int, expansion: int, group_size: int) -> tuple[int, ...]:
    """The width at each size."""
    if size < 8 or size & (size - 1):
        raise ValueError(f"R3GAN's networks are for 8, 16, 32, ... pixels (a power of 2), not {size}")
    stages = size.bit_length() - 2
    widths = (width,) * stages if isinstance(width, int) else tuple(width)
    if len(widths) != stages:
        raise ValueError(f"{size} pixels need one width, or {stages} (at 4, 8, ... {size} pixels), not {len(widths)}")
    for channels in widths:
        if channels * expansion % group_size:
            raise ValueError(
                f"width {channels} times expansion {expansion} is not a multiple of group_size={group_size}"
            )
    if blocks < 1:
        raise ValueError(f"blocks={blocks}, but each size needs at least 1")
    return widths
