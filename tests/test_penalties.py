"""Penalties against closed forms and NumPy, down to the critic's parameters, and used as another project would."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from flax import linen as nn
from flax import nnx
from jax import Array
from jax.test_util import check_grads

from jaxgan.losses import wasserstein_discriminator_loss, wasserstein_estimate
from jaxgan.penalties import dragan_penalty, gradient_penalty, r1_penalty, r2_penalty, weighted_sum
from jaxgan.types import PenaltyFn

KEY = jax.random.key(7)
SHAPE = (5, 4, 3, 2)  # batch, height, width, channels: no two alike
LINEAR_SLOPE = np.random.default_rng(2).normal(size=SHAPE[1:]).astype(np.float32)
CURVATURE = np.random.default_rng(3).uniform(0.1, 0.4, SHAPE[1:]).astype(np.float32)

# Every penalty as a PenaltyFn.
PENALTIES: dict[str, PenaltyFn] = {
    "gradient_penalty": gradient_penalty,
    "one_sided": lambda critic, real, fake, key: gradient_penalty(critic, real, fake, key, one_sided=True),
    "zero_centred": lambda critic, real, fake, key: gradient_penalty(critic, real, fake, key, target=0.0),
    "r1": r1_penalty,
    "r2": r2_penalty,
    "dragan": dragan_penalty,
    "sum": weighted_sum((10.0, gradient_penalty), (0.5, r1_penalty)),
}
each_penalty = pytest.mark.parametrize("name", PENALTIES)


def draw_samples(shape: tuple[int, ...] = SHAPE) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=shape), rng.normal(1.0, 0.5, shape)
    return jnp.asarray(real, jnp.float32), jnp.asarray(fake, jnp.float32)


def linear_critic(weights):
    """Slope `weights` everywhere."""
    return lambda images: jnp.sum(weights[None] * images, axis=(1, 2, 3))


def quadratic_critic(curvature):
    """Slope `curvature * image`."""
    return lambda images: 0.5 * jnp.sum(curvature[None] * images**2, axis=(1, 2, 3))


@each_penalty
def test_linear_critic_pays_by_the_norm_of_its_weights(name):
    real, fake = draw_samples()
    norm = np.linalg.norm(np.float64(LINEAR_SLOPE))  # 4.6, over all axes of a sample
    expected = {
        "gradient_penalty": (norm - 1.0) ** 2,
        "one_sided": (norm - 1.0) ** 2,
        "zero_centred": norm**2,
        "r1": norm**2 / 2,
        "r2": norm**2 / 2,
        "dragan": (norm - 1.0) ** 2,
        "sum": 10.0 * (norm - 1.0) ** 2 + 0.25 * norm**2,
    }[name]
    np.testing.assert_allclose(PENALTIES[name](linear_critic(LINEAR_SLOPE), real, fake, KEY), expected, rtol=1e-5)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("target", [0.0, 1.0, 1.5])  # slopes of the quadratic critic lie between .9 and 1.6 here
def test_gradient_penalty_equals_the_paper(target, one_sided):
    real, fake = draw_samples()
    value = gradient_penalty(quadratic_critic(CURVATURE), real, fake, KEY, target=target, one_sided=one_sided)
    alpha = jax.random.uniform(KEY, (SHAPE[0], 1, 1, 1))  # one a sample
    expected = reference.gradient_penalty(
        lambda x: CURVATURE * x, real, fake, alpha, target=target, one_sided=one_sided
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_r1_and_r2_equal_the_paper():
    real, fake = draw_samples()
    for penalty, samples in ((r1_penalty, real), (r2_penalty, fake)):
        expected = reference.zero_centred_penalty(lambda x: CURVATURE * x, samples)
        np.testing.assert_allclose(penalty(quadratic_critic(CURVATURE), real, fake), expected, rtol=1e-5)


def test_dragan_equals_the_authors_code():
    real, _ = draw_samples()
    noise_key, alpha_key = jax.random.split(KEY)
    noise, alpha = jax.random.uniform(noise_key, SHAPE), jax.random.uniform(alpha_key, (SHAPE[0], 1, 1, 1))
    expected = reference.dragan_penalty(lambda x: CURVATURE * x, real, np.asarray(noise), alpha)
    np.testing.assert_allclose(dragan_penalty(quadratic_critic(CURVATURE), real, key=KEY), expected, rtol=1e-5)


def test_a_weighted_sum_leaves_out_what_weighs_nothing_and_draws_with_a_key_for_each():
    real, fake = draw_samples()
    critic = quadratic_critic(CURVATURE)

    def never(critic, real, fake, key):
        raise AssertionError

    alone = weighted_sum((2.0, gradient_penalty), (0.0, never))
    np.testing.assert_array_equal(alone(critic, real, fake, KEY), 2.0 * gradient_penalty(critic, real, fake, KEY))
    first, second = jax.random.split(KEY)
    both = weighted_sum((2.0, gradient_penalty), (3.0, dragan_penalty))(critic, real, fake, KEY)
    expected = 2.0 * gradient_penalty(critic, real, fake, first) + 3.0 * dragan_penalty(critic, real, key=second)
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"-1\.0: 0 or more expected"):
        weighted_sum((-1.0, r1_penalty))


@pytest.mark.parametrize("penalty", [gradient_penalty, r2_penalty, dragan_penalty])
def test_what_a_penalty_needs_is_asked_for(penalty):
    with pytest.raises(ValueError, match=f"{penalty.__name__} needs .*critic, real, fake"):
        penalty(quadratic_critic(CURVATURE), draw_samples()[0])


def test_dragan_without_noise_looks_at_the_data_itself():
    real, _ = draw_samples()
    critic = quadratic_critic(CURVATURE)
    value = dragan_penalty(critic, real, key=KEY, noise_scale=0.0, target=0.0)
    np.testing.assert_allclose(value, 2.0 * r1_penalty(critic, real), rtol=1e-5)


def test_one_sided_is_free_below_the_target():
    real, fake = draw_samples()
    gentle = jnp.asarray(0.5 * LINEAR_SLOPE / np.linalg.norm(LINEAR_SLOPE))

    def penalty(weights, one_sided):
        return gradient_penalty(linear_critic(weights), real, fake, KEY, one_sided=one_sided)

    value, slope = jax.value_and_grad(penalty)(gentle, True)
    assert value == 0.0
    assert not np.any(slope)
    np.testing.assert_allclose(penalty(gentle, False), 0.25, rtol=1e-5)


@each_penalty
def test_second_derivative_reaches_the_parameters(name):
    # d/dw of each closed form: (|w| - 1)^2 gives 2 (|w| - 1) w / |w|, |w|^2 / 2 gives w.
    real, fake = draw_samples()
    norm = np.linalg.norm(LINEAR_SLOPE)
    towards_one = 2.0 * (norm - 1.0) * LINEAR_SLOPE / norm
    expected = {
        "zero_centred": 2.0 * LINEAR_SLOPE,
        "r1": LINEAR_SLOPE,
        "r2": LINEAR_SLOPE,
        "sum": 10.0 * towards_one + 0.5 * LINEAR_SLOPE,
    }.get(name, towards_one)
    slope = jax.grad(lambda weights: PENALTIES[name](linear_critic(weights), real, fake, KEY))(
        jnp.asarray(LINEAR_SLOPE)
    )
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["one_sided", "dragan", "sum"])
def test_parameter_gradients_equal_finite_differences(name):
    real, fake = draw_samples((4, 3))
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        hidden, out = jnp.asarray(rng.normal(size=(3, 6))), jnp.asarray(rng.normal(size=(6, 1)))
        real, fake = jnp.asarray(real, jnp.float64), jnp.asarray(fake, jnp.float64)

        @jax.jit
        def penalty(hidden, out):
            return PENALTIES[name](lambda points: jnp.tanh(points @ hidden) @ out, real, fake, KEY)

        assert penalty(hidden, out).dtype == jnp.float64
        check_grads(penalty, (hidden, out), order=1, modes=["rev"], atol=1e-5, rtol=1e-5)


@each_penalty
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_flat_critic_has_finite_gradients(name, dtype):
    real, fake = (jnp.asarray(images, dtype) for images in draw_samples())
    weights = jnp.zeros(SHAPE[1:], dtype)
    value, slope = jax.value_and_grad(lambda w: PENALTIES[name](linear_critic(w), real, fake, KEY))(weights)
    expected = {"gradient_penalty": 1.0, "dragan": 1.0, "sum": 10.0}.get(name, 0.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-9)
    assert not np.any(slope)


@pytest.mark.parametrize("name", ["gradient_penalty", "one_sided", "zero_centred", "dragan", "sum"])
def test_keys_matter_where_points_are_drawn(name):
    real, fake = draw_samples()
    critic = quadratic_critic(CURVATURE)
    first, again, other = (float(PENALTIES[name](critic, real, fake, jax.random.key(seed))) for seed in (0, 0, 1))
    assert first == again != other


def test_points_lie_on_the_segment_of_their_own_pair():
    real = jnp.zeros(SHAPE)
    fake = jnp.broadcast_to(jnp.arange(1.0, 1.0 + SHAPE[0])[:, None, None, None], SHAPE)
    seen = []

    def critic(images):
        jax.debug.callback(seen.append, images)
        return jnp.sum(images, axis=(1, 2, 3))

    gradient_penalty(critic, real, fake, KEY)
    jax.effects_barrier()
    alphas = np.asarray(seen[0]) / fake
    assert np.all((alphas >= 0.0) & (alphas < 1.0))
    assert np.all(np.ptp(alphas, axis=(1, 2, 3)) < 1e-6)  # one alpha for all pixels of a sample
    assert np.ptp(alphas, axis=0).min() > 0.1  # and another for each sample


@each_penalty
def test_scores_of_one_sample_are_summed(name):
    real, fake = draw_samples()
    flat = PENALTIES[name](quadratic_critic(CURVATURE), real, fake, KEY)

    def column(images):
        return quadratic_critic(CURVATURE)(images)[:, None]

    def patches(images):
        return 0.5 * CURVATURE[None] * images**2

    np.testing.assert_allclose(PENALTIES[name](column, real, fake, KEY), flat, rtol=1e-5)
    np.testing.assert_allclose(PENALTIES[name](patches, real, fake, KEY), flat, rtol=1e-5)


@each_penalty
def test_points_instead_of_images(name):
    real, fake = draw_samples((5, 2))
    value = PENALTIES[name](lambda points: points @ jnp.array([3.0, 4.0]), real, fake, KEY)
    expected = {"zero_centred": 25.0, "r1": 12.5, "r2": 12.5, "sum": 160.0 + 6.25}.get(name, 16.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["r2", "dragan", "sum"])
def test_vmap_and_jit(name):
    real, fake = draw_samples((3, *SHAPE))
    keys = jax.random.split(KEY, 3)

    def penalty(real, fake, key):
        return PENALTIES[name](quadratic_critic(CURVATURE), real, fake, key)

    expected = [penalty(*arguments) for arguments in zip(real, fake, keys, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(penalty))(real, fake, keys), expected, rtol=1e-5)


@each_penalty
def test_low_precision_critics_are_penalised_in_float32(name):
    real, fake = draw_samples()
    weights = jnp.asarray(LINEAR_SLOPE, jnp.bfloat16)
    seen = []

    def critic(images):
        seen.append(images.dtype)
        return linear_critic(weights)(images)

    # A linear critic's slopes are its weights, exact in bfloat16: a norm taken in bfloat16 would be off by up to 4e-3.
    value = PENALTIES[name](critic, jnp.asarray(real, jnp.bfloat16), jnp.asarray(fake, jnp.bfloat16), KEY)
    expected = PENALTIES[name](linear_critic(weights.astype(jnp.float32)), real, fake, KEY)
    assert value.dtype == jnp.float32
    assert set(seen) == {jnp.dtype("bfloat16")}  # a convolution with bfloat16 kernels takes no other input
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_mistakes_are_named():
    images, one_less = jnp.zeros(SHAPE), jnp.zeros((SHAPE[0] - 1, *SHAPE[1:]))
    critic = linear_critic(LINEAR_SLOPE)
    with pytest.raises(AssertionError, match="different shapes"):
        gradient_penalty(critic, images, one_less, KEY)
    with pytest.raises(AssertionError, match="shape prefixes"):  # one score for the whole batch
        r1_penalty(lambda images: jnp.mean(critic(images)), images)
    with pytest.raises(AssertionError, match="uint8"):
        r1_penalty(critic, images.astype(jnp.uint8))


# The losses and penalties in somebody else's training step: all it takes is scores and a function of the inputs.

REAL = jnp.asarray(np.random.default_rng(0).normal((2.0, 0.0), 0.3, (32, 2)), jnp.float32)
FAKE = jnp.asarray(np.random.default_rng(1).normal((0.0, 0.0), 0.3, (32, 2)), jnp.float32)
TX = optax.adam(1e-2, b1=0.5, b2=0.9)
STEPS = 30


def critic_loss(critic, key):
    penalty = 10.0 * gradient_penalty(critic, REAL, FAKE, key) + 0.5 * r1_penalty(critic, REAL)
    return wasserstein_discriminator_loss(critic(REAL), critic(FAKE)) + penalty


def assert_critic_learned(critic, losses):
    assert np.all(np.isfinite(losses))
    assert losses[-1] < losses[0] - 0.5
    # The means lie 2 apart: a critic of slope 1 estimates 2.
    assert 1.0 < wasserstein_estimate(critic(REAL), critic(FAKE)) < 3.0


def train(score, params):
    @jax.jit
    def step(params, opt_state, key):
        loss, grads = jax.value_and_grad(lambda p: critic_loss(lambda points: score(p, points), key))(params)
        updates, opt_state = TX.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    losses, opt_state = [], TX.init(params)
    for key in jax.random.split(KEY, STEPS):
        params, opt_state, loss = step(params, opt_state, key)
        losses.append(float(loss))
    return params, losses


def test_in_a_project_in_plain_jax():
    def score(params, points):
        return jnp.tanh(points @ params["hidden"]) @ params["out"]

    keys = jax.random.split(KEY)
    start = {"hidden": jax.random.normal(keys[0], (2, 16)), "out": 0.1 * jax.random.normal(keys[1], (16,))}
    params, losses = train(score, start)
    assert_critic_learned(lambda points: score(params, points), losses)


def test_in_a_linen_project_in_bfloat16():
    critic = nn.Sequential([nn.Dense(16, dtype="bfloat16"), nn.tanh, nn.Dense(1, dtype="bfloat16")])
    params, losses = train(critic.apply, jax.jit(critic.init)(KEY, REAL))
    assert_critic_learned(lambda points: critic.apply(params, points), losses)


def test_in_an_nnx_project():
    rngs = nnx.Rngs(0)
    critic = nnx.Sequential(nnx.Linear(2, 16, rngs=rngs), nnx.tanh, nnx.Linear(16, 1, rngs=rngs))
    optimizer = nnx.Optimizer(critic, TX, wrt=nnx.Param)

    @nnx.jit
    def step(critic, optimizer, key):
        loss, grads = nnx.value_and_grad(critic_loss)(critic, key)
        optimizer.update(critic, grads)
        return loss

    losses = [float(step(critic, optimizer, key)) for key in jax.random.split(KEY, STEPS)]
    assert_critic_learned(critic, losses)
