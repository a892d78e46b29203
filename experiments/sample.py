"""Draws from a finished run: single images, a grid, an interpolation, or a walk through the latents.

python -m experiments.sample --run runs/gan
python -m experiments.sample --run runs/gan --kind walk --count 8
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jax import Array

from experiments import gan, relativistic, sngan, wgan, wgan_gp
from jaxgan import cli, report
from jaxgan.latents import slerp, truncated_normal, walk
from jaxgan.pixels import to_uint8
from jaxgan.run import open_run

EXPERIMENTS = {module.Config.experiment: module for module in (gan, relativistic, sngan, wgan, wgan_gp)}
STEPS = 10  # from one end of an interpolation to the other
FRAMES = 20  # of a walk, from one corner to the next
COUNTS = {"grid": 64, "images": 64, "interpolation": 10, "walk": 8}
MOST = {"grid": report.MAX_TILES, "interpolation": report.MAX_ROWS}  # that fit a picture


@dataclass(frozen=True, kw_only=True)
class Config:
    run: str  # run folder
    checkpoint: str = "last"  # best, last or a step
    kind: Literal["grid", "images", "interpolation", "walk"] = "grid"  # one picture; many; rows of ten; an animation
    count: int | None = None  # images (by default 64), rows of an interpolation (10), or corners of a walk (8)
    truncation: float | None = None  # largest absolute value in a latent, such as 0.7 for typical samples only
    weights: Literal["averaged", "live"] = "averaged"  # the moving average, where the run has one, or the last
    seed: int = 0  # of the latents
    output: str | None = None  # file, or folder for images; by default in the run folder, under `generated`


def main(config: Config) -> Path:
    count = COUNTS[config.kind] if config.count is None else config.count
    if not 1 <= count <= MOST.get(config.kind, count):
        raise ValueError(f"count={count}: at least 1, and at most {MOST} in one picture")
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)

    def draw(seed: int) -> Array:
        key = jax.random.key(seed)
        return truncated_normal(key, count, run.config.latent_dim, truncation=config.truncation)

    def generate(latents) -> np.ndarray:
        return to_uint8(run.sample({"latents": latents}, live=config.weights == "live")["samples"])

    latents = draw(config.seed)
    if config.kind == "interpolation":
        fractions = np.linspace(0.0, 1.0, STEPS)[None].repeat(count, axis=0)
        start, end = (x[:, None].repeat(STEPS, axis=1) for x in (latents, draw(config.seed + 1)))
        latents = slerp(start, end, fractions).reshape(-1, run.config.latent_dim)
    elif config.kind == "walk":
        latents = walk(latents, FRAMES)
    images = generate(latents)

    endings = {"grid": ".png", "images": "", "interpolation": ".png", "walk": ".gif"}
    name = f"{config.kind}-{run.step}{endings[config.kind]}"
    output = Path(config.output) if config.output else run.folder / "generated" / name
    if config.kind == "images":
        for index, image in enumerate(images):
            report.save_image(output / f"{index:05d}.png", image)
    elif config.kind == "walk":
        report.save_animation(output, (report.image_grid({"samples": image[None]}) for image in images))
    elif config.kind == "grid":
        report.save_image(output, report.image_grid({"samples": images}))
    else:
        rows = images.reshape(count, STEPS, *images.shape[1:])
        report.save_image(output, report.image_grid({str(step): rows[:, step] for step in range(STEPS)}))
    averaged = config.weights == "averaged" and run.state.ema_params is not None
    print(f"{len(images)} images at step {run.step}, {'averaged' if averaged else 'live'} weights: {output}")
    return output


if __name__ == "__main__":
    cli.run(Config, main)
