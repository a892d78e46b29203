"""Transport plans: the optimal one, whose mean cost is the Wasserstein distance, and a random one.

A transport plan (coupling) says how much mass goes from each point of P to each point of Q. For n points of equal
weight, some optimal plan is one of the n! permutations. These are too many to try, so a linear program finds it.

    python -m experiments.divergence.plans
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.spatial.distance import cdist

from experiments.divergence import figures
from jaxgan.runs import cli
from jaxgan.runs.flags import Flags, PathName, Range, Seed
from jaxgan.transport import wasserstein_discrete


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    num_points: Annotated[int, Range(2, 170)] = 16  # points of each distribution; larger factorials overflow a float
    seed: Seed = 0  # random seed of the points and of the random plan
    output: PathName | None = None  # folder to write to; by default runs/divergence/plans


def main(config: Config) -> list[dict[str, str | float]]:
    folder = figures.output_folder(config.output, "plans")
    count = config.num_points
    random = np.random.default_rng(config.seed)
    p = random.normal((0.0, 0.0), (0.5, 1.5), (count, 2))
    q = random.normal((2.0, 0.0), (0.5, 1.5), (count, 2))
    p, q = (points[np.argsort(points[:, 1])] for points in (p, q))
    weights = np.full(count, 1.0 / count)
    distance, best = wasserstein_discrete(weights, p, weights, q)
    plans = {"best": best, "random": np.eye(count)[random.permutation(count)] / count}

    distances = cdist(p, q)
    rows: list[dict[str, str | float]] = [
        {"plan": name, "from": i, "to": j, "mass": float(plan[i, j]), "distance": float(distances[i, j])}
        for name, plan in plans.items()
        for i, j in np.argwhere(plan > 1e-9).tolist()
    ]
    costs = {name: float(np.sum(plan * distances)) for name, plan in plans.items()}
    print(f"Wasserstein distance {distance:.4f}, {count}! = {math.factorial(count):.4g} permutations")
    shown = [{"plan": name, "mean_distance": cost} for name, cost in costs.items()]
    figures.save(folder, "plans", draw(p, q, plans, costs), rows, shown=shown)
    return rows


def draw(p: np.ndarray, q: np.ndarray, plans: dict[str, np.ndarray], costs: dict[str, float]):
    figure, axes = figures.subplots(2, 2, width=4.4, height=3.5)
    count = len(p)
    figure.suptitle(f"{count}! = {math.factorial(count):,} permutations of {count} points")
    for (name, plan), (arrows, heat) in zip(plans.items(), axes, strict=True):
        start, end = np.argwhere(plan > 1e-9).T
        arrow = 0.94 * (q[end] - p[start])  # to the edge of the dot
        size = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.003, "headwidth": 7, "headlength": 8}
        arrows.quiver(*p[start].T, *arrow.T, color="0.4", **size)
        arrows.scatter(*p.T, s=24, color="tab:blue", label="from P", zorder=3)
        arrows.scatter(*q.T, s=24, color="tab:red", label="to Q", zorder=3)
        arrows.set(
            title=f"{name} plan: mean cost {costs[name]:.3f}",
            xlabel="$x_1$",
            ylabel="$x_2$",
            aspect="equal",
            adjustable="datalim",
        )
        image = heat.imshow(plan * count, cmap="Blues", vmin=0.0, vmax=1.0)
        heat.set(title=f"{name} plan", xlabel="to point of Q, by height", ylabel="from point of P, by height")
        heat.set(xticks=range(0, count, 5), yticks=range(0, count, 5))
        figure.colorbar(image, ax=heat, label="fraction of the point's mass")
    axes[0, 0].legend(loc="upper left", fontsize="small")
    return figure


if __name__ == "__main__":
    cli.run(Config, main)
