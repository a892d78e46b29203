"""From a Linen module to a `Network`."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from jaxgan.networks.layers import power_step
from jaxgan.types import Network


def from_linen(module: nn.Module, *, mixes_batch: bool | None = None) -> Network:
    """Wraps a Linen module as a pair of pure functions.

    The module is called as `module(*inputs, train=...)`. Every collection besides `params` (batch statistics,
    power-iteration vectors) becomes the model state; it changes only under `train=True`, the vectors of spectral norm
    only in `refresh`. A `key` given to `apply` feeds the `dropout` stream.

    Args:
      module: the module.
      mixes_batch: whether a sample's output depends on its batch; by default the module's own attribute of that
        name, false if it has none.

    Returns:
      The `Network`.
    """

    def init(key, *inputs):
        variables = dict(module.init(key, *inputs, train=False))
        params = variables.pop("params", {})
        return params, variables

    def apply(params, model_state, *inputs, train, key=None) -> tuple[Any, Any]:
        rngs = {} if key is None else {"dropout": key}
        variables = {"params": params, **model_state}
        if not (train and model_state):
            return module.apply(variables, *inputs, train=train, rngs=rngs), model_state
        output, updated = module.apply(variables, *inputs, train=True, rngs=rngs, mutable=list(model_state))
        return output, dict(updated)

    mixes = getattr(module, "mixes_batch", False) if mixes_batch is None else mixes_batch
    return Network(init=init, apply=apply, mixes_batch=mixes, refresh=power_step)
