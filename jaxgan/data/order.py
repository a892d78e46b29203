"""The order in which every source of data is read: a function of seed and update, so nothing of it needs saving."""

from __future__ import annotations

import functools
import threading

import numpy as np


def batch_indices(seed: int, update: int, size: int, batch_size: int) -> np.ndarray:
    """Which examples make up one batch.

    Each epoch is a new permutation of the data set, cut into `size // batch_size` batches. The incomplete last batch
    is dropped, so an epoch leaves `size % batch_size` examples out, others each time.

    Args:
      seed: 0 to 2**32 - 1.
      update: counts batches from 0 over all epochs; with several batches a step it is `step * d_steps + i`.
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
    """Random numbers that say how each example of a batch is cropped and flipped.

    Args:
      seed: of the order, 0 to 2**32 - 1.
      update: as in `batch_indices`.
      batch_size: number of examples in the whole batch, over all devices.

    Returns:
      `[batch_size, 3]` float32, uniform in [0, 1]. A row depends on the seed, the update and its number alone, so a
      part of a batch is drawn as the whole is. The same on every machine and NumPy version.

    >>> batch_draws(0, update=0, batch_size=2).shape
    (2, 3)
    """
    # Three numbers of seed where the order has two, so the two streams have nothing in common.
    _own.random.seed([seed, update, 1])
    return _own.random.random_sample((batch_size, 3)).astype(np.float32)


def check_order(seed: int, size: int, batch_size: int) -> None:
    """Refuses a seed, a data set or a batch from which no order can be made, before the first step asks for one.

    Raises:
      ValueError: saying which, and the numbers.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} is not in 0 .. 2**32 - 1")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}, but a batch needs at least 1 example")
    if size < batch_size:
        raise ValueError(f"the data set has {size} examples, fewer than one batch of {batch_size}")


class _Own(threading.local):
    """Of each thread one generator to seed anew, a tenth of the time of a new one."""

    def __init__(self) -> None:
        self.random = np.random.RandomState()


_own = _Own()


# More than one, because two sources may be read in turn; a few, because a large one takes 8 bytes an example.
@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # The legacy generator: its stream is frozen, so a run resumed under another NumPy version keeps its order.
    order = np.random.RandomState([seed, epoch]).permutation(size)
    order.setflags(write=False)
    return order
