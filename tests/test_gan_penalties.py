"""What make_gan adds to the discriminator's loss: penalties, and augmentations that they and the loss see alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import POINTS, small_gan

from jaxgan.algorithms.steps import step_keys
from jaxgan.augment import adaptive_augment
from jaxgan.networks.mlp import mlp_discriminator
from jaxgan.penalties import gradient_penalty, r1_penalty, r2_penalty, weighted_sum
from jaxgan.types import Augment, Network


def test_the_penalty_is_added_and_logged():
    penalty = weighted_sum((10.0, gradient_penalty), (1.0, r1_penalty))
    plain, punished = small_gan("wasserstein"), small_gan("wasserstein", penalty=penalty)
    state = plain.init(jax.random.key(0), POINTS)
    _, without = plain.d_step(state, POINTS)
    _, with_penalty = punished.d_step(state, POINTS)
    assert float(with_penalty["penalty"]) > 0
    assert float(with_penalty["d_loss"]) == pytest.approx(float(without["d_loss"] + with_penalty["penalty"]), rel=1e-5)
    assert float(with_penalty["d_grad_norm"]) != pytest.approx(float(without["d_grad_norm"]))


def test_a_penalty_without_weight_is_not_computed():
    mixes = mlp_discriminator()._replace(mixes_batch=True)  # which a penalty would be refused on
    gan = small_gan("wasserstein", discriminator=mixes, penalty=r1_penalty, penalty_weight=0.0)
    assert "penalty" not in gan.d_step(gan.init(jax.random.key(0), POINTS), POINTS)[1]
    with pytest.raises(ValueError, match=r"penalty_weight=-1\.0: 0 or more"):
        small_gan(penalty=r1_penalty, penalty_weight=-1.0)


def test_the_weight_of_a_penalty_can_be_a_schedule_over_the_discriminators_updates():
    gan = small_gan("wasserstein", penalty=r1_penalty, penalty_weight=lambda update: 3.0 * update, d_steps=2)
    state = gan.init(jax.random.key(0), POINTS)
    for update in range(3):
        state, metrics = gan.d_step(state, POINTS)
        # The wasserstein loss without its penalty is what the log calls the estimate, negated.
        weighted = float(metrics["d_loss"] + metrics["wasserstein_estimate"])
        assert weighted == pytest.approx(3.0 * update * float(metrics["penalty"]), abs=1e-6)
        assert float(metrics["penalty"]) > 0


@pytest.mark.parametrize("loss", ["non_saturating", "least_squares", "wasserstein"])
def test_an_adaptive_augmentation_lives_in_the_state(loss):
    """And adapts to scores of augmented real samples, counted from where the loss decides."""
    augment = Augment(
        {"chance": 0.25},
        lambda state, samples, key: samples + state["chance"],
        lambda state, real_scores: {"chance": state["chance"] + jnp.mean(real_scores)},
    )
    gan = small_gan(loss, augment=augment)
    state = gan.init(jax.random.key(0), POINTS)
    assert float(state.augment_state["chance"]) == 0.25
    moved, metrics = gan.d_step(state, POINTS)
    scores, _ = mlp_discriminator((8,)).apply(
        state.discriminator.params, {}, POINTS["image"] + 0.25, train=True
    )  # what it sees is augmented with the chance before the update
    decides = {"non_saturating": 0.0, "least_squares": 0.5, "wasserstein": float(metrics["fake_score"])}[loss]
    expected = 0.25 + float(np.mean(scores)) - decides
    assert float(moved.augment_state["chance"]) == float(metrics["chance"]) == pytest.approx(expected, abs=1e-6)
    after_g, _ = gan.g_step(moved, POINTS)
    assert float(after_g.augment_state["chance"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "real", "moves"),
    [
        ("wasserstein", -8.0, 1),
        ("wasserstein", -16.0, -1),
        ("relativistic", -8.0, 1),
        ("relativistic_average", -12.2, 0),
    ],
)
def test_a_loss_without_a_zero_adapts_the_augmentation_to_differences(loss, real, moves):
    """All scores below zero say nothing: a real score of -8 against -12.2 is sure, -12.2 undecided, -16 deceived."""
    generator = Network(
        lambda key, z: ({"b": jnp.full((), -12.2)}, {}),
        lambda p, s, z, *, train, key=None: (jnp.ones((len(z), 4, 4, 1)) * p["b"], s),
    )
    discriminator = Network(
        lambda key, x: ({"w": jnp.ones(())}, {}),
        lambda p, s, x, *, train, key=None: (p["w"] * x.mean(axis=(1, 2, 3)), s),
    )
    augment = adaptive_augment("translation", target=0.0, ramp_images=80)  # 8 images: a tenth
    still = augment._replace(apply=lambda state, samples, key: samples)
    gan = small_gan(loss, generator, discriminator, augment=still)
    batch = {"image": jnp.full((8, 4, 4, 1), real)}
    state = gan.init(jax.random.key(0), batch).replace(augment_state={"augment_probability": jnp.float32(0.5)})
    adapted, _ = gan.d_step(state, batch)
    assert float(adapted.augment_state["augment_probability"]) == pytest.approx(0.5 + 0.1 * moves)


def noisy(samples, key):
    """An augmentation whose gradient depends on its draw and on where it is taken, so that no other passes for it."""
    return jnp.sin(samples * (1.0 + jax.random.uniform(key, (len(samples), 1))))


def gradient_norms(score, augment, samples):
    """Of what the loss sees of each sample in the sample itself, by central differences in float64 on the host."""
    norms = []
    for row in range(len(samples)):
        slopes = []
        for feature in range(samples.shape[1]):
            step = np.zeros_like(samples)
            step[row, feature] = 1e-6
            difference = score(augment(samples + step)) - score(augment(samples - step))
            slopes.append(difference[row] / 2e-6)
        norms.append(np.linalg.norm(slopes))
    return np.array(norms)


@pytest.mark.parametrize("which", ["r1", "r2", "between"])
def test_a_penalty_sees_what_the_loss_sees(which):
    """Its gradients are those of the discriminator after the augmentation, in the samples before it: StyleGAN2-ADA
    training/loss.py, DiffAugment-stylegan2 training/loss.py (ns_DiffAugment_r1), R3GAN/Trainer.py.

    R1 with the draw that the loss has of the real samples, R2 with that of the generated ones.
    """
    penalties = {
        "r1": r1_penalty,
        "r2": r2_penalty,
        "between": gradient_penalty,
    }
    generator = Network(
        lambda key, z: ({"b": jnp.array([0.7, -0.4])}, {}),
        lambda p, s, z, *, train, key=None: (jnp.broadcast_to(p["b"], (len(z), 2)), s),
    )
    gan = small_gan("wasserstein", generator, penalty=penalties[which], augment=noisy)
    state = gan.init(jax.random.key(0), POINTS)
    _, metrics = gan.d_step(state, POINTS)
    real, fake = np.float64(POINTS["image"]), np.broadcast_to(np.float64([0.7, -0.4]), (8, 2))
    real_key, _, fake_key, _, penalty_key = step_keys(state.key, 0, state.discriminator, 5)
    between = real + np.float64(jax.random.uniform(penalty_key, (8, 1))) * (fake - real)
    samples, drawn = {"r1": (real, real_key), "r2": (fake, fake_key), "between": (between, real_key)}[which]
    params = jax.tree.map(np.float64, state.discriminator.params)
    factors = 1.0 + np.float64(jax.random.uniform(drawn, (8, 1)))

    def score(points):
        hidden = points @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
        hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
        return (hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"])[:, 0]

    norms = gradient_norms(score, lambda points: np.sin(points * factors), samples)
    expected = np.mean((norms - 1) ** 2) if which == "between" else np.mean(norms**2) / 2
    assert float(metrics["penalty"]) == pytest.approx(expected, rel=1e-4)


def test_without_an_augmentation_a_penalty_costs_what_it_did():
    """The program of a step is that of a critic that is the discriminator's score and nothing else."""

    def lowered(critic_of):
        penalty = lambda critic, real, fake, key: (
            r1_penalty(critic_of(critic), real) + r2_penalty(critic_of(critic), real, fake)
        )
        gan = small_gan(penalty=penalty)
        return gan.d_step.lower(jax.eval_shape(gan.init, jax.random.key(0), POINTS), POINTS).compile().cost_analysis()

    plain = lambda critic: lambda samples: critic(samples)  # no `AugmentedCritic`
    assert lowered(lambda critic: critic) == lowered(plain)


def test_augmentation_is_on_all_three_paths_with_separate_keys():
    # A(x) = x / 2, D(x) = mean(x), reals 0, fakes 1: D loss 0.5 - 0, G loss -0.5.
    generator = Network(
        lambda key, z: ({"b": jnp.ones(())}, {}),
        lambda p, s, z, *, train, key=None: (jnp.ones((len(z), 2)) * p["b"], s),
    )
    discriminator = Network(
        lambda key, x: ({"w": jnp.ones(())}, {}), lambda p, s, x, *, train, key=None: (p["w"] * x.mean(axis=1), s)
    )
    keys = []

    def augment(samples, key):
        jax.debug.callback(lambda data: keys.append(data.tobytes()), jax.random.key_data(key))
        return 0.5 * samples

    gan = small_gan("wasserstein", generator, discriminator, augment=augment)
    batch = {"image": jnp.zeros((4, 2))}
    state = gan.init(jax.random.key(0), batch)
    assert float(gan.d_step(state, batch)[1]["d_loss"]) == 0.5
    assert float(gan.g_step(state, batch)[1]["g_loss"]) == -0.5
    jax.effects_barrier()
    assert len(set(keys)) == len(keys) == 4
