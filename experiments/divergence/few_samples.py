"""With too few samples, overlapping distributions look disjoint.

A GAN's discriminator is trained to tell n samples of one distribution from n of another: equal Gaussians, and Gaussians
with means 2 standard deviations apart. For small n, its estimate of the Jensen-Shannon divergence on the training
samples is near log 2, because it memorizes them. On fresh samples it is equally confident but often wrong, and its
lower bound falls far below 0, where it is useless. Both converge to the exact value as n grows.

    python -m experiments.divergence.few_samples
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jax.scipy.stats import norm

from experiments.divergence import figures
from jaxgan.divergences import integrated_divergence
from jaxgan.estimates import estimate_divergence
from jaxgan.runs import cli
from jaxgan.runs.flags import Channels, Flags, PathName, Range, Seed

GAPS = (0.0, 2.0)  # between the means, in standard deviations
COUNTS = (8, 32, 128, 512, 2048, 8192, 32768)
LOG_4 = math.log(4.0)


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    # dimension of the Gaussians, which differ only in the first coordinate
    dimension: Annotated[int, Range(1, 1000)] = 5
    num_steps: Annotated[int, Range(1, 10**6)] = 3000  # updates of each discriminator
    num_seeds: Annotated[int, Range(1, 1000)] = 3  # discriminators, for the mean and the standard deviation
    width: Channels = 64  # width of the discriminator's two hidden layers
    seed: Seed = 0  # random seed of the samples and of the first discriminator
    output: PathName | None = None  # folder to write to; by default runs/divergence/few_samples


def jensen_shannon(gap: float) -> float:
    return integrated_divergence("jensen_shannon", norm.pdf, lambda x: norm.pdf(x, gap), -12.0, 12.0 + gap) / 2.0


def estimate(samples: np.ndarray, evaluated: np.ndarray, gap: float, config: Config) -> np.ndarray:
    """Estimates of the Jensen-Shannon divergence on `evaluated` by discriminators trained on `samples`.

    Both are `[2, N, D]`; the second distribution is shifted by `gap` along the first axis.
    """
    shift = gap * np.eye(2, config.dimension, -1)[:, None]
    real, fake = samples + shift
    fresh_real, fresh_fake = evaluated + shift
    estimated = estimate_divergence(
        real,
        fake,
        "gan",
        fresh=(fresh_real, fresh_fake),
        num_seeds=config.num_seeds,
        seed=config.seed,
        num_steps=config.num_steps,
        learning_rate=3e-3,
        widths=(config.width, config.width),
    )
    return (estimated.value + LOG_4) / 2.0


def main(config: Config) -> list[dict[str, float]]:
    folder = figures.output_folder(config.output, "few_samples")
    random = np.random.default_rng(config.seed)
    most = COUNTS[-1]
    samples, fresh = random.normal(size=(2, 2, most, config.dimension)).astype(np.float32)
    rows = []
    for gap in GAPS:
        for count in COUNTS:
            # Repeated to one length, so that all counts use the same minibatches and one compiled program.
            few = np.tile(samples[:, :count], (1, most // count, 1))
            training = estimate(few, few, gap, config)
            unseen = estimate(few, fresh, gap, config)
            rows.append({"gap": gap, "n": count, "js": jensen_shannon(gap)})
            for name, value in (("training", training), ("fresh", unseen)):
                rows[-1] |= {name: float(value.mean()), f"{name}_std": float(value.std())}
    figures.save(folder, "few_samples", draw(rows, config.dimension), rows)
    return rows


def draw(rows: list[dict[str, float]], dimension: int):
    figure, axes = figures.subplots(1, 2, width=4.4, height=4.2)
    figure.suptitle(f"Gaussians of standard deviation 1 in {dimension} dimensions")
    styles = {"training": ("on its training samples", "tab:red"), "fresh": ("on fresh samples", "tab:blue")}
    for gap, panel in zip(GAPS, axes[0], strict=True):
        column = lambda name, gap=gap: np.array([row[name] for row in rows if row["gap"] == gap])
        panel.set(title=f"means {gap:g} apart" if gap else "equal distributions", xscale="log")
        panel.set_yscale("symlog", linthresh=1.0, linscale=2.0)
        panel.set(ylim=(-30.0, 1.2), yticks=(-10, -1, -0.5, 0, 0.5), yticklabels=("-10", "-1", "-0.5", "0", "0.5"))
        panel.set(xlabel="samples n of each distribution", ylabel="Jensen-Shannon divergence, nats")
        panel.axhline(math.log(2.0), color="0.6", ls="--", label="log 2: exact, of the two samples")
        panel.axhline(column("js")[0], color="black", label="exact, of the distributions")
        for name, (where, color) in styles.items():
            options = {"fmt": "o-", "color": color, "label": f"discriminator {where}", "ms": 4, "capsize": 2}
            panel.errorbar(column("n"), column(name), column(f"{name}_std"), **options)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


if __name__ == "__main__":
    cli.run(Config, main)
