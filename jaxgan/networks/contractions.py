"""The three contractions of a convolution as JAX primitives: every derivative runs at full speed on a CPU.

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

With groups, the last axis of each argument holds all groups, one after the other, and t is the sum over the groups.

Each is bilinear, and the transpose of each in either argument is one of the other two. As three primitives the set is
therefore closed under differentiation of any order, forward or reverse: no derivative ever leaves it, so none ever
meets the slow path. How each is computed can then be chosen by shape without touching a derivative. On GPU and TPU all
three are always the native kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class Geometry(NamedTuple):
    """The static parameters of the trilinear form; the first four are pairs over height and width.

    Attributes:
      image: size of the images x.
      kernel: size of the kernel w.
      strides: strides of the windows.
      padding: `(low, high)` zeros around the images.
      groups: number of groups of channels, each convolved by itself.
    """

    image: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    groups: int = 1

    @property
    def maps(self) -> tuple[int, ...]:
        """Size of the feature maps y: the number of windows."""
        sizes = zip(self.image, self.kernel, self.strides, self.padding, strict=True)
        return tuple((size + low + high - kernel) // stride + 1 for size, kernel, stride, (low, high) in sizes)


# The three contractions with XLA's native kernels.


def _native_conv(x: Array, w: Array, *, geometry: Geometry) -> Array:
    x, padding = _fitted(x, geometry)
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": geometry.groups}
    return lax.conv_general_dilated(x, w, geometry.strides, padding, **options)


def _fitted(x: Array, geometry: Geometry) -> tuple[Array, list[tuple[int, int]]]:
    """The part of x that windows reach, and its padding, from 0 to kernel - 1 on each side.

    Other padding becomes zeros or a crop of x: XLA's CPU kernel reads past the last image where padding is negative (a
    NaN now and then), and more than kernel - 1 becomes negative in the transposed convolution.
    """
    windows = zip(geometry.image, geometry.maps, geometry.kernel, geometry.strides, geometry.padding, strict=True)
    sides = [(low, (maps - 1) * stride + kernel - size - low) for size, maps, kernel, stride, (low, _) in windows]
    padding = [
        (min(max(low, 0), kernel - 1), min(max(high, 0), kernel - 1))
        for (low, high), kernel in zip(sides, geometry.kernel, strict=True)
    ]
    if padding == sides:
        return x, padding
    edges = [(low - p, high - q, 0) for (low, high), (p, q) in zip(sides, padding, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)]), padding


def _native_conv_transpose(y: Array, w: Array, *, geometry: Geometry) -> Array:
    x = jax.ShapeDtypeStruct((y.shape[0], *geometry.image, geometry.groups * w.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _native_conv(x, w, geometry=geometry), x)(y)[0]


def _native_kernel_correlation(x: Array, y: Array, *, geometry: Geometry) -> Array:
    w = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3] // geometry.groups, y.shape[3]), x.dtype)
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
MOST_UNROLLED = 64  # groups that are compiled one by one; a loop over more is slower, but compiles in the time of one


def _by_group(contraction: Callable) -> Callable:
    """A contraction for one group, applied to each; XLA's native gradients for several are tens of times as slow."""

    def grouped(a: Array, b: Array, *, geometry: Geometry) -> Array:
        groups, one = geometry.groups, partial(contraction, geometry=geometry._replace(groups=1))
        if groups == 1:
            return one(a, b)
        if groups <= MOST_UNROLLED:
            parts = (jnp.split(operand, groups, axis=3) for operand in (a, b))
            return jnp.concatenate([one(*pair) for pair in zip(*parts, strict=True)], axis=3)
        parts = (jnp.moveaxis(operand.reshape(*operand.shape[:3], groups, -1), 3, 0) for operand in (a, b))
        out = jnp.moveaxis(lax.map(lambda pair: one(*pair), tuple(parts)), 0, 3)
        return out.reshape(*out.shape[:3], -1)

    return grouped


def _is_pointwise(geometry: Geometry, channels: int) -> bool:
    """Whether the convolution is a Dense layer at every position; with few channels the native kernel is faster."""
    return geometry[1:] == ((1, 1), (1, 1), ((0, 0), (0, 0))) and channels > FEW


@_by_group
def _cpu_conv(x: Array, w: Array, *, geometry: Geometry) -> Array:
    if _covers(geometry):
        return _matmul(x.reshape(x.shape[0], -1), w.reshape(-1, w.shape[3])).reshape(-1, 1, 1, w.shape[3])
    if _is_pointwise(geometry, min(w.shape[2:])):
        return _matmul(x.reshape(-1, x.shape[3]), w[0, 0]).reshape(*x.shape[:3], -1)
    if geometry.strides == (1, 1) and w.shape[3] <= FEW:
        return _overlap_add(x, _flip(w), _mirrored(geometry))
    return _native_conv(x, w, geometry=geometry)


@_by_group
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


@_by_group
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
    """A bilinear primitive, complete except for its transpose rules.

    Its batching rule folds a mapped axis into an axis of one operand, if only that is mapped, or else into the groups.
    """
    primitive = Primitive(name)

    def batch(operands, axes, *, geometry):
        side = 1 if axes[0] is None else 0
        fold, out_axis = folds[side]
        if None not in axes or (geometry.groups > 1 and fold != 0):
            size = operands[side].shape[axes[side]]
            mapped = [
                jnp.broadcast_to(operand[..., None, :], (*operand.shape[:-1], size, operand.shape[-1]))
                if axis is None
                else jnp.moveaxis(operand, axis, 3)
                for operand, axis in zip(operands, axes, strict=True)
            ]
            merged = [operand.reshape(*operand.shape[:3], -1) for operand in mapped]
            out = primitive.bind(*merged, geometry=geometry._replace(groups=size * geometry.groups))
            return out.reshape(*out.shape[:3], size, -1), 3
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
    shape=lambda y, w, geometry: (y.shape[0], *geometry.image, geometry.groups * w.shape[2]),
    folds=((0, 0), (2, 3)),
)
kernel_correlation_p = _primitive(
    "kernel_correlation",
    _native_kernel_correlation,
    _cpu_kernel_correlation,
    shape=lambda x, y, geometry: (*geometry.kernel, x.shape[3] // geometry.groups, y.shape[3]),
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
