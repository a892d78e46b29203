"""Three constraints on a critic's Lipschitz constant, against the exact Wasserstein distance.

Two sets of points in the plane: a ring of eight Gaussians, and one Gaussian in its middle. Critics with weight
clipping, gradient penalty and spectral norm estimate the distance between them; the exact distance comes from an
optimal assignment. Clipping limits the weights and not the Lipschitz constant, so its estimate has an arbitrary scale
and must be divided by the critic's gradient norm.

    python -m experiments.divergence.critics
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from experiments.divergence import figures
from jaxgan.estimates import estimate_wasserstein
from jaxgan.runs import cli
from jaxgan.runs.flags import Flags, PathName, Range, Seed, Weight
from jaxgan.transport import wasserstein_assignment

EVERY = 20  # each point of a curve is the mean of so many steps

# Row, label, colour. Clipping is shown unscaled, and divided by the gradient norm of the trained critic.
CRITICS = {
    "clipping": ("clipping", "navajowhite"),
    "clipping_by_gradient_norm": ("clipping / gradient norm", "tab:orange"),
    "gradient_penalty": ("gradient penalty", "tab:blue"),
    "spectral_norm": ("spectral norm", "tab:green"),
}


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    num_points: Annotated[int, Range(2, 4096)] = 512  # points of each distribution
    num_steps: Annotated[int, Range(1, 10**6)] = 1000  # updates of each critic
    num_seeds: Annotated[int, Range(1, 1000)] = 5  # critics per constraint, for the mean and the standard deviation
    penalty_weight: Weight = 10.0  # weight lambda of the gradient penalty
    clip_limit: Annotated[float, Range(1e-6, 1e3)] = 0.01  # largest absolute weight under clipping
    seed: Seed = 0  # random seed of the points and of the first critic
    output: PathName | None = None  # folder to write to; by default runs/divergence/critics


def clouds(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples from a ring of 8 Gaussians of radius 1.5, and from one Gaussian in its middle: both `[count, 2]`."""
    random = np.random.default_rng(seed)
    angles = 2.0 * np.pi * random.integers(8, size=count) / 8
    ring = 1.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + 0.1 * random.normal(size=(count, 2))
    return ring, 0.4 * random.normal(size=(count, 2))


def main(config: Config) -> list[dict[str, str | float]]:
    folder = figures.output_folder(config.output, "critics")
    real, fake = clouds(config.num_points, config.seed)
    exact = wasserstein_assignment(real, fake)
    options = {
        name: getattr(config, name) for name in ("penalty_weight", "clip_limit", "num_seeds", "seed", "num_steps")
    }
    reached = {
        name: estimate_wasserstein(real, fake, name, **options)
        for name in ("clipping", "gradient_penalty", "spectral_norm")
    }
    clipped = reached["clipping"]
    reached["clipping_by_gradient_norm"] = clipped._replace(
        value=clipped.value / clipped.gradient_norm, history=clipped.history / clipped.gradient_norm[:, None]
    )
    rows: list[dict[str, str | float]] = []
    for name in CRITICS:
        value, history, norm = reached[name]
        for step in range(EVERY, config.num_steps + 1, EVERY):
            # Without the first value: it is from before the first update, when weights are not clipped yet.
            recent = history[:, max(step - EVERY, 1) : step].mean(axis=1)
            rows.append(row(name, "minibatches", step, exact, recent) | {"gradient_norm": ""})
        rows.append(row(name, "all", config.num_steps, exact, value) | {"gradient_norm": float(norm.mean())})
    trained = [row for row in rows if row["points"] == "all"]
    figures.save(folder, "critics", draw(rows, (real, fake), exact), rows, shown=trained)
    return rows


def row(critic: str, points: str, step: int, exact: float, values: np.ndarray) -> dict[str, str | float]:
    mean, std = float(values.mean()), float(values.std())
    return {"critic": critic, "points": points, "step": step, "w1": exact, "estimate": mean, "estimate_std": std}


def draw(rows: list[dict[str, str | float]], points: tuple[np.ndarray, np.ndarray], exact: float):
    figure, axes = figures.subplots(1, 3, width=4.0, height=3.9)
    cloud, curves, bars = axes[0]
    for label, color, xy in zip(("real", "fake"), ("0.5", "tab:red"), points, strict=True):
        cloud.scatter(*xy.T, s=6, color=color, linewidths=0, label=label)
    cloud.set(
        title=f"{len(points[0])} points each, $W_1$ = {exact:.3f}", aspect="equal", xlabel="$x_1$", ylabel="$x_2$"
    )
    cloud.legend(loc="upper right", fontsize="small")

    for panel in (curves, bars):
        panel.axhline(exact, color="black", lw=1, label="exact", zorder=3)
        panel.set_ylim(0.0, 1.4 * exact)
    for index, (name, (label, color)) in enumerate(CRITICS.items()):
        ours = [row for row in rows if row["critic"] == name]
        step, mean, std = (
            np.array([row[key] for row in ours[:-1]], float) for key in ("step", "estimate", "estimate_std")
        )
        curves.plot(step, mean, color=color, label=label)
        curves.fill_between(step, mean - std, mean + std, color=color, alpha=0.25, linewidth=0)
        mean, std = float(ours[-1]["estimate"]), float(ours[-1]["estimate_std"])
        bars.bar(index, mean, yerr=std, color=color, capsize=4)
        bars.text(
            index, mean + std + 0.02 * exact, f"{mean:.3g}\n± {std:.1g}", ha="center", va="bottom", fontsize="small"
        )
    curves.set(
        title=f"while training, means of {EVERY} steps", xlabel="update of the critic", ylabel="estimate of $W_1$"
    )
    figure.legend(*curves.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    bars.set(title="trained, on all points", ylabel="estimate of $W_1$")
    bars.set_xticks(
        range(len(CRITICS)), [label.replace(" ", "\n", 1) for label, _ in CRITICS.values()], fontsize="small"
    )
    return figure


if __name__ == "__main__":
    cli.run(Config, main)
