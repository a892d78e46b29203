"""GAN on images: DCGAN networks and any adversarial loss.

Goodfellow et al. 2014 (arXiv:1406.2661) with the networks of Radford et al. 2015 (DCGAN, arXiv:1511.06434); with other
losses LSGAN, hinge and relativistic GANs.

    python -m experiments.gan
    python -m experiments.gan --loss hinge
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxgan.networks.dcgan import dcgan_discriminator, dcgan_generator

from jaxgan import cli, optim
from jaxgan.config import ImageConfig, free
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.data.sources import images
from jaxgan.gan import make_gan
from jaxgan.loop import fit
from jaxgan.losses import LOSSES
from jaxgan.penalties import r1_penalty
from jaxgan.types import GAN

LossName = Literal[tuple(LOSSES)]


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    experiment: ClassVar[str] = "gan"
    presets: ClassVar = {
        "default": {},
        "long": {"num_steps": 8000},
        "paper": {
            "width": 128,
            "latent_dim": 100,
            "batch_size": 128,
            "image_size": 64,
            "g_learning_rate": 2e-4,
            "d_learning_rate": 2e-4,
            "b1": 0.5,
            "ema_decay": 0.0,
            "num_steps": 100_000,
        },
    }

    preset: Literal["default", "long", "paper"] = free("default")  # named settings; further flags change them
    loss: LossName = "non_saturating"  # the two players' losses
    norm: Literal["batch", "layer", "none"] = "batch"  # in the discriminator; the generator has batch norm
    r1: float = 0.0  # gamma of the slope penalty at real images, 0 for none; needs --norm layer or none
    n_critic: int = 1  # discriminator updates to one of the generator
    g_learning_rate: float = 1e-3  # Adam's, of the generator
    d_learning_rate: float = 1e-3  # Adam's, of the discriminator
    b1: float = 0.5  # Adam's decay of the first moment, of both
    width: int = 32  # channels next to the image; doubled at each halving of its size
    latent_dim: int = 64  # size of a latent vector
    ema_decay: float = 0.99  # of the generator's moving average, 0 for none


def build(config: Config) -> GAN:
    if config.loss == "wasserstein" and not config.r1:
        raise ValueError("loss wasserstein needs a Lipschitz critic: use experiments.wgan_gp")
    return make_gan(
        dcgan_generator(config.image_size, channels=config.channels, width=config.width, dtype=config.dtype),
        dcgan_discriminator(config.image_size, width=config.width, norm=config.norm, dtype=config.dtype),
        loss=LOSSES[config.loss],
        penalty=(lambda critic, real, fake, key: config.r1 * r1_penalty(critic, real)) if config.r1 else None,
        g_tx=optim.adam(config.g_learning_rate, b1=config.b1),
        d_tx=optim.adam(config.d_learning_rate, b1=config.b1),
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
