"""Bugs that others met in public GAN code, by number: each must give the right value here.

Those of data, training steps, checkpoints, scores, conditions, translation and several devices are in the other files
of that name. Every case of the collection applies; its numbers have gaps.
"""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from experiments import gan
from jaxgan.algorithms.gan import make_gan
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.data.sources import images
from jaxgan.losses import (
    LOSSES,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    relativistic_discriminator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.penalties import dragan_penalty, gradient_penalty, r1_penalty, r2_penalty
from jaxgan.runs import cli


def ids(batches, steps):
    """Which examples each step sees, from a field that numbers them."""
    return [np.concatenate([batch["label"] for batch in batches(step)]).tolist() for step in steps]


@pytest.mark.parametrize(("count", "found"), [(3, "3 examples"), (0, "0 examples")])
def test_case_5_too_few_images_end_before_any_step(count, found):
    """A batch larger than the data set, with drop-last on, was a run of zero steps that finished happily."""
    with pytest.raises(ValueError, match=f"{found}, fewer than one batch of 8$"):
        DeviceBatches(np.zeros((count, 8, 8, 3), np.uint8), batch_size=8)


@pytest.mark.parametrize("dataset", ["mnist_5", "no/such/folder"])
def test_case_5_an_unknown_data_set_ends_before_anything_is_made(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gan", "--dataset", dataset])
    with pytest.raises(SystemExit) as stop:
        cli.run(gan.Config, gan.main)
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert dataset in message and "mnist_5k" in message and message.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_case_7_unknown_split_lists_the_splits():
    """Split names differ from set to set, and the message did not say which there were."""
    with pytest.raises(ValueError, match=r"no split 'validation': there are train \(1024 examples\), test \(256"):
        images("noise", "validation")


def test_case_9_penalty_norm_runs_over_all_axes_of_one_sample():
    """The norm in the penalty was taken over one axis only, or over the whole batch at once."""
    rng = np.random.default_rng(0)
    real, fake = jnp.asarray(rng.normal(size=(2, 16, 8, 8, 3)), jnp.float32)
    key = jax.random.key(0)

    def total(images):
        return jnp.sum(images, axis=(1, 2, 3))

    def length(images):
        return jnp.sqrt(jnp.sum(images**2, axis=(1, 2, 3)))

    @jax.jit
    def penalties():
        return {
            "total": gradient_penalty(total, real, fake, key),
            "length": gradient_penalty(length, real, fake, key),
            "dragan": dragan_penalty(total, real, None, key),
            "r1": r1_penalty(total, real),
            "r2": r2_penalty(total, real, fake),
        }

    values = penalties()
    # (sqrt(192) - 1)^2; wrong: 3.343 (height only), 0.536 (channels only), 2962.1 (whole batch).
    np.testing.assert_allclose(values["total"], 165.287, atol=1e-3)
    np.testing.assert_allclose(values["dragan"], 165.287, atol=1e-3)
    # A length has slope 1 everywhere; wrong: .65 or .78 (one axis), 9.0 (whole batch).
    assert values["length"] < 1e-6
    np.testing.assert_allclose([values["r1"], values["r2"]], 192.0 / 2.0, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_case_10_flat_critic_has_a_finite_penalty_gradient(dtype):
    """A zero gradient made the square root have no slope, so the critic turned NaN; half precision made it worse."""
    real, fake = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 8, 8, 3)), jnp.float32)

    def penalty(weights):
        def critic(images):
            return jnp.sum(weights.astype(dtype)[None] * images.astype(dtype), axis=(1, 2, 3))

        return gradient_penalty(critic, real, fake, jax.random.key(0))

    value, gradient = jax.jit(jax.value_and_grad(penalty))(jnp.zeros((8, 8, 3)))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 1.0, atol=3e-6)
    assert not np.any(gradient)  # NaN in every entry with a plain root


def test_case_12_wasserstein_signs():
    """Users could not tell which sign was minimised, and took a negative loss for a bug."""
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
def test_case_13_losses_take_raw_scores(dtype):
    """Cross-entropy was fed probabilities or overflowed, LSGAN scores were squashed, halves and shapes were unclear."""
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


def test_case_15_short_last_batch_is_dropped():
    """The last short batch met arrays of the full size, or nearly half the data was never used, without a word."""
    pictures = np.zeros((10, 4, 4, 1), np.uint8)
    batches = DeviceBatches({"image": pictures, "label": np.arange(10)}, batch_size=4)
    epochs = np.reshape(ids(batches, range(6)), (3, 8)).tolist()  # two batches each
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({frozenset(epoch) for epoch in epochs}) == 3  # a different 8 each epoch
    assert {batch["image"].shape for step in range(6) for batch in batches(step)} == {(4, 4, 4, 1)}

    wasteful = DeviceBatches(np.zeros((999, 2)), batch_size=500)
    assert wasteful.notice is not None and "499 of 999" in wasteful.notice


def test_case_15_the_short_last_batch_in_a_run(tmp_path):
    """10 images, batch 4, 3 epochs: no shape error, no compile after the first step."""
    points = np.random.default_rng(0).normal(size=(10, 2))
    compiled = []
    listen = lambda event, duration, **_: compiled.append(event) if "backend_compile" in event else None
    for loss in LOSSES:
        gan = make_gan(
            mlp_generator((4,), features=2),
            mlp_discriminator((4,)),
            loss=LOSSES[loss],
            g_tx=optax.sgd(0.01),
            d_tx=optax.sgd(0.01),
            latent_dim=2,
        )
        data = DeviceBatches(points, batch_size=4)
        state, _ = gan.train_step(gan.init(jax.random.key(0), data(0)[0]), data(0))
        jax.monitoring.register_event_duration_secs_listener(listen)
        for step in range(1, 6):
            state, metrics = gan.train_step(state, data(step))
        jax.monitoring.unregister_event_duration_listener(listen)
        assert np.isfinite(metrics["d_loss"])
    assert not compiled


def test_case_18_donation(tmp_path):
    """The average and the live weights were one buffer, donated twice; a donated state was read for saving."""
    config = small.config(tmp_path / "run", num_steps=4, sample_every=1, evaluate_every=1, checkpoint_every=1, keep=9)
    evaluate = lambda state: {"mean": float(state.ema_params["Dense_0"]["kernel"].mean())}
    state, _ = small.run(config, evaluate=evaluate, draw=lambda outputs: np.zeros((2, 2, 3), np.uint8))
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        assert checkpoints.steps() == [1, 2, 3, 4]
        small.assert_same(checkpoints.restore(4, state), state)
    gan = small.build(config)
    jax.jit(gan.train_step, donate_argnums=0)(state, small.batches(config)(4))
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(state.generator.params["Dense_0"]["kernel"])


def test_case_18_donation_under_nan_debugging(tmp_path):
    with jax.debug_nans(True):
        state, _ = small.run(small.config(tmp_path, num_steps=4))
    assert int(state.step) == 4


def test_every_case_is_there():
    numbers = {*range(1, 52)} - {3, 6, 8, 11, 14, 17, 20, 26, 27, 31, 34, 38, 39, 43, 45, 48}  # the collection's gaps
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert {int(number) for number in re.findall(r"^def test_case_(\d+)_", tests, flags=re.MULTILINE)} == numbers


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dataset", "noise", "--batch-size", "2048"], "1024 examples, fewer than one batch of 2048"),
        (["--dataset", "noise", "--channels", "3", "--image-size", "40"], "32, 64, 128"),
        (["--d-norm", "batch"], "norm='layer'"),
        (["--loss", "wasserstein"], "experiments.wgan_gp"),
        (["--dataset", "noise", "--init-from", "nowhere"], "nowhere"),
        (["--dataset", "noise", "--channels", "3", "--best", "fid"], "best='fid' is no score"),
    ],
)
def test_case_51_settings_that_do_not_fit(arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gan", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(gan.Config, gan.main)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    *notes, error = message.splitlines()
    assert expected in error and all(note.startswith("note: ") for note in notes)
    assert not list(tmp_path.iterdir())
