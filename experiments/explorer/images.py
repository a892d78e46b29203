"""The page of a run that draws images: without conditions, of classes, or of sentences."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from experiments import sample
from experiments.explorer.runs import Explored, step_control, title_of
from experiments.explorer.serving import WAITING, blocks, connect, gradio, picture, side_by_side
from jaxgan import files, records
from jaxgan.data.classes import label_names
from jaxgan.evaluation.panels import beside_nearest, training_images
from jaxgan.messages import displayed, printable
from jaxgan.runs.config import class_names
from jaxgan.runs.images import MAX_ROWS, png_bytes
from jaxgan.runs.outputs import animation_bytes, image_bytes

MOST_WORDS = 200  # shown beside the prompts
MOST_LETTERS = 400  # of a prompt


def page(runs: Sequence[Explored]) -> Any:
    """A page with the pictures of one run, or of several side by side, by the same settings."""
    gr, first = gradio(), runs[0].newest
    labelled, prompted = (first.experiment in kind for kind in (sample.WITH_LABELS, sample.WITH_PROMPTS))
    with blocks(title_of(runs)) as found:
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                controls: dict[str, Any] = {}
                if labelled:
                    names = _names(runs[0])
                    chosen = names[: min(4, len(names))]
                    controls["label"] = gr.Dropdown(names, value=chosen, multiselect=True, label="Classes")
                if prompted:
                    controls["prompts"] = gr.Textbox(_prompts(runs[0]), lines=4, label="Prompts, one in each line")
                    gr.HTML(f"<p>Known words: {_words(runs[0])}</p>")
                controls["kind"] = gr.Radio(["grid", "interpolation", "walk"], value="grid", label="Output")
                controls["seed"] = gr.Number(0, precision=0, minimum=0, maximum=2**32 - 1, label="Seed")
                most = 10 if labelled or prompted else sample.MAX_TILES
                label = "Images of each row" if labelled or prompted else "Images"
                controls["count"] = gr.Slider(1, most, 8 if labelled or prompted else 36, step=1, label=label)
                if labelled or prompted:
                    controls["same_latents"] = gr.Checkbox(True, label="The same latents in every row")
                controls["truncation"] = gr.Slider(0.1, 3.0, 3.0, step=0.1, label="Truncation; 3 is none")
                controls["nearest"] = gr.Checkbox(False, label="Also their nearest training images")
                controls["weights"] = gr.Radio(["ema", "raw"], value="ema", label="Weights")
                controls |= step_control(gr, runs)
            with gr.Column(scale=2, min_width=300):
                output = gr.HTML(WAITING)
            with gr.Column(scale=1, min_width=220):
                kind = "Latent" if first.config.latent_dim <= sample.MOST_AXES else "Direction"
                for index in range(len(sample.shift_axes(first))):
                    controls[f"shift_{index}"] = gr.Slider(-3.0, 3.0, 0.0, step=0.1, label=f"{kind} {index}")
        gr.HTML("".join(run.facts() for run in runs))
        connect(found, controls, output, lambda **values: show(runs, values), "draw")
    return found


def show(runs: Sequence[Explored], values: dict[str, Any]) -> str:
    """HTML of the pictures of all runs for the values of the controls."""
    return side_by_side([_shown(run, values, several=len(runs) > 1) for run in runs])


def configuration(run: Explored, values: dict[str, Any]) -> sample.Config:
    """The `experiments.sample` configuration that the controls stand for."""
    shift = tuple(round(float(values.get(f"shift_{index}") or 0.0), 3) for index in range(sample.MOST_AXES))
    last = max((index for index, value in enumerate(shift) if value), default=-1)
    truncation = float(values.get("truncation") or 3.0)
    return sample.Config(
        run=str(run.folder),
        checkpoint=str(run.step(values)),
        kind=values["kind"],
        count=int(values["count"]),
        label=tuple(_plain(run, label) for label in values.get("label") or ()),
        prompt=_lines(values["prompts"]) if "prompts" in values else (),
        same_latents=bool(values.get("same_latents")),
        truncation=truncation if truncation < 3.0 else None,
        shift=shift[: last + 1],
        weights=values["weights"],
        seed=int(values["seed"] or 0),
    )


def drawn(run: Explored, config: sample.Config) -> tuple[bytes, str, np.ndarray]:
    """What `experiments.sample` writes for a configuration.

    Returns:
      The contents of the file, its format, and the images, uint8 `[N, H, W, C]`.
    """
    parts, (rows, columns), names = sample.drawn(run.at(int(config.checkpoint)), config)
    flat = np.concatenate(list(parts))
    images = flat.reshape(rows, columns, *flat.shape[1:])
    if config.kind == "walk":
        return animation_bytes(sample.frames(images), "gif", sample.COMMAND), "gif", flat
    return image_bytes(sample.picture(config.kind, images, names), sample.COMMAND), "png", flat


def nearest(run: Explored, images: np.ndarray) -> str:
    """HTML of the first images beside the training images nearest to them in pixels."""
    try:
        training = _training_images(run)
    except (ValueError, OSError, ImportError) as error:
        return f"<p>The training images cannot be read: {escape(printable(str(error)))}</p>"
    grid = beside_nearest(images[:MAX_ROWS], training)
    return picture(png_bytes(grid), "nearest.png", title="Each image, and the training images nearest to it")


@functools.lru_cache(maxsize=2)
def _training_images(run: Explored) -> np.ndarray:
    return training_images(run.newest.config)


def command(config: sample.Config) -> str:
    """The command line of a configuration.

    >>> command(sample.Config(run="my run", seed=3, shift=(0.0, -1.5)))
    "python -m experiments.sample --run 'my run' --shift 0.0 -1.5 --seed 3"
    """
    words = ["python", "-m", "experiments.sample"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default:
            continue
        words.append(f"--{field.name.replace('_', '-')}")
        if value is not True:
            words += map(str, value if isinstance(value, tuple) else [value])
    return shlex.join(words)


def _shown(run: Explored, values: dict[str, Any], *, several: bool) -> str:
    config = configuration(run, values)
    data, form, images = drawn(run, config)
    lost = sample.unknown_words(run.newest, config.prompt) if config.prompt else ""
    title = displayed(run.folder.name, most=80) if several else ""
    name = f"{displayed(run.folder.name, most=80).replace('/', '_')}-{config.kind}-{config.checkpoint}.{form}"
    shown = picture(data, name, form=form, command=command(config), title=title, note=lost)
    return shown + (nearest(run, images) if values.get("nearest") else "")


def _lines(prompts: Any) -> tuple[str, ...]:
    """One prompt for each line that is not blank, as a command line can hold it."""
    found = [displayed(line, most=MOST_LETTERS) for line in str(prompts or "").splitlines() if line.strip()]
    if not found:
        raise ValueError("write a prompt, or several in a line each")
    if wrong := [line for line in found if line.startswith("-")]:
        raise ValueError(f"a prompt begins with a dash, {wrong[0]}: leave it out")
    return tuple(found)


def _plain(run: Explored, label: str) -> str:
    """The name of a class, or its number if the name would look like a flag."""
    return str(_names(run).index(label)) if label.startswith("-") and label in _names(run) else label


def _names(run: Explored) -> list[str]:
    return label_names(range(run.newest.config.num_classes), class_names(run.record))


def _prompts(run: Explored) -> str:
    """The prompts of the run's own sample images, or a word."""
    try:
        rows = records.parse(files.read_text(run.folder / "samples/labels.json"))["rows"]
        found = [displayed(str(row), most=400) for row in rows if row][:2]
    except (OSError, ValueError, KeyError, TypeError):
        found = []
    return "\n".join(found or sample.vocabulary(run.newest).words[:1])


def _words(run: Explored) -> str:
    words = [displayed(word) for word in sample.vocabulary(run.newest).words]
    return escape(", ".join(words[:MOST_WORDS]) + (", ..." if len(words) > MOST_WORDS else ""))
