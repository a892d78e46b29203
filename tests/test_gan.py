"""make_gan with networks small enough to follow by hand, and every rule of its steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from small import POINTS, small_gan

from jaxgan import optim
from jaxgan.devices.sharding import compile_step, data_mesh
from jaxgan.losses import LOSSES
from jaxgan.networks.linen import from_linen
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.penalties import gradient_penalty, r1_penalty
from jaxgan.types import Network


class BatchNormNet(nn.Module):
    """Dense, batch norm, dense: the smallest network with statistics."""

    features: int | None
    mixes_batch = True

    @nn.compact
    def __call__(self, inputs, *, train):
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(4)(inputs))
        output = nn.Dense(self.features or 1)(nn.relu(hidden))
        return output if self.features else output[..., 0]


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


def test_samples_of_another_shape_than_the_data_are_refused():
    gan = small_gan()
    with pytest.raises(ValueError, match=r"the generator makes samples \[8, 2\], but the batch is \[8, 3\]"):
        gan.init(jax.random.key(0), {"image": jnp.zeros((8, 3))})


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
    with pytest.raises(ValueError, match="takes d_steps=2 batches, not 1"):
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
        penalty=r1_penalty,
        d_steps=3,
    )
    state, _ = gan.train_step(gan.init(jax.random.key(0), POINTS), (POINTS,) * 3)
    assert int(state.discriminator.model_state["refreshed"]) == 3
    assert int(state.generator.model_state["refreshed"]) == 1


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
    penalty = r1_penalty
    with pytest.raises(ValueError, match="norm='layer', or none"):
        small_gan(discriminator=from_linen(BatchNormNet(None)), penalty=penalty)
    # A foreign module that does not say so is found out by its statistics.
    silent = small_gan(discriminator=from_linen(BatchNormNet(None), mixes_batch=False), penalty=penalty)
    with pytest.raises(ValueError, match="norm='layer', or none"):
        silent.init(jax.random.key(0), POINTS)


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
        penalty=gradient_penalty,
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
