"""WGAN: a critic that estimates the Wasserstein distance, kept Lipschitz by clipping its weights.

Arjovsky et al. 2017 (arXiv:1701.07875), DCGAN networks. Clipping comes after each update of the critic, so the one the
generator meets is always clipped; it covers all parameters, norm scales and offsets included, as the authors' does. The
optimizer is RMSprop, since momentum makes the loss lose its meaning. The authors train the critic 100 times to each of
the first 25 generator updates; `--head-start 500` gives it those 2,500 updates before the generator first moves.

    python -m experiments.wgan
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import optax

from jaxgan import cli, optim
from jaxgan.augment import named_augmentation
from jaxgan.config import ImageConfig, free
from jaxgan.data.pipeline import configured_batches
from jaxgan.evaluation.base import while_training
from jaxgan.evaluation.images import image_evaluation
from jaxgan.evaluation.panels import image_panels
from jaxgan.flags import BatchSize, Channels, Decay, Few, LatentDim, LearningRate, Range, Steps, StepsOrNone
from jaxgan.gan import make_gan
from jaxgan.loop import fit
from jaxgan.losses import LOSSES
from jaxgan.networks.dcgan import dcgan_discriminator, dcgan_generator
from jaxgan.types import GAN, Batches


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    experiment: ClassVar[str] = "wgan"
    presets: ClassVar = {
        "default": {},
        "paper": {
            "g_norm": "batch",
            "d_norm": "batch",
            "g_learning_rate": 5e-5,
            "d_learning_rate": 5e-5,
            "n_critic": 5,
            "head_start": 500,
            "width": 64,
            "latent_dim": 100,
            "batch_size": 64,
            "image_size": 64,
            "channels": 3,
            "ema_decay": 0.0,
            "num_steps": 200_000,
        },
    }

    preset: Literal["default", "paper"] = free("default")  # named settings; further flags change them
    clip: Annotated[float, Range(1e-6, 1e3)] = 0.01  # no weight of the critic is larger
    g_norm: Literal["batch", "layer", "none"] = "layer"  # in the generator
    d_norm: Literal["batch", "layer", "none"] = "batch"  # in the critic
    n_critic: Few = 3  # critic updates to one of the generator
    head_start: StepsOrNone = 0  # steps at the beginning in which the generator stands still
    g_learning_rate: LearningRate = 5e-4  # RMSprop's, of the generator
    d_learning_rate: LearningRate = 5e-4  # RMSprop's, of the critic
    width: Channels = 32  # channels next to the image; doubled at each halving of its size
    latent_dim: LatentDim = 8  # size of a latent vector
    ema_decay: Decay = 0.998  # of the generator's moving average, 0 for none

    num_steps: Steps = free(3500)  # generator updates
    batch_size: BatchSize = 32  # images to an update, over all devices


def build(config: Config) -> GAN:
    def late(update):
        return config.g_learning_rate * (update >= config.head_start)

    return make_gan(
        dcgan_generator(
            config.image_size, channels=config.channels, width=config.width, norm=config.g_norm, dtype=config.dtype
        ),
        dcgan_discriminator(config.image_size, width=config.width, norm=config.d_norm, dtype=config.dtype),
        loss=LOSSES["wasserstein"],
        g_tx=optim.rmsprop(late),
        d_tx=optax.chain(optim.rmsprop(config.d_learning_rate), optim.clip_weights(config.clip)),
        latent_dim=config.latent_dim,
        augment=named_augmentation(config.augment),
        d_steps=config.n_critic,
        ema_decay=config.ema_decay or None,
    )


def batches(config: Config) -> Batches:
    return configured_batches(config, d_steps=config.n_critic)


def main(config: Config) -> dict[str, float]:
    gan = build(config)
    evaluate = while_training(image_evaluation, gan, config)
    return fit(gan, batches(config), config, evaluate=evaluate, panels=image_panels(gan, config))[1]


if __name__ == "__main__":
    cli.run(Config, main)
