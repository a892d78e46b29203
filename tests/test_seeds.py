"""Several runs at once against the same runs one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from experiments import gaussians_2d
from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.algorithms.seeds import over_seeds, spread
from jaxgan.devices.sharding import by_batch, data_mesh, replicated
from jaxgan.losses import LOSSES
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.runs.logging import read_metrics


@pytest.fixture(scope="module")
def one():
    return make_gan(
        mlp_generator((8,), features=2),
        mlp_discriminator((8,)),
        loss=LOSSES["non_saturating"],
        g_tx=optim.adam(1e-2),
        d_tx=optim.adam(1e-2),
        latent_dim=2,
    )


def batch(rows, seed=0):
    return {"image": jnp.asarray(np.random.default_rng(seed).normal(size=(rows, 2)), jnp.float32)}


def of(number, state):
    return jax.tree.map(lambda leaf: leaf[number], state)


def assert_close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_each_run_is_the_one_it_would_be_alone(one):
    gan, key = over_seeds(one, 3), jax.random.key(7)
    state = gan.init(key, batch(12))
    alone = [one.init(key, batch(4)) for key in jax.random.split(key, 3)]
    given = (batch(12, 1),)
    state, metrics = gan.train_step(state, given)
    reached = []
    for number in range(3):
        part = jax.tree.map(lambda rows, here=slice(4 * number, 4 * number + 4): rows[here], given)
        alone[number], single = one.train_step(alone[number], part)
        reached.append(single)
        assert_close(of(number, state), alone[number])
    losses = [float(single["d_loss"]) for single in reached]
    assert metrics["d_loss"] == pytest.approx(np.mean(losses), rel=1e-4, abs=1e-5)
    assert metrics["d_loss_std"] == pytest.approx(np.std(losses, ddof=1), rel=1e-3, abs=1e-5)
    assert metrics.keys() == reached[0].keys() | {f"{name}_std" for name in reached[0]}

    inputs = gan.preview(key, batch(6))
    samples = gan.sample(state, inputs)["samples"]
    expected = [one.sample(alone[k], {"latents": inputs["latents"][2 * k : 2 * k + 2]})["samples"] for k in range(3)]
    np.testing.assert_allclose(samples, np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_the_players_move_one_by_one(one):
    gan = over_seeds(one, 2)
    state = gan.init(jax.random.key(0), batch(8))
    moved, _ = gan.d_step(state, batch(8))
    small.assert_same(moved.generator, state.generator)
    assert moved.discriminator.step.tolist() == [1, 1]
    moved, metrics = gan.g_step(state, batch(8))
    small.assert_same(moved.discriminator, state.discriminator)
    assert "g_loss_std" in metrics


def test_numbers_of_seeds(one):
    assert over_seeds(one, 1) is one
    with pytest.raises(ValueError, match="num_seeds=0 must be at least 1"):
        over_seeds(one, 0)
    with pytest.raises(ValueError, match="8 rows: a multiple of num_seeds=3 expected"):
        over_seeds(one, 3).init(jax.random.key(0), batch(8))
    assert spread({"score": np.array([3.0])}) == {"score": 3.0}


def test_devices_share_the_seeds(one):
    gan, mesh = over_seeds(one, 4), data_mesh(4)
    state, given = gan.init(jax.random.key(0), batch(16)), (batch(16, 1),)
    expected = gan.train_step(state, given)
    placed = jax.device_put(state, replicated(mesh)), jax.device_put(given, by_batch(mesh))
    assert_close(gan.train_step(*placed), expected)


@pytest.mark.slow
def test_gaussians_2d_over_seeds(tmp_path, capsys):
    options = {"width": 8, "batch_size": 4, "num_devices": 1, "num_seeds": 3, "log_every": 2, "checkpoint_every": 2}
    options |= {"r1": 0.0, "r2": 0.0}
    unbroken = gaussians_2d.main(gaussians_2d.Config(workdir=str(tmp_path / "a"), num_steps=4, **options))
    assert "standard deviation" in capsys.readouterr().out
    assert {"modes", "modes_std", "high_quality_std", "g_loss_std"} <= unbroken.keys()
    assert {"d_loss", "d_loss_std"} <= read_metrics(tmp_path / "a/metrics.jsonl")[0].keys()
    # A linear decay ends with the run, so a shorter one would differ: stopped instead, after its first checkpoint.
    fit = gaussians_2d.fit
    broken = gaussians_2d.Config(workdir=str(tmp_path / "b"), num_steps=4, **options)

    def stopped(gan, batches, config, **kwargs):
        def failing(step):
            if step == 3:
                raise KeyboardInterrupt
            return batches(step)

        failing.size, failing.batch_size = batches.size, batches.batch_size
        return fit(gan, failing, config, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussians_2d, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            gaussians_2d.main(broken)
    resumed = gaussians_2d.main(broken)
    for name in ("d_loss", "d_loss_std", "modes", "high_quality"):
        assert resumed[name] == unbroken[name]
