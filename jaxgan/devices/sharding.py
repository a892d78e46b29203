"""One program on every device: the state on each of them, the batch split among them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.errors import JaxRuntimeError
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def data_mesh(num_devices: int | None = None, *, batch_size: int | None = None) -> Mesh:
    """A one-dimensional mesh, axis `data`, over the first devices.

    Args:
      num_devices: how many, all by default.
      batch_size: checked to divide among them.

    Returns:
      The mesh.

    Raises:
      ValueError: more devices than there are, or a batch they cannot share evenly.
    """
    available = jax.devices()
    number = len(available) if num_devices is None else num_devices
    if not 1 <= number <= len(available):
        raise ValueError(f"num_devices={number}, but there are {len(available)} ({available[0].platform})")
    if jax.process_count() > 1 and number < len(available):
        raise ValueError(f"num_devices={number}, but several processes share a batch among all their {len(available)}")
    if batch_size is not None and batch_size % number:
        below = batch_size // number * number
        near = " or ".join(str(size) for size in (below, below + number) if size)
        raise ValueError(f"batch_size={batch_size} does not divide among {number} devices; {near} would")
    # In the order of the processes, so that the rows of each lie together. Auto: under explicit axis types ordinary
    # indexing and concatenation of a sharded batch are refused.
    return Mesh(np.array(available[:number]), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Where the state lives: whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_batch(mesh: Mesh) -> NamedSharding:
    """Where a batch lives: each device holds its rows."""
    return NamedSharding(mesh, PartitionSpec("data"))


def place(arrays: Any, sharding: NamedSharding, shapes: Any = None) -> Any:
    """Puts arrays onto the devices of all processes; each process puts what belongs onto its own.

    Args:
      arrays: any pytree of arrays, the same in every process.
      sharding: `replicated` or `by_batch`.
      shapes: the same tree of shapes, `jax.ShapeDtypeStruct`. An array with fewer rows than its shape says holds those
        of this process alone, as a source of data that reads its own part of a batch gives them.

    Returns:
      The arrays, which have the given shapes.
    """
    if jax.process_count() == 1:
        is_there = lambda array: isinstance(array, jax.Array) and array.devices() == sharding.device_set
        # To put them where they are takes a tenth of a millisecond away from a step that runs at the same time.
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


def in_parts(
    function: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, at_once: int = 250
) -> Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]:
    """A function of a batch, such as `GAN.sample` of a state, as one of any number of rows.

    All parts have one shape, so it is compiled once: the last is filled up with its first row, and what comes of that
    is dropped. Each row counts once, whatever the number of rows at once.

    Args:
      function: from arrays by name, one row an example, to arrays by name; each row by itself.
      at_once: rows computed together.

    Returns:
      The function; its outputs are on the host.
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


# On a CPU, XLA gives convolutions, products and sums to the library YNNPACK. Of these only the sums gain by it: Eigen's
# convolutions, which it had before, take two thirds of the time.
CPU_OPTIONS: dict[str, str | bool] = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


def compile_step(step: Callable[[Any, Any], tuple[Any, Any]], mesh: Mesh, state: Any, batches: Any) -> Any:
    """Compiles `(state, batches) -> (state, output)` ahead of its first call, the state donated.

    Batch norm sees the statistics of the global batch: the program is written for it, and the compiler splits it. On a
    CPU it is compiled with `CPU_OPTIONS`.

    Args:
      step: the function.
      mesh: from `data_mesh`.
      state: a state, or its shapes.
      batches: batches, or their shapes.

    Returns:
      The compiled function, with `cost_analysis()` and `memory_analysis()`. It refuses other shapes instead of
      compiling again.
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
        with contextlib.suppress(JaxRuntimeError):  # of a version of XLA that does not know the option
            return lowered.compile(compiler_options=CPU_OPTIONS)
    return lowered.compile()
