"""What every evaluation has in common: the same scores while a run goes on (`fit(evaluate=...)`) and of a finished one.

An evaluation reads its data and trains its networks once, and then scores as many states as one likes, each by way of
a `Sampler`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxgan.devices.sharding import batched
from jaxgan.messages import note
from jaxgan.metrics.arrays import content_digest, content_order, random_subset, row_digests
from jaxgan.metrics.kernel import subset_warning
from jaxgan.pixels import NonFiniteSamplesError, to_uint8
from jaxgan.types import GAN

Sampler = Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]
"""Inputs of `GAN.sample`, any number of rows, to its outputs, for one state."""

Scores = dict[str, float]

SUBSET_SEED = 0
"""What decides which real images and which samples are compared, where not all are."""


class Evaluation(NamedTuple):
    """How to score one state after another in the same way.

    Attributes:
      scores: of the state that a `Sampler` draws from.
      protocol: how they are made: the fields of `jaxgan.metrics.protocol.Stamp` that no state changes.
      num_features: in which a Frechet distance is among them, 0 if none is.
    """

    scores: Callable[[Sampler], Scores]
    protocol: dict[str, Any]
    num_features: int = 0


def while_training(make: Callable[[Any], Evaluation], gan: GAN, config: Any) -> Callable[[Any], Scores] | None:
    """The `evaluate` of `fit` that a run's flags ask for, None where they ask for none.

    Args:
      make: from the configuration to an `Evaluation`, which reads data and trains networks.
      gan: what is trained.
      config: a `RunConfig`; `evaluate_every` or `best` ask for scores.

    Returns:
      The function. Samples that are not finite have no scores, so that they are never best: it raises
      `FloatingPointError` with their number, which ends the run as a loss that is not finite does, or under
      `on_nonfinite="skip"` says so and returns their share alone, `nonfinite_samples`.
    """
    if not config.evaluate_every and config.best is None:
        return None
    evaluation = make(config)
    if size := evaluation.protocol.get("kernel_subset_size"):
        counts = (evaluation.protocol.get(name, 0) for name in ("real_count", "fake_count"))
        note(subset_warning(size, *counts))

    def evaluate(state: Any) -> Scores:
        try:
            return evaluation.scores(batched(partial(gan.sample, state)))
        except NonFiniteSamplesError as error:
            if config.on_nonfinite == "stop":
                message = f"evaluation: {error}; --on-nonfinite skip goes on without scores"
                raise FloatingPointError(message) from None
            note(f"evaluation: {error}, so there are no scores")
            return {"nonfinite_samples": error.bad / error.count}

    return evaluate


def protocol(
    config: Any,
    split: str,
    real: int,
    fake: int,
    features: str,
    weights: str,
    *,
    digest: str,
    resizer: str = "none",
    **subsets: int,
) -> dict[str, Any]:
    """The `protocol` of an `Evaluation`, by a network or by pixels.

    Args:
      config: of the run.
      split: of the data set, that samples are compared with.
      real: how many examples of it.
      fake: how many samples.
      features: what the scores are made of, see `jaxgan.metrics.protocol.score_name`.
      weights: SHA-256 of the network, or nothing.
      digest: of the real images, see `jaxgan.metrics.arrays.content_digest`.
      resizer: what brings images to the network's size; none where it was trained at theirs.
      subsets: the sizes of subsets, see `jaxgan.metrics.protocol.Stamp`.
    """
    return {
        "dataset": config.dataset,
        "split": split,
        "real_count": real,
        "real_digest": digest,
        "fake_count": fake,
        "image_size": config.image_size,
        "features": features,
        "feature_weights": weights,
        "resizer": resizer,
        "quantized": True,
        "subset_seed": SUBSET_SEED,
        **subsets,
    }


def as_bytes(pictures: np.ndarray) -> np.ndarray:
    """Pictures as `jaxgan.data.sources.images` gives them, those of 16 bits as bytes too."""
    return to_uint8(pictures) if pictures.dtype == np.float32 else pictures


def unit(pictures: np.ndarray) -> np.ndarray:
    """Bytes to floats in [0, 1]."""
    return pictures.astype(np.float32) / 255.0


def some(rows: Any, size: int | None, kind: Literal["real", "fake"]) -> Any:
    """A random subset of rows, always the same; others of real examples than of samples, see `random_subset`."""
    return rows[random_subset(len(rows), size, seed=(SUBSET_SEED, ("real", "fake").index(kind)))]


def ordered(columns: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Examples in an order that their content decides, whatever their files are called, and a digest of them all.

    Args:
      columns: arrays or lists of as many rows each, by name; row i of all is one example.
    """
    digests = row_digests(*columns.values())
    rows = content_order(digests)
    taken = {
        name: column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]
        for name, column in columns.items()
    }
    return taken, content_digest(digests)


def ratios(**pairs: tuple[Any, Any]) -> Scores:
    """`a / b` of two numbers that are not negative: infinite where b is 0, as between a test split and itself.

    Where both are 0, as of pictures that are all the same, the score is left out, and a line says so.
    """
    found = {}
    for name, (a, b) in pairs.items():
        if a or b:
            found[name] = float(a / b) if b else math.inf
        else:
            note(f"there is no score {name}: both distances are 0, of which it is the ratio")
    return found
