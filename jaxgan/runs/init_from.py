"""Weights taken from another run: `--init-from`."""

from __future__ import annotations

import itertools
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import files, records
from jaxgan.algorithms.state import GANState
from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints
from jaxgan.checkpoints.leaves import leaves
from jaxgan.messages import displayed
from jaxgan.runs.config import class_names, load_config, other_classes


def weights_from(
    source: Path,
    state: GANState,
    more: Mapping[str, Callable[[Path], None]] | None = None,
    classes: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> tuple[GANState, str]:
    """An initial state with the parameters, batch statistics and EMA weights of another run.

    If the other run has another number of classes, arrays with a row for each class keep the rows of the classes that
    both runs have a name for, and their other rows stay initial.

    Args:
      source: the other run's folder, whose newest undamaged checkpoint is read.
      state: the initial state.
      more: files that must be the same in both runs, such as a vocabulary: by name, a function that writes this run's.
      classes: names of this run's labels.
      num_classes: number of classes of this run's networks, None if they are not conditional on classes.

    Returns:
      The state, and a message that says which weights it has, and which labels have other names.

    Raises:
      ValueError: there is no such run, arrays or files of the two runs differ, or a weight is not finite.
    """
    like: dict[str, Any] = {
        name: {"params": player.params, "model_state": player.model_state}
        for name, player in (("generator", state.generator), ("discriminator", state.discriminator))
    }
    ema = {"ema_params": state.ema_params, "ema_model_state": state.ema_model_state}
    parts = [f"{name}/{part}" for name in like for part in like[name]]
    record = _record(source)
    before, their_classes = record.get("config", {}).get("num_classes"), class_names(record)
    try:
        with Checkpoints(source / "checkpoints") as checkpoints:
            stored = checkpoints.arrays(None)
            has_ema = any(path.startswith("ema_params/") for path in stored)
            if has_ema and state.ema_params is not None:
                like, parts = like | ema, [*parts, *ema]
            found = checkpoints.restore(None, _resized(like, stored, (before, num_classes)), parts=parts)
            step = checkpoints.latest_step()
    except CheckpointError as error:
        raise ValueError(f"init_from={str(source)!r}: {error}") from error
    taken = f"the weights of step {step} of {source}"
    if state.ema_params is None:
        taken += "; without its EMA weights, since this run has none" if has_ema else ""
    elif not has_ema:
        taken += "; it has no EMA weights, so the EMA starts at its raw weights"
    for name, leaf in leaves(found).items():
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not jnp.isfinite(leaf).all():
            raise ValueError(f"init_from={str(source)!r}: {name} of step {step} is not finite")
    shared = _shared(their_classes or (), classes or ())
    new = [name for name, leaf in leaves(like).items() if leaf.shape != leaves(found)[name].shape]
    if new:
        some = ", ".join(new[:2]) + (", ..." if new[2:] else "")
        kept = f", but for {', '.join(displayed(name) for name in shared)}" if shared else ""
        taken += (
            f"; it has {before} classes, this run {num_classes}: rows of {len(new)} arrays start anew{kept} ({some})"
        )
    elif others := other_classes(their_classes, classes):
        taken += f"; its labels differ: {', '.join(others)}"
    found = jax.tree.map(lambda theirs, ours: _with_rows(theirs, ours, list(shared.values())), found, like)
    for name, write in (more or {}).items():
        _refuse_other(source, name, write)
    if state.ema_params is not None and not has_ema:
        copied = jax.tree.map(jnp.copy, found["generator"])  # one buffer cannot be donated twice
        found |= {"ema_params": copied["params"], "ema_model_state": copied["model_state"]}
    state = state.replace(
        generator=state.generator.replace(**found["generator"]),
        discriminator=state.discriminator.replace(**found["discriminator"]),
        ema_params=found.get("ema_params"),
        ema_model_state=found.get("ema_model_state"),
    )
    return state, taken


def _record(source: Path) -> Mapping[str, Any]:
    try:
        return load_config(source)
    except ValueError:  # only the checkpoints are needed
        return {}


def _resized(like: Any, stored: Mapping[str, tuple[int, ...]], counts: tuple[int | None, int | None]) -> Any:
    """`like` with the stored shape of those arrays whose shapes differ only in the number of classes."""

    def resized(path: Any, leaf: Any) -> Any:
        shape = stored.get(jax.tree_util.keystr(path, simple=True, separator="/"), ())
        if shape == leaf.shape or len(shape) != leaf.ndim:
            return leaf
        by_class = all(a == b or (a, b) == counts for a, b in zip(shape, leaf.shape, strict=True))
        return jax.ShapeDtypeStruct(shape, leaf.dtype) if by_class else leaf

    return jax.tree.map_with_path(resized, like)


def _shared(theirs: Sequence[str], ours: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The labels of the classes with a name in both runs, theirs before ours."""
    # Normalized, since macOS returns names of folders decomposed.
    before = {unicodedata.normalize("NFC", name): label for label, name in enumerate(theirs)}
    named = ((unicodedata.normalize("NFC", name), label) for label, name in enumerate(ours))
    return {name: (before[name], label) for name, label in named if name in before}


def _with_rows(theirs: jax.Array, ours: jax.Array, labels: Sequence[tuple[int, int]]) -> jax.Array:
    """`theirs` if it has the shape of `ours`, else `ours` with the rows of the classes that both have."""
    if theirs.shape == ours.shape:
        return theirs
    axis = next(axis for axis, sizes in enumerate(zip(theirs.shape, ours.shape, strict=True)) if len(set(sizes)) > 1)
    theirs, mine = jnp.moveaxis(theirs, axis, 0), jnp.moveaxis(ours, axis, 0)
    for before, label in labels:
        mine = mine.at[label].set(theirs[before])
    return jnp.moveaxis(mine, 0, axis)


def _refuse_other(source: Path, name: str, write: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, name))
        ours = records.parse(files.read_text(Path(folder, name)))
    try:
        theirs = records.parse(files.read_text(source / name))
    except (OSError, ValueError) as error:
        raise ValueError(f"init_from={str(source)!r}: {name} cannot be read: {error}") from None
    for (path, a), (_, b) in itertools.zip_longest(_items(theirs), _items(ours), fillvalue=("the end", None)):
        if a != b:
            raise ValueError(f"init_from={str(source)!r}: its {name} has {a!r} where this run has {b!r} ({path})")


def _items(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]
