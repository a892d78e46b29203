"""The experiments' own steps on 1, 2, 4 and, under JAX_NUM_CPU_DEVICES=8, on 8 devices.

By SGD: Adam makes a whole step of a gradient's rounding.
"""

import collections
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import optim
from jaxgan.devices.sharding import CPU_OPTIONS, by_batch, compile_step, data_mesh, replicated

SMALL = {
    "gan": {"dataset": "noise", "width": 8},
    "wgan_gp": {"dataset": "noise", "width": 8, "n_critic": 2},
    "sngan": {"dataset": "noise", "g_width": 8, "d_width": 8, "n_critic": 1},
    "text_to_image": {"width": 8},
    "cyclegan": {"dataset": "noise", "dataset_b": "noise", "width": 8, "d_width": 8, "blocks": 1},
    "pix2pix": {"dataset": "noise", "dataset_b": "noise", "width": 8, "d_width": 8, "dropout": 0.5, "g_norm": "batch"},
}

# Five steps of 1e-3 would make cyclegan's rounding, whose losses begin at 66, 300 times as large.
RATES = {"cyclegan": 1e-4}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_losses_and_samples_do_not_depend_on_the_number_of_devices(name, monkeypatch):
    monkeypatch.setattr(optim, "adam", lambda *arguments, **options: optax.sgd(RATES.get(name, 1e-3)))
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
    for devices in (2, 4, 8)[: len(jax.devices()).bit_length() - 1]:
        # Losses as the sums' order rounds them; samples to a hundredth of one of 256 grey levels.
        others, drawn = five_steps(devices)
        np.testing.assert_allclose(others, losses, rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), drawn, samples)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_on_one_device_the_program_is_that_of_plain_jit(name):
    module = importlib.import_module(f"experiments.{name}")
    config = module.Config(batch_size=8, **SMALL[name])
    gan, batches = module.build(config), module.batches(config)(0)
    state = jax.eval_shape(gan.init, jax.random.key(0), batches[0])
    plain = jax.jit(gan.train_step, donate_argnums=0).lower(state, batches).compile(compiler_options=CPU_OPTIONS)
    sharded = compile_step(gan.train_step, data_mesh(1), state, batches)
    operations = [
        collections.Counter(re.findall(r"^\s*(?:ROOT )?\S+ = .*? ([a-z-]+)\(", compiled.as_text(), re.MULTILINE))
        for compiled in (plain, sharded)
    ]
    assert operations[0] == operations[1] and operations[0].total() > 1000
