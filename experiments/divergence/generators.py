"""A generator with one parameter, its location: which divergences have a useful gradient far from the data.

The data is N(0, 1), the generator's distribution N(location, 1). With the optimal discriminator, the generator descends
the exact divergence. Where the distributions hardly overlap, the bounded divergences (total variation, Hellinger,
Jensen-Shannon, which the minimax GAN descends) are flat, and the generator does not move. The gradients of
Kullback-Leibler and Pearson grow with the distance, the latter as e^(location^2). The non-saturating loss,
-E[log D(fake)] under the optimal discriminator, keeps its gradient too; it is not a divergence, and the loss itself is
plotted. The gradient of the Wasserstein distance is constant. The optimizer is plain gradient descent, with gradients
clipped to [-1, 1].

    python -m experiments.divergence.generators
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import softplus
from jax.scipy.stats import norm

from experiments.divergence import figures
from jaxgan.divergences import DIVERGENCES
from jaxgan.runs import cli
from jaxgan.runs.flags import Flags, LearningRate, PathName, Range

REACH = 20.0  # the distributions have no mass beyond, and their densities do not underflow before
CELLS = (np.arange(4000) + 0.5) / 4000 * 2.0 * REACH - REACH
WIDTH = 2.0 * REACH / len(CELLS)


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    start: Annotated[float, Range(1e-3, 10.0)] = 8.0  # initial location of the generator; densities underflow beyond 10
    num_steps: Annotated[int, Range(1, 10**6)] = 300  # steps of gradient descent
    learning_rate: LearningRate = 0.05  # learning rate; as gradients are clipped to 1, also the longest step
    output: PathName | None = None  # folder to write to; by default runs/divergence/generators


def f_divergence(name: str) -> Callable[[Array], Array]:
    """`location -> D_f(N(0, 1), N(location, 1))`, by the midpoint rule."""

    def value(location: Array) -> Array:
        # Not p / q, whose gradient divides by q^2, which underflows.
        ratio = jnp.exp(norm.logpdf(CELLS) - norm.logpdf(CELLS, location))
        return jnp.sum(norm.pdf(CELLS, location) * DIVERGENCES[name].f(ratio)) * WIDTH

    return value


def non_saturating(location: Array) -> Array:
    """`-E[log D]` of the generator under the optimal discriminator, which is held constant in the gradient."""
    score = jax.lax.stop_gradient(norm.logpdf(CELLS) - norm.logpdf(CELLS, location))
    return jnp.sum(norm.pdf(CELLS, location) * softplus(-score)) * WIDTH


# Label, colour and line style of each objective.
STYLES = {
    "total_variation": ("total variation", "tab:olive", "-"),
    "squared_hellinger": ("squared Hellinger", "tab:orange", "-"),
    "jensen_shannon": ("2 JSD (minimax GAN)", "tab:red", "-"),
    "kl": ("KL", "tab:purple", "-"),
    "reverse_kl": ("reverse KL", "tab:pink", "--"),
    "pearson": ("Pearson", "tab:gray", "-"),
    "non_saturating": ("non-saturating GAN", "tab:cyan", "-"),
    "wasserstein": ("Wasserstein", "tab:blue", "-"),
}
OBJECTIVES: dict[str, Callable[[Array], Array]] = {name: f_divergence(name) for name in STYLES if name in DIVERGENCES}
OBJECTIVES |= {"non_saturating": non_saturating, "wasserstein": jnp.abs}  # W1 of a distribution and its translation


def descend(value_and_gradient: Callable, config: Config) -> list[tuple[float, float, float]]:
    """Location, loss and gradient before each step and after the last."""
    location, path = config.start, []
    for _ in range(config.num_steps + 1):
        loss, gradient = map(float, value_and_gradient(location))
        path.append((location, loss, gradient))
        location -= config.learning_rate * float(np.clip(gradient, -1.0, 1.0))
    return path


def main(config: Config) -> list[dict[str, str | float]]:
    folder = figures.output_folder(config.output, "generators")
    locations = np.linspace(0.0, config.start, 81)[1:]
    rows: list[dict[str, str | float]] = []
    with jax.enable_x64(True):
        for name in STYLES:
            value_and_gradient = jax.jit(jax.value_and_grad(OBJECTIVES[name]))
            landscape = [(float(x), *map(float, value_and_gradient(float(x)))) for x in locations]
            steps = [""] * len(landscape) + [*range(config.num_steps + 1)]
            for step, (location, loss, gradient) in zip(
                steps, landscape + descend(value_and_gradient, config), strict=True
            ):
                rows.append({"objective": name, "step": step, "location": location, "loss": loss, "gradient": gradient})
    ends = [row for row in rows if row["step"] in (0, config.num_steps)]
    figures.save(folder, "generators", draw(rows), rows, shown=ends)
    return rows


def draw(rows: list[dict[str, str | float]]):
    figure, axes = figures.subplots(1, 3, width=4.0, height=4.0)
    losses, gradients, paths = axes[0]
    for name, (label, color, style) in STYLES.items():
        options = {"color": color, "ls": style, "label": label}
        ours = [row for row in rows if row["objective"] == name]
        location, loss, gradient = (
            np.array([row[key] for row in ours if row["step"] == ""]) for key in ("location", "loss", "gradient")
        )
        losses.plot(location, loss, **options)
        gradients.semilogy(location, np.abs(gradient), **options)
        path = [row for row in ours if row["step"] != ""]
        paths.plot([row["step"] for row in path], [row["location"] for row in path], **options)
    losses.set(title="loss", xlabel="location of the generator", ylabel="loss", ylim=(0.0, 8.0))
    gradients.set(title="gradient", xlabel="location of the generator", ylabel="absolute gradient", ylim=(1e-5, 1e3))
    paths.set(title="trajectories", xlabel="step of gradient descent", ylabel="location (data: 0)")
    unmoved = "total variation, Hellinger and\n2 JSD hardly move"
    paths.text(1.0, 0.9, unmoved, ha="right", va="top", transform=paths.transAxes)
    figure.legend(*losses.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


if __name__ == "__main__":
    cli.run(Config, main)
