"""The networks of DF-GAN for images of sentences: Tao et al. 2022, arXiv:2008.05865.

The generator's feature maps are scaled and shifted by the latents and the text, twice before each convolution. The
discriminator has one output for an image and its text, so all of its gradient points to images that are real and match.

Initial weights are uniform with variance 1 / (3 fan in), as PyTorch's. Two departures: initial biases are 0, and
upsampling and pooling stand where they commute with their neighbours, which is the same function with less to compute.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from jaxgan.networks.convolutions import Conv
from jaxgan.networks.linen import from_linen
from jaxgan.networks.resampling import average_pool, upsample, upsampled_conv
from jaxgan.types import Network, TextDiscriminator

SIZES = (32, 64, 128, 256)

_weights = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def df_gan_generator(size: int, *, channels: int, width: int = 32, dtype: DTypeLike = jnp.float32) -> Network:
    """A `DFGANGenerator` as a `Network`; `width` is that of the last block. A ValueError names an unknown size."""
    return from_linen(DFGANGenerator(_widths(size, width)[::-1], channels, dtype))


def df_gan_discriminator(size: int, *, width: int = 32, dtype: DTypeLike = jnp.float32) -> TextDiscriminator:
    """`DFGANFeatures` of the image, and the `OneWayScore` of features and embedding.

    Args:
      size: 32, 64, 128 or 256 pixels.
      width: channels of the first layer, doubled at each halving of the resolution up to 8 times.
      dtype: dtype of the computation.

    Raises:
      ValueError: an unknown size.
    """
    return TextDiscriminator(
        features=from_linen(DFGANFeatures(_widths(size, width), dtype)), head=from_linen(OneWayScore(dtype))
    )


def _widths(size: int, width: int) -> tuple[int, ...]:
    """Channels at each resolution, from that of the image to 4x4."""
    if size not in SIZES:
        raise ValueError(f"DF-GAN has no networks for {size} pixels: there are {', '.join(map(str, SIZES))}")
    return tuple(width * min(2**index, 8) for index in range(size.bit_length() - 2))


class Affine(nn.Module):
    """`scale(c) x + offset(c)` per channel of feature maps x `[B, H, W, C]`, for conditions c `[B, E]`.

    Both are MLPs of one hidden layer of C units; initially the scale is 1 and the offset 0.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Array, condition: Array) -> Array:
        channels = maps.shape[-1]

        def mlp(name: str, start: float) -> Array:
            hidden = nn.Dense(channels, dtype=self.dtype, kernel_init=_weights, name=f"{name}_0")(condition)
            bias = nn.initializers.constant(start)
            last = nn.Dense(
                channels, dtype=self.dtype, kernel_init=nn.initializers.zeros_init(), bias_init=bias, name=f"{name}_1"
            )
            return last(nn.relu(hidden))[:, None, None]

        return mlp("scale", 1.0) * maps + mlp("offset", 0.0)


class FusionBlock(nn.Module):
    """Two `Affine` of the condition, each followed by a leaky ReLU (0.2): the paper's deep text-image fusion."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Array, condition: Array) -> Array:
        for index in range(2):
            maps = nn.leaky_relu(Affine(self.dtype, name=f"affine_{index}")(maps, condition), 0.2)
        return maps


class _UpBlock(nn.Module):
    """A residual block of two 3x3 convolutions, each after a `FusionBlock`, that doubles height and width."""

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Array, condition: Array) -> Array:
        options = {"dtype": self.dtype, "kernel_init": _weights}
        hidden = FusionBlock(self.dtype, name="fusion_0")(maps, condition)
        hidden = Conv(self.features, 3, function=upsampled_conv, name="layer_0", **options)(hidden)
        hidden = FusionBlock(self.dtype, name="fusion_1")(hidden, condition)
        hidden = Conv(self.features, 3, name="layer_1", **options)(hidden)
        if maps.shape[-1] != self.features:
            maps = Conv(self.features, 1, name="shortcut", **options)(maps)
        return upsample(maps) + hidden


class DFGANGenerator(nn.Module):
    """Latents `[B, latent_dim]` and embeddings `[B, E]` to images `[B, size, size, channels]` in [-1, 1].

    Attributes:
      widths: channels at 4x4, 8x8, ... up to the size of the image.
      channels: channels of the image.
      dtype: dtype of the computation; parameters are float32.
    """

    widths: Sequence[int]
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents: Array, embedding: Array, *, train: bool) -> Array:
        del train
        options = {"dtype": self.dtype, "kernel_init": _weights}
        condition = jnp.concatenate([latents, embedding], axis=1)
        hidden = nn.Dense(4 * 4 * self.widths[0], name="layer_0", **options)(latents)
        hidden = hidden.reshape(-1, 4, 4, self.widths[0])
        for index, width in enumerate(self.widths[1:]):
            hidden = _UpBlock(width, self.dtype, name=f"block_{index}")(hidden, condition)
        return jnp.tanh(Conv(self.channels, 3, name="image", **options)(nn.leaky_relu(hidden, 0.2)))


class _DownBlock(nn.Module):
    """`shortcut(x) + gain f(x)` at half the size: f is a 4x4 and a 3x3 convolution, the gain a weight, initially 0."""

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Array) -> Array:
        options = {"dtype": self.dtype, "kernel_init": _weights}
        hidden = Conv(self.features, 4, 2, 1, use_bias=False, name="layer_0", **options)(maps)
        hidden = Conv(self.features, 3, use_bias=False, name="layer_1", **options)(nn.leaky_relu(hidden, 0.2))
        gain = self.param("gain", nn.initializers.zeros_init(), ()).astype(self.dtype)
        maps = average_pool(maps)
        if maps.shape[-1] != self.features:
            maps = Conv(self.features, 1, name="shortcut", **options)(maps)
        return maps + gain * nn.leaky_relu(hidden, 0.2)


class DFGANFeatures(nn.Module):
    """Images `[B, size, size, channels]` to feature maps `[B, 4, 4, C]`.

    Attributes:
      widths: channels at each resolution, from that of the image to 4x4.
      dtype: dtype of the computation; parameters are float32.
    """

    widths: Sequence[int]
    dtype: DTypeLike = jnp.float32

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        blocks = [f"block_{index}" for index in range(len(self.widths) - 1)]
        return ("layer_0", blocks[0]), *((block,) for block in blocks[1:])

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        del train
        size = 4 * 2 ** (len(self.widths) - 1)
        if images.shape[1:3] != (size, size):
            raise ValueError(f"this discriminator takes images of {size} x {size}, not {images.shape[1:3]}")
        hidden = Conv(self.widths[0], 3, dtype=self.dtype, kernel_init=_weights, name="layer_0")(images)
        for index, width in enumerate(self.widths[1:]):
            hidden = _DownBlock(width, self.dtype, name=f"block_{index}")(hidden)
        return hidden


class OneWayScore(nn.Module):
    """Feature maps `[B, 4, 4, C]` and embeddings `[B, E]` to one raw score `[B]` of image and text together.

    The embedding is concatenated to the channels at every position; then a 3x3 convolution to C / 4 channels, a leaky
    ReLU (0.2) and a 4x4 convolution, both without a bias.

    Attributes:
      dtype: dtype of the computation; parameters are float32.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Array, embedding: Array, *, train: bool) -> Array:
        del train
        options = {"dtype": self.dtype, "kernel_init": _weights, "use_bias": False}
        told = jnp.broadcast_to(embedding[:, None, None], (*maps.shape[:3], embedding.shape[1]))
        joint = jnp.concatenate([maps, told.astype(maps.dtype)], axis=3)
        hidden = nn.leaky_relu(Conv(maps.shape[3] // 4, 3, name="joint", **options)(joint), 0.2)
        return Conv(1, 4, padding="VALID", name="score", **options)(hidden)[:, 0, 0, 0]
