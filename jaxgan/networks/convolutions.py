"""Convolutions whose every derivative runs at full speed on a CPU, and the Linen modules `Conv` and `ConvTranspose`.

The trap. XLA's CPU backend has a fast kernel for a strided convolution and for its two gradients. It has none for what
JAX emits when a *transposed* convolution is differentiated with respect to its kernel: that runs many times slower.
Every `nn.ConvTranspose` of a generator falls into it, and so does every `nn.Conv` of a critic under a gradient penalty,
because the first derivative of a convolution is a transposed one and the penalty differentiates that again.

The way around it. A convolution is one trilinear form of images x, kernel w and feature maps y,

    t(x, w, y) = <conv(x, w), y> = sum over b, u, v, i, j, c, d of
                 x[b, s u + i - p, s v + j - p, c] w[i, j, c, d] y[b, u, v, d]

and the three contractions that leave one argument open are its partial derivatives:

    conv(x, w)                dt/dy    [B, h, w, O]      images and kernel to maps
    conv_transpose(y, w)      dt/dx    [B, H, W, I]      maps and kernel to images
    kernel_correlation(x, y)  dt/dw    [kh, kw, I, O]    images and maps to kernels

Each is bilinear, and the transpose of each in either argument is one of the other two. As three primitives the set is
therefore closed under differentiation of any order, forward or reverse: no derivative ever leaves it, so none ever
meets the slow path. How each is computed can then be chosen by shape without touching a derivative. On GPU and TPU all
three are always the native kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array, lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Padding = str | int | Sequence[int | tuple[int, int]]
"""`'SAME'`, `'VALID'`, one number for all sides, or one number or pair `(low, high)` per axis."""


class Geometry(NamedTuple):
    """The static parameters of the trilinear form; all four fields are pairs over height and width.

    Attributes:
      image: size of the images x.
      kernel: size of the kernel w.
      strides: strides of the windows.
      padding: `(low, high)` zeros around the images.
    """

    image: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @property
    def maps(self) -> tuple[int, ...]:
        """Size of the feature maps y: the number of windows."""
        sizes = zip(self.image, self.kernel, self.strides, self.padding, strict=True)
        return tuple((size + low + high - kernel) // stride + 1 for size, kernel, stride, (low, high) in sizes)


# The three contractions with XLA's native kernels.


def _native_conv(x: Array, w: Array, *, geometry: Geometry) -> Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, geometry.strides, geometry.padding, dimension_numbers=numbers)


def _native_conv_transpose(y: Array, w: Array, *, geometry: Geometry) -> Array:
    x = jax.ShapeDtypeStruct((y.shape[0], *geometry.image, w.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _native_conv(x, w, geometry=geometry), x)(y)[0]


def _native_kernel_correlation(x: Array, y: Array, *, geometry: Geometry) -> Array:
    w = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3], y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda w: _native_conv(x, w, geometry=geometry), w)(y)[0]


# The same contractions as matrix products, for shapes where these are faster on a CPU.


def _matmul(a: Array, b: Array) -> Array:
    return lax.dot_general(a, b, (((1,), (0,)), ((), ())))


def _shift(z: Array, offsets: tuple[int, int], size: tuple[int, ...]) -> Array:
    """Places z `[B, h, w, ...]` at `offsets` in zeros of height and width `size`, clipped at the edges."""
    edges = [(offset, full - offset - part, 0) for offset, full, part in zip(offsets, size, z.shape[1:3], strict=True)]
    return lax.pad(z, jnp.zeros((), z.dtype), [(0, 0, 0), *edges, *[(0, 0, 0)] * (z.ndim - 3)])


def _overlap_add(y: Array, w: Array, geometry: Geometry) -> Array:
    """`conv_transpose` as one matrix product that gives a window per position, and the sum of overlapping windows."""
    (height, width), (s, t) = geometry.maps, geometry.strides
    m, n = geometry.kernel[0] // s, geometry.kernel[1] // t
    channels = w.shape[2]
    windows = _matmul(y.reshape(-1, y.shape[3]), w.reshape(-1, w.shape[3]).T)
    # A window is m x n blocks of s x t pixels, and block (a, b) of window (u, v) falls on block (u + a, v + b).
    windows = windows.reshape(-1, height, width, m, s, n, t, channels)
    rows, columns = height + m - 1, width + n - 1
    shifts = [(a, b) for a in range(m) for b in range(n)]
    blocks = reduce(jnp.add, [_shift(windows[:, :, :, a, :, b], (a, b), (rows, columns)) for a, b in shifts])
    padded = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows * s, columns * t, channels)
    (top, _), (left, _) = geometry.padding
    return _shift(padded, (-top, -left), geometry.image)


def _patches(x: Array, geometry: Geometry) -> Array:
    """Every window of x as a row, `[B h w, kh kw I]`."""
    (height, width), (s, t), (m, n) = geometry.maps, geometry.strides, geometry.kernel
    (top, bottom), (left, right) = geometry.padding
    size = (x.shape[1] + top + bottom, x.shape[2] + left + right)
    x = _shift(x, (top, left), size)
    shifted = [
        x[:, i : i + s * (height - 1) + 1 : s, j : j + t * (width - 1) + 1 : t] for i in range(m) for j in range(n)
    ]
    return jnp.stack(shifted, axis=3).reshape(-1, m * n * x.shape[3])


def _mirrored(geometry: Geometry) -> Geometry:
    """For stride 1: the geometry with images and feature maps exchanged and the kernel flipped."""
    padding = tuple(
        (k - 1 - low, k - 1 - high) for k, (low, high) in zip(geometry.kernel, geometry.padding, strict=True)
    )
    return Geometry(geometry.maps, geometry.kernel, (1, 1), padding)


def _flip(w: Array) -> Array:
    return w[::-1, ::-1].swapaxes(2, 3)


def _covers(geometry: Geometry) -> bool:
    """Whether the kernel is as large as the images: one window, and the convolution is a Dense layer."""
    return geometry.kernel == geometry.image and geometry.padding == ((0, 0), (0, 0))


def _correlate(x: Array, y: Array, geometry: Geometry) -> Array:
    """`kernel_correlation` as one matrix product with the patches, whose long side is the contracted one."""
    product = _matmul(y.reshape(-1, y.shape[3]).T, _patches(x, geometry))
    return product.T.reshape(*geometry.kernel, x.shape[3], y.shape[3])


def _turned(x: Array) -> Array:
    """x, transposed and back in a call that is not inlined: channels first, as the native kernel gradient needs them.

    Without this call the compiler fuses the transposition with the operations that computed x, such as a norm and a
    ReLU, and recomputes them element by element: up to ten times the time.
    """
    with set_xla_metadata(inlineable="false"):
        return jax.jit(lambda x: x.transpose(3, 1, 2, 0))(x).transpose(3, 1, 2, 0)


# The choice on a CPU. Layers of few output channels, such as the last of a generator, are slow in the native kernels.
FEW = 4


def _is_pointwise(geometry: Geometry, channels: int) -> bool:
    """Whether the convolution is a Dense layer at every position; with few channels the native kernel is faster."""
    return geometry[1:] == ((1, 1), (1, 1), ((0, 0), (0, 0))) and channels > FEW


def _cpu_conv(x: Array, w: Array, *, geometry: Geometry) -> Array:
    if _covers(geometry):
        return _matmul(x.reshape(x.shape[0], -1), w.reshape(-1, w.shape[3])).reshape(-1, 1, 1, w.shape[3])
    if _is_pointwise(geometry, min(w.shape[2:])):
        return _matmul(x.reshape(-1, x.shape[3]), w[0, 0]).reshape(*x.shape[:3], -1)
    if geometry.strides == (1, 1) and w.shape[3] <= FEW:
        return _overlap_add(x, _flip(w), _mirrored(geometry))
    return _native_conv(x, w, geometry=geometry)


def _cpu_conv_transpose(y: Array, w: Array, *, geometry: Geometry) -> Array:
    if _covers(geometry):
        return _matmul(y.reshape(-1, y.shape[3]), w.reshape(-1, w.shape[3]).T).reshape(-1, *geometry.image, w.shape[2])
    if _is_pointwise(geometry, min(w.shape[2:])):
        return _matmul(y.reshape(-1, y.shape[3]), w[0, 0].T).reshape(*y.shape[:3], -1)
    strided = geometry.strides != (1, 1)
    divides = all(k % s == 0 for k, s in zip(geometry.kernel, geometry.strides, strict=True))
    if divides and (strided or w.shape[2] <= FEW):
        return _overlap_add(y, w, geometry)
    return _native_conv_transpose(y, w, geometry=geometry)


def _cpu_kernel_correlation(x: Array, y: Array, *, geometry: Geometry) -> Array:
    if _covers(geometry):
        return _matmul(x.reshape(x.shape[0], -1).T, y.reshape(-1, y.shape[3])).reshape(*geometry.kernel, -1, y.shape[3])
    if _is_pointwise(geometry, min(x.shape[3], y.shape[3])):
        return _matmul(x.reshape(-1, x.shape[3]).T, y.reshape(-1, y.shape[3]))[None, None]
    if geometry.strides == (1, 1) and y.shape[3] <= FEW:
        return _flip(_correlate(y, x, _mirrored(geometry)))
    if geometry.strides == (1, 1) and any(m > n for m, n in zip(geometry.maps, geometry.image, strict=True)):
        # The native kernel is 70 times as slow for a window larger than the images.
        return _flip(_native_kernel_correlation(_turned(y), x, geometry=_mirrored(geometry)))
    return _native_kernel_correlation(_turned(x), y, geometry=geometry)


# The JAX primitives.


def _primitive(name: str, native: Callable, cpu: Callable, shape: Callable, folds: tuple) -> Primitive:
    """A bilinear primitive, complete except for its transpose rules."""
    primitive = Primitive(name)

    def batch(operands, axes, *, geometry):
        if None not in axes:
            pairs = [jnp.moveaxis(operand, axis, 0) for operand, axis in zip(operands, axes, strict=True)]
            return jnp.stack([primitive.bind(a, b, geometry=geometry) for a, b in zip(*pairs, strict=True)]), 0
        side = 1 if axes[0] is None else 0
        fold, out_axis = folds[side]
        mapped = jnp.moveaxis(operands[side], axes[side], fold)
        size, merged = mapped.shape[fold], (*mapped.shape[:fold], -1, *mapped.shape[fold + 2 :])
        operands = [mapped.reshape(merged) if index == side else operand for index, operand in enumerate(operands)]
        out = primitive.bind(*operands, geometry=geometry)
        return out.reshape(*out.shape[:out_axis], size, -1, *out.shape[out_axis + 1 :]), out_axis

    primitive.def_impl(jax.jit(primitive.bind, static_argnames="geometry"))
    primitive.def_abstract_eval(lambda a, b, *, geometry: a.update(shape=shape(a, b, geometry), weak_type=False))
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(native, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(cpu, multiple_results=False), platform="cpu")
    return primitive


conv_p = _primitive(
    "conv",
    _native_conv,
    _cpu_conv,
    shape=lambda x, w, geometry: (x.shape[0], *geometry.maps, w.shape[3]),
    folds=((0, 0), (3, 3)),
)
conv_transpose_p = _primitive(
    "conv_transpose",
    _native_conv_transpose,
    _cpu_conv_transpose,
    shape=lambda y, w, geometry: (y.shape[0], *geometry.image, w.shape[2]),
    folds=((0, 0), (2, 3)),
)
kernel_correlation_p = _primitive(
    "kernel_correlation",
    _native_kernel_correlation,
    _cpu_kernel_correlation,
    shape=lambda x, y, geometry: (*geometry.kernel, x.shape[3], y.shape[3]),
    folds=((3, 2), (3, 3)),
)

# In each transpose rule `g` has the type of the output, and the rule returns the cotangent of the missing operand.
ad.defbilinear(
    conv_p,
    lambda g, x, w, *, geometry: conv_transpose_p.bind(g, w, geometry=geometry),
    lambda g, x, w, *, geometry: kernel_correlation_p.bind(x, g, geometry=geometry),
)
ad.defbilinear(
    conv_transpose_p,
    lambda g, y, w, *, geometry: conv_p.bind(g, w, geometry=geometry),
    lambda g, y, w, *, geometry: kernel_correlation_p.bind(g, y, geometry=geometry),
)
ad.defbilinear(
    kernel_correlation_p,
    lambda g, x, y, *, geometry: conv_transpose_p.bind(y, g, geometry=geometry),
    lambda g, x, y, *, geometry: conv_p.bind(x, g, geometry=geometry),
)


def conv(images: Array, kernel: Array, *, strides: int | Sequence[int] = 1, padding: Padding = "SAME") -> Array:
    """Convolution, as `lax.conv_general_dilated` for NHWC images and an HWIO kernel.

    Args:
      images: `[B, H, W, I]`.
      kernel: `[kh, kw, I, O]`, of the same dtype.
      strides: one stride for both axes, or one per axis.
      padding: see `Padding`.

    Returns:
      Feature maps `[B, h, w, O]` with `h = (H + low + high - kh) // stride + 1`.

    Raises:
      ValueError: channels that do not match, or a kernel larger than the padded images.
    """
    if images.ndim != 4 or kernel.ndim != 4 or images.shape[3] != kernel.shape[2]:
        raise ValueError(f"images [B, H, W, I] and kernel [kh, kw, I, O] expected, not {images.shape}, {kernel.shape}")
    image, size, steps = (images.shape[1], images.shape[2]), (kernel.shape[0], kernel.shape[1]), _pair(strides)
    padding = lax.padtype_to_pads(image, size, steps, padding) if isinstance(padding, str) else _sides(padding)
    geometry = Geometry(image, size, steps, tuple((low, high) for low, high in padding))
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
