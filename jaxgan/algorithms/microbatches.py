"""Networks that need less memory for activations: computed in parts of a batch, or again in the backward pass."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.types import Network


def in_microbatches(network: Network, count: int, *, remat: bool = False) -> Network:
    """The same network, computed for `count` parts of a batch one after the other under `train=True`.

    Outputs and gradients are those of the whole batch to rounding, with any loss and penalty, because losses and
    penalties still see the whole batch. The backward pass computes the activations of a part again, so that those of
    one part are in memory at a time, for about a third more computation. On a CPU a step is ten times slower, since
    convolutions in a compiled loop are. The network's own random draws, such as dropout, differ between the parts.

    Args:
      network: a network that does not mix its batch.
      count: number of parts, a divisor of the rows of a batch.
      remat: whether to compute the activations again for one part, too (`jax.checkpoint`): of all the networks that a
        step computes, the activations of one are in memory at a time. This is exact, for any network; compilers for
        CPUs undo it.

    Returns:
      The `Network`, the same object for one part without `remat`.

    Raises:
      ValueError: a count below 1, or above 1 of a network that mixes its batch; from `init` and `apply`, rows that
        `count` does not divide.
    """
    if count < 1:
        raise ValueError(f"microbatches={count}: at least 1 expected")
    if count == 1:
        return _rematerialized(network) if remat else network
    if network.mixes_batch:
        raise ValueError(f"microbatches={count}: batch norm mixes its batch, parts of it would give other outputs")

    def init(key: jax.Array, *inputs: Any) -> Any:
        _rows(inputs, count)
        return network.init(key, *inputs)

    def apply(params: Any, model_state: Any, *inputs: Any, train: bool, key: jax.Array | None = None) -> Any:
        if not train:
            return network.apply(params, model_state, *inputs, train=False, key=key)
        rows = _rows(inputs, count)

        @jax.checkpoint  # pyright: ignore[reportPrivateImportUsage]
        def one(part: tuple[Any, jax.Array]) -> Any:
            own, number = part
            seed = None if key is None else jax.random.fold_in(key, number)
            return network.apply(params, model_state, *own, train=train, key=seed)

        # Row i is in part i % count, so that each part of a batch that is split among devices is split among them, too.
        parts = jax.tree.map(lambda array: array.reshape(-1, count, *array.shape[1:]).swapaxes(0, 1), inputs)
        outputs, states = jax.lax.map(one, (parts, jnp.arange(count)))
        whole = jax.tree.map(lambda array: array.swapaxes(0, 1).reshape(rows, *array.shape[2:]), outputs)
        # The model state does not depend on the samples, since the network does not mix its batch.
        return whole, jax.tree.map(lambda array: array[-1], states)

    return network._replace(init=init, apply=apply)


def _rematerialized(network: Network) -> Network:
    def apply(params: Any, model_state: Any, *inputs: Any, train: bool, key: jax.Array | None = None) -> Any:
        def again(params: Any, model_state: Any, key: jax.Array | None, *inputs: Any) -> Any:
            return network.apply(params, model_state, *inputs, train=train, key=key)

        return jax.checkpoint(again)(params, model_state, key, *inputs)  # pyright: ignore[reportPrivateImportUsage]

    return network._replace(apply=apply)


def _rows(inputs: Any, count: int) -> int:
    rows = len(jax.tree.leaves(inputs)[0])
    if rows % count:
        raise ValueError(f"microbatches={count} does not divide a batch of {rows}")
    return rows
