"""Samples from a finished run: single images, a grid, interpolations, or a walk through the latents.

    python -m experiments.sample --run runs/gan
    python -m experiments.sample --run runs/gan --kind walk --count 8
    python -m experiments.sample --run runs/class_conditional --label 3 7
    python -m experiments.sample --run runs/class_conditional-dataset=fashion_mnist --label Sneaker 9
    python -m experiments.sample --run runs/class_conditional --label 3 8 --kind interpolation --between labels
    python -m experiments.sample --run runs/text_to_image --prompt "a small red circle above a large blue square"

Earlier output of `sample` is replaced, for a folder all of its images. An existing --output with any other content is
refused.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np

from experiments import class_conditional, gan, gaussians_2d, relativistic, sngan, text_to_image, wgan, wgan_gp
from jaxgan import files, records
from jaxgan.data.classes import find_label, label_names
from jaxgan.data.text_embeddings import read_text_embeddings
from jaxgan.data.vocabulary import Vocabulary
from jaxgan.latents import directions, slerp, truncated_normal, walk
from jaxgan.networks.conditional import check_labels
from jaxgan.runs import cli
from jaxgan.runs.config import class_names, load_config
from jaxgan.runs.flags import Count, Flags, PathName, Range, Seed
from jaxgan.runs.images import MAX_ROWS, MAX_TILES, image_grid, labelled_rows
from jaxgan.runs.open_run import TEXT_ENCODER, VOCABULARY, Run, open_run
from jaxgan.runs.outputs import check_file, earlier, write_animation, write_image

MODULES = (class_conditional, gan, relativistic, sngan, text_to_image, wgan, wgan_gp)
EXPERIMENTS = {module.Config.experiment: module for module in MODULES}
WITH_LABELS = (class_conditional,)
WITH_PROMPTS = (text_to_image,)
TRANSLATING = ("cyclegan", "pix2pix")
ENDINGS = {"grid": (".png",), "images": ("",), "interpolation": (".png",), "walk": (".gif", ".webp")}
STEPS = 10  # images in a row of an interpolation
FRAMES = 20  # frames of a walk from one corner to the next
COUNTS = {"grid": 64, "images": 64, "interpolation": 10, "walk": 8}
MOST = {"grid": MAX_TILES, "interpolation": MAX_ROWS, "walk": 50}  # that fit into one image
MOST_IMAGES = 10**6
MOST_AXES = 16  # that --shift moves along
AT_ONCE = 1000  # images in memory, if each is written to its own file
COMMAND = "sample"
MIXED = {"labels": "condition", "prompts": "text"}  # the input that --between mixes


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    run: PathName  # run folder
    checkpoint: str = "last"  # checkpoint to load: best, last or a step
    # what to write: one image with a grid of samples, a folder of single images, one image with interpolations in rows
    # of ten, or an animated walk through the latents
    kind: Literal["grid", "images", "interpolation", "walk"] = "grid"
    # what an interpolation or a walk moves through: latents, or, with fixed latents, from each --label or --prompt to
    # the next, by mixing the one-hot vectors of labels or the embeddings of prompts linearly
    between: Literal["latents", "labels", "prompts"] = "latents"
    # number of images (by default 64, or 8 per label or prompt), of interpolation rows (by default 10, or 1 per label
    # or prompt or two of them that are mixed; at most 10 in total), of corners of a walk through latents, or of images
    # in a frame of a walk through labels or prompts (by default 8)
    count: Count | None = None
    # class names or label numbers to sample, for class-conditional runs; by default the first ten classes
    label: tuple[str, ...] = ()
    prompt: tuple[str, ...] = ()  # texts to sample images for, for text-to-image runs
    prompts: PathName | None = None  # file with one prompt per line, in addition to --prompt
    # .npz file with embeddings of prompts, for runs with --text-embeddings; see docs/text_embeddings.md
    prompt_embeddings: PathName | None = None
    same_latents: bool = False  # use the same latents for all labels or prompts, to see the effect of the condition
    # resample latents until no absolute value exceeds this (truncation trick); smaller values such as 0.7 give more
    # typical and less diverse samples; by default no truncation
    truncation: Annotated[float, Range(1e-6, 100.0)] | None = None
    # move all latents, in standard deviations: by these numbers along the latents 0, 1, ... of up to 16, else
    # along the principal directions of the generator's first layer (GANSpace)
    shift: tuple[Annotated[float, Range(-100.0, 100.0)], ...] = ()
    # weights of the generator: ema, an exponential moving average, if the run has one; or raw, those of the last update
    weights: Literal["ema", "raw"] = "ema"
    seed: Seed = 0  # random seed of the latents
    # file to write, or folder for --kind images; by default in the subfolder `generated` of the run folder
    output: PathName | None = None


def main(config: Config) -> Path:
    endings, named = ENDINGS[config.kind], Path(config.output or "")
    if config.output and endings != ("",) and not named.is_dir() and named.suffix.lower() not in endings:
        raise ValueError(f"output={config.output!r}: with --kind {config.kind} it must end in {' or '.join(endings)}")
    if load_config(Path(config.run))["experiment"] in TRANSLATING:
        raise ValueError(f"{config.run} translates images: use experiments.translate")
    if load_config(Path(config.run))["experiment"] == gaussians_2d.Config.experiment:
        raise ValueError(f"{config.run} generates points, not images: see its samples/, or export it")
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    parts, (rows, columns), names = drawn(run, config)
    if run.experiment in WITH_PROMPTS and not config.prompt_embeddings and (lost := unknown_words(run, names)):
        print(lost)

    name = f"{config.kind}-{run.step}{endings[0]}"
    output = Path(config.output or run.folder / "generated" / name)
    inside = None if config.output else run.folder
    if config.kind == "images":
        _write_images(output, parts, [name for name in names for _ in range(columns)], inside)
    else:
        check_file(output, COMMAND)
        images = np.concatenate(list(parts))
        images = images.reshape(rows, columns, *images.shape[1:])
        if config.kind == "walk":
            write_animation(output, frames(images), COMMAND, inside=inside)
        else:
            write_image(output, picture(config.kind, images, names), COMMAND, inside=inside)
    ema = config.weights == "ema" and run.state.ema_params is not None
    print(f"{rows * columns} images at step {run.step}, {'EMA' if ema else 'raw'} weights: {output}")
    return output


def drawn(run: Run, config: Config) -> tuple[Iterator[np.ndarray], tuple[int, int], list[str]]:
    """The images that a configuration asks for: parts `[n, H, W, C]` of a table, its size, and the names of its rows.

    Everything is checked before the first part is drawn. Without conditions there are no names.
    """
    names, conditions = _conditions(run, config)
    if mixed := config.between != "latents":
        field = MIXED[config.between]
        if config.kind not in ("interpolation", "walk") or field not in conditions:
            of = f"a run with {config.between}"
            raise ValueError(f"--between {config.between} is for --kind interpolation and walk of {of}")
        ends = np.eye(run.config.num_classes)[conditions[field]] if field == "condition" else conditions[field]
        names, conditions = _mixtures(config, names, ends)
    else:
        conditions = {name: values[:, None] for name, values in conditions.items()}
    count = _count(config, len(names))
    if names and (mixed or config.kind == "interpolation"):  # one name per row
        names = [name for name in names for _ in range(count)]
        conditions = {name: np.repeat(values, count, axis=0) for name, values in conditions.items()}
    latents = _latents(config, run.config.latent_dim, len(names), count)
    if mixed:
        latents = np.repeat(latents, conditions[field].shape[1], axis=1)
    if config.shift:
        axes = shift_axes(run)
        if len(config.shift) > len(axes):
            raise ValueError(f"shift has {len(config.shift)} numbers, but {run.folder} can be moved along {len(axes)}")
        latents = latents + np.asarray(config.shift, np.float32) @ axes[: len(config.shift)]
    rows, columns, size = latents.shape
    inputs = {"latents": latents.reshape(rows * columns, size)}
    inputs |= {
        name: np.broadcast_to(values, (rows, columns, *values.shape[2:])).reshape(rows * columns, *values.shape[2:])
        for name, values in conditions.items()
    }
    return _drawn(run, inputs, raw=config.weights == "raw"), (rows, columns), names


def shift_axes(run: Run) -> np.ndarray:
    """What `--shift` moves along, `[K, latent_dim]`: each of up to 16 latents, or else the 16 principal directions."""
    size = run.config.latent_dim
    if size <= MOST_AXES:
        return np.eye(size, dtype=np.float32)
    params = run.state.generator.params
    kernel = next(params[name]["kernel"] for name in ("base", "layer_0") if name in params)
    # [latents and embedding, features], or of a convolution of 1x1 maps, [4, 4, latents, features]
    rows = kernel if kernel.ndim == 2 else np.moveaxis(kernel, 2, 0)
    return np.asarray(directions(rows[:size].reshape(size, -1), MOST_AXES))


def _count(config: Config, conditions: int) -> int:
    """The count per condition, or in total without conditions."""
    if conditions > MAX_ROWS and config.kind in MOST:
        raise ValueError(f"{conditions} prompts or labels do not fit into one image: at most {MAX_ROWS}")
    of_each = {"interpolation": 1, "walk": COUNTS["walk"]}.get(config.kind, 8)
    count = config.count or (of_each if conditions else COUNTS[config.kind])
    if count > (most := most_of_each(config.kind, conditions)):
        each = " per label or prompt" if conditions else ""
        raise ValueError(f"count={count}: at most {most:,}{each} with --kind {config.kind}")
    return count


def most_of_each(kind: str, conditions: int) -> int:
    """The largest count, per condition or in total without conditions."""
    return MOST.get(kind, MOST_IMAGES) // (conditions if conditions and kind != "walk" else 1)


def _drawn(run: Run, inputs: Mapping[str, np.ndarray], *, raw: bool) -> Iterator[np.ndarray]:
    for start in range(0, len(inputs["latents"]), AT_ONCE):
        part = {name: rows[start : start + AT_ONCE] for name, rows in inputs.items()}
        yield run.to_uint8(run.outputs(part, raw=raw)["samples"])


def vocabulary(run: Run) -> Vocabulary:
    """The vocabulary of a text-to-image run.

    Raises:
      ValueError: the run was trained on embeddings of texts.
    """
    if run.config.text_embeddings:
        raise ValueError(
            f"{run.folder} was trained on embeddings of texts and reads no texts: its prompts are given by "
            "`experiments.sample --prompt-embeddings` alone, and nothing else needs prompts of it"
        )
    return Vocabulary.load(run.folder / VOCABULARY)


def unknown_words(run: Run, prompts: Sequence[str]) -> str:
    """What a text-to-image run cannot read of some prompts, in one line; empty if it reads everything."""
    return vocabulary(run).read(list(dict.fromkeys(prompts)), max_len=run.config.max_words).notice or ""


def _conditions(run: Run, config: Config) -> tuple[list[str], dict[str, Any]]:
    """Names of the conditions, and their inputs for `GAN.sample` with one row each; empty for unconditional runs."""
    prompts = list(config.prompt)
    if config.prompts is not None:
        try:
            lines = files.read_text(config.prompts, most=2**24).splitlines()
        except (OSError, ValueError) as error:
            raise ValueError(f"prompts {config.prompts} cannot be read: {error}") from None
        told = [line.strip() for line in lines if line.strip()]
        if not told:
            raise ValueError(f"prompts {config.prompts} has no prompts: one per line was expected")
        prompts += told
    embedded = run.experiment in WITH_PROMPTS and run.config.text_embeddings
    if prompts and run.experiment not in WITH_PROMPTS:
        raise ValueError(f"{run.folder} was not trained on captions: it has no --prompt")
    if config.prompt_embeddings and not embedded:
        raise ValueError(f"{run.folder} was not trained on embeddings of texts: it has no --prompt-embeddings")
    if config.label and run.experiment not in WITH_LABELS:
        raise ValueError(f"{run.folder} was not trained on labels: it has no --label")
    if run.experiment in WITH_LABELS:
        classes, number = class_names(load_config(run.folder)), run.config.num_classes
        given = [find_label(str(label), classes, number) for label in config.label] or range(min(10, number))
        return label_names(given, classes), {"condition": check_labels(given, number)}
    if config.prompt_embeddings and not prompts:
        return _embedded_prompts(run, config.prompt_embeddings)
    if run.experiment in WITH_PROMPTS:
        vocabulary(run)
        if not prompts:
            raise ValueError(f"{run.folder} is a text-to-image run: give --prompt, or --prompts with a file")
        return prompts, {"text": vocabulary(run).encode(prompts, max_len=run.config.max_words)}
    return [], {}


def _embedded_prompts(run: Run, path: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """Names and embeddings of the prompts in a file, which has to be of the run's text encoder."""
    given = read_text_embeddings(path)
    record = records.parse(files.read_text(run.folder / TEXT_ENCODER, most=2**16))
    if not isinstance(record, dict) or not isinstance(encoder := record.get("encoder"), str):
        raise ValueError(f"{run.folder / TEXT_ENCODER} is damaged: the name of the text encoder was expected")
    count, texts, size = given.rows.shape
    if size != (expected := run.batch["text"].shape[1]):
        raise ValueError(f"{path} holds embeddings of {size} numbers, but {run.folder} was trained on {expected}")
    if given.encoder and encoder and given.encoder != encoder:
        raise ValueError(f"{path} is of {given.encoder!r}, but {run.folder} was trained on {encoder!r}")
    called = given.names or [f"prompt {row}" for row in range(count)]
    names = [f"{name} ({text + 1})" if texts > 1 else name for name in called for text in range(texts)]
    return names, {"text": given.rows.reshape(count * texts, size)}


def _mixtures(config: Config, names: list[str], ends: np.ndarray) -> tuple[list[str], dict[str, np.ndarray]]:
    """Inputs `[rows, columns, ...]` that go from each of some conditions to the next, with the names of the rows.

    A row for each two of them; for a walk one row that goes through all and back to the first. Vectors are mixed here;
    token ids by the text GAN's `sample`, which mixes their embeddings.
    """
    most = MOST[config.kind]
    if not 2 <= len(ends) <= most:
        flag = "prompt-embeddings" if config.prompt_embeddings else config.between.removesuffix("s")
        raise ValueError(f"--between {config.between} with --kind {config.kind}: give 2 to {most} with --{flag}")
    walking = config.kind == "walk"
    around = [*names, names[0]] if walking else names
    if (twice := next((one for one, other in itertools.pairwise(around) if one == other), None)) is not None:
        raise ValueError(f"--between {config.between} goes from {twice} to {twice}: give different ones")
    fractions = np.arange(FRAMES) / FRAMES if walking else np.linspace(0.0, 1.0, STEPS)
    shape = len(ends), len(fractions), ends.shape[1]
    start, end = (np.broadcast_to(one[:, None], shape) for one in (ends, np.roll(ends, -1, axis=0)))
    fraction = np.broadcast_to(fractions.astype(np.float32), shape[:2])
    if np.issubdtype(ends.dtype, np.floating):
        t = fraction[..., None]
        found = {MIXED[config.between]: ((1 - t) * start + t * end).astype(np.float32)}
    else:
        found = {"text": start, "to_text": end, "fraction": fraction}
    if walking:
        joined = {name: values.reshape(1, -1, *values.shape[2:]) for name, values in found.items()}
        return [" to ".join(around)], joined
    return [f"{one} to {other}" for one, other in itertools.pairwise(names)], {
        name: values[:-1] for name, values in found.items()
    }


def _latents(config: Config, size: int, conditions: int, count: int) -> np.ndarray:
    """Latents for a table of images, `[rows, columns, size]`, with one row per condition.

    Between labels or prompts there is one column, and with `conditions` rows `count` rows of each two of them.
    """

    def draw(number: int, seed: int) -> np.ndarray:
        return np.asarray(truncated_normal(jax.random.key(seed), number, size, truncation=config.truncation))

    rows = conditions or 1
    same = config.same_latents or not conditions
    if config.between != "latents":
        return np.tile(draw(count if same else rows, config.seed), (rows // count if same else 1, 1))[:, None]
    if config.kind == "walk":
        one = np.asarray(walk(draw(count, config.seed), FRAMES))
        return np.broadcast_to(one, (rows, *one.shape))
    if config.kind == "interpolation":
        own = count if same else rows  # with conditions, `count` rows of each
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


def picture(kind: str, images: np.ndarray, names: list[str]) -> np.ndarray:
    """A table of images `[rows, columns, H, W, C]` as one image, with names beside the rows."""
    flat = images.reshape(-1, *images.shape[2:])
    if names:
        return labelled_rows(flat, names)
    if kind == "grid":
        return image_grid({"samples": flat})
    return image_grid({str(step): images[:, step] for step in range(images.shape[1])})


def frames(images: np.ndarray) -> Iterator[np.ndarray]:
    """The frames of a walk: one grid of the rows for each column."""
    return (image_grid({"samples": images[:, frame]}) for frame in range(images.shape[1]))


if __name__ == "__main__":
    cli.run(Config, main)
