"""pix2pix: translation between two domains, learned from pairs of images.

Isola et al. 2017 (arXiv:1611.07004): the discriminator sees an image together with its translation or with the true
other image of the pair, and the generator also minimises the L1 distance to that image. A U-Net, a
PatchGAN discriminator of both images, the non-saturating loss, Adam with a learning rate that falls to zero in the
second half of the run.

    python -m experiments.pix2pix
    python -m experiments.pix2pix --dataset pairs:PATH --direction b_to_a     (images side by side, in a folder train)
    python -m experiments.pix2pix --dataset folder:PATH     (equal file names in folders trainA and trainB)

The preset paper is junyanz/pytorch-CycleGAN-and-pix2pix's pix2pix_model.py with its options' defaults, for 200 epochs
of facades (400 pairs, from labels to photographs), which its scripts download. It differs from that code in four
things: the rate falls at every step instead of every epoch; dropout is after the three innermost layers up and there is
a bias wherever no norm follows, both as in the paper and its first code, phillipi/pix2pix; and sample images and scores
are made without dropout and with batch norm's running statistics. For those of the paper give translate --noise.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from jaxgan import optim
from jaxgan.algorithms.pix2pix import Direction, make_pix2pix
from jaxgan.data.domains import configured_domains
from jaxgan.evaluation.evaluation import while_training
from jaxgan.evaluation.translation_scores import translation_evaluation
from jaxgan.losses import LOSSES
from jaxgan.networks.freezing import freeze_stages
from jaxgan.networks.image_to_image import unet_generator
from jaxgan.networks.patchgan import patch_discriminator
from jaxgan.runs import cli
from jaxgan.runs.config import runtime
from jaxgan.runs.flags import BatchSize, Channels, Decay, Layers, LearningRate, Pixels, Range, Steps, Weight
from jaxgan.runs.image_config import TranslationConfig, check_freezing
from jaxgan.training.loop import fit
from jaxgan.types import GAN, Batches

Norm = Literal["batch", "instance", "layer", "none"]


@dataclass(frozen=True, kw_only=True)
class Config(TranslationConfig):
    experiment: ClassVar[str] = "pix2pix"
    paired: ClassVar[bool] = True
    presets: ClassVar = {
        "default": {},
        # 200 epochs of 400 facades.
        "paper": {
            "dataset": "pairs:facades",
            "direction": "b_to_a",
            "image_size": 256,
            "load_size": 286,
            "flip": True,
            "width": 64,
            "levels": 8,
            "d_width": 64,
            "patch_layers": 3,
            "dropout": 0.5,
            "g_norm": "batch",
            "d_norm": "batch",
            "batch_size": 1,
            "learning_rate": 2e-4,
            "ema_decay": 0.0,
            "num_steps": 80_000,
        },
    }

    preset: Literal["default", "paper"] = runtime("default")  # named settings; other flags override them
    direction: Direction = "a_to_b"  # which domain is translated to the other
    loss: Literal["minimax", "non_saturating", "least_squares", "hinge", "relativistic"] = (
        "non_saturating"  # adversarial loss
    )
    l1_weight: Weight = 100.0  # weight of the L1 distance to the true image
    # Adam's learning rate for both networks; falls to zero in the second half of the run
    learning_rate: LearningRate = 4e-4
    width: Channels = 32  # channels of the U-Net at half the resolution
    levels: Layers = 5  # number of times the U-Net halves the resolution; the authors have 8 for 256 pixels, 7 for 128
    dropout: Annotated[float, Range(0.0, 0.9)] = 0.0  # dropout rate of the U-Net's three innermost layers up
    d_width: Channels = 32  # channels of the discriminator's first layer
    # layers of the discriminator that halve the resolution: 1 to 5, for patches of 16, 34, 70, 142 or 286 pixels
    patch_layers: Layers = 2
    g_norm: Norm = "instance"  # norm of the U-Net
    d_norm: Norm = "instance"  # norm of the discriminator
    ema_decay: Decay = 0.995  # decay of the EMA of the generator's weights, 0 for no EMA
    # FreezeD: layers of the discriminator, from the images on, that keep the weights of --init-from
    freeze_d: Annotated[int, Range(0, 100)] = 0

    # data set of pairs with the splits trainA and trainB: shapes_styles/paired_32 or paired_64, folder:PATH with
    # folders of these names and equal file names in both, or pairs:PATH with a folder train of images side by side;
    # with --dataset-b any data set, as domain a
    dataset: str = "shapes_styles/paired_32"
    image_size: Pixels = 32  # side of the images in pixels; images are center-cropped to a square and resized
    # resize the shorter side to this many pixels, then take a random crop of --image-size, at the same place in both
    # images of a pair; None for no random crop
    load_size: Pixels | None = None
    flip: bool = False  # flip both images of a pair left to right with probability 1/2
    num_steps: Steps = runtime(4000)  # updates of each network
    batch_size: BatchSize = 4  # pairs per update, over all devices

    def __post_init__(self):
        super().__post_init__()
        check_freezing(self)


def build(config: Config) -> GAN:
    channels = config.channels_b if config.direction == "a_to_b" else config.channels_a
    rate = optim.linear_decay(config.learning_rate, config.num_steps, constant_steps=config.num_steps // 2)
    generator = unet_generator(
        channels=channels,
        width=config.width,
        levels=config.levels,
        norm=config.g_norm,
        dropout=config.dropout,
        dtype=config.dtype,
    )
    discriminator = patch_discriminator(
        width=config.d_width, layers=config.patch_layers, norm=config.d_norm, dtype=config.dtype
    )
    return make_pix2pix(
        generator,
        freeze_stages(discriminator, config.freeze_d),
        loss=LOSSES[config.loss],
        g_tx=optim.adam(rate),
        d_tx=optim.adam(rate),
        direction=config.direction,
        l1_weight=config.l1_weight,
        ema_decay=config.ema_decay or None,
        microbatches=config.microbatches,
        remat=config.remat,
    )


def batches(config: Config) -> Batches:
    return configured_domains(config)


def main(config: Config) -> dict[str, float]:
    gan = build(config)
    return fit(gan, batches(config), config, evaluate=while_training(translation_evaluation, gan, config))[1]


if __name__ == "__main__":
    cli.run(Config, main)
