"""Several processes as one run: each on its own host, with its own devices and its own part of every batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

T = TypeVar("T")


def join(coordinator: str | None, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Joins this process to the others of its run; to be called before anything touches a device.

    Args:
      coordinator: `HOST:PORT` of the first process, the same for all; `auto` asks the cluster for this and the rest
        (Slurm, Open MPI, Kubernetes, Cloud TPU); None for a process on its own.
      num_processes: how many there are.
      process_id: which of them this is, from 0.

    Raises:
      ValueError: numbers that do not fit together, or `auto` where there is no cluster.
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
            f"num_processes={num_processes} and process_id={process_id}, but coordinator={coordinator} takes the "
            "number of processes and which of them this is, from 0"
        )
    jax.distributed.initialize(coordinator, num_processes, process_id)


def agree(number: int) -> int:
    """The largest number that any process gives; all of them must call this at the same step."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def led(function: Callable[[], T]) -> T | None:
    """What the first process gets of a function that it alone calls, None in the others; where it fails, all fail.

    Raises:
      ValueError: in the others; the first raises what the function did.
    """
    result, failure = None, None
    if jax.process_index() == 0:
        try:
            result = function()
        except Exception as error:
            failure = error
    if agree(failure is not None):
        raise failure or ValueError("the first process of this run ended, and says why")
    return result


def own_copy(state: Any) -> Any:
    """A state that is whole on every device as this process alone holds it, to compute with without the others."""
    if jax.process_count() == 1:
        return state
    return jax.tree.map(lambda array: array.addressable_data(0), state)
