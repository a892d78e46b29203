"""The arrays of a state by path, and the differences between two states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def leaves(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by path, in the order of `jax.tree.leaves`.

    Args:
      tree: any pytree of arrays or `jax.ShapeDtypeStruct`. NumPy arrays and numbers become JAX arrays.

    Raises:
      ValueError: two arrays have the same path, or a leaf is not an array; the message names the path.

    >>> leaves({"generator": {"kernel": jnp.zeros(3)}}).keys()
    dict_keys(['generator/kernel'])
    """
    found = {}
    for keys, leaf in jax.tree.leaves_with_path(tree):
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        if path in found:
            raise ValueError(f"two arrays of the state have the path {path}: a dictionary key must not contain '/'")
        if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
            try:
                leaf = jnp.asarray(leaf)
            except (TypeError, ValueError):
                raise ValueError(f"a state holds arrays only, but {path} is {leaf!r}") from None
        found[path] = leaf
    return found


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any], parts: Sequence[str] | None = None) -> list[str]:
    """The arrays of a checkpoint that do not fit a state: one line for each.

    Args:
      stored: the arrays of the checkpoint, or Orbax's metadata of them, by path.
      wanted: the arrays of the state, by path.
      parts: paths below which the checkpoint must not hold more arrays than `wanted`; None for all.
    """

    def describe(leaf: Any, raw_key: bool) -> str:
        if raw_key and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]"

    lines = [f"{path}: missing in the checkpoint" for path in wanted if path not in stored]
    is_read = lambda path: parts is None or any(path == part or path.startswith(f"{part}/") for part in parts)
    lines += [f"{path}: in the checkpoint only" for path in stored if path not in wanted and is_read(path)]
    for path in wanted.keys() & stored.keys():
        raw_key = not isinstance(stored[path], jax.Array)  # the metadata describe a typed key by its raw data
        there, here = describe(stored[path], raw_key), describe(wanted[path], raw_key)
        if there != here:
            lines.append(f"{path}: {there} in the checkpoint, {here} expected")
    return sorted(lines)
