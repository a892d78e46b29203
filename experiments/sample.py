"""Draws from a finished run: single images, a grid, an interpolation, or a walk through the latents.

python -m experiments.sample --run runs/gan
python -m experiments.sample --run runs/gan --kind walk --count 8
python -m experiments.sample --run runs/class_conditional --label 3 7
python -m experiments.sample --run runs/class_conditional-dataset=fashion_mnist --label Sneaker 9
python -m experiments.sample --run runs/text_to_image --prompt "a small red circle above a large blue square"
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments import class_conditional, gan, relativistic, sngan, text_to_image, wgan, wgan_gp
from jaxgan import cli, report
from jaxgan.config import class_names, load_config
from jaxgan.latents import slerp, truncated_normal, walk
from jaxgan.networks.conditional import check_labels
from jaxgan.pixels import to_uint8
from jaxgan.run import Run, open_run
from jaxgan.text import Vocabulary, find_label, label_names

MODULES = (class_conditional, gan, relativistic, sngan, text_to_image, wgan, wgan_gp)
EXPERIMENTS = {module.Config.experiment: module for module in MODULES}
WITH_LABELS = (class_conditional,)
WITH_PROMPTS = (text_to_image,)
STEPS = 10  # from one end of an interpolation to the other
FRAMES = 20  # of a walk, from one corner to the next
COUNTS = {"grid": 64, "images": 64, "interpolation": 10, "walk": 8}
MOST = {"grid": report.MAX_TILES, "interpolation": report.MAX_ROWS}  # that fit a picture


@dataclass(frozen=True, kw_only=True)
class Config:
    run: str  # run folder
    checkpoint: str = "last"  # best, last or a step
    kind: Literal["grid", "images", "interpolation", "walk"] = "grid"  # one picture; many; rows of ten; an animation
    # images (by default 64, or 8 of each label or prompt), rows of an interpolation (10, or one of each), or corners of
    # a walk (8)
    count: int | None = None
    # what to draw, where a run was trained on labels: names of classes or their numbers; by default the first ten
    label: tuple[str, ...] = ()
    prompt: tuple[str, ...] = ()  # what to draw, where a run was trained on captions
    prompts: str | None = None  # file with a prompt a line
    same_latents: bool = False  # whether all labels or prompts get the same latents, which shows what these change
    truncation: float | None = None  # largest absolute value in a latent, such as 0.7 for typical samples only
    weights: Literal["averaged", "live"] = "averaged"  # the moving average, where the run has one, or the last
    seed: int = 0  # of the latents
    output: str | None = None  # file, or folder for images; by default in the run folder, under `generated`


def main(config: Config) -> Path:
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    names, conditions = _conditions(run, config)
    count = (
        config.count if config.count is not None else (COUNTS[config.kind] if not names or config.kind == "walk" else 8)
    )
    fitting = MOST[config.kind] // (len(names) or 1) if config.kind in MOST else count
    if not 1 <= count <= fitting:
        raise ValueError(f"count={config.count}: at least 1 expected, and at most {fitting} of each in one picture")
    if len(names) > report.MAX_ROWS and config.kind in MOST:
        raise ValueError(f"{len(names)} prompts or labels do not fit one picture: at most {report.MAX_ROWS}")

    latents = _latents(config, run.config.latent_dim, len(names), count)
    rows, columns, _ = latents.shape
    inputs = {"latents": latents.reshape(rows * columns, -1)}
    inputs |= {name: np.repeat(values, columns, axis=0) for name, values in conditions.items()}
    images = to_uint8(run.sample(inputs, live=config.weights == "live")["samples"])
    images = images.reshape(rows, columns, *images.shape[1:])

    endings = {"grid": ".png", "images": "", "interpolation": ".png", "walk": ".gif"}
    name = f"{config.kind}-{run.step}{endings[config.kind]}"
    output = Path(config.output) if config.output else run.folder / "generated" / name
    _write(output, config.kind, images, names)
    averaged = config.weights == "averaged" and run.state.ema_params is not None
    print(f"{rows * columns} images at step {run.step}, {'averaged' if averaged else 'live'} weights: {output}")
    return output


def vocabulary(run: Run) -> Vocabulary:
    """The words that a run with prompts knows."""
    return Vocabulary.load(run.folder / text_to_image.WORDS)


def _conditions(run: Run, config: Config) -> tuple[list[str], dict[str, Any]]:
    """What to draw, in words and as `sample` takes it, a row each; empty for a run without conditions."""
    prompts = list(config.prompt)
    if config.prompts is not None:
        try:
            lines = Path(config.prompts).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"prompts {config.prompts} cannot be read: {error}") from None
        prompts += [line.strip() for line in lines if line.strip()]
    if prompts and run.experiment not in WITH_PROMPTS:
        raise ValueError(f"{run.folder} was not trained on captions: it takes no prompt")
    if config.label and run.experiment not in WITH_LABELS:
        raise ValueError(f"{run.folder} was not trained on labels: it takes no label")
    if run.experiment in WITH_LABELS:
        classes, number = class_names(load_config(run.folder)), run.config.num_classes
        given = [find_label(str(label), classes, number) for label in config.label] or range(min(10, number))
        return label_names(given, classes), {"condition": check_labels(given, number)}
    if run.experiment in WITH_PROMPTS:
        if not prompts:
            raise ValueError(f"{run.folder} draws what it is told: give --prompt, or --prompts with a file")
        words = vocabulary(run)
        if lost := words.read(prompts, max_len=run.config.max_words).notice:
            print(lost)
        return prompts, {"text": words.encode(prompts, max_len=run.config.max_words)}
    return [], {}


def _latents(config: Config, size: int, conditions: int, count: int) -> np.ndarray:
    """Latents of a table of images `[rows, columns, size]`, with a row a condition where there are any."""

    def draw(number: int, seed: int) -> np.ndarray:
        return np.asarray(truncated_normal(jax.random.key(seed), number, size, truncation=config.truncation))

    rows = conditions or (count if config.kind == "interpolation" else 1)
    if config.kind == "walk":
        one = np.asarray(walk(draw(count, config.seed), FRAMES))
        return np.broadcast_to(one, (rows, *one.shape))
    own = 1 if config.same_latents and conditions else rows
    if config.kind == "interpolation":
        fractions = np.linspace(0.0, 1.0, STEPS)[None].repeat(own, axis=0)
        start, end = (draw(own, seed)[:, None].repeat(STEPS, axis=1) for seed in (config.seed, config.seed + 1))
        found = np.asarray(slerp(start, end, fractions))
    else:
        found = draw(own * count, config.seed).reshape(own, count, size)
    return np.broadcast_to(found, (rows, *found.shape[1:]))


def _write(output: Path, kind: str, images: np.ndarray, names: list[str]) -> None:
    rows, columns = images.shape[:2]
    flat = images.reshape(rows * columns, *images.shape[2:])
    if kind == "images":
        for index, image in enumerate(flat):
            report.save_image(output / f"{index:05d}.png", image)
            if names:
                (output / f"{index:05d}.txt").write_text(names[index // columns] + "\n", encoding="utf-8")
    elif kind == "walk":
        report.save_animation(output, (report.image_grid({"samples": images[:, frame]}) for frame in range(columns)))
    elif names:
        report.save_image(output, report.labelled_rows(flat, names))
    elif kind == "grid":
        report.save_image(output, report.image_grid({"samples": flat}))
    else:
        report.save_image(output, report.image_grid({str(step): images[:, step] for step in range(columns)}))


if __name__ == "__main__":
    cli.run(Config, main)
