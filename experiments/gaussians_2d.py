"""Gaussians in the plane: which losses find all modes of a mixture, and which lose some.

The ring of 8 and the grid of 25 Gaussians of Metz et al. 2016 (Unrolled GANs, arXiv:1611.02163) and Srivastava et
al. 2017 (VEEGAN, arXiv:1705.07761), and a swiss roll. Both networks are small MLPs. At its end a run prints the number
of modes found; its images are scatter plots of samples over data.

    python -m experiments.gaussians_2d --data grid --num-steps 17000
    python -m experiments.gaussians_2d --num-seeds 8  # 8 runs at once: means and standard deviations

No preset has a paper's settings, not even wgan_gp. Gulrajani et al. 2017 (igul222/improved_wgan_training, gan_toy.py)
use 512 units per layer, 5 critic updates, Adam with 1e-4, 0.5 and 0.9, lambda 0.1 and 100,000 steps.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.algorithms.seeds import over_seeds, spread
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.losses import LOSSES, LossName
from jaxgan.metrics.modes import mode_coverage
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.penalties import gradient_penalty, r1_penalty, r2_penalty, weighted_sum
from jaxgan.runs import cli
from jaxgan.runs.config import RunConfig, runtime
from jaxgan.runs.flags import BatchSize, Channels, Decay, Few, LatentDim, LearningRate, Steps, Weight
from jaxgan.runs.images import as_image, image_grid, scatter
from jaxgan.training.loop import fit
from jaxgan.types import GAN, Network


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    experiment: ClassVar[str] = "gaussians_2d"
    presets: ClassVar = {
        "default": {},
        "wgan_gp": {
            "loss": "wasserstein",
            "gradient_penalty": 0.3,
            "r1": 0.0,
            "r2": 0.0,
            "g_learning_rate": 2e-3,
            "d_learning_rate": 2e-3,
            "b2": 0.99,
            "ema_decay": 0.995,
        },
    }

    preset: Literal["default", "wgan_gp"] = runtime("default")  # named settings; other flags override them
    data: Literal["ring", "grid", "swiss_roll"] = "ring"  # 8 Gaussians on a circle, 25 on a grid, or a spiral
    loss: LossName = "relativistic"  # adversarial loss of both networks
    gradient_penalty: Weight = 0.0  # weight of WGAN-GP's gradient penalty, 0 for none
    r1: Weight = 0.1  # weight of the R1 gradient penalty, at real points (gamma), 0 for none
    r2: Weight = 0.1  # weight of the R2 gradient penalty, at generated points (gamma), 0 for none
    n_critic: Few = 1  # discriminator updates per generator update
    g_learning_rate: LearningRate = 1e-3  # Adam's learning rate for the generator
    d_learning_rate: LearningRate = 1e-3  # Adam's learning rate for the discriminator
    b1: Decay = 0.0  # Adam's beta1 (decay of the first moment) for both networks
    b2: Decay = 0.9  # Adam's beta2 (decay of the second moment) for both networks
    width: Channels = 128  # units in each of the three hidden layers
    latent_dim: LatentDim = 2  # size of a latent vector
    ema_decay: Decay = 0.999  # decay of the EMA of the generator's weights
    num_seeds: Few = 1  # runs that train at once; logs hold their means and, as <name>_std, standard deviations

    num_steps: Steps = runtime(6000)  # generator updates
    batch_size: BatchSize = 256  # points per update of one run
    log_every: Steps = runtime(250)  # steps between log lines
    sample_every: Steps = runtime(1000)  # steps between images
    checkpoint_every: Steps = runtime(2000)  # steps between checkpoints


def build(config: Config) -> GAN:
    def adam(learning_rate, updates_per_step=1):
        half = config.num_steps // 2
        rate = optim.linear_decay(
            learning_rate, config.num_steps, constant_steps=half, updates_per_step=updates_per_step
        )
        return optim.adam(rate, b1=config.b1, b2=config.b2)

    gan = make_gan(
        mlp_generator((config.width,) * 3, features=2, dtype=config.dtype),
        discriminator(config),
        loss=LOSSES[config.loss],
        penalty=weighted_sum(
            (config.gradient_penalty, gradient_penalty), (config.r1, r1_penalty), (config.r2, r2_penalty)
        ),
        g_tx=adam(config.g_learning_rate),
        d_tx=adam(config.d_learning_rate, config.n_critic),
        latent_dim=config.latent_dim,
        d_steps=config.n_critic,
        ema_decay=config.ema_decay,
    )
    return over_seeds(gan, config.num_seeds)


def discriminator(config: Config) -> Network:
    return mlp_discriminator((config.width,) * 3, dtype=config.dtype)


def modes(data: str) -> tuple[np.ndarray, float]:
    """Centers `[K, 2]` and the standard deviation of each; on the swiss roll there is one every few degrees."""
    if data == "ring":
        angle = np.arange(8) * np.pi / 4
        return 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.02
    if data == "grid":
        side = np.arange(-2, 3) * 2.0
        return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2), 0.05
    angle = np.sqrt(np.linspace(0.05, 1.0, 200)) * 4 * np.pi
    return 2.0 * (angle / angle[-1])[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.03


def points(config: Config, count: int = 100_000) -> np.ndarray:
    random = np.random.default_rng(config.seed)
    centers, std = modes(config.data)
    return centers[random.integers(len(centers), size=count)] + std * random.normal(size=(count, 2))


def batches(config: Config) -> DeviceBatches:
    rows = config.batch_size * config.num_seeds
    return DeviceBatches(points(config), batch_size=rows, seed=config.seed, d_steps=config.n_critic)


def main(config: Config) -> dict[str, float]:
    gan, data = build(config), batches(config)
    shown = points(config, 2500)
    latents = jax.random.normal(jax.random.key(config.seed + 1), (2500, config.latent_dim))
    latents = jnp.tile(latents, (config.num_seeds, 1))

    def evaluate(state):
        samples = np.split(np.asarray(gan.sample(state, {"latents": latents})["samples"]), config.num_seeds)
        scores = [mode_coverage(points, *modes(config.data)) for points in samples]
        # The swiss roll's centers overlap, so a count of modes would be meaningless.
        names = ["high_quality"] if config.data == "swiss_roll" else list(scores[0])
        return spread({name: np.array([score[name] for score in scores]) for name in names})

    def draw(outputs):
        samples = np.split(np.asarray(outputs["samples"]), config.num_seeds)
        figures = [scatter(points, shown, title=f"{config.data}, {config.loss}") for points in samples[:9]]
        return image_grid({"samples": np.stack([as_image(figure) for figure in figures])})

    def formatted(name, form):
        std = f" (standard deviation {metrics[f'{name}_std']:{form}})" if config.num_seeds > 1 else ""
        return f"{metrics[name]:{form}}{std}"

    _, metrics = fit(gan, data, config, evaluate=evaluate, draw=draw)
    if "modes" in metrics:
        print(f"modes: {formatted('modes', '.3g')} of {len(modes(config.data)[0])}")
    if metrics:
        print(f"within 3 standard deviations of a mode: {formatted('high_quality', '.1%')}")
    return metrics


if __name__ == "__main__":
    cli.run(Config, main)
