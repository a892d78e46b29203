"""NNX modules as `Network`s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jaxgan.types import ModelState, Network, Params

Path = tuple[Any, ...]


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module], *, mixes_batch: bool | None = None) -> Network:
    """Wraps an NNX module as a `Network` of pure functions.

    The module is called as `module(*inputs)`, after `module.train()` or `module.eval()`. Its `nnx.Param`s are the
    parameters. Its random streams are seeded from the `key` given to `apply`, without one from a fixed key. All other
    variables (batch statistics, power-iteration vectors) are the model state, which changes only under `train=True`.
    Both are dicts, nested as the module is. A variable that several sub-modules share is in them once. What a call
    assigns to a parameter, as `nnx.SpectralNorm` does, holds for this call only.

    Args:
      make: a function of `nnx.Rngs` that makes the module, or its class: the module has the same shapes at every call.
      mixes_batch: whether the output for a sample, or the state after a call, depends on the rest of its batch; by
        default the module's attribute of that name, or whether it holds an `nnx.BatchNorm`. Give true for a module with
        batch statistics of its own.

    Returns:
      The `Network`.

    Raises:
      ValueError: `make` does not return an NNX module. From `init`: another call of `make` gave other shapes. From
        `apply`: the call added a variable (but for `nnx.Intermediate`s, which are dropped), or changed the model state
        under `train=False`.

    >>> network = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    >>> params, model_state = network.init(jax.random.key(0), jnp.zeros((4, 2)))
    >>> jax.tree.map(jnp.shape, params), model_state
    ({'bias': (3,), 'kernel': (2, 3)}, {})
    """
    # Not under eval_shape, where NNX loses arrays that are attributes; only the shapes are kept.
    module = _made(make)
    name = type(module).__name__
    if mixes_batch is None:
        norms = any(isinstance(node, nnx.BatchNorm) for _, node in nnx.iter_graph(module))
        mixes_batch = bool(getattr(module, "mixes_batch", norms))
    graph, *states = nnx.split(module, nnx.Param, nnx.RngState, ...)
    shapes = jax.eval_shape(lambda found: found, states)
    del module, states
    params_like, streams_like, rest_like = (list(nnx.to_flat_state(state)) for state in shapes)

    def init(key: Array, *inputs: Any) -> tuple[Params, ModelState]:
        del inputs  # an NNX module knows its shapes
        found = nnx.split(make(nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)[1:]
        params, _, rest = (list(nnx.to_flat_state(state)) for state in found)
        for now, like in ((params, params_like), (rest, rest_like)):
            if _shapes(now) != _shapes(like):
                raise ValueError(f"two calls of the function that makes {name} gave other variables or shapes")
        return _named(params), _named(rest)

    def apply(
        params: Params, model_state: ModelState, *inputs: Any, train: bool, key: Array | None = None
    ) -> tuple[Any, ModelState]:
        streams = _seeded(streams_like, jax.random.key(0) if key is None else key)
        variables = _variables(params_like, params), streams, _variables(rest_like, model_state)
        merged = nnx.merge(graph, *map(nnx.from_flat_state, variables))
        merged.train() if train else merged.eval()
        output = merged(*inputs)
        states = nnx.split(merged, nnx.Param, nnx.RngState, ...)[1:]
        found = [list(nnx.to_flat_state(state)) for state in states]
        paths = {path for path, _ in rest_like}
        found[2] = [(path, leaf) for path, leaf in found[2] if path in paths or not isinstance(leaf, nnx.Intermediate)]
        for now, like in zip(found, (params_like, streams_like, rest_like), strict=True):
            if new := {path for path, _ in now} ^ {path for path, _ in like}:
                raise ValueError(
                    f"{name} makes or deletes the variable {'/'.join(map(_key, min(new, key=str)))} when it is called: "
                    "make all in its __init__"
                )
        after = _named(found[2])
        if not train and (changed := _changed(model_state, after)):
            raise ValueError(
                f"{name} changes its state {changed} outside of training: let it change only after `train()`"
            )
        return output, after

    return Network(init, apply, mixes_batch)


def _made(make: Callable[[nnx.Rngs], nnx.Module]) -> nnx.Module:
    if isinstance(make, nnx.Module):
        raise ValueError(
            f"from_nnx takes the function that makes a module, such as lambda rngs: {type(make).__name__}(..., "
            "rngs=rngs), not the module itself"
        )
    if not callable(make):
        raise ValueError(f"from_nnx takes a function of nnx.Rngs that makes a module, not {type(make).__name__}")
    module = make(nnx.Rngs(0))
    if not isinstance(module, nnx.Module):
        raise ValueError(
            f"from_nnx takes a function of nnx.Rngs that returns an nnx.Module, not {type(module).__name__}"
        )
    return module


def _value(leaf: Any) -> Any:
    """The array of a variable; a leaf may also be an array by itself."""
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _shapes(variables: Sequence[tuple[Path, Any]]) -> list[tuple[Path, tuple[int, ...]]]:
    return [(path, jnp.shape(_value(leaf))) for path, leaf in variables]


def _key(part: Any) -> str:
    return ".".join(map(str, part)) if isinstance(part, tuple) else str(part)


def _named(variables: Sequence[tuple[Path, Any]]) -> dict[str, Any]:
    """Nested dicts of arrays, whose keys are strings, as checkpoints need them."""
    tree: dict[str, Any] = {}
    for path, leaf in variables:
        *parents, last = map(_key, path)
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = _value(leaf)
    return tree


def _variables(like: Sequence[tuple[Path, Any]], tree: dict[str, Any]) -> list[tuple[Path, Any]]:
    """The inverse of `_named`."""
    found = []
    for path, leaf in like:
        value: Any = tree
        for part in path:
            value = value[_key(part)]
        found.append((path, leaf.replace(value) if isinstance(leaf, nnx.Variable) else value))
    return found


def _seeded(like: Sequence[tuple[Path, Any]], key: Array) -> list[tuple[Path, Any]]:
    """Random streams at their start, each with a key of its own."""
    found = []
    for number, (path, leaf) in enumerate(like):
        shape = jnp.shape(leaf.get_value())
        if isinstance(leaf, nnx.RngKey):
            own = jax.random.fold_in(key, number)
            value = jax.random.split(own, shape) if shape else own
        else:
            value = jnp.zeros(shape, leaf.get_value().dtype)
        found.append((path, leaf.replace(value)))
    return found


def _changed(before: Any, after: Any) -> str:
    """Paths of variables that were assigned, empty if there are none."""
    both = zip(jax.tree.leaves_with_path(after), jax.tree.leaves(before), strict=True)
    return ", ".join("/".join(key.key for key in path) for (path, new), old in both if new is not old)
