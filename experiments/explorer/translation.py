"""The page of a run of CycleGAN or pix2pix: an image, its translation, and its translation back or the truth."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from experiments.explorer.runs import Explored, step_control, title_of, with_step
from experiments.explorer.serving import WAITING, blocks, connect, gradio, picture, settings, side_by_side
from experiments.translate import resized, working_size
from jaxgan.data.folder import read_image
from jaxgan.data.sources import open_images
from jaxgan.evaluation.translation_scores import has_test_pairs
from jaxgan.messages import displayed
from jaxgan.pixels import from_uint8, to_uint8
from jaxgan.runs.images import png_bytes

MOST_SIDE = 1024  # longer sides of an image are reduced to this

_SLIDER = """
<div class="picture both"><p>Before and after</p>
<div style="position: relative"><img src="{before}" alt="before" style="width: 100%; display: block">
<img src="{after}" alt="after"
 style="width: 100%; position: absolute; left: 0; top: 0; clip-path: inset(0 0 0 50%)"></div>
<input type="range" value="50" style="width: 100%" aria-label="before and after"
 oninput="this.previousElementSibling.lastElementChild.style.clipPath = 'inset(0 0 0 ' + this.value + '%)'"></div>
"""


def page(runs: Sequence[Explored]) -> Any:
    """A page that translates an image dropped on it, or a test image of the run's data set."""
    gr = gradio()
    with blocks(title_of(runs)) as found:
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                test = "Number of a test image, if the data set is there"
                controls = {
                    "direction": gr.Radio(directions(runs[0]), value=directions(runs[0])[0], label="Direction"),
                    "index": gr.Number(0, precision=0, minimum=0, label=test),
                    "upload": gr.File(label="Or an image of your own", type="binary", height=140),
                }
                controls |= step_control(gr, runs)
            with gr.Column(scale=3, min_width=300):
                output = gr.HTML(WAITING)
        connect(found, controls, output, lambda **values: show(runs, with_step(runs, values)), "translate")
        gr.HTML("".join(run.facts() for run in runs))
    return found


def directions(run: Explored) -> list[str]:
    """The directions in which a run translates."""
    only = getattr(run.newest.config, "direction", None)
    return [only] if only else ["a_to_b", "b_to_a"]


def show(runs: Sequence[Explored], values: dict[str, Any]) -> str:
    """HTML of the translations by all runs for the values of the controls."""
    parts = []
    for run in runs:
        title = f"<h3>{escape(displayed(run.folder.name, most=80))}</h3>" if len(runs) > 1 else ""
        parts.append(title + _shown(run, values))
    return "".join(parts) + settings(values)


def translated(run: Explored, image: np.ndarray, direction: str, step: int) -> dict[str, np.ndarray]:
    """An image `[H, W, C]` and its translation by name, and of a CycleGAN its translation back and the difference to
    that, all uint8.
    """
    opened, domain = run.at(step), direction[0]
    channels = opened.batch[domain].shape[3]
    image = image if image.shape[2] == channels else read_image(image, channels=channels)
    size = image.shape[:2]
    shown = resized(image, *working_size(*size, shorter=opened.batch[domain].shape[1]))
    outputs = opened.gan.sample(opened.state, {domain: from_uint8(shown[None])})
    names = [name for name in (direction, f"{direction}_to_{domain}") if name in outputs]
    found = {domain: image} | {name: resized(opened.to_uint8(outputs[name])[0], *size) for name in names}
    return found if len(names) == 1 else found | {"difference": difference(found[names[1]], image)}


def difference(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(image.astype(np.int16) - other.astype(np.int16)).astype(np.uint8)


def _shown(run: Explored, values: dict[str, Any]) -> str:
    direction = values["direction"]
    if direction not in directions(run):
        raise ValueError(f"direction={direction!r}: {' or '.join(directions(run))} expected")
    truth = None
    if (upload := values.get("upload")) is not None:
        if not upload:
            raise ValueError("the uploaded file is empty")
        image = read_image(io.BytesIO(upload))
        image = image if image.dtype == np.uint8 else to_uint8(image)
        height, width = image.shape[:2]
        factor = min(1.0, MOST_SIDE / max(height, width))
        image = resized(image, max(1, round(height * factor)), max(1, round(width * factor)))
    else:
        image, truth = test_image(run, direction[0], int(values["index"] or 0))
    pictures = translated(run, image, direction, run.step(values))
    if truth is not None:
        pictures["truth"] = truth
        if "difference" not in pictures:
            pictures["difference"] = difference(pictures[direction], truth)
    encoded = {name: png_bytes(pixels) for name, pixels in pictures.items()}
    address = lambda name: f"data:image/png;base64,{base64.b64encode(encoded[name]).decode()}"
    slider = _SLIDER.format(before=address(direction[0]), after=address(direction))
    parts = [picture(data, f"{name}.png", title=name.replace("_to_", " to ")) for name, data in encoded.items()]
    return slider + side_by_side(parts)


def test_image(run: Explored, domain: str, index: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A test image of a domain, and the image of the other domain that shows the same, if the data are paired."""
    config = run.newest.config
    other = "b" if domain == "a" else "a"
    options = {"data_dir": config.data_dir, "image_size": config.image_size}

    def read(one: str) -> Any:
        name = config.dataset if one == "a" or config.dataset_b is None else config.dataset_b
        split = "test" if config.dataset_b is not None else f"test{one.upper()}"
        return open_images(name, split, channels=getattr(config, f"channels_{one}"), **options)

    try:
        source = read(domain)
        if not 0 <= index < source.size:
            raise ValueError(f"there is no test image {index}: there are {source.size}, from 0")
        truth = read(other).read([index])["image"][0] if has_test_pairs(config) else None
        return source.read([index])["image"][0], truth
    except (ValueError, OSError, ImportError) as error:
        raise ValueError(f"give an image of your own: {error}") from None
