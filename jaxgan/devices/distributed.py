"""Multi-process runs: each process has its own host and devices, and reads its own part of every batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

T = TypeVar("T")


def initialize(coordinator: str | None, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Calls `jax.distributed.initialize` for a multi-process run. Call it before anything uses a device.

    Args:
      coordinator: `HOST:PORT` of the first process, the same for all processes. `auto` takes all three values from the
        cluster (Slurm, Open MPI, Kubernetes, Cloud TPU). None for a single process.
      num_processes: number of processes.
      process_id: index of this process, from 0.

    Raises:
      ValueError: inconsistent values, or `auto` outside a cluster.
    """
    numbers = (num_processes, process_id)
    if coordinator in (None, "auto"):
        if numbers != (None, None):
            raise ValueError(f"num_processes={num_processes} and process_id={process_id} need --coordinator HOST:PORT")
        if coordinator is None:
            return
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(f"coordinator='auto' found no cluster ({error}): give HOST:PORT instead") from None
        return
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"coordinator={coordinator!r} is neither 'auto' nor HOST:PORT")
    if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
        raise ValueError(
            f"num_processes={num_processes} and process_id={process_id}, but coordinator={coordinator} needs the "
            "number of processes and the index of this one, from 0"
        )
    jax.distributed.initialize(coordinator, num_processes, process_id)


def sync_max(number: int) -> int:
    """The maximum of a number over all processes. Every process must call it at the same step."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def on_first_process(function: Callable[[], T]) -> T | None:
    """Calls a function in the first process only. If it fails there, all processes fail.

    Returns:
      The result in the first process, None in the others.

    Raises:
      ValueError: in the other processes; the first raises the function's own exception.
    """
    result, failure = None, None
    if jax.process_index() == 0:
        try:
            result = function()
        except Exception as error:
            failure = error
    if sync_max(failure is not None):
        raise failure or ValueError("the first process of this run failed; see its message")
    return result


def local_copy(state: Any) -> Any:
    """The local copy of a replicated state, on one device of this process: to compute without the other processes."""
    if jax.process_count() == 1:
        return state
    return jax.tree.map(lambda array: array.addressable_data(0), state)
