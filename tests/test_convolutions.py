"""Every lowering and every derivative against `lax.conv_general_dilated`, which never meets our primitives."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan.devices.sharding import data_mesh
from jaxgan.networks import contractions
from jaxgan.networks.contractions import Geometry
from jaxgan.networks.convolutions import Conv, ConvTranspose, conv, conv_transpose

# (image, kernel, strides, padding, channels in, channels out): each reaches another lowering on a CPU.
SHAPES = {
    "strided": ((8, 8), (4, 4), (2, 2), ((1, 1), (1, 1)), 5, 6),
    "plain": ((6, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), 5, 6),
    "odd kernel, strided": ((7, 9), (3, 5), (2, 3), ((1, 0), (2, 2)), 5, 6),
    "few channels out": ((6, 5), (3, 3), (1, 1), ((1, 1), (0, 2)), 5, 3),
    "few channels in": ((6, 5), (3, 3), (1, 1), ((1, 1), (1, 1)), 2, 6),
    "one window": ((4, 4), (4, 4), (1, 1), ((0, 0), (0, 0)), 5, 6),
    "one pixel": ((6, 7), (1, 1), (1, 1), ((0, 0), (0, 0)), 5, 6),
    "one pixel, padded": ((6, 7), (1, 1), (1, 1), ((1, -1), (0, 0)), 5, 6),
    "uneven padding": ((9, 7), (4, 4), (2, 2), ((2, 1), (0, 3)), 5, 6),
    "more maps than pixels": ((6, 5), (4, 4), (1, 1), ((2, 2), (2, 1)), 5, 6),
    "overhang": ((9, 9), (4, 4), (2, 2), ((0, 0), (0, 0)), 5, 6),
}


def reference(x, w, strides, padding):
    """Padded and cropped beforehand: XLA's CPU convolution reads past the images where padding is negative."""
    sizes = zip(x.shape[1:3], w.shape[:2], strides, padding, strict=True)
    edges = [(low, high - (size + low + high - kernel) % stride, 0) for size, kernel, stride, (low, high) in sizes]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    return lax.conv_general_dilated(x, w, strides, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def draw(shape, batch=3, dtype=jnp.float32):
    image, kernel, strides, padding, inner, outer = SHAPES[shape]
    x_key, w_key = jax.random.split(jax.random.key(0))
    x = jax.random.normal(x_key, (batch, *image, inner)).astype(dtype)
    w = jax.random.normal(w_key, (*kernel, inner, outer)).astype(dtype)
    return x, w, partial(conv, strides=strides, padding=padding), partial(reference, strides=strides, padding=padding)


def close(ours, theirs, tolerance=1e-4):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), ours, theirs)


def derivatives(function):
    """Value, both gradients, a tangent, and the gradient of a gradient penalty, in one program."""

    def critic(w, x):
        return jnp.sum(jnp.tanh(function(x, w)))

    def penalty(w, x):
        return jnp.sum(jax.grad(critic, argnums=1)(w, x) ** 2)

    def all_of_them(x, w):
        return (
            function(x, w),
            jax.grad(critic, argnums=(0, 1))(w, x),
            jax.jvp(function, (x, w), (jnp.cos(x), jnp.sin(w))),
            jax.grad(penalty, argnums=(0, 1))(w, x),
            jax.jvp(jax.grad(critic), (w, x), (jnp.sin(w), jnp.cos(x))),
        )

    return jax.jit(all_of_them)


@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_derivatives(shape):
    x, w, ours, theirs = draw(shape)
    program = derivatives(ours).lower(x, w).compile()
    close(program(x, w), derivatives(theirs)(x, w), 5e-4)
    assert not re.search(r"pad=[\dx_]*-", program.as_text())


def test_third_derivative():
    x, w, ours, theirs = draw("strided", batch=1)

    def third(function):
        energy = lambda x: jnp.sum(jnp.tanh(function(x, w)))
        along = lambda f: lambda x: jnp.sum(jax.grad(f)(x) ** 2)
        return jax.jit(jax.grad(along(along(energy))))(x)

    close(third(ours), third(theirs), 5e-3)


@pytest.mark.parametrize("axes", [(1, None), (None, 2), (0, 3)])
def test_vmap_over_images_kernels_or_both(axes):
    x, w, ours, theirs = draw("strided")
    stack = lambda array, axis: array if axis is None else jnp.stack([array, 2 * array], axis=axis)
    operands = stack(x, axes[0]), stack(w, axes[1])

    def mapped(function):
        value = jax.vmap(function, in_axes=axes)
        loss = lambda x, w: jnp.sum(jnp.tanh(value(x, w)))
        return jax.jit(lambda x, w: (value(x, w), jax.grad(loss, argnums=(0, 1))(x, w)))

    close(mapped(ours)(*operands), mapped(theirs)(*operands))


def grouped(groups, features, strides=1):
    x = jax.random.normal(jax.random.key(1), (2, 5, 6, 6))
    w = jax.random.normal(jax.random.key(2), (3, 3, 6 // groups, features))
    numbers = ("NHWC", "HWIO", "NHWC")
    theirs = partial(lax.conv_general_dilated, window_strides=(strides, strides), padding="SAME")
    theirs = partial(theirs, dimension_numbers=numbers, feature_group_count=groups)
    return x, w, partial(conv, groups=groups, strides=strides), theirs


@pytest.mark.parametrize("unrolled", [64, 1])
@pytest.mark.parametrize(("groups", "features", "strides"), [(2, 8, 1), (3, 6, 2), (6, 6, 1)])
def test_groups(groups, features, strides, unrolled, monkeypatch):
    monkeypatch.setattr(contractions, "MOST_UNROLLED", unrolled)
    x, w, ours, theirs = grouped(groups, features, strides)
    close(derivatives(ours)(x, w), derivatives(theirs)(x, w), 5e-4)


@pytest.mark.parametrize("axes", [(1, None), (None, 2), (0, 3)])
def test_vmap_of_groups(axes):
    x, w, ours, theirs = grouped(2, 8)
    stack = lambda array, axis: array if axis is None else jnp.stack([array, 2 * array, -array], axis=axis)
    operands = stack(x, axes[0]), stack(w, axes[1])
    close(*(derivatives(jax.vmap(function, in_axes=axes))(*operands) for function in (ours, theirs)), 5e-4)


def test_an_accelerator_convolves_all_groups_at_once():
    """Of the native kernels, which accelerators use: their values, here on the CPU, and how many there are."""
    x, w, ours, _ = grouped(3, 6)
    gradient = jax.jit(jax.grad(lambda x, w: jnp.sum(jnp.tanh(ours(x, w))), argnums=(0, 1)))
    exported = jax.export.export(gradient, platforms=["cuda"])(x, w)
    assert exported.mlir_module().count("stablehlo.convolution") == 3
    geometry = Geometry((5, 6), (3, 3), (1, 1), ((1, 1), (1, 1)), 3)
    for name, operands in {"conv": (x, w), "conv_transpose": (x, w), "kernel_correlation": (x, x)}.items():
        found, native = (
            getattr(contractions, f"_{kind}_{name}")(*operands, geometry=geometry) for kind in ("cpu", "native")
        )
        close(found, native)


def test_channels_that_do_not_match_the_groups():
    with pytest.raises(
        ValueError, match=r"\[B, H, W, 3 I\] and kernel \[kh, kw, I, 3 O\] expected, not \(1, 4, 4, 6\)"
    ):
        conv(jnp.zeros((1, 4, 4, 6)), jnp.zeros((3, 3, 2, 4)), groups=3)


def test_bfloat16():
    x, w, ours, theirs = draw("strided", dtype=jnp.bfloat16)
    assert ours(x, w).dtype == jnp.bfloat16
    close(ours(x, w).astype(jnp.float32), theirs(x, w).astype(jnp.float32), 0.1)
    gradient = jax.grad(lambda w: ours(x, w).astype(jnp.float32).sum())(w)
    assert gradient.dtype == jnp.bfloat16


def test_a_batch_on_four_devices():
    x, w, ours, theirs = draw("strided", batch=8)
    mesh = data_mesh(4)
    rows, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    sharded = jax.device_put(x, rows), jax.device_put(w, everywhere)
    gradient = lambda function: jax.jit(jax.grad(lambda x, w: jnp.sum(jnp.tanh(function(x, w))), argnums=(0, 1)))
    close(gradient(ours)(*sharded), gradient(theirs)(x, w))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_export(platform):
    x, w, ours, theirs = draw("strided")
    gradient = jax.jit(jax.grad(lambda w: jnp.sum(jnp.tanh(ours(x, w)))))
    exported = jax.export.export(gradient, platforms=[platform])(w)
    if platform == "cpu":
        close(exported.call(w), jax.grad(lambda w: jnp.sum(jnp.tanh(theirs(x, w))))(w))
    else:  # there only the native kernels
        assert "dot_general" not in exported.mlir_module()


def test_remat_and_checkpointed_gradient():
    x, w, ours, _ = draw("strided")
    loss = lambda w: jnp.sum(jnp.tanh(ours(x, w)))
    close(jax.grad(jax.checkpoint(loss))(w), jax.grad(loss)(w))


def test_a_kernel_gradient_turns_images_that_are_there():
    """The norm and ReLU before a layer are not computed again while its input is turned: that is a call of its own."""
    x, w, y = jnp.ones((2, 6, 6, 8)), jnp.ones((3, 3, 8, 8)), jnp.ones((2, 6, 6, 8))
    gradient = jax.jit(jax.grad(lambda w, x: jnp.vdot(conv(nn.relu(2 * x + 1), w), y)))
    program = gradient.lower(w, x).compile().as_text()
    assert len([line for line in program.splitlines() if " call(" in line and 'inlineable="false"' in line]) == 1


def test_the_sharding_of_work_is_by_shape():
    """Each cure is taken where it is meant to be, and the native kernel elsewhere."""

    def uses(function, *operands):
        text = jax.jit(function).lower(*operands).as_text()
        return {word for word in ("convolution", "dot_general") if f"stablehlo.{word}" in text}

    for shape, expected in (
        ("strided", "convolution"),
        ("few channels out", "dot_general"),
        ("one window", "dot_general"),
    ):
        x, w, ours, _ = draw(shape)
        assert uses(ours, x, w) == {expected}, shape
    x, w, ours, _ = draw("strided")
    assert uses(jax.grad(lambda x, w: ours(x, w).sum()), x, w) == {"dot_general"}
    assert uses(jax.grad(lambda w, x: ours(x, w).sum()), w, x) == {"convolution"}
    for shape, turned in (("plain", False), ("more maps than pixels", True)):
        x, w, ours, _ = draw(shape)
        text = jax.jit(jax.grad(lambda w, x, ours=ours: ours(x, w).sum())).lower(w, x).as_text()
        assert ("stablehlo.reverse" in text) == turned, shape


@pytest.mark.parametrize("padding", ["SAME", "VALID", 1, ((2, 1), (1, 2))])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 1), (3, 2), (2, 3), (5, 1)])
def test_layers_are_drop_in_for_flax(kernel, stride, padding):
    x = jax.random.normal(jax.random.key(0), (2, 6, 7, 3))
    pads = ((padding, padding),) * 2 if isinstance(padding, int) else padding
    options = {"features": 5, "kernel_size": (kernel, kernel), "strides": (stride, stride)}
    for ours, theirs in (
        (Conv(**options, padding=padding), nn.Conv(**options, padding=pads)),
        (ConvTranspose(**options, padding=padding), nn.ConvTranspose(**options, padding=pads, transpose_kernel=True)),
    ):
        variables = theirs.init(jax.random.key(1), x)
        assert jax.tree.map(jnp.shape, ours.init(jax.random.key(1), x)) == jax.tree.map(jnp.shape, variables)
        close(ours.apply(variables, x), theirs.apply(variables, x))


def test_what_does_not_fit_is_named():
    x, w = jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 2, 5))
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 3\), \(3, 3, 2, 5\)"):
        conv(x, w)
    with pytest.raises(ValueError, match="does not fit"):
        conv(x, jnp.zeros((6, 6, 3, 5)), padding="VALID")
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 3\)"):
        conv_transpose(x, w)
    with pytest.raises(ValueError, match="'SAM'"):
        conv_transpose(jnp.zeros((1, 4, 4, 5)), w, padding="SAM")


def test_geometry_counts_windows():
    geometry = Geometry((9, 7), (4, 4), (2, 2), ((2, 1), (0, 3)))
    assert geometry.maps == (5, 4)
