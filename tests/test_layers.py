from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.algorithms.gan import make_gan
from jaxgan.losses import LOSSES
from jaxgan.networks.convolutions import Conv
from jaxgan.networks.layers import NORMS, Norm, SpectralConv, SpectralDense, keeps_bias, power_step
from jaxgan.networks.linen import from_linen
from jaxgan.networks.mlp import mlp_generator
from jaxgan.optim import adam
from jaxgan.penalties import r1_penalty

IMAGES = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (4, 5, 6, 3))


def test_batch_norm_by_the_formula_and_its_running_statistics():
    variables = Norm("batch").init(jax.random.key(1), IMAGES, train=False)
    output, updated = Norm("batch").apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    x = np.asarray(IMAGES, np.float64)
    scale = np.asarray(variables["params"]["BatchNorm_0"]["scale"])
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5) * scale
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
    statistics = updated["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(Norm("batch").apply(variables, IMAGES, train=False), x * scale, rtol=1e-4)


def test_layer_norm_is_over_the_whole_sample_with_one_scale_a_channel():
    variables = Norm("layer").init(jax.random.key(1), IMAGES, train=False)
    assert variables["params"]["LayerNorm_0"]["scale"].shape == (3,)
    x = np.asarray(IMAGES, np.float64)
    axes = (1, 2, 3)
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(Norm("layer").apply(variables, IMAGES, train=True), expected, rtol=1e-3, atol=1e-4)


def test_instance_norm_is_over_the_pixels_of_each_sample_and_channel_and_has_no_parameters():
    assert Norm("instance").init(jax.random.key(1), IMAGES, train=False) == {}
    x = np.asarray(IMAGES, np.float64)
    axes = (1, 2)
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    for train in (True, False):
        np.testing.assert_allclose(Norm("instance").apply({}, IMAGES, train=train), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(Norm("instance").apply({}, IMAGES[:1], train=True), expected[:1], rtol=1e-4, atol=1e-5)


def test_instance_norm_of_a_constant_channel_is_zero_and_so_is_its_gradient():
    flat = jnp.full((2, 3, 3, 1), 7.0)
    function = lambda images: Norm("instance").apply({}, images, train=True)
    output, back = jax.vjp(function, flat)
    np.testing.assert_array_equal(output, 0.0)
    np.testing.assert_allclose(back(jnp.ones_like(flat))[0], 0.0, atol=1e-3)


def test_derivatives_of_instance_norm():
    # The statistics of a hundred numbers in a narrow range, which float16 or a one-pass variance would lose.
    images = 100.0 + jax.random.normal(jax.random.key(2), (1, 3, 3, 2))
    weights = jax.random.normal(jax.random.key(3), images.shape)
    loss = jax.jit(lambda images: jnp.sum(weights * jnp.square(Norm("instance").apply({}, images, train=True))))
    gradient = jax.grad(loss)(images)
    # Neither a shift nor a scale of a channel changes the output.
    centred = images - images.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(gradient.sum((1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose((gradient * centred).sum((1, 2)), 0.0, atol=1e-3)
    direction = jax.random.normal(jax.random.key(4), images.shape)
    directional = (loss(images + 0.02 * direction) - loss(images - 0.02 * direction)) / 0.04
    np.testing.assert_allclose(jnp.sum(gradient * direction), directional, rtol=2e-2)


def test_which_norms_cancel_a_bias():
    assert [keeps_bias(kind) for kind in NORMS] == [False, False, True, True]
    for kind in ("batch", "instance"):
        variables = Norm(kind).init(jax.random.key(1), IMAGES, train=False)
        plain, shifted = (
            Norm(kind).apply(variables, images, train=True, mutable=["batch_stats"])[0]
            for images in (IMAGES, IMAGES + 2.0)
        )
        np.testing.assert_allclose(plain, shifted, atol=1e-4)


def test_no_norm_has_no_parameters():
    assert Norm("none").init(jax.random.key(1), IMAGES, train=False) == {}
    np.testing.assert_array_equal(Norm("none").apply({}, IMAGES, train=True), IMAGES)


def test_scale_starts_as_dcgan_has_it():
    wide = jnp.zeros((1, 1, 1, 4096))
    scale = Norm("batch").init(jax.random.key(2), wide, train=False)["params"]["BatchNorm_0"]["scale"]
    assert float(scale.mean()) == pytest.approx(1.0, abs=0.002)
    assert float(scale.std()) == pytest.approx(0.02, rel=0.05)


def test_an_unknown_norm_is_named_with_the_valid_ones():
    with pytest.raises(ValueError, match="'group': there are batch, instance, layer, none"):
        Norm("group").init(jax.random.key(0), IMAGES, train=False)


# Spectral normalization, read off layers without bias whose output is their kernel as a matrix.
DENSE = SpectralDense(5, use_bias=False), jnp.eye(7)
CONV = SpectralConv(5, (3, 2), padding="VALID", use_bias=False), jnp.eye(24).reshape(24, 3, 2, 4)
both = pytest.mark.parametrize(("layer", "inputs"), [DENSE, CONV], ids=["dense", "conv"])


def create(layer, inputs, steps):
    """Parameters and state after so many power steps."""
    variables = layer.init(jax.random.key(3), inputs)
    state = {"spectral": variables["spectral"]}
    for _ in range(steps):
        state = power_step(variables["params"], state)
    return variables["params"], state


def divided(layer, inputs, params, state):
    return layer.apply({"params": params, **state}, inputs).reshape(len(inputs), -1)


@both
def test_the_largest_singular_value_becomes_one(layer, inputs):
    params, state = create(layer, inputs, 60)
    matrix = np.asarray(params["kernel"], np.float64).reshape(len(inputs), 5)
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    assert largest > 1.1 or largest < 0.9
    output = divided(layer, inputs, params, state)
    assert np.linalg.svd(output, compute_uv=False)[0] == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(output, matrix / largest, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [0, 1, 2, 6])
def test_a_power_step_is_one_step(steps):
    """W = diag(3, 1) and u = (1, 1): each step divides the second component of u by 9, and sigma = |W u| / |u|."""
    layer = SpectralDense(2, use_bias=False)
    params, state = {"kernel": jnp.diag(jnp.array([3.0, 1.0]))}, {"spectral": {"u": jnp.full(2, 0.5**0.5)}}
    for _ in range(steps):
        state = power_step(params, state)
    sigma = np.sqrt((9.0 + 81.0**-steps) / (1.0 + 81.0**-steps))
    np.testing.assert_allclose(divided(layer, jnp.eye(2), params, state), np.diag([3.0, 1.0]) / sigma, rtol=1e-5)


@both
@pytest.mark.parametrize("steps", [1, 60])
def test_the_gradient_sees_the_kernel_in_sigma(layer, inputs, steps):
    """By hand: <G, W / sigma> has the gradient G / sigma - <G, W> / sigma^2 v u^T for constant u and v."""
    params, state = create(layer, inputs, steps)
    weights = np.random.default_rng(0).normal(size=(len(inputs), 5))
    loss = lambda params: jnp.sum(jnp.asarray(weights, jnp.float32) * divided(layer, inputs, params, state))
    gradient = jax.jit(jax.grad(loss))(params)["kernel"].reshape(len(inputs), 5)

    matrix, u = np.asarray(params["kernel"], np.float64).reshape(-1, 5), np.asarray(state["spectral"]["u"], np.float64)
    v = matrix @ u / np.linalg.norm(matrix @ u)
    sigma = v @ matrix @ u
    expected = weights / sigma - np.sum(weights * matrix) / sigma**2 * np.outer(v, u)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)

    if steps == 60:  # then it is the gradient of W / (largest singular value of W), u and v and all
        largest = lambda matrix: np.linalg.svd(matrix, compute_uv=False)[0]
        direction = np.random.default_rng(1).normal(size=matrix.shape)
        value = lambda step: np.sum(weights * (matrix + step * direction)) / largest(matrix + step * direction)
        directional = (value(1e-5) - value(-1e-5)) / 2e-5
        assert np.sum(np.asarray(gradient) * direction) == pytest.approx(directional, rel=5e-3)


class SpectralNet(nn.Module):
    """The smallest discriminator with normalized layers, one of them in a module of its own."""

    @nn.compact
    def __call__(self, points, *, train):
        del train
        hidden = nn.relu(SpectralNeck(name="neck")(points))
        return SpectralDense(1, name="score")(hidden)[:, 0]


class SpectralNeck(nn.Module):
    @nn.compact
    def __call__(self, points):
        return SpectralDense(4, name="inner")(nn.Dense(3)(points))


POINTS = jax.random.normal(jax.random.key(5), (8, 2))


def test_parameters_are_the_plain_layer_s_and_the_state_lies_on_the_same_path():
    spectral, plain = SpectralConv(5, 3), Conv(5, 3)
    variables = spectral.init(jax.random.key(1), IMAGES)
    jax.tree.map(np.testing.assert_array_equal, variables["params"], plain.init(jax.random.key(1), IMAGES)["params"])
    assert jax.tree.map(jnp.shape, variables["spectral"]) == {"u": (5,)}
    params, state = from_linen(SpectralNet()).init(jax.random.key(1), POINTS)
    assert jax.tree.map(jnp.shape, state) == {"spectral": {"neck": {"inner": {"u": (4,)}}, "score": {"u": (1,)}}}
    assert params["neck"]["inner"]["kernel"].shape == (3, 4)
    for u in jax.tree.leaves(state):
        assert float(jnp.linalg.norm(u)) == pytest.approx(1.0, rel=1e-5)


def test_a_network_steps_when_it_is_refreshed_and_in_no_pass():
    network = from_linen(SpectralNet())
    params, state = network.init(jax.random.key(1), POINTS)
    for train in (True, False):
        _, after = network.apply(params, state, POINTS, train=train)
        jax.tree.map(np.testing.assert_array_equal, after, state)
    expected = power_step(params, state)
    jax.tree.map(np.testing.assert_array_equal, network.refresh(params, state), expected)
    assert float(jnp.abs(expected["spectral"]["score"]["u"] - state["spectral"]["score"]["u"]).max()) == 0.0  # one row
    inner = lambda state: state["spectral"]["neck"]["inner"]["u"]
    assert float(jnp.abs(inner(expected) - inner(state)).max()) > 1e-3


def test_power_step_leaves_everything_else():
    statistics = {"norm": {"mean": jnp.ones(3)}}
    kernel, u = jnp.diag(jnp.array([3.0, 1.0])), jnp.array([0.6, 0.8])
    state = power_step({"layer": {"kernel": kernel}}, {"batch_stats": statistics, "spectral": {"layer": {"u": u}}})
    assert state["batch_stats"] is statistics
    np.testing.assert_allclose(state["spectral"]["layer"]["u"], np.array([5.4, 0.8]) / np.hypot(5.4, 0.8), rtol=1e-5)
    assert power_step({}, {}) == {}
    assert power_step({}, {"batch_stats": statistics}) == {"batch_stats": statistics}


@both
def test_vmap_over_seeds_under_jit(layer, inputs):
    def run(key):
        variables = layer.init(key, inputs)
        state = power_step(variables["params"], {"spectral": variables["spectral"]})
        return divided(layer, inputs, variables["params"], state), state

    keys = jax.random.split(jax.random.key(0), 2)
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *[run(key) for key in keys])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), jax.jit(jax.vmap(run))(keys), expected)


def test_a_kernel_of_zeros_stays_zero():
    layer = SpectralDense(3, kernel_init=nn.initializers.zeros_init())
    variables = layer.init(jax.random.key(0), jnp.ones((2, 4)))

    state = power_step(variables["params"], {"spectral": variables["spectral"]})
    loss = lambda params: layer.apply({"params": params, **state}, jnp.ones((2, 4))).sum()
    np.testing.assert_array_equal(jax.grad(loss)(variables["params"])["kernel"], 2.0)
    assert jnp.isfinite(state["spectral"]["u"]).all()


def test_bfloat16_divides_in_float32():
    layer = SpectralDense(5, dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(0), jnp.ones((2, 4)))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert layer.apply(variables, jnp.ones((2, 4))).dtype == jnp.bfloat16


def test_in_a_gan_the_vectors_move_with_the_discriminator_alone_and_a_penalty_is_allowed():
    gan = make_gan(
        mlp_generator((4,), features=2),
        from_linen(SpectralNet()),
        loss=LOSSES["hinge"],
        penalty=r1_penalty,
        g_tx=adam(1e-3),
        d_tx=adam(1e-3),
        latent_dim=2,
    )
    batch = {"image": POINTS}
    state = gan.init(jax.random.key(0), batch)
    after_d, metrics = gan.d_step(state, batch)
    moved = lambda a, b: float(jnp.abs(a["spectral"]["neck"]["inner"]["u"] - b["spectral"]["neck"]["inner"]["u"]).max())
    assert moved(after_d.discriminator.model_state, state.discriminator.model_state) > 1e-3
    after_g, _ = gan.g_step(after_d, batch)
    assert moved(after_g.discriminator.model_state, after_d.discriminator.model_state) == 0.0
    assert jnp.isfinite(metrics["penalty"]) and metrics["penalty"] > 0


def test_no_gradient_flows_into_the_vectors_of_the_power_iteration():
    state = {"spectral": {"layer": {"u": jnp.array([0.6, 0.8])}}}
    total = lambda params: power_step(params, state)["spectral"]["layer"]["u"].sum()
    kernel = jax.grad(total)({"layer": {"kernel": jnp.array([[3.0, 1.0], [0.5, 1.0]])}})["layer"]["kernel"]
    np.testing.assert_array_equal(kernel, 0.0)
