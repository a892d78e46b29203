"""Bugs that others met in public GAN code, by number: each must give the right value here."""

import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import small
from jax.sharding import NamedSharding, PartitionSpec

from experiments import gan
from jaxgan import cli, optim
from jaxgan.checkpoint import CheckpointError, Checkpoints
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.data.sources import images
from jaxgan.gan import make_gan
from jaxgan.loop import fit
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
from jaxgan.sharding import data_mesh, replicated


def ids(batches, steps):
    """Which examples each step sees, from a field that numbers them."""
    return [np.concatenate([batch["label"] for batch in batches(step)]).tolist() for step in steps]


def small_state():
    config = small.config("unused")
    return small.build(config).init(jax.random.key(0), small.batches(config)(0)[0])


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
            "dragan": dragan_penalty(total, real, key),
            "r1": r1_penalty(total, real),
            "r2": r2_penalty(total, fake),
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


def test_case_23_the_run_as_a_whole(tmp_path, monkeypatch):
    """A relative folder; every save lands, the last one too; a used folder is not run over."""
    monkeypatch.chdir(tmp_path)
    small.run(small.config("runs/x", num_steps=25, keep=9))
    with Checkpoints("runs/x/checkpoints") as checkpoints:
        assert checkpoints.steps() == [10, 20, 25]
        for step in checkpoints.steps():
            state = checkpoints.restore(step, jax.eval_shape(lambda: small_state()))
            assert int(state.step) == step
    with pytest.raises(ValueError, match="already holds a run, at step 25"):
        small.run(small.config("runs/x", num_steps=25, resume="never"))


def test_case_23_relative_folder_used_folder_last_save(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Checkpoints("runs/x", keep=3) as checkpoints:
        for step in (10, 20, 25):
            checkpoints.save(step, {"step": jnp.int32(step)})
    monkeypatch.chdir("/")  # the folder was made absolute when it was given
    with Checkpoints(tmp_path / "runs/x", keep=3) as checkpoints:
        assert checkpoints.steps() == [10, 20, 25]
        for step in (10, 20, 25):
            assert checkpoints.restore(step, {"step": jnp.int32(0)})["step"] == step
        for step in (1, 10, 25):
            with pytest.raises(CheckpointError, match="holds step 25 already"):
                checkpoints.save(step, {"step": jnp.int32(step)})


def test_case_23_a_failed_save_is_noticed(tmp_path):
    folder = tmp_path / "runs"
    with pytest.raises(CheckpointError, match="step 2 could not be saved in"), Checkpoints(folder) as checkpoints:
        checkpoints.save(1, {"w": jnp.ones(3)})
        checkpoints.wait()
        folder.rename(tmp_path / "moved")
        folder.write_text("in the way")
        checkpoints.save(2, {"w": jnp.ones(3)})


def test_case_23_a_save_that_fails_ends_the_run(tmp_path, monkeypatch):
    """A failed save was noticed much later or never."""

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(CheckpointError, match=r"step 10 could not be saved in .*No space left"):
        small.run(small.config(tmp_path))


def test_case_24_resume_brings_back_everything(tmp_path, capsys):
    """20 steps against 10, a stop and 10 more: 5 critic steps, averages, a rate that decays; bit for bit."""
    unbroken, _ = small.run(small.config(tmp_path / "a"))

    def stop(state):
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with pytest.raises(SystemExit):
        small.run(small.config(tmp_path / "b", evaluate_every=9), evaluate=stop)
    broken, _ = small.run(small.config(tmp_path / "b"))
    small.assert_same(broken, unbroken)
    assert float(optim.learning_rate_of(broken.generator.opt_state)) == pytest.approx(0.05 * 1e-2, rel=1e-5)

    with pytest.raises(ValueError, match="nothing to resume"):
        small.run(small.config(tmp_path / "empty", resume="must"))
    before = {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()}
    small.run(small.config(tmp_path / "b"))
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()} == before


def test_case_25_structure_types_and_next_step(tmp_path):
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2, b1=0.5), optax.ema(0.9))
    params = {0: jnp.ones((2, 3)), 10: jnp.linspace(-1, 1, 4, dtype=jnp.bfloat16), 2: {"w": jnp.ones(())}}
    state = {
        "params": params,
        "opt_state": tx.init(params),
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(4, impl="rbg"), 3),
        "legacy_key": jax.random.PRNGKey(5),
        "ema_params": None,
        "model_state": {},
        "count": jnp.int32(7),
        "pool": (jnp.zeros((0, 2)), [jnp.array([True, False])]),
    }

    @jax.jit
    def step(state):
        noise = jax.random.normal(jax.random.fold_in(state["key"], state["count"]), ())
        grads = jax.tree.map(lambda p: p * noise.astype(p.dtype), state["params"])
        updates, opt_state = tx.update(grads, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {**state, "params": params, "opt_state": opt_state, "count": state["count"] + 1}

    state = step(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
    with Checkpoints(tmp_path) as checkpoints:
        for like in (state, jax.eval_shape(lambda: state)):
            restored = checkpoints.restore(1, like)
            small.assert_same(restored, state)
            assert [type(node) for node in restored["opt_state"]] == [type(node) for node in state["opt_state"]]
            small.assert_same(step(restored), step(state))


def test_case_28_a_run_goes_on_with_other_devices(tmp_path):
    """Saved on 4 devices, read on 1, and the other way; the same draws and data on any number."""
    one, _ = small.run(small.config(tmp_path / "one"))
    for first, second in ((4, 1), (1, 4), (2, 4)):
        folder = tmp_path / f"{first}-{second}"
        small.run(small.config(folder, num_steps=10, num_devices=first))
        state, _ = small.run(small.config(folder, num_devices=second))
        for a, b in zip(jax.tree.leaves(state.ema_params), jax.tree.leaves(one.ema_params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)  # 20 Adam steps amplify the order of a sum


def test_case_28_any_number_of_devices_to_any_other(tmp_path):
    tx = optax.adam(0.1)

    def init():
        params = {"w": jnp.arange(4.0)}
        return {"params": params, "opt_state": tx.init(params), "key": jax.random.key(0)}

    def update(state, batch):
        grads = jax.grad(lambda params: jnp.mean((batch @ params["w"]) ** 2))(state["params"])
        updates, opt_state = tx.update(grads, state["opt_state"], state["params"])
        return {**state, "params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}

    def train(state, num_devices, num_steps):
        everywhere = replicated(data_mesh(num_devices))
        step = jax.jit(update, out_shardings=everywhere)
        rows = NamedSharding(everywhere.mesh, PartitionSpec("data"))
        batch = jax.device_put(np.linspace(0, 1, 32, dtype=np.float32).reshape(8, 4), rows)
        for _ in range(num_steps):
            state = step(state, batch)
        return state

    def sample(state):
        return jax.random.normal(state["key"], (2, 4)) @ state["params"]["w"]

    unbroken = np.asarray(train(jax.device_put(init(), replicated(data_mesh(1))), 1, 4)["params"]["w"])
    abstract = jax.eval_shape(init)
    for written_on in (4, 2, 1):
        saved = train(jax.device_put(init(), replicated(data_mesh(written_on))), written_on, 2)
        with Checkpoints(tmp_path / str(written_on)) as checkpoints:
            checkpoints.save(2, saved)
        for read_on in (1, 2, 4):
            with Checkpoints(tmp_path / str(written_on)) as checkpoints:
                state = checkpoints.restore(2, abstract, sharding=replicated(data_mesh(read_on)))
            small.assert_same(state, saved)
            assert {leaf.sharding for leaf in jax.tree.leaves(state)} == {replicated(data_mesh(read_on))}
            trained = np.asarray(train(state, read_on, 2)["params"]["w"])
            np.testing.assert_allclose(trained, unbroken, rtol=1e-5, atol=1e-6)
        with Checkpoints(tmp_path / str(written_on)) as checkpoints:  # sampling says nothing about devices
            state = checkpoints.restore(None, abstract)
        assert {leaf.sharding.device_set == {jax.devices()[0]} for leaf in jax.tree.leaves(state)} == {True}
        assert np.array_equal(sample(state), sample(jax.device_put(saved, jax.devices()[0])))


def test_case_28_sharded_arrays_as_well(tmp_path):
    rows = {n: NamedSharding(data_mesh(n), PartitionSpec("data")) for n in (1, 2, 4)}
    saved = {"w": jax.device_put(np.arange(16.0, dtype=np.float32).reshape(8, 2), rows[4])}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, saved)
        for sharding in (rows[1], rows[2], rows[4], replicated(data_mesh(4))):
            state = checkpoints.restore(1, jax.eval_shape(lambda: saved), sharding=sharding)
            assert state["w"].sharding == sharding
            small.assert_same(state, saved)


@pytest.mark.parametrize("d_steps", [1, 2])
def test_case_29_resuming_goes_on_in_the_order(d_steps):
    """After a resume the shuffle began again at the first epoch, so some images came twice and others never."""
    data = {"image": np.zeros((20, 4, 4, 1), np.uint8), "label": np.arange(20)}
    unbroken = ids(DeviceBatches(data, batch_size=4, seed=5, d_steps=d_steps), range(15))
    resumed = ids(DeviceBatches(data, batch_size=4, seed=5, d_steps=d_steps), range(7, 15))
    assert resumed == unbroken[7:]
    seen = np.array(unbroken).reshape(-1, 20)  # 5 batches an epoch
    np.testing.assert_array_equal(np.sort(seen), np.tile(np.arange(20), (3 * d_steps, 1)))
    assert len({tuple(epoch) for epoch in seen}) == 3 * d_steps


def test_case_29_a_resumed_run_reads_on_in_the_order(tmp_path):
    """Stopped inside an epoch, the next steps see the examples the unbroken run would have seen."""
    config = small.config(tmp_path, num_steps=7)
    seen = []

    class Spy:
        def __init__(self, batches):
            self.batches, self.size = batches, batches.size

        def __call__(self, step):
            seen.append(step)
            return self.batches(step)

    fit(small.build(config), Spy(small.batches(config)), config, draw=None)
    seen.clear()
    config = small.config(tmp_path, num_steps=15)
    fit(small.build(config), Spy(small.batches(config)), config, draw=None)
    assert seen[-8:] == [*range(7, 15)]  # before them the first steps, for shapes and for the picture


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dataset", "noise", "--batch-size", "2048"], "1024 examples, fewer than one batch of 2048"),
        (["--dataset", "noise", "--channels", "3", "--image-size", "40"], "32, 64, 128"),
        (["--d-norm", "batch"], "norm='layer'"),
        (["--loss", "wasserstein"], "experiments.wgan_gp"),
        (["--dataset", "noise", "--init-from", "nowhere"], "nowhere"),
        (["--dataset", "noise", "--best", "fid"], "no evaluation"),
    ],
)
def test_case_51_settings_that_do_not_fit(arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gan", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(gan.Config, gan.main)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert expected in message and message.count("\n") == 1
    assert not list(tmp_path.iterdir())
