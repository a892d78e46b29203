"""Image-to-image generators.

The residual network of CycleGAN (Zhu et al. 2017, arXiv:1703.10593; after Johnson et al. 2016, arXiv:1603.08155) and
the U-Net of pix2pix (Isola et al. 2017, arXiv:1611.07004). Weights are initialized from N(0, 0.02). The output has the
size of the input, for any size: an image whose sides cannot be halved often enough is extended by reflection, and the
output is cropped to the original size.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from jaxgan.networks.convolutions import Conv, ConvTranspose
from jaxgan.networks.layers import Norm, check_norm, keeps_bias
from jaxgan.networks.linen import from_linen
from jaxgan.networks.resampling import upsample
from jaxgan.types import Network

Upsampling = Literal["transposed", "resize"]

_weights = nn.initializers.normal(0.02)


def reflection_pad(maps: Array, *, height: tuple[int, int], width: tuple[int, int]) -> Array:
    """Pads images or feature maps by reflection, without repeating the edge.

    >>> reflection_pad(jnp.arange(3.0).reshape(1, 1, 3, 1), height=(0, 0), width=(1, 2)).ravel().tolist()
    [1.0, 0.0, 1.0, 2.0, 1.0, 0.0]

    Args:
      maps: `[B, H, W, C]`.
      height: rows to add above and below, each fewer than H.
      width: columns to add left and right, each fewer than W.

    Returns:
      `[B, H + sum(height), W + sum(width), C]`.
    """
    return jnp.pad(maps, ((0, 0), height, width, (0, 0)), mode="reflect")


def _framed(maps: Array, edge: int) -> Array:
    return reflection_pad(maps, height=(edge, edge), width=(edge, edge))


def _extended(images: Array, multiple: int, *, least: int, network: str) -> Array:
    """Images padded below and to the right to a height and width that are multiples of a number."""
    height, width = images.shape[1:3]
    if min(height, width) < least:
        raise ValueError(
            f"{network} takes images of at least {least} x {least}, not {height} x {width}: "
            f"{max(height, least)} x {max(width, least)} is the nearest size"
        )
    return reflection_pad(images, height=(0, -height % multiple), width=(0, -width % multiple))


class ResidualBlock(nn.Module):
    """`x + f(x)` of feature maps `[B, H, W, C]`: f is two 3x3 convolutions, each with a norm, and a ReLU between them.

    Attributes:
      norm: see `Norm`.
      dtype: dtype of the computation.
    """

    norm: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Array, *, train: bool) -> Array:
        options = {"use_bias": keeps_bias(self.norm), "dtype": self.dtype, "kernel_init": _weights}
        hidden = maps
        for index in range(2):
            hidden = Conv(maps.shape[3], 3, padding="VALID", name=f"layer_{index}", **options)(_framed(hidden, 1))
            hidden = Norm(self.norm, self.dtype, name=f"norm_{index}")(hidden, train=train)
            hidden = hidden if index else nn.relu(hidden)
        return maps + hidden


class ResidualGenerator(nn.Module):
    """Images `[B, H, W, C]` to images `[B, H, W, channels]` in [-1, 1], H and W at least 5.

    A 7x7 convolution, two 3x3 convolutions that halve the size and double the channels, residual blocks, two upsampling
    layers, a 7x7 convolution and tanh. Norm and ReLU after each layer except the last. Layers that keep the size use
    reflection padding.

    Attributes:
      channels: channels of the output image.
      width: channels at the full size.
      blocks: number of residual blocks.
      upsampling: `transposed`: 3x3 transposed convolutions; `resize`: nearest-neighbour upsampling and a 3x3
        convolution, without checkerboard artifacts (Odena et al. 2016, Deconvolution and Checkerboard Artifacts,
        Distill).
      norm: see `Norm`.
      dtype: dtype of the computation; parameters are float32.
    """

    channels: int
    width: int
    blocks: int
    upsampling: Upsampling = "transposed"
    norm: str = "instance"
    dtype: DTypeLike = jnp.float32

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        options = {"dtype": self.dtype, "kernel_init": _weights}
        inner = {"use_bias": keeps_bias(self.norm), **options}

        def normed(hidden: Array, index: int) -> Array:
            return nn.relu(Norm(self.norm, self.dtype, name=f"norm_{index}")(hidden, train=train))

        hidden = _extended(images, 4, least=5, network="this generator")
        hidden = normed(Conv(self.width, 7, padding="VALID", name="layer_0", **inner)(_framed(hidden, 3)), 0)
        for index in (1, 2):
            hidden = normed(Conv(self.width * 2**index, 3, 2, 1, name=f"layer_{index}", **inner)(hidden), index)
        for index in range(self.blocks):
            hidden = ResidualBlock(self.norm, self.dtype, name=f"block_{index}")(hidden, train=train)
        for index in (3, 4):
            features, name = self.width * 2 ** (4 - index), f"layer_{index}"
            if self.upsampling == "transposed":
                # With this padding it is the transpose of a stride-2 convolution and doubles the size.
                hidden = ConvTranspose(features, 3, 2, ((1, 2), (1, 2)), name=name, **inner)(hidden)
            else:
                hidden = Conv(features, 3, padding="VALID", name=name, **inner)(_framed(upsample(hidden), 1))
            hidden = normed(hidden, index)
        hidden = Conv(self.channels, 7, padding="VALID", name="image", **options)(_framed(hidden, 3))
        return jnp.tanh(hidden)[:, : images.shape[1], : images.shape[2]]


class UNetGenerator(nn.Module):
    """Images `[B, H, W, C]` to images `[B, H, W, channels]` in [-1, 1], H and W more than `2^levels / 2`.

    `levels` 4x4 convolutions that halve the size (encoder), and as many 4x4 transposed convolutions (decoder) with skip
    connections: each decoder layer except the first also gets the encoder's feature maps of its size. Leaky ReLU (0.2)
    before encoder layers, ReLU before decoder layers, tanh at the end. A norm after each layer except the first, the
    innermost and the last. Channels double from `width` up to 8 times that.

    Attributes:
      channels: channels of the output image.
      width: channels at half the size.
      levels: number of times the size is halved.
      norm: see `Norm`.
      dtype: dtype of the computation; parameters are float32.
      dropout: dropout rate after each of the three innermost decoder layers.
    """

    channels: int
    width: int
    levels: int
    norm: str = "instance"
    dtype: DTypeLike = jnp.float32
    dropout: float = 0.0

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        def normed(hidden: Array, name: str) -> Array:
            return Norm(self.norm, self.dtype, name=f"norm_{name}")(hidden, train=train)

        options = {"dtype": self.dtype, "kernel_init": _weights}
        bias, smallest = keeps_bias(self.norm), self.levels - 1
        widths = [self.width * min(2**level, 8) for level in range(self.levels)]
        least = 2**smallest + 1
        hidden = _extended(images, 2**self.levels, least=least, network=f"a U-Net of {self.levels} levels")
        passed = []
        for level, features in enumerate(widths):
            hidden = nn.leaky_relu(hidden, 0.2) if level else hidden
            ends = level in (0, smallest)
            hidden = Conv(features, 4, 2, 1, use_bias=ends or bias, name=f"down_{level}", **options)(hidden)
            hidden = hidden if ends else normed(hidden, f"down_{level}")
            passed.append(hidden)
        for level in range(smallest, 0, -1):
            up = ConvTranspose(widths[level - 1], 4, 2, use_bias=bias, name=f"up_{level}", **options)
            hidden = normed(up(nn.relu(hidden)), f"up_{level}")
            hidden = nn.Dropout(self.dropout if level > smallest - 3 else 0.0, deterministic=not train)(hidden)
            hidden = jnp.concatenate([passed[level - 1], hidden], axis=3)
        hidden = ConvTranspose(self.channels, 4, 2, name="image", **options)(nn.relu(hidden))
        return jnp.tanh(hidden)[:, : images.shape[1], : images.shape[2]]


def residual_generator(
    *,
    channels: int,
    width: int = 64,
    blocks: int = 9,
    upsampling: Upsampling = "transposed",
    norm: str = "instance",
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """A `ResidualGenerator` as a `Network`; CycleGAN has 9 blocks, and 6 for images below 256 pixels.

    Raises:
      ValueError: an unknown upsampling or norm; at `init`, images that are too small.
    """
    if upsampling not in get_args(Upsampling):
        raise ValueError(f"unknown upsampling {upsampling!r}: there are {', '.join(get_args(Upsampling))}")
    return from_linen(ResidualGenerator(channels, width, blocks, upsampling, check_norm(norm), dtype))


def unet_generator(
    *,
    channels: int,
    width: int = 64,
    levels: int = 8,
    norm: str = "instance",
    dropout: float = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """A `UNetGenerator` as a `Network`; pix2pix has 8 levels for 256 pixels and 7 for 128, batch norm and dropout 0.5.

    With dropout, `apply(..., train=True)` needs a key. Sampling here is without dropout; pix2pix keeps it.

    Raises:
      ValueError: fewer than two levels, an unknown norm, dropout outside [0, 1); at `init`, images that are too small.
    """
    if levels < 2:
        raise ValueError(f"a U-Net has at least 2 levels, not {levels}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} is not in [0, 1)")
    return from_linen(UNetGenerator(channels, width, levels, check_norm(norm), dtype, dropout))
