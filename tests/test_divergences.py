"""f-divergences against their definitions, against SciPy, and as losses at extreme scores."""

import math
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from jax.test_util import check_grads
from scipy import integrate, stats
from scipy.spatial.distance import jensenshannon

from jaxgan.divergences import (
    DIVERGENCES,
    DivergenceName,
    discrete_divergence,
    f_gan_loss,
    gaussian_divergence,
    integrated_divergence,
)
from jaxgan.losses import LOSSES

each_divergence = pytest.mark.parametrize("name", DIVERGENCES)
each_form = pytest.mark.parametrize("practical", [True, False], ids=["practical", "theory"])

# Table 6 of Nowozin et al. 2016 in NumPy float64: f, output activation, conjugate.
PAPER = {
    "total_variation": (lambda u: abs(u - 1) / 2, lambda v: np.tanh(v) / 2, lambda t: t),
    "kl": (lambda u: u * np.log(u), lambda v: v, lambda t: np.exp(t - 1)),
    "reverse_kl": (lambda u: -np.log(u), lambda v: -np.exp(-v), lambda t: -1 - np.log(-t)),
    "pearson": (lambda u: (u - 1) ** 2, lambda v: v, lambda t: t**2 / 4 + t),
    "squared_hellinger": (lambda u: (np.sqrt(u) - 1) ** 2, lambda v: 1 - np.exp(-v), lambda t: t / (1 - t)),
    "jensen_shannon": (
        lambda u: u * np.log(u) - (u + 1) * np.log((1 + u) / 2),
        lambda v: np.log(2) - np.log(1 + np.exp(-v)),
        lambda t: -np.log(2 - np.exp(t)),
    ),
    "gan": (
        lambda u: u * np.log(u) - (u + 1) * np.log(u + 1),
        lambda v: -np.log(1 + np.exp(-v)),
        lambda t: -np.log(1 - np.exp(t)),
    ),
}
# The score at which g(v) = f'(u): solved by hand. Total variation's lies at infinity.
BEST_SCORE = {
    "total_variation": lambda u: 50.0 * np.sign(u - 1),
    "kl": lambda u: 1 + np.log(u),
    "reverse_kl": np.log,
    "pearson": lambda u: 2 * (u - 1),
    "squared_hellinger": lambda u: np.log(u) / 2,
    "jensen_shannon": np.log,
    "gan": np.log,
}
P, Q = np.array([0.1, 0.2, 0.7]), np.array([0.4, 0.5, 0.1])


def draw_scores(*shapes):
    rng = np.random.default_rng(0)
    return tuple(rng.normal(0.2, 1.5, shape).astype(np.float32) for shape in shapes)


def paper_bound(name, real, fake):
    _, activation, conjugate = PAPER[name]
    return np.mean(activation(np.float64(real))) - np.mean(conjugate(activation(np.float64(fake))))


def test_the_table_is_complete_and_cannot_be_changed():
    assert tuple(DIVERGENCES) == tuple(PAPER) == get_args(DivergenceName)
    with pytest.raises(TypeError):
        DIVERGENCES["mine"] = DIVERGENCES["kl"]  # pyright: ignore[reportIndexIssue]


@each_divergence
def test_parts_equal_the_paper(name):
    f, activation, conjugate = PAPER[name]
    divergence = DIVERGENCES[name]
    ratios, scores = np.geomspace(1e-3, 1e3, 25), np.linspace(-6.0, 6.0, 25)
    with jax.enable_x64(True):
        np.testing.assert_allclose(divergence.f(jnp.asarray(ratios)), f(ratios), rtol=1e-9, atol=1e-12)
        values = divergence.activation(jnp.asarray(scores))
        np.testing.assert_allclose(values, activation(scores), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(divergence.conjugate(values), conjugate(activation(scores)), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            divergence.composite(jnp.asarray(scores)), conjugate(activation(scores)), rtol=1e-9, atol=1e-12
        )


@each_divergence
def test_values_gradients_and_limits_of_f(name):
    divergence = DIVERGENCES[name]
    with jax.enable_x64(True):
        assert float(divergence.f(jnp.asarray(1.0))) == pytest.approx(-math.log(4.0) if name == "gan" else 0.0)
        # Total variation has a kink at 1: the threshold 0 lies between its two gradients of -1/2 and 1/2.
        gradients = [float(jax.grad(divergence.f)(jnp.asarray(u))) for u in (1.0 - 1e-9, 1.0 + 1e-9)]
        assert sum(gradients) / 2 == pytest.approx(divergence.threshold, abs=1e-6)
        if math.isinf(divergence.slope_at_infinity):
            assert float(divergence.f(jnp.asarray(1e20))) / 1e20 > 40.0
        else:
            limit = float(divergence.f(jnp.asarray(1e15))) / 1e15
            assert limit == pytest.approx(divergence.slope_at_infinity, abs=1e-6)
        at_zero = float(divergence.f(jnp.asarray(0.0)))
        assert at_zero == (math.inf if name == "reverse_kl" else pytest.approx(float(PAPER[name][0](1e-12)), abs=1e-5))


@each_divergence
def test_conjugate_is_the_highest_line_over_f(name):
    # f*(t) = sup_u (t u - f(u)) by search, for the t that are gradients of f between 1/8 and 8.
    ratios = np.geomspace(1e-3, 1e3, 200_001)
    divergence = DIVERGENCES[name]
    with jax.enable_x64(True):
        for t in np.asarray(jax.vmap(jax.grad(divergence.f))(jnp.asarray([0.125, 0.7, 1.5, 8.0]))):
            highest = np.max(t * ratios - PAPER[name][0](ratios))
            if name == "total_variation" and t > 0:  # its supremum lies at infinity
                highest = t
            assert float(divergence.conjugate(jnp.asarray(t))) == pytest.approx(highest, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "outside"),
    [("total_variation", 0.6), ("reverse_kl", 0.1), ("squared_hellinger", 1.5), ("jensen_shannon", 0.8), ("gan", 0.1)],
)
def test_conjugate_is_infinite_outside_its_domain(name, outside):
    assert float(DIVERGENCES[name].conjugate(jnp.asarray(outside))) == math.inf


@each_divergence
def test_the_best_critic_attains_the_divergence_and_no_other_does(name):
    # One score per point of the distribution, weighted by repetition: 10 real and 10 fake samples in exact proportions.
    real, fake = (np.repeat(np.arange(3), np.rint(10 * weights).astype(int)) for weights in (P, Q))
    exact = float(np.sum(Q * PAPER[name][0](P / Q)))
    assert discrete_divergence(name, P, Q) == pytest.approx(exact, rel=1e-9)

    estimate = f_gan_loss(name).estimate
    best = BEST_SCORE[name](P / Q)
    assert float(estimate(best[real], best[fake])["divergence_estimate"]) == pytest.approx(exact, rel=1e-5)
    for other in np.random.default_rng(1).normal(size=(20, 3)):
        assert float(estimate(other[real], other[fake])["divergence_estimate"]) < exact


@each_divergence
@each_form
def test_losses_equal_the_paper(name, practical):
    real, fake = draw_scores((3, 4, 5, 1), (9, 1))
    _, activation, conjugate = PAPER[name]
    loss = f_gan_loss(name, practical=practical)
    value = loss.discriminator(real, fake)
    assert value.shape == () and value.dtype == jnp.float32
    np.testing.assert_allclose(value, -paper_bound(name, real, fake), rtol=1e-5)
    judged = activation(np.float64(fake))
    np.testing.assert_allclose(
        loss.generator(real, fake), -np.mean(judged if practical else conjugate(judged)), rtol=1e-5
    )
    np.testing.assert_allclose(loss.estimate(real, fake)["divergence_estimate"], -value, rtol=1e-6)


@each_form
def test_the_gan_row_is_the_original_gan(practical):
    real, fake = draw_scores((6,), (9,))
    ours, original = f_gan_loss("gan", practical=practical), LOSSES["non_saturating" if practical else "minimax"]
    for player in ("discriminator", "generator"):
        np.testing.assert_allclose(getattr(ours, player)(real, fake), getattr(original, player)(real, fake), rtol=1e-6)
    shifted = f_gan_loss("jensen_shannon").discriminator(real, fake) + math.log(4.0)
    np.testing.assert_allclose(shifted, original.discriminator(real, fake), rtol=1e-6)


def players(name):
    """The discriminator's loss, and both forms of the generator's."""
    loss = f_gan_loss(name)
    return loss.discriminator, loss.generator, f_gan_loss(name, practical=False).generator


@each_divergence
def test_derivatives_equal_finite_differences(name):
    real, fake = np.array([-2.0, 0.3, 1.7, 4.0]), np.array([-3.0, -0.4, 0.6, 2.5])
    with jax.enable_x64(True):
        for player in players(name):
            check_grads(
                jax.jit(player), (jnp.asarray(real), jnp.asarray(fake)), order=1, modes=["rev"], atol=1e-6, rtol=1e-6
            )


@pytest.mark.parametrize(("name", "dtype"), [*((name, "bfloat16") for name in DIVERGENCES), ("kl", "float64")])
def test_dtype_is_at_least_float32(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        real, fake = (jnp.asarray(scores, dtype) for scores in draw_scores((6,), (5,)))
        value = f_gan_loss(name).discriminator(real, fake)
        assert value.dtype == ("float64" if dtype == "float64" else "float32")
        # Only the scores are rounded to the low precision; what is computed from them is not.
        expected = -paper_bound(name, real, fake)
        np.testing.assert_allclose(value, expected, rtol=1e-12 if dtype == "float64" else 1e-5)


@each_divergence
def test_extreme_scores_leave_squares_finite(name):
    scores = jnp.bfloat16([-16384.0, -96.0, -30.0, 0.0, 30.0, 96.0, 16384.0])  # all exact
    for player in players(name):
        value, gradients = jax.value_and_grad(player, argnums=(0, 1))(scores, scores)
        assert np.isfinite(value)
        for gradient in gradients:
            assert np.all(np.isfinite(jnp.square(gradient.astype(jnp.float32))))


@pytest.mark.parametrize(
    ("name", "part", "end", "sign"),
    # Where each exponent passes 30, and the sign of the gradient there: f* and T rise with the score.
    [
        ("kl", "composite", 31.0, 1.0),
        ("reverse_kl", "activation", -30.0, -1.0),
        ("squared_hellinger", "activation", -30.0, -1.0),
        ("squared_hellinger", "composite", 30.0, 1.0),
    ],
)
def test_exponentials_go_on_as_lines_beyond_30(name, part, end, sign):
    function = getattr(DIVERGENCES[name], part)
    steep, beyond = math.exp(30.0), end + sign * np.array([0.0, 1.0, 1e4])
    values = jax.vmap(function)(jnp.asarray(beyond, jnp.float32))
    np.testing.assert_allclose(values, sign * steep * (1.0 + np.array([0.0, 1.0, 1e4])), rtol=1e-5)
    gradients = jax.vmap(jax.grad(function))(jnp.asarray(beyond, jnp.float32))
    np.testing.assert_allclose(gradients, steep, rtol=1e-5)


@pytest.mark.parametrize("part", ["activation", "composite"])
def test_small_exponentials_keep_their_digits(part):
    # exp(1e-6) - 1 in float32 has one digit left.
    np.testing.assert_allclose(getattr(DIVERGENCES["squared_hellinger"], part)(jnp.float32(1e-6)), 1e-6, rtol=1e-5)


@each_divergence
@each_form
def test_one_step_moves_the_right_scores(name, practical):
    real, fake = jnp.array([0.1, 0.4, 0.3]), jnp.array([0.2, 0.5, 0.1])
    loss = f_gan_loss(name, practical=practical)
    real_gradients, fake_gradients = jax.grad(loss.discriminator, argnums=(0, 1))(real, fake)
    assert np.all(real_gradients < 0) and np.all(fake_gradients > 0)
    real_gradients, fake_gradients = jax.grad(loss.generator, argnums=(0, 1))(real, fake)
    assert not np.any(real_gradients) and np.all(fake_gradients < 0)


@each_divergence
def test_practical_generators_do_not_saturate(name):
    gradient = float(jax.grad(f_gan_loss(name).generator, argnums=1)(0.0, -20.0))
    assert gradient == 0.0 if name == "total_variation" else gradient <= -0.99


def test_discrete_distributions_against_scipy():
    expected = {
        "kl": stats.entropy(P, Q),
        "reverse_kl": stats.entropy(Q, P),
        "total_variation": 0.6,  # mass to move: .3 + .3
        "squared_hellinger": np.sum((np.sqrt(P) - np.sqrt(Q)) ** 2),
        "pearson": np.sum((P - Q) ** 2 / Q),
    }
    assert {name: discrete_divergence(name, P, Q) for name in expected} == pytest.approx(expected, rel=1e-12)


def test_the_factor_of_two():
    jsd = jensenshannon(P, Q) ** 2  # scipy returns the root of the divergence
    assert discrete_divergence("jensen_shannon", P, Q) == pytest.approx(2.0 * jsd, rel=1e-12)
    assert discrete_divergence("gan", P, Q) == pytest.approx(2.0 * jsd - math.log(4.0), rel=1e-12)
    disjoint = [1.0, 0.0], [0.0, 1.0]
    assert discrete_divergence("jensen_shannon", *disjoint) == pytest.approx(2.0 * math.log(2.0))
    assert discrete_divergence("gan", *disjoint) == pytest.approx(0.0, abs=1e-12)


@each_divergence
def test_equal_distributions_have_the_smallest_value(name):
    least = -math.log(4.0) if name == "gan" else 0.0
    assert discrete_divergence(name, [0.5, 0.0, 0.5], [0.5, 0.0, 0.5]) == pytest.approx(least, abs=1e-12)
    assert discrete_divergence(name, P, Q) > least


# By hand: P on the first of two points and Q on both, half and half; the reverse; no point in common.
THREE_QUARTERS = 3.0 * math.log(2.0) - 1.5 * math.log(3.0)  # 2 JSD: 2 KL parts against the mixture (3/4, 1/4)


@pytest.mark.parametrize(
    ("name", "inside", "outside", "apart"),
    [
        ("total_variation", 0.5, 0.5, 1.0),
        ("kl", math.log(2.0), math.inf, math.inf),
        ("reverse_kl", math.inf, math.log(2.0), math.inf),
        ("pearson", 1.0, math.inf, math.inf),
        ("squared_hellinger", 2.0 - math.sqrt(2.0), 2.0 - math.sqrt(2.0), 2.0),
        ("jensen_shannon", THREE_QUARTERS, THREE_QUARTERS, math.log(4.0)),
        ("gan", THREE_QUARTERS - math.log(4.0), THREE_QUARTERS - math.log(4.0), 0.0),
    ],
)
def test_points_without_mass(name, inside, outside, apart):
    one, half, other = [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]
    assert discrete_divergence(name, one, half) == pytest.approx(inside)
    assert discrete_divergence(name, half, one) == pytest.approx(outside)
    assert discrete_divergence(name, one, other) == pytest.approx(apart, abs=1e-12)


def test_rare_points_do_not_overflow():
    # p^2 / q = .25 / 1e-30; naively in float32, (p / q)^2 is infinite.
    assert discrete_divergence("pearson", [0.5, 0.5], [1e-30, 1.0]) == pytest.approx(0.25e30, rel=1e-6)


@pytest.mark.parametrize("name", ["total_variation", "kl", "reverse_kl", "pearson", "squared_hellinger"])
@pytest.mark.parametrize(("gap", "std"), [(-0.7, 1.25), (4.0, 1.0)])
def test_gaussians_by_closed_form_by_our_integral_and_by_scipy(name, gap, std):
    f = PAPER[name][0]
    # To where q f(p / q) is spent: for pearson at a gap of 4 it peaks at -4.
    low, high = -14.0, 15.0

    def integrand(x):
        p, q = stats.norm.pdf(x, 0.3, std), stats.norm.pdf(x, 0.3 + gap)
        return q * f(p / q)

    kinks = np.linspace(low, high, 30)
    by_scipy = integrate.quad(integrand, low, high, points=kinks, limit=500)[0]
    by_us = integrated_divergence(
        name, lambda x: norm.pdf(x, 0.3, std), lambda x: norm.pdf(x, 0.3 + gap), low, high, num_cells=20_000
    )
    assert by_us == pytest.approx(by_scipy, rel=2e-6)
    if not (name == "total_variation" and std != 1.0):
        assert gaussian_divergence(name, 0.3, std, 0.3 + gap, 1.0) == pytest.approx(by_us, rel=2e-6)


def test_gaussians_in_several_dimensions():
    means, stds = (np.array([0.0, 1.0]), np.array([0.5, -0.5])), (np.array([1.0, 0.8]), np.array([1.2, 0.9]))
    each = lambda name: [gaussian_divergence(name, means[0][d], stds[0][d], means[1][d], stds[1][d]) for d in (0, 1)]
    both = lambda name: gaussian_divergence(name, means[0], stds[0], means[1], stds[1])
    # Over independent dimensions KL adds, 1 + Pearson and 1 - Hellinger / 2 multiply.
    assert both("kl") == pytest.approx(sum(each("kl")))
    assert both("reverse_kl") == pytest.approx(sum(each("reverse_kl")))
    assert both("pearson") == pytest.approx(math.prod(1.0 + value for value in each("pearson")) - 1.0)
    assert both("squared_hellinger") == pytest.approx(
        2.0 - 2.0 * math.prod(1.0 - value / 2.0 for value in each("squared_hellinger"))
    )
    # Total variation only sees the distance of the means in units of the deviation, here 5.
    assert gaussian_divergence("total_variation", [3.0, 4.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]) == pytest.approx(
        2.0 * stats.norm.cdf(2.5) - 1.0
    )


def test_pearson_of_a_gaussian_with_too_wide_tails_is_infinite():
    assert gaussian_divergence("pearson", 0.0, math.sqrt(2.0), 0.0, 1.0) == math.inf
    assert gaussian_divergence("pearson", 0.0, 1.41, 0.0, 1.0) < math.inf


def test_integrals_of_jumps_and_of_disjoint_distributions():
    uniform = lambda start: lambda x: jnp.where((x > start) & (x < start + 1.0), 1.0, 0.0)
    # Half of each lies on the other.
    assert integrated_divergence("total_variation", uniform(0.0), uniform(0.5), -1.0, 3.0) == pytest.approx(0.5)
    assert integrated_divergence("kl", uniform(0.0), uniform(0.5), -1.0, 3.0) == math.inf
    assert integrated_divergence("jensen_shannon", uniform(0.0), uniform(1.0), -1.0, 3.0) == pytest.approx(
        2.0 * math.log(2.0)
    )


UNKNOWN = "unknown divergence 'js': there are total_variation, kl, reverse_kl, pearson, squared_hellinger, jensen"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: f_gan_loss("js"), UNKNOWN),
        (lambda: discrete_divergence("js", P, Q), UNKNOWN),
        (lambda: integrated_divergence("js", norm.pdf, norm.pdf, -9.0, 9.0), UNKNOWN),
        (lambda: gaussian_divergence("js", 0.0, 1.0, 0.0, 1.0), UNKNOWN),
        (lambda: discrete_divergence("kl", [0.5, 0.6], [0.5, 0.5]), "p sums to 1.1, but probabilities sum to 1"),
        (lambda: discrete_divergence("kl", [0.5, 0.5], [1.5, -0.5]), "q holds -0.5, but probabilities"),
        (lambda: discrete_divergence("kl", [math.nan, 0.5], [0.5, 0.5]), "p holds nan"),
        (lambda: integrated_divergence("kl", norm.pdf, norm.pdf, 1.0, -1.0), "low=1.0 to high=-1.0 is empty"),
        (lambda: integrated_divergence("kl", norm.pdf, norm.pdf, -9.0, 9.0, num_cells=0), "num_cells=0"),
        (lambda: integrated_divergence("kl", norm.pdf, norm.pdf, -1.0, 1.0), "p_density integrates to 0.682"),
        (lambda: gaussian_divergence("gan", 0.0, 1.0, 0.0, 1.0), "gan of Gaussians has no closed form, only total_var"),
        (lambda: gaussian_divergence("total_variation", 0.0, 1.0, 0.0, 2.0), "unequal standard deviations"),
        (lambda: gaussian_divergence("kl", 0.0, 1.0, 0.0, 0.0), "q_std=0"),
        (lambda: gaussian_divergence("kl", math.nan, 1.0, 0.0, 1.0), "p_mean=nan"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_unequal_shapes_are_refused():
    with pytest.raises(AssertionError, match="shapes"):
        discrete_divergence("kl", [0.5, 0.5], [0.2, 0.3, 0.5])
    with pytest.raises(AssertionError, match="shapes"):
        gaussian_divergence("kl", [0.0, 0.0], 1.0, 0.0, 1.0)
