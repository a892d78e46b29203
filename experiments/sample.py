"""Draws from a finished run: single images, a grid, an interpolation, or a walk through the latents.

    python -m experiments.sample --run runs/gan
    python -m experiments.sample --run runs/gan --kind walk --count 8
    python -m experiments.sample --run runs/class_conditional --label 3 7
    python -m experiments.sample --run runs/class_conditional-dataset=fashion_mnist --label Sneaker 9
    python -m experiments.sample --run runs/text_to_image --prompt "a small red circle above a large blue square"

What `sample` wrote before is replaced, a folder of images as a whole. An --output that is there and holds anything else
is refused.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np

from experiments import class_conditional, gan, gaussians_2d, relativistic, sngan, text_to_image, wgan, wgan_gp
from jaxgan import files
from jaxgan.data.classes import find_label, label_names
from jaxgan.data.vocabulary import Vocabulary
from jaxgan.latents import slerp, truncated_normal, walk
from jaxgan.networks.conditional import check_labels
from jaxgan.runs import cli
from jaxgan.runs.config import class_names, load_config
from jaxgan.runs.flags import Count, Flags, PathName, Range, Seed
from jaxgan.runs.images import MAX_ROWS, MAX_TILES, image_grid, labelled_rows
from jaxgan.runs.open_run import Run, open_run
from jaxgan.runs.outputs import check_file, earlier, write_animation, write_image

MODULES = (class_conditional, gan, relativistic, sngan, text_to_image, wgan, wgan_gp)
EXPERIMENTS = {module.Config.experiment: module for module in MODULES}
WITH_LABELS = (class_conditional,)
WITH_PROMPTS = (text_to_image,)
ENDINGS = {"grid": (".png",), "images": ("",), "interpolation": (".png",), "walk": (".gif", ".webp")}
STEPS = 10  # from one end of an interpolation to the other
FRAMES = 20  # of a walk, from one corner to the next
COUNTS = {"grid": 64, "images": 64, "interpolation": 10, "walk": 8}
MOST = {"grid": MAX_TILES, "interpolation": MAX_ROWS, "walk": 50}  # that fit a picture
MOST_IMAGES = 10**6
AT_ONCE = 1000  # images in memory, where each goes to a file of its own
COMMAND = "sample"


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    run: PathName  # run folder
    checkpoint: str = "last"  # best, last or a step
    kind: Literal["grid", "images", "interpolation", "walk"] = "grid"  # one picture; many; rows of ten; an animation
    # images (by default 64, or 8 of each label or prompt), rows of an interpolation (10, or one of each, and at most 10
    # in all), or corners of a walk (8)
    count: Count | None = None
    # what to draw, where a run was trained on labels: names of classes or their numbers; by default the first ten
    label: tuple[str, ...] = ()
    prompt: tuple[str, ...] = ()  # what to draw, where a run was trained on captions
    prompts: PathName | None = None  # file with a prompt a line
    same_latents: bool = False  # whether all labels or prompts get the same latents, which shows what these change
    # largest absolute value in a latent, such as 0.7 for typical samples only
    truncation: Annotated[float, Range(1e-6, 100.0)] | None = None
    weights: Literal["averaged", "live"] = "averaged"  # the moving average, where the run has one, or the last
    seed: Seed = 0  # of the latents
    output: PathName | None = None  # file, or folder for images; by default in the run folder, under `generated`


def main(config: Config) -> Path:
    endings, named = ENDINGS[config.kind], Path(config.output or "")
    if config.output and endings != ("",) and not named.is_dir() and named.suffix.lower() not in endings:
        raise ValueError(f"output={config.output!r}: a file of --kind {config.kind} ends in {' or '.join(endings)}")
    if load_config(Path(config.run))["experiment"] == gaussians_2d.Config.experiment:
        raise ValueError(f"{config.run} draws points and has no pictures to sample: see its samples/, or export it")
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    names, conditions = _conditions(run, config)
    count = _count(config, len(names))
    if names and config.kind == "interpolation":  # a row of the picture each
        names = [name for name in names for _ in range(count)]
        conditions = {name: np.repeat(values, count, axis=0) for name, values in conditions.items()}
    latents = _latents(config, run.config.latent_dim, len(names), count)
    rows, columns, _ = latents.shape
    inputs = {"latents": latents.reshape(rows * columns, -1)}
    inputs |= {name: np.repeat(values, columns, axis=0) for name, values in conditions.items()}
    parts = _drawn(run, inputs, live=config.weights == "live")

    name = f"{config.kind}-{run.step}{endings[0]}"
    output = Path(config.output or run.folder / "generated" / name)
    inside = None if config.output else run.folder
    if config.kind == "images":
        _write_images(output, parts, [name for name in names for _ in range(columns)], inside)
    else:
        check_file(output, COMMAND)
        images = np.concatenate(list(parts))
        _write_picture(output, config.kind, images.reshape(rows, columns, *images.shape[1:]), names, inside)
    averaged = config.weights == "averaged" and run.state.ema_params is not None
    print(f"{rows * columns} images at step {run.step}, {'averaged' if averaged else 'live'} weights: {output}")
    return output


def _count(config: Config, conditions: int) -> int:
    """How many of each condition, or in all where there are none."""
    if conditions > MAX_ROWS and config.kind in MOST:
        raise ValueError(f"{conditions} prompts or labels do not fit one picture: at most {MAX_ROWS}")
    of_each = {"interpolation": 1, "walk": COUNTS["walk"]}.get(config.kind, 8)
    count = config.count or (of_each if conditions else COUNTS[config.kind])
    most = MOST.get(config.kind, MOST_IMAGES) // (conditions if conditions and config.kind != "walk" else 1)
    if count > most:
        raise ValueError(f"count={count}: at most {most:,}{' of each' if conditions else ''} with --kind {config.kind}")
    return count


def _drawn(run: Run, inputs: Mapping[str, np.ndarray], *, live: bool) -> Iterator[np.ndarray]:
    for start in range(0, len(inputs["latents"]), AT_ONCE):
        part = {name: rows[start : start + AT_ONCE] for name, rows in inputs.items()}
        yield run.to_uint8(run.sample(part, live=live)["samples"])


def vocabulary(run: Run) -> Vocabulary:
    """The words that a run with prompts knows."""
    return Vocabulary.load(run.folder / text_to_image.WORDS)


def _conditions(run: Run, config: Config) -> tuple[list[str], dict[str, Any]]:
    """What to draw, in words and as `sample` takes it, a row each; empty for a run without conditions."""
    prompts = list(config.prompt)
    if config.prompts is not None:
        try:
            lines = files.read_text(config.prompts, most=2**24).splitlines()
        except (OSError, ValueError) as error:
            raise ValueError(f"prompts {config.prompts} cannot be read: {error}") from None
        told = [line.strip() for line in lines if line.strip()]
        if not told:
            raise ValueError(f"prompts {config.prompts} holds no prompts: one a line was expected")
        prompts += told
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

    rows = conditions or 1
    if config.kind == "walk":
        one = np.asarray(walk(draw(count, config.seed), FRAMES))
        return np.broadcast_to(one, (rows, *one.shape))
    same = config.same_latents or not conditions
    if config.kind == "interpolation":
        own = count if same else rows  # with conditions these are repeated: `count` rows of each
        fractions = np.linspace(0.0, 1.0, STEPS)[None].repeat(own, axis=0)
        start, end = (draw(own, seed)[:, None].repeat(STEPS, axis=1) for seed in (config.seed, config.seed + 1))
        return np.tile(np.asarray(slerp(start, end, fractions)), (max(1, rows // own), 1, 1))
    own = 1 if same else rows
    found = draw(own * count, config.seed).reshape(own, count, size)
    return np.broadcast_to(found, (rows, *found.shape[1:]))


def _write_images(folder: Path, parts: Iterable[np.ndarray], names: list[str], inside: Path | None) -> None:
    old = earlier(folder, COMMAND, known=lambda name: re.fullmatch(r"\d{5,}\.(png|txt)", name) is not None)
    index = 0
    for images in parts:
        while old:
            old.pop().unlink()
        for image in images:
            write_image(folder / f"{index:05d}.png", image, COMMAND, inside=inside)
            if names:
                files.write(folder / f"{index:05d}.txt", names[index] + "\n", inside=inside)
            index += 1


def _write_picture(path: Path, kind: str, images: np.ndarray, names: list[str], inside: Path | None) -> None:
    """Writes a table of images `[rows, columns, H, W, C]`, a row for each name where there are any."""
    rows, columns = images.shape[:2]
    flat = images.reshape(rows * columns, *images.shape[2:])
    if kind == "walk":
        frames = (image_grid({"samples": images[:, frame]}) for frame in range(columns))
        write_animation(path, frames, COMMAND, inside=inside)
        return
    if names:
        picture = labelled_rows(flat, names)
    elif kind == "grid":
        picture = image_grid({"samples": flat})
    else:
        picture = image_grid({str(step): images[:, step] for step in range(columns)})
    write_image(path, picture, COMMAND, inside=inside)


if __name__ == "__main__":
    cli.run(Config, main)
