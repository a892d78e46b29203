"""The residual networks of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028) and SNGAN (Miyato et al. 2018,
arXiv:1802.05957) for 32, 64 and 128 pixels. They differ only in what limits the discriminator's Lipschitz constant.

With `num_classes` they are conditional on labels, as in Miyato and Koyama 2018, arXiv:1802.05637.

At 32 pixels every layer has `width` channels: 128 in the papers, 256 in SNGAN's generator. At 64 and 128 pixels, the
channels double with every halving of the size, as in SNGAN's code, from `width` (64 there) at the full size to 16 times
that at 4x4.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from jaxgan.networks.conditional import ConditionalNorm, ConditionalScore, Conditioning, check_conditioning
from jaxgan.networks.convolutions import Conv
from jaxgan.networks.layers import Norm, SpectralConv, SpectralDense, check_norm
from jaxgan.networks.linen import from_linen
from jaxgan.networks.resampling import average_pool, pooled_conv, upsample, upsampled_conv
from jaxgan.types import Network

Pooling = Literal["sum", "mean"]

# Channels in multiples of the width. Generator: at 4x4 and after each block. Discriminator: after each block that
# halves the size, and after each block that keeps it.
_GENERATOR = {32: (1, 1, 1, 1), 64: (16, 8, 4, 2, 1), 128: (16, 16, 8, 4, 2, 1)}
_DISCRIMINATOR = {32: ((1, 1), (1, 1)), 64: ((1, 2, 4, 8, 16), ()), 128: ((1, 2, 4, 8, 16), (16,))}

# As in both papers' code: uniform, with variance 4 / (fan in + fan out) in a block's 3x3 convolutions, else half that.
_he = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
_glorot = nn.initializers.glorot_uniform()


class UpBlock(nn.Module):
    """A residual block that doubles height and width: two 3x3 convolutions, each after norm and ReLU; 1x1 shortcut.

    Attributes:
      features: channels of the output.
      norm: see `Norm`; a `ConditionalNorm` if `num_classes` is given.
      dtype: dtype of the computation.
      num_classes: number of classes; None for an unconditional block.
    """

    features: int
    norm: str
    dtype: DTypeLike = jnp.float32
    num_classes: int | None = None

    @nn.compact
    def __call__(self, maps: Array, *labels: Array, train: bool) -> Array:
        bias = self.norm != "batch"  # batch norm cancels a bias before it
        he = {"dtype": self.dtype, "kernel_init": _he}
        hidden = nn.relu(self._norm("norm_0")(maps, *labels, train=train))
        hidden = Conv(self.features, 3, use_bias=bias, function=upsampled_conv, name="layer_0", **he)(hidden)
        hidden = nn.relu(self._norm("norm_1")(hidden, *labels, train=train))
        hidden = Conv(self.features, 3, name="layer_1", **he)(hidden)
        # Upsampling after the 1x1 convolution gives the same result at a quarter of the cost.
        shortcut = Conv(self.features, 1, dtype=self.dtype, kernel_init=_glorot, name="shortcut")(maps)
        return upsample(shortcut) + hidden

    def _norm(self, name: str) -> Norm | ConditionalNorm:
        if self.num_classes is None:
            return Norm(self.norm, self.dtype, scale_std=0.0, name=name)
        return ConditionalNorm(self.norm, self.num_classes, self.dtype, name=name)


class DownBlock(nn.Module):
    """A residual block of two 3x3 convolutions, each after norm and ReLU.

    Attributes:
      features: channels of the output.
      norm: see `Norm`.
      conv: the layer class, `Conv` or `SpectralConv`.
      first: whether its input is images: no norm or ReLU before the first convolution, and no norm before the second.
      halves: whether it halves height and width, with a 1x1 convolution in the shortcut. Otherwise size and channels
        stay the same.
      dtype: dtype of the computation.
    """

    features: int
    norm: str
    conv: type[Conv] = Conv
    first: bool = False
    halves: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Array, *, train: bool) -> Array:
        norm = "none" if self.first else self.norm
        he = {"dtype": self.dtype, "kernel_init": _he}
        hidden = maps if self.first else nn.relu(self._norm("norm_0", norm)(maps, train=train))
        between = self.features if self.first else maps.shape[3]
        hidden = self.conv(between, 3, use_bias=norm != "batch", name="layer_0", **he)(hidden)
        hidden = nn.relu(self._norm("norm_1", norm)(hidden, train=train))
        function = pooled_conv if self.halves else None
        hidden = self.conv(self.features, 3, function=function, name="layer_1", **he)(hidden)
        if not self.halves:
            return maps + hidden
        shortcut = self.conv(self.features, 1, dtype=self.dtype, kernel_init=_glorot, name="shortcut")
        return shortcut(average_pool(maps)) + hidden

    def _norm(self, name: str, kind: str) -> Norm:
        return Norm(kind, self.dtype, scale_std=0.0, name=name)


class ResNetGenerator(nn.Module):
    """Latents `[B, latent_dim]`, with classes also labels `[B]`, to images `[B, size, size, channels]` in [-1, 1].

    A linear layer to 4x4 feature maps, an `UpBlock` for every doubling of the size, then norm, ReLU, 3x3 convolution
    and tanh. The last norm is not conditional, as in both papers' code.

    Attributes:
      size: 32, 64 or 128 pixels.
      channels: channels of the image.
      width: channels before the last layer.
      norm: see `Norm`.
      dtype: dtype of the computation; parameters are float32.
      num_classes: number of classes; None for an unconditional network.
    """

    size: int
    channels: int
    width: int
    norm: str = "batch"
    dtype: DTypeLike = jnp.float32
    num_classes: int | None = None

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @nn.compact
    def __call__(self, latents: Array, *labels: Array, train: bool) -> Array:
        first, *widths = (self.width * multiple for multiple in _GENERATOR[self.size])
        hidden = nn.Dense(4 * 4 * first, dtype=self.dtype, kernel_init=_glorot, name="base")(latents)
        hidden = hidden.reshape(-1, 4, 4, first)
        for index, width in enumerate(widths):
            block = UpBlock(width, self.norm, self.dtype, self.num_classes, name=f"block_{index}")
            hidden = block(hidden, *labels, train=train)
        hidden = nn.relu(Norm(self.norm, self.dtype, scale_std=0.0, name="norm")(hidden, train=train))
        return jnp.tanh(Conv(self.channels, 3, dtype=self.dtype, kernel_init=_glorot, name="image")(hidden))


class ResNetDiscriminator(nn.Module):
    """Images `[B, size, size, channels]`, with classes also labels `[B]`, to raw scores `[B]`.

    Blocks down to 8x8 (2x2 and 4x4 at 64 and 128 pixels), ReLU, global sum or mean pooling, and a linear layer or
    `ConditionalScore`.

    Attributes:
      size: 32, 64 or 128 pixels.
      width: channels after the first block.
      norm: norm of all blocks except the first, see `Norm`.
      spectral_norm: whether all kernels are spectrally normalized.
      dtype: dtype of the computation; parameters are float32.
      num_classes: number of classes; None for an unconditional network.
      conditioning: see `ConditionalScore`.
      pooling: global pooling: `sum` as in SNGAN, `mean` as in WGAN-GP.
    """

    size: int
    width: int
    norm: str = "none"
    spectral_norm: bool = False
    dtype: DTypeLike = jnp.float32
    num_classes: int | None = None
    conditioning: Conditioning = "projection"
    pooling: Pooling = "sum"

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        return tuple((f"block_{index}",) for index in range(len(sum(_DISCRIMINATOR[self.size], ()))))

    @nn.compact
    def __call__(self, images: Array, *labels: Array, train: bool) -> Array:
        if images.shape[1:3] != (self.size, self.size):
            raise ValueError(f"this discriminator takes images of {self.size} x {self.size}, not {images.shape[1:3]}")
        conv, dense = (SpectralConv, SpectralDense) if self.spectral_norm else (Conv, nn.Dense)
        halving, keeping = _DISCRIMINATOR[self.size]
        hidden = images
        for index, multiple in enumerate(halving + keeping):
            place = {"first": index == 0, "halves": index < len(halving), "name": f"block_{index}"}
            block = DownBlock(self.width * multiple, self.norm, conv, dtype=self.dtype, **place)
            hidden = block(hidden, train=train)
        hidden = nn.relu(hidden)
        hidden = hidden.sum((1, 2)) if self.pooling == "sum" else hidden.mean((1, 2))
        if self.num_classes is None:
            return dense(1, dtype=self.dtype, kernel_init=_glorot, name="score")(hidden)[:, 0]
        score = ConditionalScore(
            self.conditioning, self.num_classes, self.spectral_norm, self.dtype, _glorot, name="score"
        )
        return score(hidden[:, None, None], *labels, train=train)


def resnet_generator(
    size: int,
    *,
    channels: int,
    width: int = 64,
    norm: str = "batch",
    num_classes: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """A `ResNetGenerator` as a `Network`, conditional on labels if `num_classes` is given.

    Raises:
      ValueError: an unknown size or norm.
    """
    return from_linen(ResNetGenerator(_check_size(size), channels, width, check_norm(norm), dtype, num_classes))


def resnet_discriminator(
    size: int,
    *,
    width: int = 64,
    norm: str = "none",
    spectral_norm: bool = False,
    num_classes: int | None = None,
    conditioning: str = "projection",
    pooling: Pooling = "sum",
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """A `ResNetDiscriminator` as a `Network`, conditional on labels if `num_classes` is given.

    For WGAN-GP use `norm="none"` (or `layer`), `pooling="mean"` and a `gradient_penalty`; for SNGAN only
    `spectral_norm`. SNGAN's authors have no bias in the score at 32 pixels. With batch norm it cannot have a gradient
    penalty.

    Raises:
      ValueError: an unknown size, norm, conditioning or pooling.
    """
    if pooling not in get_args(Pooling):
        raise ValueError(f"unknown pooling {pooling!r}: there are {', '.join(get_args(Pooling))}")
    how = check_conditioning(conditioning)
    return from_linen(
        ResNetDiscriminator(_check_size(size), width, check_norm(norm), spectral_norm, dtype, num_classes, how, pooling)
    )


def _check_size(size: int) -> int:
    if size not in _GENERATOR:
        raise ValueError(f"the residual networks are for {', '.join(map(str, _GENERATOR))} pixels, not {size}")
    return size
