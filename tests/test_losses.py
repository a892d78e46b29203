"""Every adversarial loss against the papers' formulas, at extreme scores, and in the direction it pulls."""

from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax.test_util import check_grads

from jaxgan import losses
from jaxgan.losses import (
    LOSSES,
    LossName,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    matching_aware_discriminator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    mode_seeking_loss,
    non_saturating_generator_loss,
    relativistic_discriminator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from jaxgan.types import AdversarialLoss

PAIRED = {"relativistic"}
PLAYERS = ("discriminator", "generator")
each_loss = pytest.mark.parametrize("name", LOSSES)
each_player = pytest.mark.parametrize("player", PLAYERS)


def draw_scores(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(0.2, 2.0, shape).astype(np.float32) for shape in shapes)


def both_gradients(loss, real, fake):
    return jax.grad(loss, argnums=(0, 1))(jnp.asarray(real), jnp.asarray(fake))


def test_the_table_is_complete_and_cannot_be_changed():
    assert set(LOSSES) == set(reference.ADVERSARIAL)
    with pytest.raises(TypeError):
        LOSSES["mine"] = LOSSES["hinge"]  # pyright: ignore[reportIndexIssue]


@each_loss
@each_player
def test_equals_the_paper(name, player):
    for shape in (7,), (3, 4, 5, 1):
        real, fake = draw_scores(shape, shape)
        value = getattr(LOSSES[name], player)(real, fake)
        assert value.shape == ()
        np.testing.assert_allclose(value, reference.ADVERSARIAL[name][PLAYERS.index(player)](real, fake), rtol=1e-5)


@each_loss
@each_player
def test_unequal_counts_are_averaged_apart_or_refused(name, player):
    real, fake = draw_scores((9,), (4, 3, 3, 1))
    loss = getattr(LOSSES[name], player)
    if name in PAIRED:
        with pytest.raises(AssertionError, match="different shapes"):
            loss(real, fake)
    else:
        expected = reference.ADVERSARIAL[name][PLAYERS.index(player)](real, fake)
        np.testing.assert_allclose(loss(real, fake), expected, rtol=1e-5)


@each_loss
@each_player
def test_jit_and_vmap_give_each_batch_its_own_loss(name, player):
    real, fake = draw_scores((3, 5, 1), (3, 5, 1))
    loss = getattr(LOSSES[name], player)
    expected = [reference.ADVERSARIAL[name][PLAYERS.index(player)](*pair) for pair in zip(real, fake, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(real, fake), expected, rtol=1e-5)


@each_loss
@each_player
def test_derivatives_equal_finite_differences(name, player):
    # No score lies within a finite difference of the hinge's kinks at -1 and 1.
    real, fake = np.array([-2.0, 0.3, 1.7, 4.0]), np.array([-3.0, -0.4, 0.6, 2.5])
    with jax.enable_x64(True):
        loss = jax.jit(getattr(LOSSES[name], player))
        check_grads(loss, (jnp.asarray(real), jnp.asarray(fake)), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "player", "dtype"),
    # Each loss widens its own scores; what comes out of the types is decided in one place.
    [*((name, player, "bfloat16") for name in LOSSES for player in PLAYERS)]
    + [("minimax", "discriminator", dtype) for dtype in ("float16", "float32", "float64")],
)
def test_dtype_is_at_least_float32(name, player, dtype):
    real, fake = draw_scores((6,), (6,))
    loss = getattr(LOSSES[name], player)
    with jax.enable_x64(dtype == "float64"):
        real, fake = jnp.asarray(real, dtype), jnp.asarray(fake, dtype)
        value = loss(real, fake)
        assert value.dtype == ("float64" if dtype == "float64" else "float32")
        # Only the scores are rounded to the low precision; what is computed from them is not.
        expected = reference.ADVERSARIAL[name][PLAYERS.index(player)](np.float64(real), np.float64(fake))
        np.testing.assert_allclose(value, expected, rtol=1e-12 if dtype == "float64" else 1e-5)
        assert all(gradient.dtype == dtype for gradient in jax.eval_shape(jax.grad(loss, argnums=(0, 1)), real, fake))


# Value and gradients (real, fake) of each loss where the discriminator is as wrong as can be: real -s, fake +s. From
# softplus(s) = s and sigmoid(s) = 1 up to exp(-s).
EXTREME = {
    ("minimax", "discriminator"): lambda s: (2 * s, -1, 1),
    ("minimax", "generator"): lambda s: (-s, 0, -1),
    ("non_saturating", "discriminator"): lambda s: (2 * s, -1, 1),
    ("non_saturating", "generator"): lambda s: (0, 0, 0),
    ("least_squares", "discriminator"): lambda s: ((s + 1) ** 2 + s**2, -2 * (s + 1), 2 * s),
    ("least_squares", "generator"): lambda s: ((s - 1) ** 2, 0, 2 * (s - 1)),
    ("hinge", "discriminator"): lambda s: (2 + 2 * s, -1, 1),
    ("hinge", "generator"): lambda s: (-s, 0, -1),
    ("wasserstein", "discriminator"): lambda s: (2 * s, -1, 1),
    ("wasserstein", "generator"): lambda s: (-s, 0, -1),
    ("relativistic", "discriminator"): lambda s: (2 * s, -1, 1),
    ("relativistic", "generator"): lambda s: (0, 0, 0),
    # One sample is its own mean: each of the two halved terms pulls at both scores.
    ("relativistic_average", "discriminator"): lambda s: (2 * s, -1, 1),
    ("relativistic_average", "generator"): lambda s: (0, 0, 0),
}


@each_loss
@each_player
def test_extreme_scores(name, player):
    loss, size = getattr(LOSSES[name], player), 16384.0
    both = jax.value_and_grad(loss, argnums=(0, 1))
    low, high = jnp.float32([-size]), jnp.float32([size])
    value, slopes = both(low, high)
    np.testing.assert_allclose([value, *(slope[0] for slope in slopes)], EXTREME[name, player](size), atol=1e-30)
    # And where it is as right as can be.
    value, slopes = both(high, low)
    assert np.all(np.isfinite([value, *(slope[0] for slope in slopes)]))


def test_non_saturating_generator_does_not_saturate():
    gradient = jax.grad(losses.non_saturating_generator_loss)
    np.testing.assert_allclose(gradient(-20.0), -1.0, rtol=1e-6)
    np.testing.assert_allclose(gradient(-1e4), -1.0, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(losses.minimax_generator_loss)(-20.0), -np.exp(-20.0), rtol=1e-5)


@each_loss
def test_one_step_moves_the_right_scores(name):
    # Inside the hinge's margins and between the least-squares targets, as early in training.
    real, fake = jnp.array([0.1, 0.4, 0.3]), jnp.array([0.2, 0.5, 0.1])
    loss = LOSSES[name]
    real_gradients, fake_gradients = both_gradients(loss.discriminator, real, fake)
    assert np.all(real_gradients < 0)  # a descent step raises every real score
    assert np.all(fake_gradients > 0)  # and lowers every fake one
    _, fake_gradients = both_gradients(loss.generator, real, fake)
    assert np.all(fake_gradients < 0)  # the generator's step raises every fake score


@each_loss
def test_only_relativistic_generators_read_real_scores(name):
    real, fake = draw_scores((5,), (5,))
    real_gradient, _ = both_gradients(LOSSES[name].generator, real, fake)
    assert np.any(real_gradient != 0) == name.startswith("relativistic")


@each_loss
def test_estimate_is_named_and_only_there_where_scores_estimate_a_distance(name):
    real, fake = draw_scores((5,), (8,))
    estimate = LOSSES[name].estimate(jnp.asarray(real), jnp.asarray(fake))
    if name == "wasserstein":
        np.testing.assert_allclose(estimate["wasserstein_estimate"], np.mean(real) - np.mean(fake), rtol=1e-5)
        assert set(estimate) == {"wasserstein_estimate"}
    else:
        assert estimate == {}


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_label_smoothing_lowers_the_real_target_only(smoothing):
    real, fake = draw_scores((6,), (4,))
    loss = partial(losses.minimax_discriminator_loss, label_smoothing=smoothing)
    expected = reference.minimax_discriminator(real, fake, real_target=1.0 - smoothing)
    np.testing.assert_allclose(loss(real, fake), expected, rtol=1e-5)
    if smoothing:
        best = np.log((1.0 - smoothing) / smoothing)  # where sigmoid(score) = 1 - smoothing
        np.testing.assert_allclose(jax.grad(loss)(jnp.float32(best), 0.0), 0.0, atol=1e-6)
    for score in (-1e4, 1e4):  # gradient sigmoid(score) - target
        np.testing.assert_allclose(jax.grad(loss)(score, 0.0), (score > 0) - (1.0 - smoothing), atol=1e-6)


def test_least_squares_with_the_targets_of_the_pearson_divergence():
    real, fake = draw_scores((6,), (4,))
    np.testing.assert_allclose(
        losses.least_squares_discriminator_loss(real, fake, real_target=1.0, fake_target=-1.0),
        reference.least_squares_discriminator(real, fake, a=-1.0, b=1.0),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        losses.least_squares_generator_loss(fake, target=0.0),
        reference.least_squares_generator(real, fake, c=0.0),
        rtol=1e-5,
    )


def test_arrays_of_targets_are_refused():
    scores, targets = jnp.array([[0.0], [1.0]]), jnp.array([0.0, 1.0])
    with pytest.raises(AssertionError, match="rank"):
        losses.least_squares_generator_loss(scores, target=targets)  # pyright: ignore[reportArgumentType]
    with pytest.raises(AssertionError, match="rank"):
        losses.least_squares_discriminator_loss(scores, scores, real_target=targets)  # pyright: ignore[reportArgumentType]
    with pytest.raises(AssertionError, match="rank"):
        losses.minimax_discriminator_loss(scores, scores, label_smoothing=targets)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("player", [losses.relativistic_discriminator_loss, losses.relativistic_generator_loss])
def test_pairs_must_have_equal_shapes(player):
    with pytest.raises(AssertionError, match="different shapes"):
        player(jnp.zeros((2, 1)), jnp.zeros((2,)))


def test_relativistic_losses_only_see_differences_of_scores():
    real, fake = draw_scores((6,), (6,))
    for name in ("relativistic", "relativistic_average"):
        for player in PLAYERS:
            loss = getattr(LOSSES[name], player)
            np.testing.assert_allclose(loss(real + 50.0, fake + 50.0), loss(real, fake), rtol=1e-4)


def test_a_pair_with_other_settings_fits_the_table():
    loss = AdversarialLoss(
        partial(losses.least_squares_discriminator_loss, fake_target=-1.0),
        lambda real_scores, fake_scores: losses.least_squares_generator_loss(fake_scores, target=0.0),
    )
    scores = jnp.full((4,), 0.5)
    assert float(loss.discriminator(scores, scores)) == 0.25 + 2.25
    assert float(loss.generator(scores, scores)) == 0.25
    assert loss.estimate(scores, scores) == {}


def test_the_names_a_flag_accepts_are_those_of_the_table():
    assert get_args(LossName) == tuple(LOSSES)


@pytest.mark.parametrize("loss", [losses.cycle_consistency_loss, losses.identity_loss, losses.l1_loss])
def test_losses_of_images_are_their_mean_distance(loss):
    rng = np.random.default_rng(0)
    images, others = (rng.uniform(-1, 1, (2, 4, 5, 3)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(loss(images, others), np.abs(images.astype(np.float64) - others).mean(), rtol=1e-6)
    assert float(loss(images, images)) == 0.0
    np.testing.assert_allclose(jax.grad(loss, argnums=1)(images, others), np.sign(others - images) / 120, rtol=1e-5)
    low = loss(jnp.ones((64, 64), jnp.bfloat16), jnp.full((64, 64), 1.0078125, jnp.bfloat16))
    assert low.dtype == jnp.float32 and float(low) == 0.0078125
    with pytest.raises(AssertionError, match="different shapes"):
        loss(images, others[:, :, :1])


@pytest.mark.parametrize("name", LOSSES)
def test_matching_aware_loss_is_the_weighted_mean_of_two(name):
    real, fake, mismatched = draw_scores((7, 1), (7, 1), (7, 1))
    against = reference.ADVERSARIAL[name][0]
    loss = partial(matching_aware_discriminator_loss, loss=LOSSES[name])
    for weight in (0.0, 0.5, 0.8):
        expected = (1 - weight) * against(real, fake) + weight * against(real, mismatched)
        value = loss(real, fake, mismatched, mismatch_weight=weight)
        assert value.shape == ()
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(loss(real, fake, mismatched), loss(real, mismatched, fake), rtol=1e-6)  # halves


def test_matching_aware_loss_as_the_authors_wrote_it():
    """reedscot/icml2016, main_cls.lua: BCE(real, 1) + w BCE(wrong, 0) + (1 - w) BCE(fake, 0)."""
    real, fake, mismatched = draw_scores(9, 9, 9)
    s = reference.sigmoid
    bce = lambda scores, target: -np.mean(target * np.log(s(scores)) + (1 - target) * np.log(1 - s(scores)))
    loss = partial(matching_aware_discriminator_loss, loss=LOSSES["non_saturating"], mismatch_weight=0.3)
    expected = bce(real, 1) + 0.3 * bce(mismatched, 0) + 0.7 * bce(fake, 0)
    np.testing.assert_allclose(loss(real, fake, mismatched), expected, rtol=1e-5)
    gradients = jax.grad(lambda *all_scores: loss(*all_scores), argnums=(0, 1, 2))(
        *map(jnp.asarray, (real, fake, mismatched))
    )
    np.testing.assert_allclose(gradients[0], (s(real) - 1) / 9, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(gradients[1], 0.7 * s(fake) / 9, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(gradients[2], 0.3 * s(mismatched) / 9, rtol=1e-3, atol=1e-6)
    with pytest.raises(AssertionError, match="rank"):
        loss(real, fake, mismatched, mismatch_weight=jnp.ones(9))


def test_mode_seeking_loss():
    """Mao et al. 2019, section 3.2, as their code has it: ratio of means, 1e-5, reciprocal."""
    random = np.random.default_rng(0)
    samples, others = random.normal(size=(2, 3, 4, 4, 1)).astype(np.float32)
    latents, other_latents = random.normal(size=(2, 3, 5)).astype(np.float32)
    expected = 1 / (np.abs(samples - others).mean() / np.abs(latents - other_latents).mean() + 1e-5)
    value = mode_seeking_loss(samples, others, latents, other_latents)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert float(mode_seeking_loss(2 * samples, 2 * others, latents, other_latents)) < float(value)
    check_grads(lambda x: mode_seeking_loss(x, others, latents, other_latents), (samples,), order=1, modes=["rev"])
    assert float(mode_seeking_loss(samples, samples, latents, other_latents)) == pytest.approx(1e5, rel=1e-5)
    gradient = jax.grad(mode_seeking_loss)(jnp.asarray(samples), samples, latents, other_latents)
    assert bool(jnp.isfinite(gradient).all())
    half = partial(jnp.asarray, dtype=jnp.bfloat16)
    assert mode_seeking_loss(half(samples), half(others), latents, other_latents).dtype == jnp.float32
    with pytest.raises(AssertionError, match="different shapes"):
        mode_seeking_loss(samples, others[:2], latents, other_latents)


def test_signs_of_the_wasserstein_losses():
    """martinarjovsky/WassersteinGAN#61: users could not tell which sign was minimized."""
    real, fake = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 1.5])
    loss = LOSSES["wasserstein"]
    assert float(wasserstein_discriminator_loss(real, fake)) == float(loss.discriminator(real, fake)) == -1.0
    assert float(wasserstein_generator_loss(fake)) == float(loss.generator(real, fake)) == -1.0
    assert {name: float(value) for name, value in loss.estimate(real, fake).items()} == {"wasserstein_estimate": 1.0}

    # One step on each side, with critic D(x) = w x and generator G(z) = z + b.
    data, latents = real, fake

    def real_and_fake_scores(w, b):
        return w * data, w * (latents + b)

    w, b = 1.0, 0.0
    stepped_w = w - 0.1 * jax.grad(lambda w: loss.discriminator(*real_and_fake_scores(w, b)))(w)
    before, after = (loss.estimate(*real_and_fake_scores(w, b))["wasserstein_estimate"] for w in (w, stepped_w))
    assert after > before
    stepped_b = b - 0.1 * jax.grad(lambda b: loss.generator(*real_and_fake_scores(w, b)))(b)
    assert jnp.mean(real_and_fake_scores(w, stepped_b)[1]) > jnp.mean(real_and_fake_scores(w, b)[1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_losses_take_raw_scores(dtype):
    """carpedm20/DCGAN-tensorflow#15: cross-entropy was given probabilities, which it took for logits."""
    zero, low, high = (jnp.full((4,), score, dtype) for score in (0.0, -100.0, 100.0))
    np.testing.assert_allclose(minimax_discriminator_loss(zero, zero), 2.0 * np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(non_saturating_generator_loss(zero), np.log(2.0), rtol=1e-6)

    # As wrong as can be: 100 for each class, and a slope of 1 (a quarter for each of four samples).
    np.testing.assert_allclose(minimax_discriminator_loss(low, high), 200.0, rtol=1e-6)
    real_slope, fake_slope = jax.grad(minimax_discriminator_loss, argnums=(0, 1))(low, high)
    np.testing.assert_array_equal(np.float32(real_slope), np.full(4, -0.25))
    np.testing.assert_array_equal(np.float32(fake_slope), np.full(4, 0.25))
    sure = jnp.asarray(-20.0, dtype)
    np.testing.assert_allclose(np.float32(jax.grad(non_saturating_generator_loss)(sure)), -1.0, rtol=1e-6)
    np.testing.assert_allclose(np.float32(jax.grad(minimax_generator_loss)(sure)), -np.exp(-20.0), rtol=1e-2)

    half = jnp.full((4,), 0.5, dtype)  # no factor 1/2 in our least squares
    assert float(least_squares_discriminator_loss(half, half)) == 0.5
    assert float(least_squares_generator_loss(half)) == 0.25
    beyond = jnp.asarray([3.9], dtype)
    expected = (float(beyond[0]) - 1.0) ** 2  # 8.41 in float32: no sigmoid
    np.testing.assert_allclose(least_squares_discriminator_loss(beyond, jnp.zeros(1)), expected, rtol=1e-6)
    np.testing.assert_allclose(expected, 8.41, rtol=1e-2)

    # [[0], [1]] against [0, 1] is refused where broadcasting would make four pairs of it (0.5).
    column, row = jnp.array([[0.0], [1.0]], dtype), jnp.array([0.0, 1.0], dtype)
    with pytest.raises(AssertionError):
        least_squares_generator_loss(column, target=row)  # pyright: ignore[reportArgumentType]
    with pytest.raises(AssertionError):
        relativistic_discriminator_loss(column, row)
