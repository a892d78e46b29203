"""Speed of evaluation: images per second of the feature networks, and seconds of each score.

    python -m benchmarks.evaluation
    python -m benchmarks.evaluation --counts 1000 --scores frechet kernel --output evaluation.json

The networks have random weights and get random grey images of 32 pixels. Scores are computed from random features, with
equal numbers of real and generated ones. As in an evaluation, `nearest` uses at most 1,000 samples.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.step_throughput import circumstances, line
from jaxgan import files
from jaxgan.metrics.extract import extract, resize
from jaxgan.metrics.features import Classifier
from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.inception import SIZE, FIDInception
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.neighbours import nearest_distances, pairwise_diversity
from jaxgan.metrics.precision_recall import density_coverage, precision_recall
from jaxgan.pixels import from_uint8
from jaxgan.runs import cli
from jaxgan.transport import sliced_wasserstein

CLASSES = 1008  # number of classes for the Inception score

Score = Literal[
    "frechet",
    "kernel",
    "precision_recall",
    "density_coverage",
    "sliced_wasserstein",
    "nearest",
    "diversity",
    "inception_score",
]

SCORES: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "frechet": frechet_distance,
    "kernel": lambda real, fake: kernel_distance(real, fake, subset_size=min(1000, len(real))),
    "precision_recall": precision_recall,
    "density_coverage": density_coverage,
    "sliced_wasserstein": sliced_wasserstein,
    "nearest": lambda real, fake: nearest_distances(fake[:1000], real),
    "diversity": lambda real, fake: pairwise_diversity(fake),
    "inception_score": lambda real, fake: inception_score(fake),
}


WIDE = ("frechet", "kernel")


@dataclass(frozen=True, kw_only=True)
class Config:
    counts: tuple[int, ...] = (10_000, 50_000)  # samples in each set, at least 6
    scores: tuple[Score, ...] = get_args(Score)  # scores to time
    num_features: int = 128  # number of features, 128 as for the classifier
    # number of features for a second timing of the Frechet and the kernel distance, 2048 as for Inception; 0 for none
    wide_features: int = 2048
    images: int = 10_000  # images through the classifier, 0 for none
    inception_images: int = 64  # images through the Inception network, 0 for none
    inception_size: int = SIZE  # input size of the Inception network in pixels
    output: str | None = None  # JSON file to write all results to


def main(config: Config) -> list[dict[str, Any]]:
    if not config.counts or min(config.counts) < 6:
        raise ValueError(f"counts={config.counts} must be at least 6: scores need five nearest neighbours")
    report: dict[str, Any] = circumstances([]) | {
        "command": " ".join(["python -m benchmarks.evaluation", *sys.argv[1:]])
    }
    print(report)
    report["rows"] = rows = []

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        if config.output:  # after every row, so that an interruption loses only the rows that are missing
            files.write(files.expanded(config.output), json.dumps(report, indent=1) + "\n")

    networks = {"classifier": (_classifier, config.images), "inception": (_inception, config.inception_images)}
    print(line(["features", "images", "images/s"]))
    print(line(["---"] * 3))
    for name, (make, count) in networks.items():
        if count:
            rate = images_per_second(make(config), count, batch_size=250 if name == "classifier" else 32)
            print(line([name, f"{count:,}", f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"]), flush=True)
            add({"name": name, "images": count, "images_per_second": rate})

    print(line(["score", "features", *(f"{count:,} samples, s" for count in config.counts)]))
    print(line(["---"] * (2 + len(config.counts))))
    sizes = [(name, CLASSES if name == "inception_score" else config.num_features) for name in config.scores]
    sizes += [(name, config.wide_features) for name in WIDE if name in config.scores and config.wide_features]
    for name, features in sizes:
        found = []
        for count in config.counts:
            found.append(seconds(name, count, features))
            add({"name": name, "features": features, "count": count, "seconds": found[-1]})
        print(line([name, f"{features:,}", *(f"{one:.2f}" for one in found)]), flush=True)
    return rows


def images_per_second(function: Callable[[Any], Any], count: int, *, batch_size: int) -> float:
    """Images per second through a feature network, without compilation."""
    images = np.random.default_rng(0).integers(256, size=(count, 32, 32, 1), dtype=np.uint8)
    extract(images[:1], function, batch_size=batch_size)
    began = time.perf_counter()
    extract(images, function, batch_size=batch_size)
    return count / (time.perf_counter() - began)


def seconds(name: str, count: int, features: int) -> float:
    """Seconds to compute one score of two random float32 sets."""
    random = np.random.default_rng(0)
    real, fake = (random.standard_normal((count, features), np.float32) for _ in range(2))
    if name == "inception_score":
        real = fake = np.exp(fake) / np.exp(fake).sum(axis=1, keepdims=True)
    began = time.perf_counter()
    SCORES[name](real, fake)
    return time.perf_counter() - began


def _classifier(config: Config) -> Callable[[Any], Any]:
    module = Classifier(10)
    params = module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    return jax.jit(lambda images: module.apply(params, from_uint8(images))[1])


def _inception(config: Config) -> Callable[[Any], Any]:
    module, side = FIDInception(), config.inception_size
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, side, side, 3)))

    def features(images):
        resized = resize(jnp.broadcast_to(images, (*images.shape[:3], 3)), side, "antialiased")
        return module.apply(params, (resized - 128.0) / 128.0)[0]

    return jax.jit(features)


if __name__ == "__main__":
    cli.run(Config, main)
