"""make_gan with networks small enough to follow by hand, and every rule of its steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import optim
from jaxgan.augment import adaptive_augment
from jaxgan.gan import make_gan
from jaxgan.losses import LOSSES
from jaxgan.networks.base import from_linen
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.penalties import gradient_penalty, r1_penalty, r2_penalty
from jaxgan.sharding import compile_step, data_mesh
from jaxgan.steps import step_keys
from jaxgan.types import Augment, Network


class BatchNormNet(nn.Module):
    """Dense, batch norm, dense: the smallest network with statistics."""

    features: int | None
    mixes_batch = True

    @nn.compact
    def __call__(self, inputs, *, train):
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(4)(inputs))
        output = nn.Dense(self.features or 1)(nn.relu(hidden))
        return output if self.features else output[..., 0]


POINTS = {"image": jax.random.normal(jax.random.key(5), (8, 2))}


def small_gan(loss="non_saturating", generator=None, discriminator=None, **changes):
    options = {"g_tx": optim.adam(1e-2), "d_tx": optim.adam(1e-2), "latent_dim": 3, **changes}
    return make_gan(
        generator or mlp_generator((8,), features=2),
        discriminator or mlp_discriminator((8,)),
        loss=LOSSES[loss],
        **options,
    )


def same(a, b):
    return all(jnp.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_both_players(loss):
    gan = small_gan(loss)
    state = gan.init(jax.random.key(0), POINTS)
    moved, metrics = gan.train_step(state, (POINTS,))
    assert not same(moved.generator.params, state.generator.params)
    assert not same(moved.discriminator.params, state.discriminator.params)
    assert {"d_loss", "g_loss", "real_score", "fake_score", "d_grad_norm", "g_grad_norm"} <= metrics.keys()
    assert all(jnp.isfinite(value) and value.shape == () for value in metrics.values())
    assert ("wasserstein_estimate" in metrics) == (loss == "wasserstein")


def test_each_step_touches_only_its_player():
    gan = small_gan(ema_decay=0.9)
    state = gan.init(jax.random.key(0), POINTS)
    after_d, _ = gan.d_step(state, POINTS)
    assert same((after_d.generator, after_d.ema_params, after_d.key), (state.generator, state.ema_params, state.key))
    assert not same(after_d.discriminator.params, state.discriminator.params)
    after_g, _ = gan.g_step(state, POINTS)
    assert same(after_g.discriminator, state.discriminator)
    assert not same(after_g.generator.params, state.generator.params)
    assert not same(after_g.ema_params, state.ema_params)


def test_train_step_is_its_parts_in_order():
    gan = small_gan(d_steps=2, ema_decay=0.9)
    state = gan.init(jax.random.key(0), POINTS)
    others = {"image": POINTS["image"] + 1.0}
    whole, _ = gan.train_step(state, (POINTS, others))
    parts, _ = gan.d_step(state, POINTS)
    parts, _ = gan.d_step(parts, others)
    parts, _ = gan.g_step(parts, others)
    for a, b in zip(
        jax.tree.leaves((whole.generator, whole.discriminator)),
        jax.tree.leaves((parts.generator, parts.discriminator)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert int(whole.step) == 1
    assert int(whole.discriminator.step) == 2


def test_train_step_wants_d_steps_batches():
    gan = small_gan(d_steps=2)
    with pytest.raises(ValueError, match="1 batches, it takes d_steps=2"):
        gan.train_step(gan.init(jax.random.key(0), POINTS), (POINTS,))
    with pytest.raises(ValueError, match="d_steps=0"):
        small_gan(d_steps=0)


def test_a_wasserstein_step_by_hand():
    # G(z) = b, D(x) = w x with w = 2, b = 1, real 3: d_loss = 2*1 - 2*3 = -4, its gradient in w is 1 - 3 = -2, so w
    # becomes 2 + 0.1 * 2 = 2.2; g_loss = -2.2 * 1, its gradient in b is -2.2, so b becomes 1.22.
    generator = Network(
        lambda key, z: ({"b": jnp.ones(())}, {}),
        lambda p, s, z, *, train, key=None: (jnp.full((len(z), 1), 1.0) * p["b"], s),
    )
    discriminator = Network(
        lambda key, x: ({"w": jnp.full((), 2.0)}, {}), lambda p, s, x, *, train, key=None: (p["w"] * x[:, 0], s)
    )
    gan = small_gan("wasserstein", generator, discriminator, g_tx=optax.sgd(0.1), d_tx=optax.sgd(0.1))
    batch = {"image": jnp.full((4, 1), 3.0)}
    state, metrics = gan.train_step(gan.init(jax.random.key(0), batch), (batch,))
    assert float(metrics["d_loss"]) == pytest.approx(-4.0)
    assert float(metrics["wasserstein_estimate"]) == pytest.approx(4.0)
    assert float(metrics["d_grad_norm"]) == pytest.approx(2.0)
    assert float(state.discriminator.params["w"]) == pytest.approx(2.2)
    assert float(metrics["g_loss"]) == pytest.approx(-2.2)
    assert float(state.generator.params["b"]) == pytest.approx(1.22)


def test_batch_statistics_belong_to_the_moving_player_real_before_fake():
    discriminator = from_linen(BatchNormNet(None))
    constant = Network(  # a generator whose samples, and so their mean, are known
        lambda key, z: ({"b": jnp.ones(2)}, {}),
        lambda p, s, z, *, train, key=None: (jnp.broadcast_to(p["b"], (len(z), 2)), s),
    )
    gan = small_gan(generator=constant, discriminator=discriminator)
    state = gan.init(jax.random.key(0), POINTS)
    after_d, _ = gan.d_step(state, POINTS)
    # Two passes at momentum 0.9, real first: 0.9 * (0.1 * real mean) + 0.1 * fake mean.
    kernel = np.asarray(state.discriminator.params["Dense_0"]["kernel"])
    real_mean, fake_mean = (np.asarray(POINTS["image"]) @ kernel).mean(axis=0), np.ones(2) @ kernel
    running = after_d.discriminator.model_state["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(running, 0.09 * real_mean + 0.1 * fake_mean, rtol=1e-4, atol=1e-6)

    gan = small_gan(generator=from_linen(BatchNormNet(2)), discriminator=discriminator)
    state = gan.init(jax.random.key(0), POINTS)
    after_d, _ = gan.d_step(state, POINTS)
    assert same(after_d.generator.model_state, state.generator.model_state)
    after_g, _ = gan.g_step(after_d, POINTS)
    assert same(after_g.discriminator.model_state, after_d.discriminator.model_state)
    assert not same(after_g.generator.model_state, after_d.generator.model_state)


def test_average_covers_parameters_and_statistics_and_is_what_sample_uses():
    gan = small_gan(generator=from_linen(BatchNormNet(2)), ema_decay=0.75)
    state = gan.init(jax.random.key(0), POINTS)
    moved, _ = gan.g_step(state, POINTS)
    for average, old, new in (
        (moved.ema_params, state.generator.params, moved.generator.params),
        (moved.ema_model_state, state.generator.model_state, moved.generator.model_state),
    ):
        expected = jax.tree.map(lambda o, n: 0.75 * o + 0.25 * n, old, new)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), average, expected)
    latents = jax.random.normal(jax.random.key(3), (5, 3))
    expected, _ = from_linen(BatchNormNet(2)).apply(moved.ema_params, moved.ema_model_state, latents, train=False)
    np.testing.assert_allclose(gan.sample(moved, {"latents": latents})["samples"], expected, rtol=1e-5, atol=1e-6)


def test_the_average_starts_as_a_copy_so_the_state_can_be_donated():
    gan = small_gan(ema_decay=0.9)
    state = gan.init(jax.random.key(0), POINTS)
    step = jax.jit(gan.train_step, donate_argnums=0)
    state, _ = step(state, (POINTS,))
    step(state, (POINTS,))


def test_without_averaging_sample_uses_the_live_weights():
    gan = small_gan()
    state = gan.init(jax.random.key(0), POINTS)
    assert state.ema_params is None
    inputs = gan.preview(jax.random.key(1), POINTS)
    assert inputs["latents"].shape == (8, 3)
    expected, _ = mlp_generator((8,), features=2).apply(state.generator.params, {}, inputs["latents"], train=False)
    np.testing.assert_allclose(gan.sample(state, inputs)["samples"], expected, rtol=1e-5)


def test_no_draw_is_repeated():
    """Latents differ between steps and depend on the run's key; the players share one pass of the generator."""
    seen = []
    generator = Network(
        lambda key, z: ({"b": jnp.zeros(2)}, {}),
        lambda p, s, z, *, train, key=None: (
            jax.debug.callback(lambda z: seen.append(np.asarray(z)), z) or z[:, :2] + p["b"].reshape(1, 2),
            s,
        ),
    )
    gan = small_gan(generator=generator)
    state = gan.init(jax.random.key(0), POINTS)
    for _ in range(3):
        state, _ = gan.train_step(state, (POINTS,))
    jax.effects_barrier()
    draws = {z.tobytes() for z in seen}
    assert len(draws) == len(seen) == 3


def test_the_penalty_is_added_and_logged():
    penalty = lambda critic, real, fake, key: (
        10.0 * gradient_penalty(critic, real, fake, key) + r1_penalty(critic, real)
    )
    plain, punished = small_gan("wasserstein"), small_gan("wasserstein", penalty=penalty)
    state = plain.init(jax.random.key(0), POINTS)
    _, without = plain.d_step(state, POINTS)
    _, with_penalty = punished.d_step(state, POINTS)
    assert float(with_penalty["penalty"]) > 0
    assert float(with_penalty["d_loss"]) == pytest.approx(float(without["d_loss"] + with_penalty["penalty"]), rel=1e-5)
    assert float(with_penalty["d_grad_norm"]) != pytest.approx(float(without["d_grad_norm"]))


def test_the_weight_of_a_penalty_can_be_a_schedule_over_the_discriminators_updates():
    penalty = lambda critic, real, fake, key: r1_penalty(critic, real)
    gan = small_gan("wasserstein", penalty=penalty, penalty_weight=lambda update: 3.0 * update, d_steps=2)
    state = gan.init(jax.random.key(0), POINTS)
    for update in range(3):
        state, metrics = gan.d_step(state, POINTS)
        # The wasserstein loss without its penalty is what the log calls the estimate, negated.
        weighted = float(metrics["d_loss"] + metrics["wasserstein_estimate"])
        assert weighted == pytest.approx(3.0 * update * float(metrics["penalty"]), abs=1e-6)
        assert float(metrics["penalty"]) > 0


def test_the_decay_of_the_average_can_be_a_schedule_over_the_generators_updates():
    gan = small_gan(ema_decay=lambda update: 0.5 * update)
    state = gan.init(jax.random.key(0), POINTS)
    first, _ = gan.g_step(state, POINTS)
    assert same(first.ema_params, first.generator.params)  # decay 0: nothing of the start is left
    second, _ = gan.g_step(first, POINTS)
    halfway = jax.tree.map(lambda a, b: 0.5 * a + 0.5 * b, first.ema_params, second.generator.params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), second.ema_params, halfway)


def test_a_network_is_refreshed_once_in_each_of_its_own_updates():
    """Whatever the number of passes; the other player's updates leave it alone, and so does sampling."""

    def counting(network):
        return network._replace(
            init=lambda key, *inputs: (network.init(key, *inputs)[0], {"refreshed": jnp.int32(0)}),
            apply=lambda params, model_state, *inputs, train, key=None: (
                network.apply(params, {}, *inputs, train=train, key=key)[0],
                model_state,
            ),
            refresh=lambda params, model_state: {"refreshed": model_state["refreshed"] + 1},
        )

    gan = small_gan(
        generator=counting(mlp_generator((8,), features=2)),
        discriminator=counting(mlp_discriminator((8,))),
        penalty=lambda critic, real, fake, key: r1_penalty(critic, real),
        d_steps=3,
    )
    state, _ = gan.train_step(gan.init(jax.random.key(0), POINTS), (POINTS,) * 3)
    assert int(state.discriminator.model_state["refreshed"]) == 3
    assert int(state.generator.model_state["refreshed"]) == 1


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
        "r1": lambda critic, real, fake, key: r1_penalty(critic, real),
        "r2": lambda critic, real, fake, key: r2_penalty(critic, fake),
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
            r1_penalty(critic_of(critic), real) + r2_penalty(critic_of(critic), fake)
        )
        gan = small_gan(penalty=penalty)
        return gan.d_step.lower(jax.eval_shape(gan.init, jax.random.key(0), POINTS), POINTS).compile().cost_analysis()

    plain = lambda critic: lambda samples: critic(samples)  # no `AugmentedCritic`
    assert lowered(lambda critic: critic) == lowered(plain)


@pytest.mark.parametrize("decay", [float("nan"), 1.0, 2, -1.0, float("inf")])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"ema_decay=\S+ is not in \[0, 1\)"):
        small_gan(ema_decay=decay)


def test_the_generator_may_draw_more_samples_than_the_discriminator():
    """pfnet-research/sngan_projection updater.py, n_gen_samples: of each condition equally many."""
    seen = []

    def noted(network):
        def apply(params, model_state, samples, condition, *, train, key=None):
            jax.debug.callback(lambda condition: seen.append(condition.tolist()), condition)
            inputs = jnp.concatenate([samples, condition[:, None]], axis=1)
            return network.apply(params, model_state, inputs, train=train, key=key)

        init = lambda key, samples, condition: network.init(key, jnp.zeros((1, samples.shape[1] + 1)))
        return Network(init, apply)

    networks = noted(mlp_generator((8,), features=2)), noted(mlp_discriminator((8,)))
    gan = small_gan("relativistic", *networks, g_batch_multiple=3, d_steps=2)  # whose scores come in pairs
    batch = {"image": POINTS["image"][:2], "condition": jnp.array([5.0, 7.0])}
    state = gan.init(jax.random.key(0), batch)
    whole, _ = gan.train_step(state, (batch, batch))
    jax.effects_barrier()
    assert sorted(set(map(tuple, seen))) == [(5.0, 5.0, 5.0, 7.0, 7.0, 7.0), (5.0, 7.0)]
    parts, _ = gan.d_step(gan.d_step(state, batch)[0], batch)
    parts, _ = gan.g_step(parts, batch)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), whole.generator, parts.generator)
    with pytest.raises(ValueError, match="g_batch_multiple=0"):
        small_gan(g_batch_multiple=0)


def test_a_penalty_on_a_discriminator_that_mixes_its_batch_is_refused():
    penalty = lambda critic, real, fake, key: r1_penalty(critic, real)
    with pytest.raises(ValueError, match="norm='layer', norm='none'"):
        small_gan(discriminator=from_linen(BatchNormNet(None)), penalty=penalty)
    # A foreign module that does not say so is found out by its statistics.
    silent = small_gan(discriminator=from_linen(BatchNormNet(None), mixes_batch=False), penalty=penalty)
    with pytest.raises(ValueError, match="norm='layer', norm='none'"):
        silent.init(jax.random.key(0), POINTS)


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


def test_the_condition_reaches_both_networks():
    generator = Network(
        lambda key, z, c: ({"b": jnp.zeros(2)}, {}),
        lambda p, s, z, c, *, train, key=None: (c + p["b"].reshape(1, 2), s),
    )
    discriminator = Network(
        lambda key, x, c: ({"w": jnp.ones(())}, {}),
        lambda p, s, x, c, *, train, key=None: (p["w"] * (x * c).sum(axis=1), s),
    )
    gan = small_gan("wasserstein", generator, discriminator)
    batch = POINTS | {"condition": jnp.full((8, 2), 2.0)}
    state, metrics = gan.train_step(gan.init(jax.random.key(0), batch), (batch,))
    assert float(metrics["fake_score"]) == 8.0  # (2 * 2) summed over two features
    inputs = gan.preview(jax.random.key(1), batch)
    np.testing.assert_allclose(
        gan.sample(state.replace(generator=state.generator.replace(params={"b": jnp.zeros(2)})), inputs)["samples"], 2.0
    )


def test_both_learning_rates_decay_together():
    """Equal at every step, though the discriminator's optimizer counts three updates to the generator's one."""
    decay = lambda updates: optim.adam(optim.linear_decay(1e-3, 5, constant_steps=1, updates_per_step=updates))
    gan = small_gan(d_steps=3, g_tx=decay(1), d_tx=decay(3))
    state = gan.init(jax.random.key(0), POINTS)
    rates = []
    for _ in range(5):
        state, metrics = gan.train_step(state, (POINTS,) * 3)
        assert float(metrics["d_learning_rate"]) == float(metrics["g_learning_rate"])
        rates.append(float(metrics["g_learning_rate"]))
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3], rtol=1e-5)


def test_bfloat16_networks_give_float32_metrics():
    gan = small_gan(
        generator=mlp_generator((8,), features=2, dtype=jnp.bfloat16),
        discriminator=mlp_discriminator((8,), dtype=jnp.bfloat16),
        penalty=lambda critic, real, fake, key: gradient_penalty(critic, real, fake, key),
    )
    _, metrics = gan.train_step(gan.init(jax.random.key(0), POINTS), (POINTS,))
    assert {value.dtype for value in metrics.values()} == {jnp.dtype(jnp.float32)}


def test_devices_share_the_work_of_both_players():
    """Each of 4 devices has a fourth of the operations, of the generator's too, whose latents no batch holds."""
    gan = small_gan(generator=mlp_generator((64, 64), features=2), discriminator=mlp_discriminator((64, 64)))
    batch = {"image": jnp.zeros((256, 2))}
    state = jax.eval_shape(gan.init, jax.random.key(0), batch)

    def operations(devices):
        return compile_step(gan.train_step, data_mesh(devices), state, (batch,)).cost_analysis()["flops"]

    assert operations(4) < 0.3 * operations(1)
