"""The smallest GAN and the smallest complete run: 2-D points, MLPs of width 8."""

import dataclasses
import functools
from typing import ClassVar

import jax
import numpy as np

from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.losses import LOSSES
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.penalties import gradient_penalty
from jaxgan.runs.config import RunConfig
from jaxgan.training.loop import fit

POINTS = {"image": jax.random.normal(jax.random.key(5), (8, 2))}


def small_gan(loss="non_saturating", generator=None, discriminator=None, **changes):
    options = {"g_tx": optim.adam(1e-2), "d_tx": optim.adam(1e-2), "latent_dim": 3, **changes}
    return make_gan(
        generator or mlp_generator((8,), features=2),
        discriminator or mlp_discriminator((8,)),
        loss=LOSSES[loss],
        **options,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    experiment: ClassVar[str] = "small"

    learning_rate: float = 1e-2


def build(config):
    return _gan(config.learning_rate)


@functools.cache  # so that its functions are traced once
def _gan(learning_rate):
    rate = lambda updates: optim.linear_decay(learning_rate, 20, updates_per_step=updates)
    return make_gan(
        mlp_generator((8,), features=2),
        mlp_discriminator((8,)),
        loss=LOSSES["wasserstein"],
        penalty=gradient_penalty,
        penalty_weight=0.1,
        g_tx=optim.adam(rate(1)),
        d_tx=optim.adam(rate(5)),
        latent_dim=2,
        d_steps=5,
        ema_decay=0.9,
    )


def batches(config):
    points = np.random.default_rng(0).normal(size=(40, 2))
    return DeviceBatches(points, batch_size=config.batch_size, seed=config.seed, d_steps=5)


def config(folder, **changes):
    options = {"num_steps": 20, "batch_size": 8, "log_every": 5, "checkpoint_every": 10, "num_devices": 1}
    return Config(workdir=str(folder), **options | changes)


def run(config, **options):
    return fit(build(config), batches(config), config, **{"draw": None, **options})


def assert_same(a, b):
    """Bit for bit, keys and structure included."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg=jax.tree_util.keystr(path))
