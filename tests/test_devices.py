"""The experiments' own steps on 1, 2 and 4 devices. By SGD: Adam makes a whole step of a gradient's rounding."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import optim
from jaxgan.sharding import by_batch, compile_step, data_mesh, replicated

SMALL = {
    "gan": {"dataset": "noise", "width": 8},
    "wgan_gp": {"dataset": "noise", "width": 8, "n_critic": 2},
    "sngan": {"dataset": "noise", "g_width": 8, "d_width": 8, "n_critic": 1},
    "text_to_image": {"width": 8},
    "cyclegan": {"dataset": "noise", "dataset_b": "noise", "width": 8, "d_width": 8, "blocks": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_losses_and_samples_do_not_depend_on_the_number_of_devices(name, monkeypatch):
    monkeypatch.setattr(optim, "adam", lambda *arguments, **options: optax.sgd(1e-3))
    module = importlib.import_module(f"experiments.{name}")
    config = module.Config(batch_size=8, **SMALL[name])
    gan, batches = module.build(config), module.batches(config)
    start = gan.init(jax.random.key(0), batches(0)[0])
    inputs = gan.preview(jax.random.key(1), batches(0)[0])

    def five_steps(devices):
        mesh = data_mesh(devices, batch_size=8)
        step = compile_step(gan.train_step, mesh, start, batches(0))
        state = jax.device_put(jax.tree.map(jnp.copy, start), replicated(mesh))  # the step takes what it is given
        losses = []
        for number in range(5):
            state, metrics = step(state, jax.device_put(batches(number), by_batch(mesh)))
            losses.append([metrics[loss] for loss in ("d_loss", "g_loss")])
        return np.array(losses), jax.tree.map(np.asarray, gan.sample(state, inputs))

    losses, samples = five_steps(1)
    for devices in (2, 4):
        # Losses as the sums' order rounds them; samples to a hundredth of one of 256 grey levels.
        others, drawn = five_steps(devices)
        np.testing.assert_allclose(others, losses, rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), drawn, samples)
