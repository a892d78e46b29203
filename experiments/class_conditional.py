"""Images from labels: conditional norms in the generator and a projection discriminator.

Miyato and Koyama 2018 (arXiv:1802.05637): each class has its own scale and offset in every norm of the generator, and
the discriminator adds to its score how well its features fit the label. `--conditioning concatenate` concatenates the
label with the features instead. `--networks resnet` selects the paper's networks, with spectral normalization.

    python -m experiments.class_conditional
    python -m experiments.class_conditional --dataset fashion_mnist
    python -m experiments.class_conditional --dataset folder:PATH --num-classes 3

The preset paper is pfnet-research/sngan_projection's sn_projection.yml on 4 GPUs, as in its README_paper.md: batches of
64 real and 128 generated images. It differs from that code in four things: generated images have the labels of the
batch instead of labels drawn uniformly, batch norm uses the whole batch instead of a GPU's part and adds 1e-5 to the
variance instead of 2e-5, pixels get no uniform noise below 1/128, and the spectral norm is half a power step ahead.
With --conditioning concatenate, labels are concatenated with the last features, in the authors' networks with those of
16x16.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.augment import named_augmentation
from jaxgan.data.classes import label_names
from jaxgan.data.pipeline import DeviceBatches, StreamedBatches, configured_batches
from jaxgan.evaluation.evaluation import while_training
from jaxgan.evaluation.image_scores import image_evaluation
from jaxgan.evaluation.panels import image_panels
from jaxgan.losses import LOSSES, LossName
from jaxgan.networks.conditional import (
    Conditioning,
    conditional_dcgan_discriminator,
    conditional_dcgan_generator,
)
from jaxgan.networks.freezing import freeze_stages
from jaxgan.networks.resnet import resnet_discriminator, resnet_generator
from jaxgan.penalties import r1_penalty
from jaxgan.runs import cli
from jaxgan.runs.config import runtime
from jaxgan.runs.flags import BatchSize, Channels, Classes, Decay, Few, LatentDim, LearningRate, Share, Steps, Weight
from jaxgan.runs.image_config import ImageConfig
from jaxgan.runs.images import MAX_ROWS, labelled_rows
from jaxgan.training.loop import fit
from jaxgan.types import GAN


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    experiment: ClassVar[str] = "class_conditional"
    presets: ClassVar = {
        "default": {},
        "paper": {
            "networks": "resnet",
            "loss": "hinge",
            "g_norm": "batch",
            "r1": 0.0,
            "n_critic": 5,
            "g_batch_multiple": 2,
            "g_learning_rate": 2e-4,
            "d_learning_rate": 2e-4,
            "constant": 8 / 9,
            "b2": 0.9,
            "batch_size": 64,
            "width": 64,
            "latent_dim": 128,
            "ema_decay": 0.0,
            "dataset": "imagenet2012",
            "num_classes": 1000,
            "image_size": 128,
            "channels": 3,
            "num_steps": 450_000,
        },
    }

    preset: Literal["default", "paper"] = runtime("default")  # named settings; other flags override them
    num_classes: Classes = 10  # number of classes in the data set; the classes of a folder are its sub-folders
    conditioning: Conditioning = "projection"  # how the discriminator is told the label
    networks: Literal["dcgan", "resnet"] = "dcgan"  # resnet has spectral normalization in the discriminator
    loss: LossName = "non_saturating"  # adversarial loss of both networks
    # normalization in the generator; each class has its own scale and offset
    g_norm: Literal["batch", "layer", "none"] = "layer"
    d_norm: Literal["batch", "layer", "none"] = "layer"  # normalization in the discriminator of --networks dcgan
    r1: Weight = 0.5  # weight of the R1 gradient penalty (gamma), 0 for none; needs --d-norm layer or none
    n_critic: Few = 1  # discriminator updates per generator update
    g_batch_multiple: Few = 1  # images a generator update draws for each image of the batch
    g_learning_rate: LearningRate = 2e-3  # Adam's learning rate for the generator
    d_learning_rate: LearningRate = 2e-3  # Adam's learning rate for the discriminator
    decay: bool = True  # lower both learning rates linearly to zero over the run
    constant: Share = 0.0  # share of the run before the learning rates start to fall
    b1: Decay = 0.0  # Adam's beta1 (decay of the first moment) for both networks
    b2: Decay = 0.99  # Adam's beta2 (decay of the second moment) for both networks
    width: Channels = 32  # channels of the layer next to the image; doubled at each halving of the resolution
    latent_dim: LatentDim = 8  # size of a latent vector
    ema_decay: Decay = 0.998  # decay of the EMA of the generator's weights, 0 for no EMA

    num_steps: Steps = runtime(3500)  # generator updates
    batch_size: BatchSize = 32  # images per update, over all devices


def rate(config: Config, learning_rate: float, updates_per_step: int = 1) -> optax.Schedule:
    constant = round((config.constant if config.decay else 1) * config.num_steps)
    return optim.linear_decay(
        learning_rate, config.num_steps, constant_steps=constant, updates_per_step=updates_per_step
    )


def build(config: Config) -> GAN:
    def adam(learning_rate: float, updates_per_step: int = 1):
        return optim.adam(rate(config, learning_rate, updates_per_step), b1=config.b1, b2=config.b2)

    if config.networks == "dcgan":
        if config.loss == "wasserstein":
            raise ValueError("loss wasserstein needs a Lipschitz-continuous critic: use --networks resnet")
        if config.r1 and config.d_norm == "batch":
            raise ValueError("R1 is for single images, but batch norm mixes a batch: give --d-norm layer or --r1 0")
    options: dict[str, Any] = {"width": config.width, "num_classes": config.num_classes, "dtype": config.dtype}
    g_options: dict[str, Any] = options | {"channels": config.channels, "norm": config.g_norm}
    d_options: dict[str, Any] = options | {"conditioning": config.conditioning}
    if config.networks == "dcgan":
        generator = conditional_dcgan_generator(config.image_size, **g_options)
        discriminator = conditional_dcgan_discriminator(config.image_size, norm=config.d_norm, **d_options)
    else:
        generator = resnet_generator(config.image_size, **g_options)
        discriminator = resnet_discriminator(config.image_size, spectral_norm=True, **d_options)
    return make_gan(
        generator,
        freeze_stages(discriminator, config.freeze_d),
        loss=LOSSES[config.loss],
        penalty=r1_penalty,
        penalty_weight=config.r1,
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


def batches(config: Config) -> DeviceBatches | StreamedBatches:
    return configured_batches(config, d_steps=config.n_critic, labels="condition", num_classes=config.num_classes)


def main(config: Config) -> dict[str, float]:
    gan, data = build(config), batches(config)
    names = label_names(range(min(MAX_ROWS, config.num_classes)), data.classes)

    def preview(key, batch):
        latents = jax.random.normal(key, (8 * len(names), config.latent_dim))
        return {"latents": latents, "condition": jnp.repeat(jnp.arange(len(names)), 8)}

    return fit(
        gan._replace(preview=preview),
        data,
        config,
        evaluate=while_training(image_evaluation, gan, config),
        draw=lambda outputs: labelled_rows(outputs["samples"], names),
        panels=image_panels(gan, config, classes=data.classes),
    )[1]


if __name__ == "__main__":
    cli.run(Config, main)
