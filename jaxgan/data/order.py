"""The order of examples: a function of seed and update, so that a resumed run needs no saved data state."""

from __future__ import annotations

import functools
import threading

import numpy as np


def batch_indices(seed: int, update: int, size: int, batch_size: int) -> np.ndarray:
    """The indices of the examples of one batch.

    Each epoch is a new permutation of the data set, cut into `size // batch_size` batches. The incomplete last batch is
    dropped, so each epoch leaves out `size % batch_size` random examples.

    Args:
      seed: 0 to 2**32 - 1.
      update: number of the batch, from 0 over all epochs; `step * d_steps + i` for several batches per step.
      size: number of examples.
      batch_size: number of examples in a batch.

    Returns:
      `[batch_size]` distinct integers in [0, size), read-only. The same on every machine and NumPy version.

    Raises:
      ValueError: an argument out of range, or a batch larger than the data set.

    >>> batch_indices(0, update=0, size=10, batch_size=4).tolist()
    [3, 7, 6, 4]
    """
    check_order(seed, size, batch_size)
    if update < 0:
        raise ValueError(f"updates count from 0, not {update}")
    epoch, row = divmod(update, size // batch_size)
    return _permutation(seed, epoch, size)[row * batch_size : (row + 1) * batch_size]


def batch_draws(seed: int, update: int, batch_size: int) -> np.ndarray:
    """The random numbers for cropping and flipping each example of a batch.

    Args:
      seed: seed of the order, 0 to 2**32 - 1.
      update: as in `batch_indices`.
      batch_size: number of examples in the global batch, over all devices.

    Returns:
      `[batch_size, 3]` float32, uniform in [0, 1]. A row depends only on the seed, the update and its index in the
      batch. The same on every machine and NumPy version.

    >>> batch_draws(0, update=0, batch_size=2).shape
    (2, 3)
    """
    # Three seed numbers, where the order has two, so the two streams are independent.
    _own.random.seed([seed, update, 1])
    return _own.random.random_sample((batch_size, 3)).astype(np.float32)


def check_order(seed: int, size: int, batch_size: int) -> None:
    """Checks seed, data set size and batch size before the first step.

    Raises:
      ValueError: one of them is invalid.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} is not in 0 .. 2**32 - 1")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}, but a batch needs at least 1 example")
    if size < batch_size:
        raise ValueError(f"the data set has {size} examples, fewer than one batch of {batch_size}")


class _Own(threading.local):
    """One random generator per thread: seeding it again takes a tenth of the time of making a new one."""

    def __init__(self) -> None:
        self.random = np.random.RandomState()


_own = _Own()


# More than one, because two sources may be read in turn; only a few, because each takes 8 bytes per example.
@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # The legacy generator: its stream never changes, so a run resumed under another NumPy version keeps its order.
    order = np.random.RandomState([seed, epoch]).permutation(size)
    order.setflags(write=False)
    return order
