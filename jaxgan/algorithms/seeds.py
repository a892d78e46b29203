"""Several runs of one GAN at once, as an axis of arrays, so that numbers come with their deviation over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array

from jaxgan.types import GAN, Batch, Metrics


def over_seeds(gan: GAN, num_seeds: int) -> GAN:
    """`K` independent runs of a GAN that take each step together: again a GAN, to train and to save as any other.

    Every array of its state has a leading axis `[K, ...]`. The rows of a batch, and those of what `sample` takes and
    gives, are the rows of all runs one after another: `K B` of them, of which run `k` has `k B` to `(k + 1) B`. So each
    run has weights, latents and data of its own. A step that is not finite in one run is not finite in all.

    It pays where a step is so small that starting its operations takes the time, as of perceptrons on points. It does
    not for convolutions on a CPU, where `K` kernels take at least `K` times as long as one: `benchmarks/README.md`.

    Args:
      gan: the GAN of one run.
      num_seeds: K; 1 leaves the GAN as it is.

    Returns:
      The GAN. Its metrics are means over the runs, each with the standard deviation as `<name>_std`: see `spread`.

    Raises:
      ValueError: fewer than one seed, or, of its functions, rows that do not divide among the runs.
    """
    if num_seeds < 1:
        raise ValueError(f"num_seeds={num_seeds} must be at least 1")
    if num_seeds == 1:
        return gan

    def split(batches: Any) -> Any:
        return jax.tree.map(divided, batches)

    def divided(rows: Array) -> Array:
        count = rows.shape[0]  # a symbol, where it is exported
        if count % num_seeds:
            raise ValueError(f"{count} rows do not divide among num_seeds={num_seeds}")
        return rows.reshape(num_seeds, count // num_seeds, *rows.shape[1:])

    def init(key: Array, batch: Batch) -> Any:
        return jax.vmap(gan.init)(jax.random.split(key, num_seeds), split(batch))

    def each(step: Callable[[Any, Any], tuple[Any, Metrics]]) -> Callable[[Any, Any], tuple[Any, Metrics]]:
        def steps(state: Any, batches: Any) -> tuple[Any, Metrics]:
            state, metrics = jax.vmap(step)(state, split(batches))
            return state, spread(metrics)

        return jax.jit(steps)

    def sample(state: Any, inputs: Mapping[str, Any]) -> dict[str, Array]:
        outputs = jax.vmap(gan.sample)(state, split(inputs))
        return {name: rows.reshape(-1, *rows.shape[2:]) for name, rows in outputs.items()}

    return gan._replace(
        init=jax.jit(init),
        d_step=each(gan.d_step),
        g_step=each(gan.g_step),
        train_step=each(gan.train_step),
        sample=jax.jit(sample),
        num_seeds=num_seeds,
    )


def spread(values: Mapping[str, Any]) -> dict[str, Any]:
    """The means of numbers over seeds, and beside each, as `<name>_std`, its standard deviation.

    `std^2 = sum_k (x_k - mean)^2 / (K - 1)`, the estimate for all the seeds there are from the K that were tried.

    Args:
      values: arrays `[K]` by name, of NumPy or JAX; of one seed there is no deviation.

    >>> import numpy as np
    >>> {name: float(value) for name, value in spread({"modes": np.array([8.0, 6.0, 7.0])}).items()}
    {'modes': 7.0, 'modes_std': 1.0}
    """
    means = {name: value.mean() for name, value in values.items()}
    return means | {f"{name}_std": value.std(ddof=1) for name, value in values.items() if len(value) > 1}
