"""Convolutions whose every derivative runs at full speed on a CPU, and the Linen modules `Conv` and `ConvTranspose`.

`jaxgan.networks.contractions` says why other convolutions do not, and how these do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array, lax

from jaxgan.networks.contractions import Geometry, conv_p, conv_transpose_p

Padding = str | int | Sequence[int | tuple[int, int]]
"""`'SAME'`, `'VALID'`, one number for all sides, or one number or pair `(low, high)` per axis."""


def conv(
    images: Array,
    kernel: Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    groups: int = 1,
) -> Array:
    """Convolution, as `lax.conv_general_dilated` for NHWC images and an HWIO kernel.

    Args:
      images: `[B, H, W, groups * I]`.
      kernel: `[kh, kw, I, groups * O]`, of the same dtype.
      strides: one stride for both axes, or one per axis.
      padding: see `Padding`.
      groups: number of groups, as `feature_group_count`: each group of output channels depends on its group of input
        channels alone.

    Returns:
      Feature maps `[B, h, w, groups * O]` with `h = (H + low + high - kh) // stride + 1`.

    Raises:
      ValueError: channels that do not match, or a kernel larger than the padded images.
    """
    if images.ndim != 4 or kernel.ndim != 4 or images.shape[3] != groups * kernel.shape[2] or kernel.shape[3] % groups:
        expected = "images [B, H, W, I] and kernel [kh, kw, I, O]"
        expected = expected if groups == 1 else f"images [B, H, W, {groups} I] and kernel [kh, kw, I, {groups} O]"
        raise ValueError(f"{expected} expected, not {images.shape}, {kernel.shape}")
    image, size, steps = (images.shape[1], images.shape[2]), (kernel.shape[0], kernel.shape[1]), _pair(strides)
    padding = lax.padtype_to_pads(image, size, steps, padding) if isinstance(padding, str) else _sides(padding)
    geometry = Geometry(image, size, steps, tuple((low, high) for low, high in padding), groups)
    if min(geometry.maps) < 1:
        raise ValueError(f"a kernel of {size} does not fit images of {image} padded by {geometry.padding}")
    return conv_p.bind(images, kernel, geometry=geometry)


def conv_transpose(maps: Array, kernel: Array, *, strides: int | Sequence[int] = 1, padding: Padding = "SAME") -> Array:
    """Transposed convolution, as `lax.conv_transpose` with `transpose_kernel=True`.

    The linear transpose of `conv` with respect to its images: with stride 2 and a 4x4 kernel, `padding="SAME"` doubles
    the size.

    Args:
      maps: feature maps `[B, h, w, O]`.
      kernel: `[kh, kw, I, O]`, of the same dtype. Channels are named as for `conv`: I are the output channels here.
      strides: one upsampling factor for both axes, or one per axis.
      padding: `'SAME'` (size times stride), `'VALID'`, or numbers as for `lax.conv_transpose`: zeros around the dilated
        feature maps.

    Returns:
      Images `[B, H, W, I]`. A ValueError says what does not match.
    """
    if maps.ndim != 4 or kernel.ndim != 4 or maps.shape[3] != kernel.shape[3]:
        raise ValueError(f"maps [B, h, w, O] and kernel [kh, kw, I, O] expected, not {maps.shape}, {kernel.shape}")
    size, steps = (kernel.shape[0], kernel.shape[1]), _pair(strides)
    if isinstance(padding, str):
        outer = tuple(_transposed_sides(k, s, padding) for k, s in zip(size, steps, strict=True))
    else:
        outer = _sides(padding)
    axes = tuple(zip(maps.shape[1:3], steps, size, outer, strict=True))
    image = tuple((n - 1) * s + 2 + low + high - k for n, s, k, (low, high) in axes)
    inner = tuple((k - 1 - low, k - 1 - high) for _, _, k, (low, high) in axes)
    return conv_transpose_p.bind(maps, kernel, geometry=Geometry(image, size, steps, inner))


def _transposed_sides(kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """The numbers that `lax.conv_transpose` uses for a padding name."""
    if padding == "VALID":
        return kernel - 1, kernel - 1 + max(stride - kernel, 0)
    if padding != "SAME":
        raise ValueError(f"padding={padding!r}: 'SAME', 'VALID' or numbers expected")
    total = kernel + stride - 2
    low = kernel - 1 if stride > kernel - 1 else -(-total // 2)
    return low, total - low


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second


def _sides(padding: int | Sequence[int | tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    axes = (padding, padding) if isinstance(padding, int) else padding
    return tuple(_pair(axis) for axis in axes)


class _Layer(nn.Module):
    """Base class of `Conv` and `ConvTranspose`, with the fields of Flax's layers of these names.

    Attributes:
      features: channels of the output.
      kernel_size: one size for both axes, or one per axis.
      strides: one stride for both axes, or one per axis.
      padding: see `Padding`.
      use_bias: whether to add a bias.
      dtype: dtype of the computation; by default the promoted dtype of inputs and parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    def _apply(self, function: Callable, inputs: Array, channels: tuple[int, int]) -> Array:
        kernel = self.param("kernel", self.kernel_init, (*_pair(self.kernel_size), *channels), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        output = function(inputs, kernel)
        return output if bias is None else output + bias.reshape(1, 1, 1, -1)


class Conv(_Layer):
    """`conv` as a layer; the parameters are those of `flax.linen.Conv`.

    Attributes:
      function: a function of images and kernel to use in place of `conv`, such as
        `jaxgan.networks.resampling.pooled_conv`; strides and padding are then ignored.
    """

    function: Callable[[Array, Array], Array] | None = None

    @nn.compact
    def __call__(self, images: Array) -> Array:
        function = self.function or partial(conv, strides=self.strides, padding=self.padding)
        return self._apply(function, images, (images.shape[3], self.features))


class ConvTranspose(_Layer):
    """`conv_transpose` as a layer, like `flax.linen.ConvTranspose` with `transpose_kernel=True`."""

    @nn.compact
    def __call__(self, maps: Array) -> Array:
        function = partial(conv_transpose, strides=self.strides, padding=self.padding)
        return self._apply(function, maps, (self.features, maps.shape[3]))
