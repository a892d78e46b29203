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
from experiments.explorer.runs import Explored, step_control, title_of, with_step
from experiments.explorer.serving import WAITING, blocks, connect, gradio, picture, settings, side_by_side
from jaxgan.data.classes import label_names
from jaxgan.evaluation.panels import beside_nearest, training_images
from jaxgan.messages import displayed, printable
from jaxgan.runs.config import class_names
from jaxgan.runs.images import MAX_ROWS, png_bytes
from jaxgan.runs.outputs import animation_bytes, image_bytes

MOST_WORDS = 500  # offered below the prompts
WORDS_AT_ONCE = 40
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
                    words = sample.vocabulary(first).words[:MOST_WORDS]
                    prompts = gr.Textbox(" ".join(words[:4]), lines=4, label="Prompts, one in each line")
                    controls["prompts"] = prompts
                    _offer_words(gr, prompts, words)
                controls["kind"] = gr.Radio(["grid", "interpolation", "walk"], value="grid", label="Output")
                if labelled or prompted:
                    between = ["latents", "labels" if labelled else "prompts"]
                    through = "Interpolation and walk go through"
                    controls["between"] = gr.Radio(between, value="latents", label=through)
                controls["seed"] = gr.Number(0, precision=0, minimum=0, maximum=2**32 - 1, label="Seed")
                most = 10 if labelled or prompted else sample.MAX_TILES
                label = "Images of each row, as many as fit" if labelled or prompted else "Images, as many as fit"
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
        connect(found, controls, output, lambda **values: show(runs, with_step(runs, values)), "draw")
    return found


def show(runs: Sequence[Explored], values: dict[str, Any]) -> str:
    """HTML of the pictures of all runs for the values of the controls."""
    configs = [configuration(run, values) for run in runs]
    shown = [_shown(run, config, values, several=len(runs) > 1) for run, config in zip(runs, configs, strict=True)]
    return side_by_side(shown) + settings(values, list(map(command, configs)))


def configuration(run: Explored, values: dict[str, Any]) -> sample.Config:
    """The `experiments.sample` configuration that the controls stand for."""
    shift = tuple(round(float(values.get(f"shift_{index}") or 0.0), 3) for index in range(sample.MOST_AXES))
    last = max((index for index, value in enumerate(shift) if value), default=-1)
    truncation = float(values.get("truncation") or 3.0)
    labels = tuple(_plain(run, label) for label in values.get("label") or ())
    prompts = _lines(values["prompts"]) if "prompts" in values else ()
    between = values.get("between") if values["kind"] != "grid" else None
    mixed = between not in (None, "latents")
    most = sample.most_of_each(values["kind"], len(labels or prompts) - (mixed and len(labels or prompts) > 1))
    if values["kind"] == "walk":
        most = sample.COUNTS["walk"]
    return sample.Config(
        run=str(run.folder),
        checkpoint=str(run.step(values)),
        kind=values["kind"],
        between=between or "latents",
        count=min(int(values["count"]), max(1, most)),
        label=labels,
        prompt=prompts,
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


def _shown(run: Explored, config: sample.Config, values: dict[str, Any], *, several: bool) -> str:
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


def _offer_words(gr: Any, prompts: Any, words: Sequence[str]) -> None:
    """Known words, each of which is added to the last prompt by a click."""
    offered = gr.Dataset(
        components=["textbox"],
        samples=[[word] for word in words],
        label="Known words: a click adds one",
        samples_per_page=WORDS_AT_ONCE,
        elem_classes="words",
    )
    options = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    offered.click(with_word, [prompts, offered], prompts, **options)


def with_word(prompts: str, chosen: Sequence[str]) -> str:
    """Prompts with a word added to the last of them.

    >>> with_word("a red circle\\na blue", ["square"])
    'a red circle\\na blue square'
    """
    return prompts + ("" if not prompts or prompts[-1].isspace() else " ") + chosen[0]
