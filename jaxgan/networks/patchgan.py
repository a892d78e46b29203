"""PatchGAN and PixelGAN discriminators, which score patches or single pixels (Isola et al. 2017, arXiv:1611.07004)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from jaxgan.networks.convolutions import Conv
from jaxgan.networks.layers import Norm, check_norm, keeps_bias
from jaxgan.networks.linen import from_linen
from jaxgan.types import Network

MAX_LAYERS = 5

_weights = nn.initializers.normal(0.02)


def receptive_field(layers: int) -> int:
    """Height and width in pixels of a PatchGAN's receptive field, without the effect of norms.

    `9 * 2^layers - 2`.

    >>> [receptive_field(layers) for layers in (1, 2, 3, 4, 5)]
    [16, 34, 70, 142, 286]
    """
    return 9 * 2**layers - 2


def smallest_image(layers: int) -> int:
    """Smallest height and width in pixels of an image that a PatchGAN accepts.

    `3 * 2^layers`.

    >>> [smallest_image(layers) for layers in (1, 2, 3, 4, 5)]
    [6, 12, 24, 48, 96]
    """
    return 3 * 2**layers


class PatchGAN(nn.Module):
    """Images `[B, H, W, C]` to raw scores `[B, H / 2^layers - 2, W / 2^layers - 2, 1]`, divisions rounded down.

    4x4 convolutions with padding 1: `layers` of stride 2, one of stride 1, and one of stride 1 that gives the scores.
    Leaky ReLU (0.2) after each except the last, a norm after each except the first and the last. Channels double from
    `width` up to 8 times that.

    Attributes:
      width: channels after the first layer.
      layers: number of layers of stride 2; see `receptive_field`.
      norm: see `Norm`.
      dtype: dtype of the computation; parameters are float32.
    """

    width: int
    layers: int
    norm: str = "instance"
    dtype: DTypeLike = jnp.float32

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        return (("layer_0",), *((f"layer_{index}", f"norm_{index}") for index in range(1, self.layers + 1)))

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        height, width = images.shape[1:3]
        least = smallest_image(self.layers)
        if min(height, width) < least:
            fitting = [layers for layers in range(1, self.layers) if smallest_image(layers) <= min(height, width)]
            remedy = f"; layers={fitting[-1]} would fit" if fitting else ""
            raise ValueError(
                f"a PatchGAN of {self.layers} layers takes images of at least {least} x {least}, "
                f"not {height} x {width}{remedy}"
            )
        options = {"dtype": self.dtype, "kernel_init": _weights}
        hidden = images
        for index in range(self.layers + 1):
            features, strides = self.width * min(2**index, 8), 2 if index < self.layers else 1
            bias = index == 0 or keeps_bias(self.norm)
            hidden = Conv(features, 4, strides, 1, use_bias=bias, name=f"layer_{index}", **options)(hidden)
            if index:
                hidden = Norm(self.norm, self.dtype, name=f"norm_{index}")(hidden, train=train)
            hidden = nn.leaky_relu(hidden, 0.2)
        return Conv(1, 4, padding=1, name="score", **options)(hidden)


class PixelDiscriminator(nn.Module):
    """Images `[B, H, W, C]` to a raw score for every pixel, `[B, H, W, 1]`: three 1x1 convolutions.

    With instance norm a score also depends on the mean and variance of all pixels.

    Attributes:
      width: channels after the first layer, doubled after the second.
      norm: norm after the second layer; see `Norm`.
      dtype: dtype of the computation; parameters are float32.
    """

    width: int
    norm: str = "instance"
    dtype: DTypeLike = jnp.float32

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        options = {"dtype": self.dtype, "kernel_init": _weights}
        hidden = nn.leaky_relu(Conv(self.width, 1, name="layer_0", **options)(images), 0.2)
        hidden = Conv(2 * self.width, 1, use_bias=keeps_bias(self.norm), name="layer_1", **options)(hidden)
        hidden = nn.leaky_relu(Norm(self.norm, self.dtype, name="norm_1")(hidden, train=train), 0.2)
        return Conv(1, 1, name="score", **options)(hidden)


def patch_discriminator(
    *, width: int = 64, layers: int = 3, norm: str = "instance", dtype: DTypeLike = jnp.float32
) -> Network:
    """A `PatchGAN` as a `Network`; with three layers its patches have 70x70 pixels, as in pix2pix and CycleGAN.

    Raises:
      ValueError: a number of layers outside 1 to 5, or an unknown norm; at `init`, images that are too small.
    """
    if not 1 <= layers <= MAX_LAYERS:
        raise ValueError(f"a PatchGAN has 1 to {MAX_LAYERS} layers, not {layers}")
    return from_linen(PatchGAN(width, layers, check_norm(norm), dtype))


def pixel_discriminator(*, width: int = 64, norm: str = "instance", dtype: DTypeLike = jnp.float32) -> Network:
    """A `PixelDiscriminator` as a `Network`.

    Raises:
      ValueError: an unknown norm.
    """
    return from_linen(PixelDiscriminator(width, check_norm(norm), dtype))
