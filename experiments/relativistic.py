"""R3GAN: the relativistic pairing loss with R1 and R2, and residual networks without normalization.

Huang et al. 2025 (arXiv:2501.05441), a small version of its configuration E; the loss is Jolicoeur-Martineau's (2018,
arXiv:1807.00734). Learning rate, Adam's beta2, gamma and the half-life of the EMA go from their first to their last
value along a half cosine, as in the authors' code.

    python -m experiments.relativistic

The preset paper is brownvc/R3GAN's train.py of CIFAR-10. It differs from that code in three things: the networks do
not get the class, the only augmentation is flipping (theirs is StyleGAN2-ADA's set of transformations, with a
probability that rises from 0 to 0.55 along the same half cosine), and all resolutions compute in --dtype instead of
the larger ones in bfloat16. Their ImageNet presets have --group-size 32.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import optax

from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.augment import named_augmentation
from jaxgan.data.pipeline import configured_batches
from jaxgan.evaluation.evaluation import while_training
from jaxgan.evaluation.image_scores import image_evaluation
from jaxgan.evaluation.panels import image_panels
from jaxgan.losses import LOSSES
from jaxgan.networks.freezing import freeze_stages
from jaxgan.networks.r3gan import r3gan_discriminator, r3gan_generator
from jaxgan.penalties import r1_penalty, r2_penalty, weighted_sum
from jaxgan.runs import cli
from jaxgan.runs.config import runtime
from jaxgan.runs.flags import BatchSize, Channels, Decay, LatentDim, Layers, LearningRate, Many, Share, Steps, Weight
from jaxgan.runs.image_config import ImageConfig
from jaxgan.training.loop import fit
from jaxgan.types import GAN, Batches


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    experiment: ClassVar[str] = "relativistic"
    presets: ClassVar = {
        "default": {},
        # For CIFAR-10: the schedules end after 2e7 of the 5e7 images of a run.
        "paper": {
            "widths": (768, 768, 768, 768),
            "blocks": 2,
            "expansion": 2,
            "group_size": 16,
            "latent_dim": 64,
            "dataset": "cifar10",
            "channels": 3,
            "flip": True,
            "batch_size": 512,
            "learning_rate": 2e-4,
            "last_learning_rate": 5e-5,
            "gamma": 0.05,
            "last_gamma": 0.005,
            "average": 5_000_000,
            "anneal": 0.4,
            "num_steps": 97_656,
        },
    }

    preset: Literal["default", "paper"] = runtime("default")  # named settings; other flags override them
    gamma: Weight = 1.0  # weight of the R1 and R2 penalties at the start
    last_gamma: Weight = 0.1  # the same after --anneal
    learning_rate: LearningRate = 2e-3  # Adam's learning rate for both networks at the start
    last_learning_rate: LearningRate = 1e-4  # the same after --anneal
    b2: Decay = 0.9  # Adam's beta2 (decay of the second moment) for both networks at the start; beta1 is 0
    last_b2: Decay = 0.99  # the same after --anneal
    average: Many = 10_000  # half-life of the EMA of the generator's weights, in images, after --anneal
    anneal: Share = 1.0  # share of the run in which the five schedules go from their first to their last value
    widths: tuple[Channels, ...] = (128, 64, 32, 16)  # channels at 4x4, 8x8, ... and the full size, one number each
    blocks: Layers = 1  # residual blocks at every size
    expansion: Layers = 1  # factor by which a block widens its channels inside
    group_size: Channels = 16  # channels per group of the 3x3 convolutions; must divide expansion times each width
    latent_dim: LatentDim = 8  # size of a latent vector

    num_steps: Steps = runtime(4000)  # generator updates
    batch_size: BatchSize = 32  # images per update, over all devices

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.anneal <= 1:
            raise ValueError(f"anneal={self.anneal} must be above 0 and at most 1")


def build(config: Config) -> GAN:
    def half_cosine(first: float, last: float) -> optax.Schedule:
        return lambda step: last + (first - last) * optax.cosine_decay_schedule(1.0, steps)(step)

    steps = max(1, int(config.anneal * config.num_steps))
    # Both networks get one update per step, so all schedules share one count.
    learning_rate, b2 = (
        half_cosine(config.learning_rate, config.last_learning_rate),
        half_cosine(config.b2, config.last_b2),
    )
    half_life = half_cosine(0.0, config.average)  # in images
    network: dict[str, Any] = {
        "width": config.widths,
        "blocks": config.blocks,
        "expansion": config.expansion,
        "group_size": config.group_size,
        "dtype": config.dtype,
    }
    return make_gan(
        r3gan_generator(config.image_size, channels=config.channels, **network),
        freeze_stages(r3gan_discriminator(config.image_size, **network), config.freeze_d),
        loss=LOSSES["relativistic"],
        penalty=weighted_sum((1.0, r1_penalty), (1.0, r2_penalty)),
        penalty_weight=half_cosine(config.gamma, config.last_gamma),
        g_tx=optim.adam(learning_rate, b1=0.0, b2=b2),
        d_tx=optim.adam(learning_rate, b1=0.0, b2=b2),
        latent_dim=config.latent_dim,
        augment=named_augmentation(config.augment),
        ema_decay=lambda step: 0.5 ** (config.batch_size / jnp.maximum(half_life(step), 1e-8)),
        microbatches=config.microbatches,
        remat=config.remat,
    )


def batches(config: Config) -> Batches:
    return configured_batches(config)


def main(config: Config) -> dict[str, float]:
    gan = build(config)
    evaluate = while_training(image_evaluation, gan, config)
    return fit(gan, batches(config), config, evaluate=evaluate, panels=image_panels(gan, config))[1]


if __name__ == "__main__":
    cli.run(Config, main)
