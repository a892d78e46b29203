"""WGAN-GP: a critic that estimates the Wasserstein distance, kept smooth by a penalty on its slope.

Gulrajani et al. 2017 (arXiv:1704.00028), DCGAN networks. The critic has no batch norm, since the penalty is a function
of single samples.

    python -m experiments.wgan_gp
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxgan import cli, optim
from jaxgan.config import ImageConfig, free
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.data.sources import images
from jaxgan.gan import make_gan
from jaxgan.loop import fit
from jaxgan.losses import LOSSES
from jaxgan.networks.dcgan import dcgan_discriminator, dcgan_generator
from jaxgan.penalties import gradient_penalty
from jaxgan.types import GAN


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    experiment: ClassVar[str] = "wgan_gp"
    presets: ClassVar = {
        "default": {},
        "paper": {
            "width": 64,
            "latent_dim": 128,
            "batch_size": 50,
            "learning_rate": 1e-4,
            "b1": 0.5,
            "n_critic": 5,
            "ema_decay": 0.0,
            "num_steps": 200_000,
        },
    }

    preset: Literal["default", "paper"] = free("default")  # named settings; further flags change them
    penalty_weight: float = 10.0  # lambda
    norm: Literal["layer", "none"] = "none"  # in the critic; the generator has batch norm
    n_critic: int = 3  # critic updates to one of the generator
    learning_rate: float = 5e-4  # Adam's, of both
    b1: float = 0.0  # Adam's decay of the first moment, of both
    b2: float = 0.9  # Adam's decay of the second moment, of both
    width: int = 16  # channels next to the image; doubled at each halving of its size
    latent_dim: int = 64  # size of a latent vector
    ema_decay: float = 0.99  # of the generator's moving average, 0 for none


def build(config: Config) -> GAN:
    def penalty(critic, real, fake, key):
        return config.penalty_weight * gradient_penalty(critic, real, fake, key)

    return make_gan(
        dcgan_generator(config.image_size, channels=config.channels, width=config.width, dtype=config.dtype),
        dcgan_discriminator(config.image_size, width=config.width, norm=config.norm, dtype=config.dtype),
        loss=LOSSES["wasserstein"],
        penalty=penalty,
        g_tx=optim.adam(config.learning_rate, b1=config.b1, b2=config.b2),
        d_tx=optim.adam(config.learning_rate, b1=config.b1, b2=config.b2),
        latent_dim=config.latent_dim,
        d_steps=config.n_critic,
        ema_decay=config.ema_decay or None,
    )


def batches(config: Config) -> DeviceBatches:
    data = images(config.dataset, data_dir=config.data_dir, image_size=config.image_size, channels=config.channels)
    return DeviceBatches(data["image"], batch_size=config.batch_size, seed=config.seed, d_steps=config.n_critic)


def main(config: Config) -> dict[str, float]:
    return fit(build(config), batches(config), config)[1]


if __name__ == "__main__":
    cli.run(Config, main)
