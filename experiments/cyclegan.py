"""CycleGAN: translation between two unpaired datasets.

Zhu et al. 2017 (arXiv:1703.10593): each generator learns to make images that its discriminator takes for the other
domain, and both together to reconstruct their inputs. Residual generators, PatchGAN discriminators with a
pool of earlier translations, the least-squares loss, Adam with a learning rate that falls to zero in the second half of
the run.

    python -m experiments.cyclegan
    python -m experiments.cyclegan --preset paper --dataset folder:PATH    (with folders trainA and trainB)

The preset paper is junyanz/pytorch-CycleGAN-and-pix2pix's cycle_gan_model.py with its options' defaults, for 200 epochs
of horses and zebras. It differs from that code in one thing: the rate falls at every step instead of every epoch.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxgan import optim
from jaxgan.algorithms.cyclegan import make_cyclegan
from jaxgan.data.domains import configured_domains
from jaxgan.evaluation.evaluation import while_training
from jaxgan.evaluation.translation_scores import translation_evaluation
from jaxgan.losses import LOSSES
from jaxgan.networks.image_to_image import residual_generator
from jaxgan.networks.patchgan import patch_discriminator
from jaxgan.penalties import gradient_penalty
from jaxgan.runs import cli
from jaxgan.runs.config import runtime
from jaxgan.runs.flags import BatchSize, Channels, CountOrNone, Decay, Layers, LearningRate, Pixels, Steps, Weight
from jaxgan.runs.image_config import DomainsConfig
from jaxgan.training.loop import fit
from jaxgan.types import GAN, Batches


@dataclass(frozen=True, kw_only=True)
class Config(DomainsConfig):
    experiment: ClassVar[str] = "cyclegan"
    presets: ClassVar = {
        "default": {},
        # 200 epochs of horse2zebra's 1,334 zebras.
        "paper": {
            "dataset": "cycle_gan/horse2zebra",
            "image_size": 256,
            "load_size": 286,
            "flip": True,
            "width": 64,
            "blocks": 9,
            "d_width": 64,
            "patch_layers": 3,
            "batch_size": 1,
            "identity_weight": 0.5,
            "learning_rate": 2e-4,
            "ema_decay": 0.0,
            "num_steps": 266_800,
        },
    }

    preset: Literal["default", "paper"] = runtime("default")  # named settings; other flags override them
    loss: Literal["minimax", "non_saturating", "least_squares", "hinge", "relativistic", "wasserstein"] = (
        "least_squares"  # adversarial loss; wasserstein needs --gradient-penalty
    )
    gradient_penalty: Weight = 0.0  # weight of the gradient penalty on both discriminators, 10 for wasserstein
    cycle_weight: Weight = 10.0  # weight of the cycle-consistency loss
    # weight of the identity loss, as a multiple of --cycle-weight; with the authors' 0.5 the translations of the
    # default data exchange colours
    identity_weight: Weight = 5.0
    pool_size: CountOrNone = 50  # earlier translations of each domain kept to show the discriminators again
    # Adam's learning rate for all networks; falls to zero in the second half of the run
    learning_rate: LearningRate = 4e-4
    width: Channels = 16  # channels of the generators at the full resolution
    blocks: Layers = 3  # residual blocks of the generators
    upsampling: Literal["transposed", "resize"] = "transposed"  # resize leaves no checkerboard pattern
    d_width: Channels = 24  # channels of the discriminators' first layer
    # layers of the discriminators that halve the resolution: 1 to 5, for patches of 16, 34, 70, 142 or 286 pixels
    patch_layers: Layers = 2
    ema_decay: Decay = 0.995  # decay of the EMA of the generators' weights, 0 for no EMA

    image_size: Pixels = 32  # side of the images in pixels; images are center-cropped to a square and resized
    # resize the shorter side to this many pixels, then take a random crop of --image-size; None for no random crop
    load_size: Pixels | None = None
    flip: bool = False  # flip each image left to right with probability 1/2
    num_steps: Steps = runtime(10_000)  # updates of each network
    batch_size: BatchSize = 4  # images of each domain per update, over all devices

    def __post_init__(self):
        super().__post_init__()
        if self.loss == "wasserstein" and not self.gradient_penalty:
            raise ValueError("loss=wasserstein needs a Lipschitz-continuous critic: give --gradient-penalty 10")


def build(config: Config) -> GAN:
    channels = {"a": config.channels_a, "b": config.channels_b}
    rate = optim.linear_decay(config.learning_rate, config.num_steps, constant_steps=config.num_steps // 2)

    def generator(into: str):
        return residual_generator(
            channels=channels[into],
            width=config.width,
            blocks=config.blocks,
            upsampling=config.upsampling,
            dtype=config.dtype,
        )

    def discriminator():
        return patch_discriminator(width=config.d_width, layers=config.patch_layers, dtype=config.dtype)

    return make_cyclegan(
        {"a_to_b": generator("b"), "b_to_a": generator("a")},
        {"a": discriminator(), "b": discriminator()},
        loss=LOSSES[config.loss],
        penalty=gradient_penalty,
        penalty_weight=config.gradient_penalty,
        g_tx=optim.adam(rate),
        d_tx=optim.adam(rate),
        cycle_weight=config.cycle_weight,
        identity_weight=config.identity_weight,
        pool_size=config.pool_size,
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
