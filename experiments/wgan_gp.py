"""WGAN-GP: a critic estimates the Wasserstein distance; a penalty keeps its gradient norm near 1.

Gulrajani et al. 2017 (arXiv:1704.00028), DCGAN networks. The critic has no batch norm, since the penalty is a function
of single samples.

    python -m experiments.wgan_gp

The preset paper is igul222/improved_wgan_training's gan_mnist.py. It differs from that code in its networks: theirs
have 28x28 pixels, 5x5 kernels initialized uniformly after He et al. 2015, and a sigmoid at the end of the generator;
these have 32x32 pixels, 4x4 kernels initialized from N(0, 0.02), and tanh.
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
from jaxgan.networks.dcgan import dcgan_discriminator, dcgan_generator
from jaxgan.networks.freezing import freeze_stages
from jaxgan.penalties import gradient_penalty
from jaxgan.runs import cli
from jaxgan.runs.config import runtime
from jaxgan.runs.flags import BatchSize, Channels, Decay, Few, LatentDim, LearningRate, Steps, Weight
from jaxgan.runs.image_config import ImageConfig
from jaxgan.training.loop import fit
from jaxgan.types import GAN, Batches


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    experiment: ClassVar[str] = "wgan_gp"
    presets: ClassVar = {
        "default": {},
        "paper": {
            "g_norm": "none",
            "d_norm": "none",
            "width": 64,
            "latent_dim": 128,
            "batch_size": 50,
            "dataset": "mnist",
            "g_learning_rate": 1e-4,
            "d_learning_rate": 1e-4,
            "decay": False,
            "b1": 0.5,
            "n_critic": 5,
            "ema_decay": 0.0,
            "num_steps": 200_000,
        },
    }

    preset: Literal["default", "paper"] = runtime("default")  # named settings; other flags override them
    penalty_weight: Weight = 10.0  # weight of the gradient penalty (lambda)
    g_norm: Literal["batch", "layer", "none"] = "layer"  # normalization in the generator
    d_norm: Literal["layer", "none"] = "layer"  # normalization in the critic
    n_critic: Few = 3  # critic updates per generator update
    g_learning_rate: LearningRate = 1e-3  # Adam's learning rate for the generator
    d_learning_rate: LearningRate = 1e-3  # Adam's learning rate for the critic
    decay: bool = True  # lower both learning rates linearly to zero over the run
    b1: Decay = 0.0  # Adam's beta1 (decay of the first moment) for both networks
    b2: Decay = 0.9  # Adam's beta2 (decay of the second moment) for both networks
    width: Channels = 32  # channels of the layer next to the image; doubled at each halving of the resolution
    latent_dim: LatentDim = 8  # size of a latent vector
    ema_decay: Decay = 0.998  # decay of the EMA of the generator's weights, 0 for no EMA

    num_steps: Steps = runtime(3000)  # generator updates
    batch_size: BatchSize = 32  # images per update, over all devices


def build(config: Config) -> GAN:
    def adam(learning_rate: float, updates_per_step: int = 1):
        falling = optim.linear_decay(learning_rate, config.num_steps, updates_per_step=updates_per_step)
        return optim.adam(falling if config.decay else learning_rate, b1=config.b1, b2=config.b2)

    critic = dcgan_discriminator(config.image_size, width=config.width, norm=config.d_norm, dtype=config.dtype)
    return make_gan(
        dcgan_generator(
            config.image_size, channels=config.channels, width=config.width, norm=config.g_norm, dtype=config.dtype
        ),
        freeze_stages(critic, config.freeze_d),
        loss=LOSSES["wasserstein"],
        penalty=gradient_penalty,
        penalty_weight=config.penalty_weight,
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
