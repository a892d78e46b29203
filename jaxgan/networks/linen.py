"""Linen modules as `Network`s."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from jaxgan.networks.layers import power_step
from jaxgan.types import Network


def from_linen(module: nn.Module, *, mixes_batch: bool | None = None) -> Network:
    """Wraps a Linen module as a `Network` of pure functions.

    The module is called as `module(*inputs, train=...)`. Every collection except `params` (batch statistics,
    power-iteration vectors) becomes the model state. It changes only under `train=True`, power-iteration vectors only
    in `refresh`. The `key` given to `apply` seeds the `dropout` stream.

    Args:
      module: the module. Its attribute `stages`, if it has one, is the network's.
      mixes_batch: whether the output for a sample depends on the rest of its batch, as with batch norm; by default the
        module's attribute of that name, or false.

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
    stages = getattr(module, "stages", ())
    return Network(init=init, apply=apply, mixes_batch=mixes, refresh=power_step, stages=stages)
