"""Conditional networks: conditional norms, conditional score heads, and the DCGAN networks built from them.

A condition is a label, an integer in `0..num_classes-1`, or a vector of floats, such as the embedding of a text. Labels
are one-hot encoded, so a linear layer of a label is a table with one row per class. A label outside the table gives
NaN, never the row of another class. Floats `[B, num_classes]` in place of labels are mixtures of classes.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike
from numpy.typing import ArrayLike

from jaxgan.networks.convolutions import Conv, ConvTranspose
from jaxgan.networks.dcgan import check_size, numbered_stages, stage_widths
from jaxgan.networks.layers import Norm, SpectralConv, SpectralDense, check_norm
from jaxgan.networks.linen import from_linen
from jaxgan.types import Network

Conditioning = Literal["projection", "concatenate"]

_weights = nn.initializers.normal(0.02)


def check_labels(labels: ArrayLike, num_classes: int) -> np.ndarray:
    """Checks that labels are valid. Use it on external arrays: inside jit, invalid labels cannot raise an error.

    Args:
      labels: integers in `0..num_classes-1`, any shape.
      num_classes: number of classes.

    Returns:
      The labels as int32, on the host.

    Raises:
      ValueError: labels that are not integers, or a label out of range; the message holds it.

    >>> check_labels([3, 9], 10)
    array([3, 9], dtype=int32)
    """
    labels = np.asarray(labels)
    wanted = f"labels are integers in 0..{num_classes - 1}"
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{wanted}, not {labels.dtype} such as {labels.ravel()[:5].tolist()}")
    if (wrong := labels[(labels < 0) | (labels >= num_classes)]).size:
        raise ValueError(f"{wanted}, not {wrong[0]}")
    return labels.astype(np.int32)


def as_vectors(condition: Array, num_classes: int | None) -> Array:
    """Conditions as vectors: labels `[B]` to one-hot `[B, num_classes]`, NaN for labels out of range; floats unchanged.

    With labels, floats `[B, num_classes]` are mixtures of classes.

    >>> as_vectors(jnp.array([1, 2]), 2).tolist()
    [[0.0, 1.0], [nan, nan]]
    >>> as_vectors(jnp.array([[0.25, 0.75]]), 2).tolist()
    [[0.25, 0.75]]
    """
    mixture = jnp.issubdtype(condition.dtype, jnp.floating) and condition.shape[1:] == (num_classes,)
    if num_classes is None or mixture:
        return condition
    if not jnp.issubdtype(condition.dtype, jnp.integer) or condition.ndim != 1:
        raise ValueError(f"labels are integers [B], not {condition.dtype} {list(condition.shape)}")
    known = (condition >= 0) & (condition < num_classes)
    return jnp.where(known[:, None], jax.nn.one_hot(condition, num_classes), jnp.nan)


class ConditionalNorm(nn.Module):
    """A norm whose scale and offset per channel are linear functions of the condition.

    `norm(x) (1 + S c) + T c` with `c` the condition. For labels, S and T are tables initialized to 0.

    Attributes:
      kind: see `Norm`; `none` only scales and shifts.
      num_classes: number of classes for labels; None for vectors.
      dtype: dtype of the output.

    Papers: conditional batch norm: Dumoulin et al. 2016, arXiv:1610.07629, de Vries et al. 2017, arXiv:1707.00683, in a
    GAN Miyato and Koyama 2018, arXiv:1802.05637; of vectors (FiLM): Perez et al. 2017, arXiv:1709.07871.
    """

    kind: str
    num_classes: int | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, inputs: Array, condition: Array, *, train: bool) -> Array:
        hidden = Norm(self.kind, self.dtype, affine=False, name="norm")(inputs, train=train)
        channels = inputs.shape[-1]
        start = nn.initializers.lecun_normal() if self.num_classes is None else nn.initializers.zeros_init()
        linear = nn.Dense(
            2 * channels, use_bias=self.num_classes is None, dtype=self.dtype, kernel_init=start, name="affine"
        )
        affine = linear(as_vectors(condition, self.num_classes))
        scale, offset = jnp.split(affine.reshape(-1, *(1,) * (inputs.ndim - 2), 2 * channels), 2, axis=-1)
        return hidden * (1 + scale) + offset


class ConditionalScore(nn.Module):
    """The head of a conditional discriminator: feature maps `[B, h, w, C]` and a condition to raw scores `[B]`.

    `projection`: `w . x + b + (V c) . x`, with `x` the flattened feature maps and `c` the condition: an unconditional
    score plus the fit to the condition. `concatenate`: a dense layer of 128 units on the condition, concatenated to the
    channels at every position, then a 1x1 convolution, leaky ReLU (0.2) and a linear layer.

    Attributes:
      conditioning: `projection` or `concatenate`.
      num_classes: number of classes for labels; None for vectors.
      spectral_norm: whether all kernels, including V, are spectrally normalized.
      dtype: dtype of the computation.
      kernel_init: initializer of the kernels, including V: N(0, 0.02), or Glorot as in Miyato and Koyama's code.

    Papers: projection: Miyato and Koyama 2018, arXiv:1802.05637; concatenation: Reed et al. 2016, arXiv:1605.05396.
    """

    conditioning: Conditioning = "projection"
    num_classes: int | None = None
    spectral_norm: bool = False
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = _weights

    @nn.compact
    def __call__(self, maps: Array, condition: Array, *, train: bool) -> Array:
        del train
        conv, dense = (SpectralConv, SpectralDense) if self.spectral_norm else (Conv, nn.Dense)
        vectors = as_vectors(condition, self.num_classes)
        options = {"dtype": self.dtype, "kernel_init": self.kernel_init}
        if self.conditioning == "projection":
            flat = maps.reshape(maps.shape[0], -1)
            wanted = dense(flat.shape[1], use_bias=False, name="projection", **options)(vectors)
            fit = jnp.sum(wanted * flat, axis=1, dtype=jnp.float32).astype(flat.dtype)
            return dense(1, name="score", **options)(flat)[:, 0] + fit
        told = nn.leaky_relu(dense(128, name="condition", **options)(vectors), 0.2)
        told = jnp.broadcast_to(told[:, None, None], (*maps.shape[:3], told.shape[1]))
        joint = conv(maps.shape[3], 1, name="joint", **options)(jnp.concatenate([maps, told], axis=3))
        flat = nn.leaky_relu(joint, 0.2).reshape(maps.shape[0], -1)
        return dense(1, name="score", **options)(flat)[:, 0]


def check_conditioning(conditioning: str) -> Conditioning:
    """The name of a conditioning, checked."""
    if conditioning not in ("projection", "concatenate"):
        raise ValueError(f"unknown conditioning {conditioning!r}: there are projection, concatenate")
    return conditioning


class ConditionalDCGANGenerator(nn.Module):
    """Latents `[B, latent_dim]` and conditions to images `[B, size, size, channels]` in [-1, 1].

    `DCGANGenerator` with a `ConditionalNorm` before each ReLU. Labels enter only through these norms. Vectors are
    concatenated to the latents, and both together are the input of the first layer and of each norm.

    Attributes:
      size: 32, 64 or 128 pixels.
      channels: channels of the image.
      width: channels before the last layer.
      norm: see `Norm`.
      num_classes: number of classes for labels; None for vectors `[B, E]`.
      dtype: dtype of the computation; parameters are float32.
    """

    size: int
    channels: int
    width: int
    norm: str = "layer"
    num_classes: int | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @nn.compact
    def __call__(self, latents: Array, condition: Array, *, train: bool) -> Array:
        if self.num_classes is None:
            latents = condition = jnp.concatenate([latents, condition], axis=1)
        options = {"dtype": self.dtype, "kernel_init": _weights}
        widths = stage_widths(self.size, self.width)[::-1]
        hidden = nn.Dense(4 * 4 * widths[0], name="layer_0", **options)(latents).reshape(-1, 4, 4, widths[0])
        for index, width in enumerate([*widths[1:], self.channels]):
            norm = ConditionalNorm(self.norm, self.num_classes, self.dtype, name=f"norm_{index}")
            hidden = nn.relu(norm(hidden, condition, train=train))
            hidden = ConvTranspose(width, 4, 2, "SAME", name=f"layer_{index + 1}", **options)(hidden)
        return jnp.tanh(hidden)


class DCGANFeatures(nn.Module):
    """`DCGANDiscriminator` without its score: images `[B, size, size, channels]` to `[B, 4, 4, width * size / 8]`.

    Attributes:
      size: 32, 64 or 128 pixels.
      width: channels after the first layer.
      norm: see `Norm`.
      dtype: dtype of the computation; parameters are float32.
    """

    size: int
    width: int
    norm: str = "none"
    dtype: DTypeLike = jnp.float32

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
        hidden = images
        for index, width in enumerate(stage_widths(self.size, self.width)):
            hidden = Conv(width, 4, 2, 1, dtype=self.dtype, kernel_init=_weights, name=f"layer_{index}")(hidden)
            if index:
                hidden = Norm(self.norm, self.dtype, name=f"norm_{index}")(hidden, train=train)
            hidden = nn.leaky_relu(hidden, 0.2)
        return hidden


class ConditionalDCGANDiscriminator(nn.Module):
    """Images `[B, size, size, channels]` and labels `[B]` to raw scores `[B]`: `DCGANFeatures`, `ConditionalScore`.

    Attributes: see `DCGANFeatures` and `ConditionalScore`.
    """

    size: int
    width: int
    num_classes: int | None
    norm: str = "layer"
    conditioning: Conditioning = "projection"
    dtype: DTypeLike = jnp.float32

    @property
    def mixes_batch(self) -> bool:
        return self.norm == "batch"

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        return numbered_stages(self.size, "features/")

    @nn.compact
    def __call__(self, images: Array, condition: Array, *, train: bool) -> Array:
        maps = DCGANFeatures(self.size, self.width, self.norm, self.dtype, name="features")(images, train=train)
        score = ConditionalScore(self.conditioning, self.num_classes, dtype=self.dtype, name="score")
        return score(maps, condition, train=train)


def conditional_dcgan_generator(
    size: int,
    *,
    channels: int,
    num_classes: int | None,
    width: int = 64,
    norm: str = "layer",
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """A `ConditionalDCGANGenerator` as a `Network`.

    Raises:
      ValueError: an unknown size or norm.
    """
    check_size(size)
    return from_linen(ConditionalDCGANGenerator(size, channels, width, check_norm(norm), num_classes, dtype))


def conditional_dcgan_discriminator(
    size: int,
    *,
    num_classes: int | None,
    conditioning: str = "projection",
    width: int = 64,
    norm: str = "layer",
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """A `ConditionalDCGANDiscriminator` as a `Network`. With batch norm it cannot have a gradient penalty.

    Raises:
      ValueError: an unknown size, norm or conditioning.
    """
    check_size(size)
    conditioning = check_conditioning(conditioning)
    return from_linen(ConditionalDCGANDiscriminator(size, width, num_classes, check_norm(norm), conditioning, dtype))
