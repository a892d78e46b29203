"""The page of an exported generator: a StableHLO program, without the networks it was made from."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import export

from experiments.explorer.serving import WAITING, blocks, connect, gradio, picture, settings, side_by_side
from jaxgan import files
from jaxgan.messages import displayed
from jaxgan.pixels import to_uint8
from jaxgan.runs.images import image_grid, png_bytes

MOST_AXES = 16
MOST_IMAGES = 64
MOST_BYTES = 2**32  # of a program


def page(path: str) -> Any:
    """A page with the images that a program draws from latents, and from a label if it takes one.

    Raises:
      ValueError: the file is no program of `experiments.export`, or takes other inputs.
    """
    inputs, call = opened(path)
    gr = gradio()
    size = inputs["latents"].shape[1]
    with blocks(displayed(str(path).rpartition("/")[2], most=80)) as found:
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                controls: dict[str, Any] = {
                    "seed": gr.Number(0, precision=0, minimum=0, maximum=2**32 - 1, label="Seed"),
                    "count": gr.Slider(1, MOST_IMAGES, 16, step=1, label="Images"),
                }
                if "condition" in inputs:
                    controls["label"] = gr.Number(0, precision=0, minimum=0, label="Label")
                for index in range(size if size <= MOST_AXES else 0):
                    controls[f"shift_{index}"] = gr.Slider(-3.0, 3.0, 0.0, step=0.1, label=f"Latent {index}")
            with gr.Column(scale=2, min_width=300):
                output = gr.HTML(WAITING)

        def show(**values: Any) -> str:
            count = max(1, min(int(values["count"]), MOST_IMAGES))
            latents = np.asarray(jax.random.normal(jax.random.key(int(values["seed"] or 0)), (count, size)))
            shift = [float(values.get(f"shift_{index}") or 0.0) for index in range(size)]
            given: dict[str, Any] = {"latents": latents + np.asarray(shift, np.float32)}
            if "condition" in inputs:
                given["condition"] = np.full(count, int(values["label"] or 0), np.int32)
            images = to_uint8(np.asarray(call(given)["samples"]))
            return side_by_side([picture(png_bytes(image_grid({"samples": images})), "grid.png")]) + settings(values)

        connect(found, controls, output, show, "draw")
    return found


def opened(path: str) -> tuple[dict[str, Any], Any]:
    """The inputs of a program by name, with their shapes, and the program as a function of them."""
    data = files.read(path, most=MOST_BYTES)
    try:
        program = export.deserialize(bytearray(data))
        (inputs,), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
        inputs = dict(inputs)
    except Exception as error:  # flatbuffers and StableHLO raise many types of errors for damaged files
        raise ValueError(f"{path} is no program written by experiments.export --to stablehlo") from error
    if not {"latents"} <= inputs.keys() <= {"latents", "condition"}:
        raise ValueError(
            f"{path} takes {', '.join(map(str, inputs))}: a program of latents, and of labels, is expected"
        )
    return inputs, jax.jit(program.call)
