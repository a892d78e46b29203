"""The page of a run that draws points in the plane: samples over data, and the discriminator's score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments import gaussians_2d
from experiments.explorer.runs import Explored, step_control, title_of, with_step
from experiments.explorer.serving import WAITING, blocks, connect, gradio, picture, settings, side_by_side
from jaxgan.files import import_extra
from jaxgan.messages import displayed
from jaxgan.runs.images import png_bytes

POINTS = 1000
GRID = 60  # scores in each direction


def page(runs: Sequence[Explored]) -> Any:
    """A page with the samples of one run, or of several side by side."""
    gr = gradio()
    with blocks(title_of(runs)) as found:
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                controls = {
                    "seed": gr.Number(0, precision=0, minimum=0, maximum=2**32 - 1, label="Seed"),
                    "temperature": gr.Slider(0.0, 3.0, 1.0, step=0.05, label="Standard deviation of the latents"),
                    "weights": gr.Radio(["ema", "raw"], value="ema", label="Weights"),
                    "scores": gr.Checkbox(True, label="The discriminator's score as colours"),
                }
                controls |= step_control(gr, runs)
            with gr.Column(scale=2, min_width=300):
                output = gr.HTML(WAITING)
        connect(found, controls, output, lambda **values: show(runs, with_step(runs, values)), "draw")
        gr.HTML("".join(run.facts() for run in runs))
    return found


def show(runs: Sequence[Explored], values: dict[str, Any]) -> str:
    """HTML of the figures of all runs for the values of the controls."""
    return side_by_side([_shown(run, values, several=len(runs) > 1) for run in runs]) + settings(values)


def _shown(run: Explored, values: dict[str, Any], *, several: bool) -> str:
    opened = run.at(run.step(values))
    config = opened.config
    latents = jax.random.normal(
        jax.random.key(int(values["seed"] or 0)), (POINTS * config.num_seeds, config.latent_dim)
    )
    inputs = {"latents": float(values["temperature"]) * latents}
    samples = opened.outputs(inputs, raw=values["weights"] == "raw", at_once=len(latents))["samples"][:POINTS]
    data = gaussians_2d.points(config, POINTS)
    reach = 1.3 * float(np.abs(data).max())
    figure = import_extra("matplotlib.figure").Figure(figsize=(4.5, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
    if values["scores"] and config.num_seeds == 1:
        axis = np.linspace(-reach, reach, GRID, dtype=np.float32)
        places = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        player = opened.state.discriminator
        scores, _ = gaussians_2d.discriminator(config).apply(player.params, player.model_state, places, train=False)
        scores = np.asarray(scores).reshape(GRID, GRID)
        axes.imshow(scores, extent=(-reach, reach, -reach, reach), origin="lower", cmap="viridis", alpha=0.6)
    axes.scatter(data[:, 0], data[:, 1], s=5, color="0.3", linewidths=0, label="data")
    axes.scatter(samples[:, 0], samples[:, 1], s=5, color="tab:red", linewidths=0, label="samples")
    axes.legend(loc="upper right", fontsize="small")
    title = displayed(run.folder.name, most=80) if several else ""
    return picture(png_bytes(figure), f"points-{opened.step}.png", title=title)
