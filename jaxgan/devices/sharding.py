"""Data parallelism: the state is replicated on all devices, the batch is split among them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.errors import JaxRuntimeError
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def data_mesh(num_devices: int | None = None, *, batch_size: int | None = None) -> Mesh:
    """A one-dimensional device mesh with axis `data`.

    Args:
      num_devices: use the first so many devices; all by default.
      batch_size: checked to be a multiple of the number of devices.

    Returns:
      The mesh.

    Raises:
      ValueError: too many devices, or a batch size that does not divide among them.
    """
    available = jax.devices()
    number = len(available) if num_devices is None else num_devices
    if not 1 <= number <= len(available):
        raise ValueError(f"num_devices={number}, but there are {len(available)} ({available[0].platform})")
    if jax.process_count() > 1 and number < len(available):
        raise ValueError(f"num_devices={number}, but a run of several processes uses all their {len(available)}")
    if batch_size is not None and batch_size % number:
        below = batch_size // number * number
        near = " or ".join(str(size) for size in (below, below + number) if size)
        raise ValueError(f"batch_size={batch_size} does not divide among {number} devices; {near} would")
    # In the order of the processes, so that the rows of each process are contiguous. Auto: explicit axis types refuse
    # ordinary indexing and concatenation of a sharded batch.
    return Mesh(np.array(available[:number]), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of the state: a full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_batch(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: split along its first axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def device_put(arrays: Any, sharding: NamedSharding, shapes: Any = None) -> Any:
    """`jax.device_put` for one or several processes; each process puts the shards of its own devices.

    Args:
      arrays: any pytree of arrays, the same in every process.
      sharding: `replicated` or `by_batch`.
      shapes: the same tree of global shapes, `jax.ShapeDtypeStruct`. An array with fewer rows than its global shape
        holds the rows of this process only, as from a data source that reads its own part of a batch.

    Returns:
      Arrays of the global shapes.
    """
    if jax.process_count() == 1:
        is_there = lambda array: isinstance(array, jax.Array) and array.devices() == sharding.device_set
        # A device_put of arrays that are already there would cost 0.1 ms of a step that runs at the same time.
        there = len(sharding.device_set) == 1 and all(map(is_there, jax.tree.leaves(arrays)))
        return arrays if there else jax.device_put(arrays, sharding)

    def placed(array: Any, like: Any) -> jax.Array:
        begin = 0 if array.shape == like.shape else jax.process_index() * len(array)

        def part(index: tuple[slice, ...]) -> Any:
            return array[slice(index[0].start - begin, index[0].stop - begin)] if begin else array[index]

        where = sharding.addressable_devices_indices_map(like.shape)
        parts = [jax.device_put(part(index or ()), device) for device, index in where.items()]
        return jax.make_array_from_single_device_arrays(like.shape, sharding, parts)

    return jax.tree.map(placed, arrays, arrays if shapes is None else shapes)


def batched(
    function: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, at_once: int = 250
) -> Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]:
    """Wraps a function of a batch, such as `GAN.sample` of a state, so that it takes any number of rows in batches.

    All batches have one shape, so the function compiles once. The last batch is padded with its first row, and the
    outputs of the padding are dropped.

    Args:
      function: from arrays by name `[B, ...]` to arrays by name `[B, ...]`; each row of the output depends on the same
        row of the input only.
      at_once: rows in a batch.

    Returns:
      The wrapped function; its outputs are on the host.
    """

    def whole(inputs: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
        count = len(next(iter(inputs.values())))
        size = min(at_once, count)
        parts = []
        for start in range(0, count, size):
            part = {name: np.asarray(rows[start : start + size]) for name, rows in inputs.items()}
            kept = len(next(iter(part.values())))
            filled = {
                name: np.concatenate([rows, np.repeat(rows[:1], size - kept, axis=0)]) for name, rows in part.items()
            }
            parts.append({name: rows[:kept] for name, rows in jax.device_get(function(filled)).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return whole


# On a CPU, XLA uses the library YNNPACK for convolutions, matrix products and sums. Only sums are faster with it:
# Eigen's convolutions take two thirds of the time.
CPU_OPTIONS: dict[str, str | bool] = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


def compile_step(step: Callable[[Any, Any], tuple[Any, Any]], mesh: Mesh, state: Any, batches: Any) -> Any:
    """Compiles `(state, batches) -> (state, output)` ahead of time, with the state donated.

    The function computes on the global batch, and the compiler partitions it, so batch norm uses the statistics of the
    global batch. On a CPU the function is compiled with `CPU_OPTIONS`.

    Args:
      step: the function.
      mesh: from `data_mesh`.
      state: a state, or its shapes.
      batches: batches, or their shapes.

    Returns:
      The compiled function, with `cost_analysis()` and `memory_analysis()`. It refuses inputs of other shapes instead
      of compiling again.
    """
    state_sharding, batch_sharding = replicated(mesh), by_batch(mesh)
    jitted = jax.jit(
        step,
        in_shardings=(state_sharding, batch_sharding),
        out_shardings=(state_sharding, state_sharding),
        donate_argnums=0,
    )
    lowered = jitted.lower(state, batches)
    if mesh.devices.flat[0].platform == "cpu":
        with contextlib.suppress(JaxRuntimeError):  # raised by XLA versions without the option
            return lowered.compile(compiler_options=CPU_OPTIONS)
    return lowered.compile()
