"""Additional images for a run's report: interpolations, and the nearest training images of samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxgan.data.base import Source, read_all
from jaxgan.data.classes import label_names
from jaxgan.data.sources import open_images
from jaxgan.evaluation.evaluation import quantized
from jaxgan.latents import slerp
from jaxgan.messages import note
from jaxgan.metrics.arrays import random_subset
from jaxgan.metrics.neighbours import nearest_neighbours
from jaxgan.pixels import NonFiniteSamplesError, check_finite, to_uint8
from jaxgan.runs import report
from jaxgan.runs.config import run_folder
from jaxgan.runs.images import MAX_ROWS, image_grid, labelled_rows
from jaxgan.types import GAN

ROWS, COLUMNS = 8, 8  # the number of images of a preview, so that its compiled program is used

NEIGHBOURS = ("nearest", "2nd", "3rd", "4th", "5th")

MOST = 10_000
"""Largest number of training images to search."""

MOST_BYTES = 2**28
"""Largest total size of these images, in bytes."""


def image_panels(
    gan: GAN, config: Any, *, classes: Sequence[str] | None = None
) -> Callable[[Any], dict[str, np.ndarray]]:
    """The `panels` function for `fit`, with the same latents and training images at every call.

    Args:
      gan: the GAN in training.
      config: configuration of the run: an `ImageConfig` with `latent_dim`, and `num_classes` for a class-conditional
        generator.
      classes: names of the classes, if any.

    Returns:
      A function of a state to images by name:
        - `interpolation`: each row interpolates between two latents, with one label per row if there are any;
        - `nearest`: the left column of the interpolation, and for each sample the five nearest training images by pixel
          distance, among 10,000 at most. They are read at the first call, which also saves the column names.

      If samples contain NaN or infinity, there are no images, and a note says so.
    """
    number = getattr(config, "num_classes", None)
    rows = min(MAX_ROWS, number) if number else ROWS

    @functools.cache
    def inputs() -> dict[str, Array]:
        ends = jax.random.normal(jax.random.key(config.seed), (2, rows, 1, config.latent_dim))
        start, end = jnp.broadcast_to(ends, (2, rows, COLUMNS, config.latent_dim))
        fractions = jnp.broadcast_to(jnp.linspace(0.0, 1.0, COLUMNS)[None], (rows, COLUMNS))
        latents = jax.jit(slerp)(start, end, fractions).reshape(-1, config.latent_dim)
        return {"latents": latents} | ({"condition": jnp.repeat(jnp.arange(rows), COLUMNS)} if number else {})

    @functools.cache
    def shown() -> np.ndarray:
        report.save_labels(run_folder(config) / "nearest", columns=("sample", *NEIGHBOURS))
        return training_images(config)

    def panels(state: Any) -> dict[str, np.ndarray]:
        samples = np.asarray(gan.sample(state, inputs())["samples"])
        try:
            check_finite(samples)
        except NonFiniteSamplesError as error:
            note(f"panels: {error}, so there are none")
            return {}
        table = samples.reshape(rows, COLUMNS, *samples.shape[1:])
        if number:
            interpolation = labelled_rows(samples, label_names(range(rows), classes))
        else:
            interpolation = image_grid({str(column): table[:, column] for column in range(COLUMNS)})
        return {"interpolation": interpolation, "nearest": beside_nearest(to_uint8(table[:, 0]), shown())}

    return panels


def training_images(config: Any) -> np.ndarray:
    """A random subset of a run's training images, uint8 `[N, H, W, C]`, at most 10,000 and 256 MiB.

    Raises:
      ValueError, OSError, ImportError: as `open_images`.
    """
    options = {name: getattr(config, name) for name in ("data_dir", "image_size", "channels")}
    source = open_images(config.dataset, config.split, **options)
    most = min(MOST, MOST_BYTES // (config.image_size**2 * config.channels))
    chosen = random_subset(source.size, most, seed=config.seed)
    return quantized(read_all(Source(len(chosen), lambda wanted: source.read(chosen[wanted])))["image"])


def beside_nearest(samples: np.ndarray, training: np.ndarray) -> np.ndarray:
    """A grid with each sample in a row, uint8 `[N, H, W, C]`, followed by its nearest training images in pixels."""
    found, _ = nearest_neighbours(samples, training, k=min(len(NEIGHBOURS), len(training)))
    beside = {NEIGHBOURS[column]: training[found[:, column]] for column in range(found.shape[1])}
    return image_grid({"sample": samples} | beside)
