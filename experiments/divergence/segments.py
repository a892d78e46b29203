"""Two distributions at a distance theta: which divergences and distances depend on it, and how critics estimate them.

Two parallel segments theta apart in the plane (Arjovsky et al. 2017, example 1, arXiv:1701.07875), and two Gaussians of
standard deviation 1 in one dimension. The segments are disjoint: their Jensen-Shannon divergence is log 2 at any
distance, their Kullback-Leibler divergence infinite (the critic's estimate grows until training ends), and only the
Wasserstein distance is theta. The Gaussians overlap, and all three depend on theta.

For a translation by theta, a critic with gradient norm s and gradient penalty lambda has the objective
s theta - lambda (s - 1)^2, with the maximum at s = 1 + theta / (2 lambda). So lambda = 10 overestimates theta = 4 by a
fifth. lambda = 100 is within 2%, but converges slowly for small distances: at theta = 0.05 its critics have not
converged at the end.

    python -m experiments.divergence.segments
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jax.scipy.stats import norm
from scipy.special import ndtri

from experiments.divergence import figures
from jaxgan.divergences import gaussian_divergence, integrated_divergence
from jaxgan.estimates import estimate_divergence, estimate_wasserstein
from jaxgan.runs import cli
from jaxgan.runs.flags import Flags, PathName, Range, Seed

DISTANCES = (0.05, 0.25, 0.5, 1.0, 2.0, 4.0)
PENALTY_WEIGHTS = (1, 10, 100)
LOG_4 = math.log(4.0)
Samples = tuple[np.ndarray, np.ndarray]

# Estimates of the Wasserstein distance: column, label, colour.
CRITICS = [
    ("penalty_1", "penalty, λ = 1", "skyblue"),
    ("penalty_10", "penalty, λ = 10", "tab:blue"),
    ("penalty_100", "penalty, λ = 100", "navy"),
    ("clipping_by_gradient_norm", "clipping / gradient norm", "tab:orange"),
    ("spectral_norm", "spectral norm", "tab:green"),
]


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    num_samples: Annotated[int, Range(2, 10**6)] = 20_000  # training samples of each Gaussian
    num_steps: Annotated[int, Range(1, 10**6)] = 1000  # updates of each critic
    num_seeds: Annotated[int, Range(1, 1000)] = 3  # critics per estimate, for the mean and the standard deviation
    seed: Seed = 0  # random seed of the samples and of the first critic
    output: PathName | None = None  # folder to write to; by default runs/divergence/segments


def segment(position: float, count: int = 400) -> np.ndarray:
    """Points `(position, u)` with u evenly spaced on [0, 1]."""
    return np.stack([np.full(count, position), (np.arange(count) + 0.5) / count], axis=1)


def gaussian_jensen_shannon(distance: float) -> float:
    shifted = lambda x: norm.pdf(x, distance)
    return integrated_divergence("jensen_shannon", norm.pdf, shifted, -12.0, 12.0 + distance) / 2.0


def estimates(samples: Samples, fresh: Samples, config: Config) -> dict[str, float]:
    """Estimates of trained critics: means, and standard deviations as NAME_std."""
    options: Any = {"fresh": fresh, **{name: getattr(config, name) for name in ("num_steps", "num_seeds", "seed")}}
    wasserstein = lambda *constraint, **weight: estimate_wasserstein(*samples, *constraint, **weight, **options)
    clipped = wasserstein("clipping")
    values = {
        "js_estimate": (estimate_divergence(*samples, "gan", **options).value + LOG_4) / 2.0,
        "kl_estimate": estimate_divergence(*samples, "kl", **options).value,
        **{f"penalty_{weight}": wasserstein(penalty_weight=weight).value for weight in PENALTY_WEIGHTS},
        "clipping": clipped.value,
        "clipping_by_gradient_norm": clipped.value / clipped.gradient_norm,
        "spectral_norm": wasserstein("spectral_norm").value,
    }
    means = {name: float(value.mean()) for name, value in values.items()}
    return means | {f"{name}_std": float(value.std()) for name, value in values.items()}


def main(config: Config) -> list[dict[str, str | float]]:
    folder = figures.output_folder(config.output, "segments")
    normal = np.random.default_rng(config.seed).normal(size=(2, config.num_samples, 1))
    count = 10 * config.num_samples  # quantiles replace a fresh sample with negligible error
    quantiles = ndtri((np.arange(count) + 0.5) / count)[:, None]
    rows = []
    for theta in DISTANCES:
        pair = segment(0.0), segment(theta)
        exact = {"js": math.log(2.0), "kl": math.inf, "w1": theta}
        rows.append({"distribution": "segments", "theta": theta, **exact, **estimates(pair, pair, config)})
    for theta in DISTANCES:
        exact = {
            "js": gaussian_jensen_shannon(theta),
            "kl": gaussian_divergence("kl", 0.0, 1.0, theta, 1.0),
            "w1": theta,
        }
        pair, fresh = (normal[0], normal[1] + theta), (quantiles, quantiles + theta)
        rows.append({"distribution": "Gaussians", "theta": theta, **exact, **estimates(pair, fresh, config)})

    shown = [{name: value for name, value in row.items() if not name.endswith("_std")} for row in rows]
    figures.save(folder, "segments", draw(rows), rows, shown=shown)
    return rows


def draw(rows: list[dict[str, str | float]]):
    figure, axes = figures.subplots(2, 4)
    theta, line = np.array(DISTANCES), np.linspace(0.01, 4.5, 90)
    exact_js: dict[str, Callable] = {
        "segments": lambda x: np.full_like(x, math.log(2.0)),
        "Gaussians": lambda x: [gaussian_jensen_shannon(distance) for distance in x],
    }
    for distribution, (js, kl, distance, ratio) in zip(exact_js, axes, strict=True):
        rows_here = [row for row in rows if row["distribution"] == distribution]
        column = lambda name, rows_here=rows_here: np.array([row[name] for row in rows_here], float)
        points = {"fmt": "o", "color": "tab:red", "ms": 5, "capsize": 2, "label": "discriminator's estimate"}

        js.set(title=f"{distribution}: Jensen-Shannon", ylabel="JS, nats", ylim=(-0.03, 0.8))
        js.axhline(math.log(2.0), color="0.8", zorder=0)
        js.text(0.0, math.log(2.0) + 0.02, "log 2", color="0.5")
        js.plot(line, exact_js[distribution](line), color="black", label="exact")
        js.plot(0.0, 0.0, "o", color="black", ms=4)
        js.errorbar(theta, column("js_estimate"), column("js_estimate_std"), **points)
        js.legend(loc="lower right", fontsize="small", frameon=False)

        kl.set(title=f"{distribution}: Kullback-Leibler", ylabel="KL, nats", yscale="log", ylim=(5e-4, 1e6))
        seen = column("kl_estimate") > 0.0
        kl.errorbar(theta[seen], column("kl_estimate")[seen], column("kl_estimate_std")[seen], **points)
        if distribution == "segments":
            kl.text(2.2, 1e3, "exact: infinite for every θ > 0", ha="center")
        else:
            kl.plot(line, line**2 / 2.0, color="black", label="exact")
            for x, value in zip(theta[~seen], column("kl_estimate")[~seen], strict=True):
                kl.text(x, 1e-3, f"estimate at {x:g}: {value:.2g}", ha="right", color="tab:red")

        distance.set(
            title=f"{distribution}: Wasserstein", ylabel="$W_1$", xscale="log", yscale="log", ylim=(0.01, 20.0)
        )
        distance.plot(line, line, color="black", label="exact")
        ratio.set(title=f"{distribution}: Wasserstein", ylabel="estimate / exact $W_1$", xscale="log", ylim=(0.0, 3.4))
        ratio.axhline(1.0, color="black", lw=1)
        for name, label, color in CRITICS:
            estimate, std = column(name), column(f"{name}_std")
            distance.plot(theta, estimate, "o", color=color, label=label, ms=4)
            ratio.errorbar(theta, estimate / theta, std / theta, fmt="o", color=color, ms=4, capsize=2)
        near = line[line > 0.04]
        for weight, (_, _, color) in zip(PENALTY_WEIGHTS, CRITICS, strict=False):
            ratio.plot(near, 1.0 + near / (2.0 * weight), color=color, lw=1, zorder=0)
        ratio.text(0.05, 2.2, "lines: 1 + θ / (2λ)", color="tab:blue")
        distance.legend(loc="upper left", fontsize="x-small", frameon=False)
        for panel in (js, kl, distance, ratio):
            panel.set_xlabel("distance θ")
        for panel in (distance, ratio):
            panel.set_xlim(0.04, 5.0)
            panel.set_xticks(DISTANCES, [f"{distance:g}" for distance in DISTANCES], fontsize="small")
            panel.minorticks_off()
    return figure


if __name__ == "__main__":
    cli.run(Config, main)
