"""The networks of DCGAN (Radford et al. 2015, arXiv:1511.06434) with 4x4 kernels, for 32, 64 and 128 pixels."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from jaxgan.networks.convolutions import Conv, ConvTranspose
from jaxgan.networks.layers import Norm, check_norm
from jaxgan.networks.linen import from_linen
from jaxgan.types import Network

SIZES = (32, 64, 128)

_weights = nn.initializers.normal(0.02)


class DCGANGenerator(nn.Module):
    """Latents `[B, latent_dim]` to images `[B, size, size, channels]` in [-1, 1].

    The first layer gives 4x4 feature maps of `width * size / 8` channels. Each further layer doubles the size and
    halves the channels. Norm and ReLU between layers, tanh at the end.

    Attributes:
      size: 32, 64 or 128 pixels.
      channels: channels of the image.
      width: channels before the last layer.
      norm: see `Norm`.
      dtype: dtype of the computation; parameters are float32.
      conv_transpose: the layer class, to compare with Flax's.
    """

    size: int
    channels: int
    width: int
    norm: str = "batch"
    dtype: DTypeLike = jnp.float32
    conv_transpose: type[nn.Module] = ConvTranspose

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @nn.compact
    def __call__(self, latents: Array, *, train: bool) -> Array:
        def layer(features: int, strides: int, padding: str, name: str, *, use_bias: bool):
            options = {"use_bias": use_bias, "dtype": self.dtype, "kernel_init": _weights, "name": name}
            return self.conv_transpose(features, (4, 4), (strides, strides), padding, **options)

        widths = stage_widths(self.size, self.width)[::-1]
        bias = self.norm != "batch"  # batch norm cancels a bias before it
        hidden = layer(widths[0], 1, "VALID", "layer_0", use_bias=bias)(latents[:, None, None, :])
        for index, width in enumerate(widths[1:], 1):
            hidden = nn.relu(Norm(self.norm, self.dtype, name=f"norm_{index - 1}")(hidden, train=train))
            hidden = layer(width, 2, "SAME", f"layer_{index}", use_bias=bias)(hidden)
        hidden = nn.relu(Norm(self.norm, self.dtype, name=f"norm_{len(widths) - 1}")(hidden, train=train))
        return jnp.tanh(layer(self.channels, 2, "SAME", f"layer_{len(widths)}", use_bias=True)(hidden))


class DCGANDiscriminator(nn.Module):
    """Images `[B, size, size, channels]` to raw scores `[B]`.

    Strided convolutions halve the size and double the channels down to 4x4, each followed by a norm (except the first)
    and leaky ReLU (0.2).

    Attributes:
      size: 32, 64 or 128 pixels.
      width: channels after the first layer.
      norm: see `Norm`.
      dtype: dtype of the computation; parameters are float32.
      conv: the layer class, to compare with Flax's.
    """

    size: int
    width: int
    norm: str = "batch"
    dtype: DTypeLike = jnp.float32
    conv: type[nn.Module] = Conv

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        return numbered_stages(self.size)

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        if images.shape[1:3] != (self.size, self.size):
            raise ValueError(f"this discriminator takes images of {self.size} x {self.size}, not {images.shape[1:3]}")
        options = {"dtype": self.dtype, "kernel_init": _weights}
        hidden = images
        for index, width in enumerate(stage_widths(self.size, self.width)):
            bias = index == 0 or self.norm != "batch"
            hidden = self.conv(width, (4, 4), (2, 2), 1, use_bias=bias, name=f"layer_{index}", **options)(hidden)
            if index:
                hidden = Norm(self.norm, self.dtype, name=f"norm_{index}")(hidden, train=train)
            hidden = nn.leaky_relu(hidden, 0.2)
        return self.conv(1, (4, 4), (1, 1), "VALID", name="score", **options)(hidden)[:, 0, 0, 0]


def dcgan_generator(
    size: int, *, channels: int, width: int = 64, norm: str = "batch", dtype: DTypeLike = jnp.float32
) -> Network:
    """A `DCGANGenerator` as a `Network`.

    Raises:
      ValueError: an unknown size or norm.
    """
    check_size(size)
    return from_linen(DCGANGenerator(size, channels, width, check_norm(norm), dtype))


def dcgan_discriminator(size: int, *, width: int = 64, norm: str = "batch", dtype: DTypeLike = jnp.float32) -> Network:
    """A `DCGANDiscriminator` as a `Network`. With batch norm it cannot have a gradient penalty.

    Raises:
      ValueError: an unknown size or norm.
    """
    check_size(size)
    return from_linen(DCGANDiscriminator(size, width, check_norm(norm), dtype))


def check_size(size: int) -> None:
    if size not in SIZES:
        raise ValueError(f"DCGAN has no networks for {size} pixels: there are {', '.join(map(str, SIZES))}")


def stage_widths(size: int, width: int) -> list[int]:
    """Channels at size / 2, size / 4, ..., 4."""
    return [width * 2**index for index in range(size.bit_length() - 3)]


def numbered_stages(size: int, prefix: str = "") -> tuple[tuple[str, ...], ...]:
    """The `Network.stages` of the convolutions that halve the size, each with its norm."""
    return tuple((f"{prefix}layer_{index}", f"{prefix}norm_{index}") for index in range(len(stage_widths(size, 1))))
