"""Networks some of whose weights stay as they are, for fine-tuning."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgan.types import Network


def freeze_updates(tx: optax.GradientTransformation, network: Network, count: int) -> optax.GradientTransformation:
    """The same optimizer, whose updates of the parameters of the first `count` stages are zero.

    Only for an optimizer that moves parameters whose gradient is zero, by weight decay or clipping: for others
    `freeze_stages` is enough.
    """
    names = sum(network.stages[:count], ())

    def update(updates: Any, state: Any, params: Any = None, **more: Any) -> tuple[Any, Any]:
        updates, state = tx.update(updates, state, params, **more)
        paths, structure = jax.tree.flatten_with_path(updates)
        kept = [jnp.zeros_like(leaf) if _within(_name(path), names) else leaf for path, leaf in paths]
        return jax.tree.unflatten(structure, kept), state

    return tx if count == 0 else optax.GradientTransformationExtraArgs(tx.init, update)


def freeze_stages(network: Network, count: int) -> Network:
    """The same network, with the parameters of its first `count` stages frozen: FreezeD (Mo et al. 2020,
    arXiv:2002.10964) for a discriminator.

    Their gradients are zero and are not computed, so Adam and SGD leave them unchanged. Weight decay and clipping would
    not: see `freeze_updates`. Gradients with respect to the inputs are those of the whole network. Batch statistics and
    power-iteration vectors still change.

    Args:
      network: a network that names its stages, as those of `jaxgan.networks` do; name those of your own with
        `network._replace(stages=...)`.
      count: number of stages, counted from the input; 0 returns the network as it is.

    Raises:
      ValueError: a negative count, or more stages than the network has; from `apply`, a stage without parameters.
    """
    if count == 0:
        return network
    if not 0 < count <= len(network.stages):
        raise ValueError(f"{count} stages cannot be frozen: this network has {len(network.stages)}")
    frozen = network.stages[:count]

    def apply(params: Any, model_state: Any, *inputs: Any, train: bool, key: jax.Array | None = None) -> Any:
        paths, structure = jax.tree.flatten_with_path(params)
        named = [(_name(path), leaf) for path, leaf in paths]
        for stage in frozen:
            if not any(_within(name, stage) for name, _ in named):
                raise ValueError(f"there are no parameters called {' or '.join(stage)} to freeze")
        every = sum(frozen, ())
        kept = [jax.lax.stop_gradient(leaf) if _within(name, every) else leaf for name, leaf in named]
        return network.apply(jax.tree.unflatten(structure, kept), model_state, *inputs, train=train, key=key)

    return network._replace(apply=apply)


def _name(path: tuple[Any, ...]) -> str:
    return f"{jax.tree_util.keystr(path, simple=True, separator='/')}/"


def _within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name.startswith(f"{part}/") for part in parts)
