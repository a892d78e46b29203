"""Common parts of all evaluations, during training (`fit(evaluate=...)`) and of finished runs.

An evaluation reads its data and trains its classifiers once, and then scores any number of states, each through a
`Sampler`.
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
"""`GAN.sample` of one state: inputs with any number of rows to outputs."""

Scores = dict[str, float]

SUBSET_SEED = 0
"""Seed of the random subsets of real images and samples."""


class Evaluation(NamedTuple):
    """Scores states in the same way.

    Attributes:
      scores: the scores of the samples of a `Sampler`.
      protocol: the fields of `jaxgan.metrics.protocol.Stamp` that do not depend on the state.
      num_features: number of features of the Frechet distance, 0 if there is none.
    """

    scores: Callable[[Sampler], Scores]
    protocol: dict[str, Any]
    num_features: int = 0


def while_training(make: Callable[[Any], Evaluation], gan: GAN, config: Any) -> Callable[[Any], Scores] | None:
    """The `evaluate` function for `fit`, or None if the configuration asks for no scores.

    Args:
      make: creates the `Evaluation` from the configuration; reads data and trains classifiers.
      gan: the GAN in training.
      config: a `RunConfig`; scores are computed if `evaluate_every` or `best` is set.

    Returns:
      The function. Samples with NaN or infinity have no scores, so they are never best. For them it raises
      `FloatingPointError`, which stops the run like a non-finite loss; with `on_nonfinite="skip"` it prints a note and
      returns only their fraction, `nonfinite_samples`.
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
                message = f"evaluation: {error}; --on-nonfinite skip continues without scores"
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
    """The `protocol` of an `Evaluation`.

    Args:
      config: configuration of the run.
      split: split of the data set that samples are compared with.
      real: number of real examples.
      fake: number of samples.
      features: name of the features, see `jaxgan.metrics.protocol.score_name`.
      weights: SHA-256 of the feature network, or empty.
      digest: digest of the real images, see `jaxgan.metrics.arrays.content_digest`.
      resizer: method that resizes images to the network's input size; none if the sizes are equal.
      subsets: sizes of the subsets, see `jaxgan.metrics.protocol.Stamp`.
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


def quantized(images: np.ndarray) -> np.ndarray:
    """Images of `jaxgan.data.sources.images` as uint8; 16-bit images, which are floats, are rounded."""
    return to_uint8(images) if images.dtype == np.float32 else images


def unit(images: np.ndarray) -> np.ndarray:
    """uint8 to floats in [0, 1]."""
    return images.astype(np.float32) / 255.0


def some(rows: Any, size: int | None, kind: Literal["real", "fake"]) -> Any:
    """A fixed random subset of rows, with different seeds for real examples and samples, see `random_subset`."""
    return rows[random_subset(len(rows), size, seed=(SUBSET_SEED, ("real", "fake").index(kind)))]


def ordered(columns: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Examples in the order of their content, independent of file names, and a digest of all of them.

    Args:
      columns: arrays or lists of equal length by name; row i of all columns is one example.
    """
    digests = row_digests(*columns.values())
    rows = content_order(digests)
    taken = {
        name: column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]
        for name, column in columns.items()
    }
    return taken, content_digest(digests)


def ratios(**pairs: tuple[Any, Any]) -> Scores:
    """`a / b` of pairs of non-negative numbers by name: infinite if b is 0, as between a test split and itself.

    If both are 0, as for identical images, the score is left out with a note.
    """
    found = {}
    for name, (a, b) in pairs.items():
        if a or b:
            found[name] = float(a / b) if b else math.inf
            if not b:
                note(f"{name} is infinite: the images to compare with are the training images, or all alike")
        else:
            note(f"there is no score {name}: it is the ratio of two distances, and both are 0")
    return found
