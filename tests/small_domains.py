"""The smallest complete CycleGAN: one convolution a network. Shared by the tests of two domains and of their runs."""

import dataclasses
from typing import ClassVar, Literal

import numpy as np
from flax import linen as nn
from PIL import Image

from jaxgan import optim
from jaxgan.algorithms.cyclegan import make_cyclegan
from jaxgan.data.domains import configured_domains
from jaxgan.losses import LOSSES
from jaxgan.networks.linen import from_linen
from jaxgan.runs.image_config import DomainsConfig
from jaxgan.training.loop import fit

RANDOM = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(DomainsConfig):
    experiment: ClassVar[str] = "small_domains"

    image_size: int = 16
    channels_a: Literal[1, 3] = 1
    load_size: int | None = None


class Convolution(nn.Module):
    channels: int

    @nn.compact
    def __call__(self, images, *, train):
        return nn.tanh(nn.Conv(self.channels, (3, 3))(images))


def build(config):
    return make_cyclegan(
        {"a_to_b": from_linen(Convolution(config.channels_b)), "b_to_a": from_linen(Convolution(config.channels_a))},
        {"a": from_linen(Convolution(1)), "b": from_linen(Convolution(1))},
        loss=LOSSES["least_squares"],
        identity_weight=0.0,
        pool_size=2,
        g_tx=optim.adam(1e-2),
        d_tx=optim.adam(1e-2),
    )


def batches(config):
    return configured_domains(config)


def save(path, size, *, mode="RGB"):
    """A picture of noise, `size` high and wide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(256, size=(*size, 3), dtype=np.uint8)).convert(mode).save(path)


def train(folder, data, **changes):
    """A run in `folder` on two domains of a few pictures, which are made in `data`."""
    for split, count in (("trainA", 3), ("trainB", 4)):
        for number in range(count):
            save(data / split / f"{number}.png", (16, 20))
    options = {"num_steps": 2, "batch_size": 2, "num_devices": 1, "workdir": str(folder), "dataset": f"folder:{data}"}
    config = Config(**options | changes)
    return fit(build(config), batches(config), config, draw=None)
