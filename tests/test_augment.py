"""Augmentations by what they leave alone, by every draw they may make, and as the generator trains through them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan.augment import (
    AUGMENTATIONS,
    ada_update,
    adaptive,
    adaptive_augment,
    decision_score,
    diff_augment,
    named_augmentation,
)
from jaxgan.divergences import DIVERGENCES, f_gan_loss
from jaxgan.losses import (
    LOSSES,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    minimax_discriminator_loss,
)
from jaxgan.types import AdversarialLoss

KEY = jax.random.key(0)
PICTURE = np.random.default_rng(0).uniform(-1.0, 1.0, (16, 12, 3)).astype(np.float32)


def many(name, picture=PICTURE, count=256, key=KEY):
    """The image, augmented `count` times in one batch."""
    images = jnp.broadcast_to(jnp.asarray(picture), (count, *picture.shape))
    return np.asarray(jax.jit(AUGMENTATIONS[name])(images, key))


def inside(factors, low, high):
    """Uniform numbers: none beyond the ends, and 256 of them come near both and the middle."""
    assert factors.min() >= low and factors.max() <= high
    margin = 0.05 * (high - low)
    assert factors.min() < low + margin and factors.max() > high - margin
    assert np.mean(factors) == pytest.approx((low + high) / 2, abs=2 * margin)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_shape_type_and_a_draw_of_its_own_for_each_image(name, channels):
    picture = PICTURE[:, :, :channels]
    augmented = many(name, picture, 32)
    assert augmented.shape == (32, *picture.shape) and augmented.dtype == np.float32
    different = len(np.unique(augmented.round(4), axis=0))
    assert different == 1 if (name, channels) == ("saturation", 1) else different > 8
    again = many(name, picture, 32, jax.random.key(1))
    assert (name, channels) == ("saturation", 1) or not np.array_equal(augmented, again)


def test_brightness_adds_one_number():
    added = many("brightness") - PICTURE
    np.testing.assert_allclose(np.ptp(added, axis=(1, 2, 3)), 0.0, atol=1e-6)
    inside(added[:, 0, 0, 0], -0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "axes", "low", "high"), [("saturation", 3, 0.0, 2.0), ("contrast", (1, 2, 3), 0.5, 1.5)]
)
def test_saturation_and_contrast_scale_the_distance_from_a_mean(name, axes, low, high):
    augmented, picture = many(name), PICTURE[None]
    mean = picture.mean(axes, keepdims=True)
    np.testing.assert_allclose(
        augmented.mean(axes, keepdims=True), np.broadcast_to(mean, (256, *mean.shape[1:])), atol=1e-5
    )
    factors = np.sum((augmented - mean) * (picture - mean), axis=(1, 2, 3)) / np.sum((picture - mean) ** 2)
    expected = mean + factors[:, None, None, None] * (picture - mean)
    np.testing.assert_allclose(augmented, expected, atol=1e-5)
    inside(factors, low, high)


def test_saturation_leaves_one_channel_alone():
    np.testing.assert_allclose(many("saturation", PICTURE[:, :, :1]), PICTURE[None, :, :, :1].repeat(256, 0), atol=1e-6)


def test_color_is_brightness_first():
    """Brightness moves the mean of an image, and neither of the others moves it on."""
    moved = many("color").mean((1, 2, 3)) - PICTURE.mean()
    inside(moved, -0.5, 0.5)
    assert len(np.unique((many("color") - PICTURE).std((1, 2, 3)).round(4))) > 100


def authors_size(size, ratio):
    """mit-han-lab/data-efficient-gans DiffAugment_pytorch.py, rand_translation and rand_cutout."""
    return int(size * ratio + 0.5)


@pytest.mark.parametrize(("height", "width"), [(16, 11), (28, 4), (7, 3)])
def test_translation_is_each_of_the_authors_shifts_and_fills_with_zero(height, width):
    picture = np.random.default_rng(1).uniform(0.5, 1.0, (height, width, 1)).astype(np.float32)
    down_most, right_most = authors_size(height, 0.125), authors_size(width, 0.125)
    shifts = {}
    for down in range(-down_most, down_most + 1):
        for right in range(-right_most, right_most + 1):
            shifted = np.zeros_like(picture)
            rows, columns = slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0))
            sources = slice(max(-down, 0), height - max(down, 0)), slice(max(-right, 0), width - max(right, 0))
            shifted[rows, columns] = picture[sources]
            shifts[shifted.tobytes()] = 0
    expected = 40
    for image in many("translation", picture, expected * len(shifts)):
        shifts[image.tobytes()] += 1  # a KeyError for any other image
    assert len(shifts) == (2 * down_most + 1) * (2 * right_most + 1)
    assert min(shifts.values()) > 15 and max(shifts.values()) < 75


@pytest.mark.parametrize("size", [8, 6, 7, 5])
def test_cutout_is_each_of_the_authors_rectangles(size):
    """By the authors' own way of saying it: a grid of half the size around a drawn middle, pushed back to the edges."""
    picture = 1.0 + np.arange(size * size, dtype=np.float32).reshape(size, size, 1)
    hole = authors_size(size, 0.5)
    middles = range(size + (1 - hole % 2))
    holes = {}
    for row in middles:
        for column in middles:
            rows = np.clip(np.arange(hole) + row - hole // 2, 0, size - 1)
            columns = np.clip(np.arange(hole) + column - hole // 2, 0, size - 1)
            cut = picture.copy()
            cut[rows[:, None], columns[None]] = 0.0
            holes[cut.tobytes()] = 0
    assert len(holes) == len(middles) ** 2
    for image in many("cutout", picture, 2048):
        holes[image.tobytes()] += 1
    assert min(holes.values()) > 5  # 25 of each expected and more


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_derivatives_equal_finite_differences(name):
    images = jnp.asarray(np.stack([PICTURE[:8, :8], PICTURE[8:, :8]]), jnp.float32)
    with jax.enable_x64(True):
        augment = jax.jit(partial(AUGMENTATIONS[name], key=KEY))
        check_grads(augment, (images.astype(jnp.float64),), order=1, modes=["fwd", "rev"], atol=1e-6, rtol=1e-6)


# Rows left by a cutout of 8 in 16: of 17 places, 9 take 8 rows and two each take 4, 5, 6 and 7; by a translation of up
# to 2: 16 - 6 / 5 of 16.
CUT, MOVED = (9 * 8 + 2 * (4 + 5 + 6 + 7)) / 17 / 16, (16 - 6 / 5) / 16


@pytest.mark.parametrize(
    ("policy", "left"), [("cutout", 1 - CUT**2), ("color,translation,cutout", MOVED**2 * (1 - CUT**2))]
)
def test_a_generator_trains_through_every_policy(policy, left):
    """For a constant grey generator and a critic that takes the mean, the gradient is the fraction of pixels left."""
    augment = diff_augment(policy)
    score = lambda level: jnp.mean(augment(jnp.full((256, 16, 16, 1), 1.0) * level, KEY))
    assert float(jax.jit(jax.grad(score))(jnp.float32(0.3))) == pytest.approx(left, abs=0.02)


def test_a_policy_in_either_form_is_its_augmentations_in_order():
    images = jnp.asarray(PICTURE)[None].repeat(4, 0)
    text, names = diff_augment("brightness, cutout"), diff_augment(("brightness", "cutout"))
    augmented = np.asarray(text(images, KEY))
    np.testing.assert_array_equal(augmented, names(images, KEY))
    assert np.any(augmented == 0.0)  # cut out last
    assert not np.any(np.asarray(diff_augment("cutout,brightness")(images, KEY)) == 0.0)


@pytest.mark.parametrize("build", [diff_augment, adaptive])
@pytest.mark.parametrize(("policy", "name"), [("color,rotate", "rotate"), ("", ""), ((), ""), (["Color"], "Color")])
def test_an_unknown_augmentation_is_named_with_the_valid_ones(build, policy, name):
    with pytest.raises(ValueError, match=f"'{name}': there are brightness, .*, translation, cutout"):
        build(policy)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_need_four_axes(name):
    with pytest.raises(AssertionError, match="rank"):
        AUGMENTATIONS[name](jnp.zeros((8, 8, 3)), KEY)


def test_bytes_are_refused():
    with pytest.raises(AssertionError, match="type"):
        AUGMENTATIONS["brightness"](jnp.zeros((2, 8, 8, 3), jnp.uint8), KEY)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_bfloat16_stays(name):
    assert AUGMENTATIONS[name](jnp.zeros((2, 8, 8, 3), jnp.bfloat16), KEY).dtype == jnp.bfloat16


def test_adaptive_augments_each_image_with_the_probability():
    """Brightness touches every pixel and cutout at most a quarter, so both coins can be read off the result."""
    images = jnp.ones((2048, 8, 8, 1))
    augment = jax.jit(adaptive("brightness,cutout"))
    np.testing.assert_array_equal(augment(images, KEY, 0.0), images)
    for probability in (0.25, 1.0):
        augmented = np.asarray(augment(images, KEY, jnp.float32(probability)))
        brighter = augmented.max((1, 2, 3)) != 1.0
        cut = augmented.min((1, 2, 3)) == 0.0
        for coins, expected in ((brighter, probability), (cut, probability), (brighter & cut, probability**2)):
            assert coins.mean() == pytest.approx(expected, abs=0.04)  # 4 standard deviations
    assert augment._cache_size() == 2  # a Python number and an array, whatever their values


def test_adaptive_takes_one_probability():
    with pytest.raises(AssertionError, match="rank"):
        adaptive("color")(jnp.zeros((2, 8, 8, 1)), KEY, jnp.zeros(2))


# r = mean of signs = (3 - 1) / 4 = 0.5, which is below the authors' target of 0.6 and above 0.4.
SCORES = jnp.array([[2.0], [0.1], [-3.0], [1e4]])


def test_ada_update_moves_towards_the_target():
    update = partial(ada_update, batch_size=50, ramp_images=1000)
    assert float(update(0.5, SCORES)) == pytest.approx(0.45)
    assert float(update(0.5, SCORES, target=0.4)) == pytest.approx(0.55)
    assert float(update(0.5, SCORES, target=0.5)) == 0.5
    assert float(update(0.02, SCORES)) == 0.0
    assert float(update(0.98, SCORES, target=0.4)) == 1.0
    assert update(0.5, SCORES.astype(jnp.bfloat16)).dtype == jnp.float32


def test_ada_ramps_up_in_half_a_million_images():
    update = jax.jit(partial(ada_update, batch_size=50_000))
    p = jnp.zeros(())
    for _ in range(9):
        p = update(p, jnp.ones(8))
    assert float(p) == pytest.approx(0.9)
    assert float(update(p, jnp.ones(8))) == pytest.approx(1.0)
    with pytest.raises(AssertionError, match="rank"):
        ada_update(jnp.zeros(2), SCORES, batch_size=1)


def test_adaptive_augment_follows_the_scores_of_a_batch():
    augment = adaptive_augment("brightness", target=0.5, ramp_images=100)
    state = augment.update(augment.init, jnp.ones(20))
    assert float(state["augment_probability"]) == pytest.approx(0.2)  # 20 of 100 images, too sure
    assert float(augment.update(state, jnp.array([1.0, -1.0] * 5))["augment_probability"]) == pytest.approx(0.1)
    images = jnp.zeros((400, 2, 2, 1))
    np.testing.assert_array_equal(augment.apply(augment.init, images, KEY), images)
    changed = jnp.any(augment.apply(state, images, KEY) != 0, axis=(1, 2, 3)).mean()
    assert float(changed) == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize(
    ("loss", "score"),
    [
        *((LOSSES[name], 0.0) for name in ("minimax", "non_saturating", "hinge")),
        (LOSSES["least_squares"], 0.5),
        (AdversarialLoss(partial(least_squares_discriminator_loss, fake_target=-1.0), hinge_generator_loss), 0.0),
        # With t = 0.9 instead of 1 the best discriminator says 0.45 there, whose logit is -0.2007.
        (AdversarialLoss(partial(minimax_discriminator_loss, label_smoothing=0.1), hinge_generator_loss), -0.2007),
        *((LOSSES[name], None) for name in ("wasserstein", "relativistic", "relativistic_average")),
    ],
)
def test_where_a_loss_decides(loss, score):
    assert decision_score(loss) == (None if score is None else pytest.approx(score, abs=1 / 64))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_an_f_gan_decides_at_the_threshold(name):
    """Nowozin et al. 2016, section 2.4: `T = g(v)` above f'(1) is taken for real."""
    score = decision_score(f_gan_loss(name))
    assert float(DIVERGENCES[name].activation(jnp.float32(score))) == pytest.approx(DIVERGENCES[name].threshold)


def test_an_augmentation_by_flag():
    images = jax.random.uniform(KEY, (4, 8, 8, 1))
    assert named_augmentation(None) is None
    expected = diff_augment("translation,cutout")(images, KEY)
    np.testing.assert_array_equal(named_augmentation("translation,cutout")(images, KEY), expected)
    with pytest.raises(ValueError, match="colour"):
        named_augmentation("ada:colour")
