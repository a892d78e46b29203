"""make_pix2pix with networks small enough to follow by hand, every rule of its steps, and its runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from flax import linen as nn
from test_cyclegan import BatchNormNet, close, critic, noise, same, translator
from test_cyclegan_runs import Images

from jaxgan import make_pix2pix, optim
from jaxgan.devices.sharding import by_batch, compile_step, data_mesh, replicated
from jaxgan.losses import LOSSES
from jaxgan.networks.linen import from_linen
from jaxgan.penalties import gradient_penalty
from jaxgan.training.loop import fit
from jaxgan.types import Network

BATCH = {"a": noise(1), "b": noise(2)}


def small_pix2pix(loss="non_saturating", generator=None, discriminator=None, **changes):
    options = {"g_tx": optax.sgd(0.01), "d_tx": optax.sgd(0.01), **changes}
    networks = generator or translator(1.0, 0.1), discriminator or critic(2.0)
    return make_pix2pix(*networks, loss=LOSSES[loss], **options)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_both_networks(loss):
    gan = small_pix2pix(loss)
    state = gan.init(jax.random.key(0), BATCH)
    moved, metrics = gan.train_step(state, (BATCH,))
    assert not same(state.generator.params, moved.generator.params)
    assert not same(state.discriminator.params, moved.discriminator.params)
    assert metrics.keys() == {
        *("d_loss", "g_loss", "adversarial", "l1", "real_score", "fake_score", "d_grad_norm", "g_grad_norm"),
        *(("wasserstein_estimate",) if loss == "wasserstein" else ()),
    }
    assert all(jnp.isfinite(value) and value.shape == () for value in metrics.values())


def test_a_step_by_hand():
    """a = 1, b = 3, G adds s = 0.5, D is 2 times the mean of both images; least squares, L1 weight 10, rate 0.01.

    D(a, b) = 2 * 2 = 4, D(a, G(a)) = 2 * 1.25 = 2.5: d_loss = ((4 - 1)^2 + 2.5^2) / 2 = 7.625, whose slope in the
    weight is 3 * 2 + 2.5 * 1.25 = 9.125. The generator sees the updated weight w = 2 - 0.09125 = 1.90875:
    adversarial = (1.25 w - 1)^2, l1 = 1.5; the slope of their sum in s is 2 (1.25 w - 1) w / 2 - 10.
    """
    gan = small_pix2pix("least_squares", translator(1.0, 0.5), l1_weight=10.0)
    batch = {"a": jnp.ones((4, 3, 2, 1)), "b": jnp.full((4, 3, 2, 1), 3.0)}
    state, metrics = gan.train_step(gan.init(jax.random.key(0), batch), (batch,))
    weight = 2.0 - 0.09125
    adversarial = (1.25 * weight - 1) ** 2
    slope = (1.25 * weight - 1) * weight - 10.0
    expected = {
        "d_loss": 7.625, "real_score": 4.0, "fake_score": 2.5, "d_grad_norm": 9.125, "adversarial": adversarial,
        "l1": 1.5, "g_loss": adversarial + 15.0,
    }  # fmt: skip
    for name, value in expected.items():
        assert float(metrics[name]) == pytest.approx(value, rel=1e-5), name
    assert float(state.discriminator.params["weight"]) == pytest.approx(weight)
    assert float(state.generator.params["shift"]) == pytest.approx(0.5 - 0.01 * slope)


def pair_critic(channels):
    """A score that sees where the source ends: the mean of the source's channels minus 3 times that of the others."""

    def apply(params, model_state, images, *, train, key=None):
        return params["weight"] * (
            images[..., :channels].mean((1, 2, 3)) - 3.0 * images[..., channels:].mean((1, 2, 3))
        )

    apply_ = lambda *arguments, **options: (apply(*arguments, **options), arguments[1])
    return Network(lambda key, images: ({"weight": jnp.float32(1.0)}, {}), apply_)


def test_the_discriminator_sees_the_source_before_the_target():
    batch = {"a": noise(1, 1), "b": noise(2, 3)}
    gan = small_pix2pix(generator=translator(1.0, 0.1, channels=3), discriminator=pair_critic(1))
    _, metrics = gan.d_step(gan.init(jax.random.key(0), batch), batch)
    a, b = batch["a"].mean(), batch["b"].mean()
    assert float(metrics["real_score"]) == pytest.approx(float(a - 3 * b), rel=1e-4)
    assert float(metrics["fake_score"]) == pytest.approx(float(a - 3 * (a + 0.1)), rel=1e-4)


def test_the_other_direction_is_the_same_with_the_domains_exchanged():
    there, back = small_pix2pix(), small_pix2pix(direction="b_to_a")
    exchanged = {"a": BATCH["b"], "b": BATCH["a"]}
    found = [gan.train_step(gan.init(jax.random.key(0), BATCH), (batch,)) for gan, batch in
             ((there, BATCH), (back, exchanged))]  # fmt: skip
    small.assert_same(*found)
    state = found[0][0]
    outputs = back.sample(state, BATCH)
    assert list(outputs) == ["b", "b_to_a", "a", "difference"]
    close(outputs["b_to_a"], there.sample(state, {"a": BATCH["b"]})["a_to_b"])


class Dropped(nn.Module):
    """Dropout, and batch norm before it."""

    mixes_batch = True

    @nn.compact
    def __call__(self, images, *, train):
        normed = nn.BatchNorm(use_running_average=not train, momentum=0.9)(images)
        return nn.Dropout(0.5, deterministic=not train)(normed)


def test_train_step_is_its_halves_and_they_share_one_translation():
    gan = small_pix2pix(generator=from_linen(Dropped()), discriminator=from_linen(BatchNormNet()), ema_decay=0.9)
    state, _ = gan.train_step(gan.init(jax.random.key(0), BATCH), (BATCH,))
    batch = {"a": noise(3), "b": noise(4)}
    whole, metrics = gan.train_step(state, (batch,))
    after_d, d_metrics = gan.d_step(state, batch)
    after_g, g_metrics = gan.g_step(after_d, batch)  # draws the dropout that the discriminator saw
    close(whole.replace(key=None), after_g.replace(key=None))
    close(metrics, d_metrics | g_metrics)
    assert same(after_d.generator, state.generator) and same(after_g.discriminator, after_d.discriminator)
    assert int(whole.step) == int(whole.discriminator.step) == 2
    with pytest.raises(ValueError, match="takes d_steps=1 batches, not 2"):
        gan.train_step(state, (batch, batch))


def test_no_key_is_used_twice():
    seen = []

    class Spy(list):
        def append(self, key):
            jax.debug.callback(lambda data: seen.append(data.tobytes()), jax.random.key_data(key))

    gan = small_pix2pix("relativistic", translator(1.0, 0.1, Spy()), critic(2.0, Spy()))
    state = small_pix2pix().init(jax.random.key(0), BATCH)
    for _ in range(3):
        state, _ = gan.train_step(state, (BATCH,))
    jax.effects_barrier()
    assert len(set(seen)) == len(seen) == 3 * 5  # one translation, two scores for each network


def test_a_penalty_is_of_the_target_image_and_halved_with_the_loss():
    plain, punished = (small_pix2pix("wasserstein", discriminator=pair_critic(2), penalty=penalty, penalty_weight=10.0)
                       for penalty in (None, gradient_penalty))  # fmt: skip
    state = plain.init(jax.random.key(0), BATCH)
    metrics, without = punished.d_step(state, BATCH)[1], plain.d_step(state, BATCH)[1]
    norm = 3 / 12 * np.sqrt(12)  # each of the target's 12 numbers counts 3 / 12, those of the source are fixed
    assert float(metrics["penalty"]) == pytest.approx((norm - 1) ** 2, rel=1e-4)
    assert float(metrics["d_loss"] - without["d_loss"]) == pytest.approx(5 * (norm - 1) ** 2, rel=1e-3)
    with pytest.raises(ValueError, match="a norm of single samples"):
        small_pix2pix(discriminator=from_linen(BatchNormNet()), penalty=gradient_penalty)


def test_sample_returns_the_truth_and_the_difference_if_it_is_given():
    gan = small_pix2pix(ema_decay=0.5)
    state, _ = gan.train_step(gan.init(jax.random.key(0), BATCH), (BATCH,))
    a, b = BATCH["a"], BATCH["b"]
    translated = state.ema_params["scale"] * a + state.ema_params["shift"]
    outputs = gan.sample(state, gan.preview(jax.random.key(1), BATCH))
    assert list(outputs) == ["a", "a_to_b", "b", "difference"]
    close(outputs, {"a": a, "a_to_b": translated, "b": b, "difference": abs(b - translated) - 1})
    assert list(gan.sample(state, {"a": a[:1]})) == ["a", "a_to_b"]
    for inputs, given in (({}, "nothing"), ({"b": b}, "b"), ({"a": a, "latents": a}, "a, latents")):
        with pytest.raises(ValueError, match=f"given {given}, but it takes the images to translate under 'a'"):
            gan.sample(state, inputs)


def test_noise_is_dropout_and_the_statistics_of_the_single_image():
    gan = small_pix2pix(generator=from_linen(Dropped()))
    state = gan.init(jax.random.key(0), BATCH)
    seeds = jnp.array([7, 7, 8, 7], jnp.uint32)
    images = BATCH["a"].at[1].set(BATCH["a"][0])
    drawn = np.asarray(gan.sample(state, {"a": images, "noise": seeds})["a_to_b"])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    normed = (images - images.mean((1, 2), keepdims=True)) / images.std((1, 2), keepdims=True)
    kept = drawn != 0
    assert 0.2 < kept.mean() < 0.8
    np.testing.assert_allclose(drawn[kept], 2 * np.asarray(normed)[kept], rtol=1e-3, atol=1e-3)
    other = gan.sample(state, {"a": images, "noise": seeds + 1})["a_to_b"]
    assert not np.array_equal(drawn != 0, other != 0)
    without = gan.sample(state, {"a": images})["a_to_b"]
    np.testing.assert_allclose(without, images, rtol=1e-4)  # the first running statistics are 0 and 1


def test_what_does_not_fit_is_refused_in_one_line():
    with pytest.raises(ValueError, match="direction='AtoB': there are a_to_b, b_to_a"):
        small_pix2pix(direction="AtoB")
    for weight in (-1.0, np.nan):
        with pytest.raises(ValueError, match=r"l1_weight=(-1.0|nan): 0 or more expected"):
            small_pix2pix(l1_weight=weight)
    with pytest.raises(ValueError, match=r"ema_decay=2 is not in \[0, 1\)"):
        small_pix2pix(ema_decay=2)
    with pytest.raises(ValueError, match=r"makes samples \[4, 3, 2, 2\], but the batch is \[4, 3, 2, 1\]"):
        small_pix2pix().init(jax.random.key(0), {"a": noise(1), "b": noise(2, 1)})


@functools.cache
def decaying():
    rate = optim.linear_decay(1e-2, 10, constant_steps=4)
    return small_pix2pix(generator=from_linen(Dropped()), g_tx=optim.adam(rate), d_tx=optim.adam(rate), ema_decay=0.9)


def run(folder, num_steps):
    config = small.Config(
        workdir=str(folder), num_steps=num_steps, batch_size=2, log_every=1, checkpoint_every=100, num_devices=1
    )
    return fit(decaying(), Images(), config, draw=None)


def test_a_stop_in_the_decay_changes_nothing_dropout_included(tmp_path):
    whole, metrics = run(tmp_path / "whole", 10)
    run(tmp_path / "parts", 7)
    parts, resumed = run(tmp_path / "parts", 10)
    small.assert_same(whole, parts)
    assert metrics["g_learning_rate"] == resumed["d_learning_rate"] == pytest.approx(1e-2 / 6)


def test_two_devices_take_the_step_of_one():
    gan = small_pix2pix(generator=from_linen(Dropped()), discriminator=from_linen(BatchNormNet()), ema_decay=0.9)
    start = gan.init(jax.random.key(0), BATCH)
    found = []
    for devices in (1, 2):
        mesh = data_mesh(devices, batch_size=4)
        step = compile_step(gan.train_step, mesh, start, (BATCH,))
        state = jax.device_put(jax.tree.map(jnp.copy, start), replicated(mesh))
        for _ in range(3):
            state, metrics = step(state, jax.device_put((BATCH,), by_batch(mesh)))
        found.append(jax.tree.map(np.asarray, (state.replace(key=None), metrics)))
    close(*found)
