"""SNGAN: the hinge loss, and spectral normalization of the discriminator.

Miyato et al. 2018 (arXiv:1802.05957), the residual networks. Each layer of the discriminator is divided by its largest
singular value, which one power iteration per update estimates. Learning rates fall linearly to zero over the run.

    python -m experiments.sngan

The preset paper is pfnet-research/sngan_projection's sn_cifar10_unconditional.yml, whose generator draws two images
for each image of the discriminator's batch. It differs from that code in five things: the score has a bias, pixels get
no uniform noise below 1/128, batch norm adds 1e-5 to the variance instead of 2e-5, the discriminator is updated first,
and the spectral norm is half a power step ahead.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.augment import named_augmentation
from jaxgan.data.pipeline import configured_batches
from jaxgan.evaluation.evaluation import while_training
from jaxgan.evaluation.image_scores import image_evaluation
from jaxgan.evaluation.panels import image_panels
from jaxgan.losses import LOSSES
from jaxgan.networks.freezing import freeze_stages
from jaxgan.networks.resnet import resnet_discriminator, resnet_generator
from jaxgan.runs import cli
from jaxgan.runs.config import runtime
from jaxgan.runs.flags import BatchSize, Channels, Decay, Few, LatentDim, LearningRate, Steps
from jaxgan.runs.image_config import ImageConfig
from jaxgan.training.loop import fit
from jaxgan.types import GAN, Batches


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    experiment: ClassVar[str] = "sngan"
    presets: ClassVar = {
        "default": {},
        "paper": {
            "g_width": 256,
            "d_width": 128,
            "latent_dim": 128,
            "n_critic": 5,
            "g_batch_multiple": 2,
            "g_learning_rate": 2e-4,
            "d_learning_rate": 2e-4,
            "dataset": "cifar10",
            "channels": 3,
            "batch_size": 64,
            "ema_decay": 0.0,
            "num_steps": 50_000,
        },
    }

    preset: Literal["default", "paper"] = runtime("default")  # named settings; other flags override them
    n_critic: Few = 2  # discriminator updates per generator update
    g_batch_multiple: Few = 1  # images a generator update draws for each image of the batch
    g_learning_rate: LearningRate = 1e-3  # Adam's learning rate for the generator
    d_learning_rate: LearningRate = 1e-3  # Adam's learning rate for the discriminator
    b1: Decay = 0.0  # Adam's beta1 (decay of the first moment) for both networks
    b2: Decay = 0.9  # Adam's beta2 (decay of the second moment) for both networks
    g_width: Channels = 24  # channels of the generator; at 64 and 128 pixels, of the layer next to the image
    d_width: Channels = 24  # channels of the discriminator; at 64 and 128 pixels, of the layer next to the image
    latent_dim: LatentDim = 16  # size of a latent vector
    ema_decay: Decay = 0.998  # decay of the EMA of the generator's weights, 0 for no EMA

    num_steps: Steps = runtime(3000)  # generator updates
    batch_size: BatchSize = 32  # images per update, over all devices


def build(config: Config) -> GAN:
    def adam(learning_rate: float, updates_per_step: int = 1):
        rate = optim.linear_decay(learning_rate, config.num_steps, updates_per_step=updates_per_step)
        return optim.adam(rate, b1=config.b1, b2=config.b2)

    discriminator = resnet_discriminator(
        config.image_size, width=config.d_width, spectral_norm=True, dtype=config.dtype
    )
    return make_gan(
        resnet_generator(config.image_size, channels=config.channels, width=config.g_width, dtype=config.dtype),
        freeze_stages(discriminator, config.freeze_d),
        loss=LOSSES["hinge"],
        g_tx=adam(config.g_learning_rate),
        d_tx=adam(config.d_learning_rate, config.n_critic),
        latent_dim=config.latent_dim,
        augment=named_augmentation(config.augment),
        d_steps=config.n_critic,
        g_batch_multiple=config.g_batch_multiple,
        ema_decay=config.ema_decay or None,
        microbatches=config.microbatches,
        remat=config.remat,
    )


def batches(config: Config) -> Batches:
    return configured_batches(config, d_steps=config.n_critic)


def main(config: Config) -> dict[str, float]:
    gan = build(config)
    evaluate = while_training(image_evaluation, gan, config)
    return fit(gan, batches(config), config, evaluate=evaluate, panels=image_panels(gan, config))[1]


if __name__ == "__main__":
    cli.run(Config, main)
