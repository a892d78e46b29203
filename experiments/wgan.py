"""WGAN: a critic estimates the Wasserstein distance; clipping its weights bounds its Lipschitz constant.

Arjovsky et al. 2017 (arXiv:1701.07875), DCGAN networks. Weights are clipped after each update of the critic, so the
generator is always trained against a clipped critic. All parameters are clipped, norm scales and offsets included, as
in the authors' code. The optimizer is RMSprop, since momentum made training unstable in the paper.

    python -m experiments.wgan

The preset paper is martinarjovsky/WassersteinGAN's main.py on LSUN bedrooms; --dataset takes another data set. There
the critic gets 100 updates before each of the first 25 updates of the generator and before every 500th. Here a step
has 5 updates of the critic, and in 19 of 20 such steps the generator is not updated (--head-start 500 --refresh-every
500). It differs from that code in two things: the first and the last layers have a bias, and weights are clipped after
an update instead of before the next.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.augment import named_augmentation
from jaxgan.data.pipeline import configured_batches
from jaxgan.evaluation.evaluation import while_training
from jaxgan.evaluation.image_scores import image_evaluation
from jaxgan.evaluation.panels import image_panels
from jaxgan.losses import LOSSES
from jaxgan.networks.dcgan import dcgan_discriminator, dcgan_generator
from jaxgan.networks.freezing import freeze_stages, freeze_updates
from jaxgan.runs import cli
from jaxgan.runs.config import runtime
from jaxgan.runs.flags import BatchSize, Channels, Decay, Few, LatentDim, LearningRate, Range, Steps, StepsOrNone
from jaxgan.runs.image_config import ImageConfig
from jaxgan.training.loop import fit
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
            "refresh_every": 500,
            "width": 64,
            "latent_dim": 100,
            "batch_size": 64,
            "dataset": "lsun/bedroom",
            "image_size": 64,
            "channels": 3,
            "ema_decay": 0.0,
            "num_steps": 236_960,  # 25 epochs of 3,033,042 bedrooms
        },
    }

    preset: Literal["default", "paper"] = runtime("default")  # named settings; other flags override them
    clip: Annotated[float, Range(1e-6, 1e3)] = 0.01  # after each update, clip the critic's weights to [-clip, clip]
    g_norm: Literal["batch", "layer", "none"] = "layer"  # normalization in the generator
    d_norm: Literal["batch", "layer", "none"] = "batch"  # normalization in the critic
    n_critic: Few = 3  # critic updates per generator update
    # first steps of the run, in which the generator is updated only once per 100 critic updates
    head_start: StepsOrNone = 0
    # every this many generator updates, make 100 critic updates before the next one; 0 for never
    refresh_every: StepsOrNone = 0
    g_learning_rate: LearningRate = 5e-4  # RMSprop's learning rate for the generator
    d_learning_rate: LearningRate = 5e-4  # RMSprop's learning rate for the critic
    width: Channels = 32  # channels of the layer next to the image; doubled at each halving of the resolution
    latent_dim: LatentDim = 8  # size of a latent vector
    ema_decay: Decay = 0.998  # decay of the EMA of the generator's weights, 0 for no EMA

    num_steps: Steps = runtime(3500)  # generator updates
    batch_size: BatchSize = 32  # images per update, over all devices


LONG = 100  # critic updates before a generator update during --head-start and at --refresh-every


def generator_is_updated(config: Config, step: ArrayLike) -> Array:
    """Whether the generator is updated in a step, counted from 0."""
    step = jnp.asarray(step)
    steps = -(-LONG // config.n_critic)  # for LONG updates of the critic
    updated = (step >= config.head_start) | (step % steps == steps - 1)
    if config.refresh_every:
        # In each period, the generator's first update takes this number of steps, the others take one.
        since = step - config.head_start - (config.refresh_every - config.head_start // steps)
        updated &= (since < 0) | (since % (config.refresh_every + steps - 1) >= steps - 1)
    return updated


def build(config: Config) -> GAN:
    g_tx = optim.rmsprop(config.g_learning_rate)
    if config.head_start or config.refresh_every:
        g_tx = optax.transforms.conditionally_mask(g_tx, lambda step, **_: generator_is_updated(config, step))
    d_tx = optax.chain(optim.rmsprop(config.d_learning_rate), optim.clip_weights(config.clip))
    critic = dcgan_discriminator(config.image_size, width=config.width, norm=config.d_norm, dtype=config.dtype)
    return make_gan(
        dcgan_generator(
            config.image_size, channels=config.channels, width=config.width, norm=config.g_norm, dtype=config.dtype
        ),
        freeze_stages(critic, config.freeze_d),
        loss=LOSSES["wasserstein"],
        g_tx=g_tx,
        d_tx=freeze_updates(d_tx, critic, config.freeze_d),
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
