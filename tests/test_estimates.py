"""What trained critics reach, against exact divergences and distances."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from scipy import stats

from jaxgan.divergences import DIVERGENCES, discrete_divergence, gaussian_divergence, integrated_divergence
from jaxgan.estimates import estimate_divergence, estimate_wasserstein
from jaxgan.transport import wasserstein_assignment

LOG4 = math.log(4.0)
# Samples to train on, and quantiles that stand for a sample so large that it has no error to speak of.
SAMPLES = np.random.default_rng(0).normal(size=(2, 20_000, 1))
QUANTILES = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)[:, None]


def gaussian_estimate(name, gap, **options):
    """Of N(0, 1) and N(gap, 1)."""
    return estimate_divergence(
        SAMPLES[0], SAMPLES[1] + gap, name, fresh=(QUANTILES, QUANTILES + gap), **{"num_seeds": 2, **options}
    )


def two_jsd(gap):
    return integrated_divergence("jensen_shannon", norm.pdf, lambda x: norm.pdf(x, gap), -12.0, 12.0 + gap)


@pytest.mark.parametrize("gap", [0.1, 2.0])
def test_the_gan_s_discriminator_finds_the_jensen_shannon_divergence_of_gaussians(gap):
    estimate, exact = gaussian_estimate("gan", gap), two_jsd(gap)
    error = estimate.value + LOG4 - exact
    assert np.all(np.abs(error) <= max(0.01 * exact, 0.0005))
    assert np.all(error <= 1e-4)  # a bound, up to the mass that the outermost quantiles cut off


def test_the_gan_discriminator_estimates_the_jensen_shannon_divergence_of_a_discrete_distribution():
    p, q = np.array([0.1, 0.2, 0.7]), np.array([0.4, 0.5, 0.1])
    points = lambda weights, count: np.repeat(np.array([-1.0, 0.0, 2.0]), np.rint(weights * count).astype(int))[:, None]
    fresh = points(p, 200_000), points(q, 200_000)
    estimate = estimate_divergence(points(p, 20_000), points(q, 20_000), "gan", fresh=fresh, num_seeds=2)
    exact = discrete_divergence("jensen_shannon", p, q)
    np.testing.assert_allclose(estimate.value + LOG4, exact, rtol=0.002)


@pytest.mark.parametrize(
    "name",
    [name if name == "kl" else pytest.param(name, marks=pytest.mark.slow) for name in DIVERGENCES],
)
def test_every_divergence_of_gaussians_is_bounded_and_nearly_reached(name):
    shift = LOG4 if name == "gan" else 0.0
    exact = two_jsd(1.0) if name in ("jensen_shannon", "gan") else gaussian_divergence(name, 0.0, 1.0, 1.0, 1.0)
    value = gaussian_estimate(name, 1.0).value + shift
    assert np.all(value >= 0.95 * exact)
    assert np.all(value <= 1.001 * exact)


def segment(position, count=400):
    """Points `(position, u)`, u even on [0, 1]."""
    return np.stack([np.full(count, position), (np.arange(count) + 0.5) / count], axis=1)


def test_parallel_segments_are_log_2_apart_at_any_distance():
    # Arjovsky et al. 2017, example 1: JSD = log 2 unless the segments coincide, so no gradient pulls them together.
    for position in (0.05, 4.0):
        value = estimate_divergence(segment(0.0), segment(position), "jensen_shannon", num_seeds=2).value
        np.testing.assert_allclose(value / 2.0, math.log(2.0), rtol=0.005)
    same = estimate_divergence(segment(0.0), segment(0.0), "jensen_shannon", num_seeds=2).value
    np.testing.assert_allclose(same, 0.0, atol=1e-3)


def test_the_penalised_critic_s_estimate_lies_on_its_line():
    # A slope s earns s W and pays weight (s - 1)^2: best at s = 1 + W / (2 weight).
    for distance, weight in ((0.25, 1.0), (0.5, 100.0), (4.0, 10.0)):
        estimate = estimate_wasserstein(segment(distance), segment(0.0), penalty_weight=weight, num_seeds=2)
        slope = 1.0 + distance / (2.0 * weight)
        np.testing.assert_allclose(estimate.value, slope * distance, rtol=0.01)
        np.testing.assert_allclose(estimate.gradient_norm, slope, rtol=0.03)


def test_the_spectrally_normalized_critic_is_a_bound_and_reaches_it_between_segments():
    for distance in (0.05, 4.0):
        estimate = estimate_wasserstein(segment(0.0), segment(distance), "spectral_norm", num_seeds=2)
        assert np.all(estimate.value <= distance * (1.0 + 1e-5)) and np.all(estimate.gradient_norm <= 1.0 + 1e-5)
        np.testing.assert_allclose(estimate.value, distance, rtol=0.005)
    random = np.random.default_rng(1)
    x, y = random.normal(size=(400, 2)), random.normal(0.5, 1.5, (400, 2))
    value = estimate_wasserstein(x, y, "spectral_norm", num_seeds=2).value
    exact = wasserstein_assignment(x, y)
    assert np.all(value <= exact) and np.all(value >= 0.7 * exact)


def test_the_clipped_critic_estimates_the_distance_up_to_its_lipschitz_constant():
    values = []
    for distance in (0.25, 4.0):
        estimate = estimate_wasserstein(segment(0.0), segment(distance), "clipping", num_seeds=2)
        # Three layers of weights up to .01: 32 * 32 paths, and the norm of (1, 1) at the input.
        assert np.all(estimate.gradient_norm <= 0.01**3 * 32**2 * math.sqrt(2.0))
        scaled = estimate.value / estimate.gradient_norm
        assert np.all(scaled <= distance) and np.all(scaled >= 0.4 * distance)
        values.append(estimate.value)
    assert np.all(np.diff(values, axis=0) > 0)


def test_an_estimate_is_a_function_of_its_seed():
    first, again, other = (gaussian_estimate("gan", 1.0, seed=seed) for seed in (0, 0, 1))
    for name in ("value", "history"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert np.all(getattr(first, name) != getattr(other, name))
    assert first.value[0] != first.value[1]
    # Its first critic does not depend on how many others there are; later steps magnify rounding.
    alone = gaussian_estimate("gan", 1.0, num_seeds=1)
    np.testing.assert_allclose(alone.history[:, :5], first.history[:1, :5], rtol=1e-4)


def test_history_rises_to_the_value():
    estimate = gaussian_estimate("gan", 2.0)
    assert estimate.value.shape == (2,) and estimate.value.dtype == np.float64
    assert estimate.history.shape == (2, 1000) and estimate.history.dtype == np.float64
    assert np.all(estimate.history[:, 0] < estimate.value - 0.3)
    np.testing.assert_allclose(estimate.history[:, -200:].mean(axis=1), estimate.value, atol=0.03)


def test_the_value_is_evaluated_on_fresh_samples():
    # A discriminator trained to tell two distributions apart gains nothing on two samples of one distribution.
    estimate = estimate_divergence(SAMPLES[0], SAMPLES[1] + 2.0, "gan", fresh=(QUANTILES, QUANTILES), num_seeds=2)
    assert np.all(estimate.value < -LOG4 - 0.1)


def test_divergences_do_not_depend_on_the_unit():
    scaled = estimate_divergence(
        1000.0 * SAMPLES[0] - 300.0,
        1000.0 * (SAMPLES[1] + 1.0) - 300.0,
        "gan",
        fresh=(1000.0 * QUANTILES - 300.0, 1000.0 * (QUANTILES + 1.0) - 300.0),
        num_seeds=2,
    )
    np.testing.assert_allclose(scaled.value + LOG4, two_jsd(1.0), rtol=0.01)


GOOD = np.zeros((4, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate_divergence(GOOD, GOOD, "js"), "unknown divergence 'js': there are total_variation, kl"),
        (lambda: estimate_divergence(GOOD[:, 0], GOOD, "kl"), r"real samples have shape \(4,\), but \[N, D\]"),
        (lambda: estimate_divergence(GOOD, GOOD[:0], "kl"), r"fake samples have shape \(0, 2\)"),
        (lambda: estimate_divergence(GOOD, GOOD[:, :1], "kl"), "fake samples have dimension 1, real ones 2"),
        (lambda: estimate_divergence(GOOD, GOOD + np.nan, "kl"), "fake samples hold NaN"),
        (lambda: estimate_divergence(GOOD, GOOD, "kl", fresh=(GOOD, GOOD[:, :1])), "fresh fake samples have dim"),
        (lambda: estimate_divergence(GOOD, GOOD, "kl", num_seeds=0), "num_seeds=0, but at least 1"),
        (lambda: estimate_divergence(GOOD, GOOD, "kl", num_steps=0), "num_steps=0"),
        (lambda: estimate_divergence(GOOD, GOOD, "kl", batch_size=0), "batch_size=0"),
        (
            lambda: estimate_wasserstein(GOOD, GOOD, "gp"),  # pyright: ignore[reportArgumentType]
            "unknown constraint 'gp': there are clipping, gradient_penalty, spectral_norm",
        ),
        (lambda: estimate_wasserstein(GOOD, GOOD, penalty_weight=0.0), "penalty_weight=0.0 is not positive"),
        (lambda: estimate_wasserstein(GOOD, GOOD, "clipping", clip_limit=0.0), "clip_weights needs a positive limit"),
        (lambda: estimate_wasserstein(jnp.full((4, 2), jnp.inf), GOOD), "real samples hold NaN or infinity"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
