"""Bugs that others met in public GAN code, by number, where several devices share the work; four CPU devices here."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from flax import linen as nn

from jaxgan.algorithms.gan import make_gan
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.devices.sharding import batched, by_batch, compile_step, data_mesh, replicated
from jaxgan.losses import LOSSES
from jaxgan.metrics.extract import extract
from jaxgan.networks.layers import Norm
from jaxgan.networks.linen import from_linen
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.runs.config import RunConfig
from jaxgan.training.step import Tally

POINTS = np.random.default_rng(0).normal(size=(19, 2))


def tiny_gan():
    return make_gan(
        mlp_generator((4,), features=2),
        mlp_discriminator((4,)),
        loss=LOSSES["non_saturating"],
        g_tx=optax.sgd(0.1),
        d_tx=optax.sgd(0.1),
        latent_dim=2,
    )


@pytest.mark.parametrize(("batch_size", "near"), [(6, "4 or 8 would"), (2, "4 would"), (9, "8 or 12 would")])
def test_case_47_a_batch_that_does_not_divide_is_refused_at_the_start(batch_size, near, tmp_path):
    """It failed in the middle of a run, with a message about sharding or a modulo by zero."""
    with pytest.raises(ValueError, match=f"batch_size={batch_size} does not divide among 4 devices; {near}"):
        small.run(small.config(tmp_path / "run", batch_size=batch_size, num_devices=4))
    assert not (tmp_path / "run").exists()


def test_case_47_devices_do_not_change_a_step():
    """19 examples in batches of 8 over three epochs, on 1 and on 4 devices."""
    gan, batches, losses = tiny_gan(), DeviceBatches(POINTS, batch_size=8), []
    for devices in (1, 4):
        mesh = data_mesh(devices, batch_size=8)
        state = jax.device_put(gan.init(jax.random.key(0), batches(0)[0]), replicated(mesh))
        tally = Tally(gan, RunConfig(), mesh, state, batches(0))
        found = []
        for step in range(6):
            state = tally.update(state, batches(step))
            found.append(tally.read()[0]["d_loss"])
        losses.append(found)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_case_47_examples_that_do_not_divide_are_evaluated_once_each():
    rows = np.arange(19, dtype=np.uint8).reshape(19, 1, 1, 1)
    identity = jax.jit(lambda images: images.reshape(len(images), -1).astype(jnp.float32))
    found = extract(rows, identity, batch_size=8, sharding=by_batch(data_mesh(4, batch_size=8)))
    assert found.ravel().tolist() == list(range(19))


def test_case_47_five_samples_on_four_devices():
    gan = tiny_gan()
    state = gan.init(jax.random.key(0), {"image": jnp.zeros((4, 2))})
    latents = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    expected = gan.sample(state, {"latents": latents})["samples"]
    everywhere = jax.device_put(state, replicated(data_mesh(4)))
    found = batched(lambda inputs: gan.sample(everywhere, inputs), at_once=4)({"latents": latents})["samples"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_case_49_statistics_of_the_global_batch(tmp_path):
    """They were those of one device: running means 0, 0.1, 0.2, 0.3 and a variance of 0.9."""

    class Normed(nn.Module):
        @nn.compact
        def __call__(self, values, *, train):
            return Norm("batch", affine=False)(values, train=train)

    network = from_linen(Normed(), mixes_batch=True)
    values = jnp.repeat(jnp.arange(4.0), 2)[:, None]  # 0, 0 on the first device, ... 3, 3 on the last
    after = {}
    for devices in (1, 4):
        mesh = data_mesh(devices)
        _, state = network.init(jax.random.key(0), values)

        def step(state, values):
            outputs, moved = network.apply({}, state, values, train=True)
            return moved, outputs

        compiled = compile_step(step, mesh, state, jax.ShapeDtypeStruct(values.shape, values.dtype))
        moved, outputs = compiled(jax.device_put(state, replicated(mesh)), jax.device_put(values, by_batch(mesh)))
        for leaf, expected in zip(jax.tree.leaves(moved), (0.15, 1.025), strict=True):
            assert len(leaf.addressable_shards) == devices
            for shard in leaf.addressable_shards:
                np.testing.assert_allclose(shard.data, [expected], rtol=1e-6)
        np.testing.assert_allclose(outputs, (values - 1.5) / np.sqrt(1.25 + 1e-5), rtol=1e-5)
        after[devices] = moved
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, after[4])
        stored = checkpoints.restore(1, jax.eval_shape(lambda: after[1]))  # on one device
    outputs, _ = network.apply({}, stored, values, train=False)
    np.testing.assert_allclose(outputs, (values - 0.15) / np.sqrt(1.025 + 1e-5), rtol=1e-5)
