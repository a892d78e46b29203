"""Several runs of one GAN at once, as an axis of arrays: metrics come with their standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array

from jaxgan.types import GAN, Batch, Metrics


def over_seeds(gan: GAN, num_seeds: int) -> GAN:
    """`K` independent runs of a GAN that take each step together: a GAN that is trained and saved like any other.

    Every array of its state has a leading axis `[K, ...]`. A batch, and the inputs and outputs of `sample`, hold the
    rows of all runs one after another: `K B` rows, of which run `k` has rows `k B` to `(k + 1) B`. So each run has its
    own weights, latents and data. If a step is not finite in one run, it counts as not finite in all.

    It is worth it if steps are so small that the overhead of starting operations dominates, as with MLPs on points. It
    is not for convolutions on a CPU, where `K` kernels take at least `K` times as long as one: see the page on speed.

    Args:
      gan: the GAN of one run.
      num_seeds: K; 1 leaves the GAN as it is.

    Returns:
      The GAN. Its metrics are means over the runs, each with the standard deviation as `<name>_std`: see `spread`.

    Raises:
      ValueError: fewer than one seed. From the GAN's functions: a number of rows that is no multiple of K.
    """
    if num_seeds < 1:
        raise ValueError(f"num_seeds={num_seeds} must be at least 1")
    if num_seeds == 1:
        return gan

    def split(batches: Any) -> Any:
        return jax.tree.map(split_rows, batches)

    def split_rows(rows: Array) -> Array:
        count = rows.shape[0]  # symbolic during an export
        if count % num_seeds:
            raise ValueError(f"{count} rows: a multiple of num_seeds={num_seeds} expected")
        return rows.reshape(num_seeds, count // num_seeds, *rows.shape[1:])

    def init(key: Array, batch: Batch) -> Any:
        return jax.vmap(gan.init)(jax.random.split(key, num_seeds), split(batch))

    def vectorized(step: Callable[[Any, Any], tuple[Any, Metrics]]) -> Callable[[Any, Any], tuple[Any, Metrics]]:
        def steps(state: Any, batches: Any) -> tuple[Any, Metrics]:
            state, metrics = jax.vmap(step)(state, split(batches))
            return state, spread(metrics)

        return jax.jit(steps)

    def sample(state: Any, inputs: Mapping[str, Any]) -> dict[str, Array]:
        outputs = jax.vmap(gan.sample)(state, split(inputs))
        return {name: rows.reshape(-1, *rows.shape[2:]) for name, rows in outputs.items()}

    return gan._replace(
        init=jax.jit(init),
        d_step=vectorized(gan.d_step),
        g_step=vectorized(gan.g_step),
        train_step=vectorized(gan.train_step),
        sample=jax.jit(sample),
        num_seeds=num_seeds,
    )


def spread(values: Mapping[str, Any]) -> dict[str, Any]:
    """The means of values over seeds, and their standard deviations as `<name>_std`.

    `std^2 = sum_k (x_k - mean)^2 / (K - 1)`, the unbiased estimate from K seeds.

    Args:
      values: NumPy or JAX arrays `[K]` by name; there is no standard deviation of one seed.

    >>> import numpy as np
    >>> {name: float(value) for name, value in spread({"modes": np.array([8.0, 6.0, 7.0])}).items()}
    {'modes': 7.0, 'modes_std': 1.0}
    """
    means = {name: value.mean() for name, value in values.items()}
    return means | {f"{name}_std": value.std(ddof=1) for name, value in values.items() if len(value) > 1}
