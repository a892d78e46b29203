"""GAN on images: DCGAN networks and any adversarial loss.

Goodfellow et al. 2014 (arXiv:1406.2661) with the networks of Radford et al. 2015 (DCGAN, arXiv:1511.06434). Other
losses give LSGAN, the hinge GAN, relativistic GANs and f-GANs.

    python -m experiments.gan
    python -m experiments.gan --loss hinge
    python -m experiments.gan --loss f_gan --divergence kl

The preset paper is soumith/dcgan.torch's main.lua on LSUN bedrooms; --dataset takes another data set. It differs from
that code in two things: the first and the last layers have a bias, and the generator learns from the updated
discriminator instead of from the scores before the update.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.augment import named_augmentation
from jaxgan.data.pipeline import configured_batches
from jaxgan.divergences import DivergenceName, f_gan_loss
from jaxgan.evaluation.evaluation import while_training
from jaxgan.evaluation.image_scores import image_evaluation
from jaxgan.evaluation.panels import image_panels
from jaxgan.losses import LOSSES, LossName
from jaxgan.networks.dcgan import dcgan_discriminator, dcgan_generator
from jaxgan.networks.freezing import freeze_stages
from jaxgan.penalties import r1_penalty
from jaxgan.runs import cli
from jaxgan.runs.config import runtime
from jaxgan.runs.flags import BatchSize, Channels, Decay, Few, LatentDim, LearningRate, Steps, Weight
from jaxgan.runs.image_config import ImageConfig
from jaxgan.training.loop import fit
from jaxgan.types import GAN, Batches


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    experiment: ClassVar[str] = "gan"
    presets: ClassVar = {
        "default": {},
        "long": {"batch_size": 64, "num_steps": 10_000},
        "paper": {
            "g_norm": "batch",
            "d_norm": "batch",
            "r1": 0.0,
            "width": 64,
            "latent_dim": 100,
            "batch_size": 64,
            "dataset": "lsun/bedroom",
            "image_size": 64,
            "load_size": 96,
            "flip": True,
            "channels": 3,
            "g_learning_rate": 2e-4,
            "d_learning_rate": 2e-4,
            "b1": 0.5,
            "b2": 0.999,
            "decay": False,
            "ema_decay": 0.0,
            "num_steps": 1_184_800,  # 25 epochs of 3,033,042 bedrooms
        },
    }

    preset: Literal["default", "long", "paper"] = runtime("default")  # named settings; other flags override them
    loss: LossName | Literal["f_gan"] = "non_saturating"  # adversarial loss; for wasserstein use experiments.wgan_gp
    divergence: DivergenceName = "gan"  # with --loss f_gan: the divergence that the generator minimises
    g_norm: Literal["batch", "layer", "none"] = "layer"  # normalization in the generator
    d_norm: Literal["batch", "layer", "none"] = "layer"  # normalization in the discriminator
    r1: Weight = 1.0  # weight of the R1 gradient penalty (gamma), 0 for none; needs --d-norm layer or none
    n_critic: Few = 1  # discriminator updates per generator update
    g_learning_rate: LearningRate = 2e-3  # Adam's learning rate for the generator
    d_learning_rate: LearningRate = 2e-3  # Adam's learning rate for the discriminator
    decay: bool = True  # lower both learning rates linearly to zero over the run
    b1: Decay = 0.0  # Adam's beta1 (decay of the first moment) for both networks
    b2: Decay = 0.99  # Adam's beta2 (decay of the second moment) for both networks
    width: Channels = 32  # channels of the layer next to the image; doubled at each halving of the resolution
    latent_dim: LatentDim = 6  # size of a latent vector
    ema_decay: Decay = 0.998  # decay of the EMA of the generator's weights, 0 for no EMA

    num_steps: Steps = runtime(3500)  # generator updates
    batch_size: BatchSize = 32  # images per update, over all devices


def build(config: Config) -> GAN:
    def adam(learning_rate: float, updates_per_step: int = 1):
        falling = optim.linear_decay(learning_rate, config.num_steps, updates_per_step=updates_per_step)
        return optim.adam(falling if config.decay else learning_rate, b1=config.b1, b2=config.b2)

    if config.loss == "wasserstein":
        raise ValueError("loss wasserstein needs a Lipschitz-continuous critic: use experiments.wgan_gp")
    if config.r1 and config.d_norm == "batch":
        raise ValueError("R1 is for single images, but batch norm mixes a batch: give --d-norm layer or --r1 0")
    discriminator = dcgan_discriminator(config.image_size, width=config.width, norm=config.d_norm, dtype=config.dtype)
    return make_gan(
        dcgan_generator(
            config.image_size, channels=config.channels, width=config.width, norm=config.g_norm, dtype=config.dtype
        ),
        freeze_stages(discriminator, config.freeze_d),
        loss=f_gan_loss(config.divergence) if config.loss == "f_gan" else LOSSES[config.loss],
        penalty=r1_penalty,
        penalty_weight=config.r1,
        g_tx=adam(config.g_learning_rate),
        d_tx=adam(config.d_learning_rate, config.n_critic),
        latent_dim=config.latent_dim,
        augment=named_augmentation(config.augment),
        d_steps=config.n_critic,
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
