"""Weights taken from another run: `--init-from`."""

from __future__ import annotations

import itertools
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
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

SHAPING = (
    *("width", "widths", "g_width", "d_width", "latent_dim", "image_size", "channels", "channels_a", "channels_b"),
    *("networks", "encoder", "conditioning", "blocks", "group_size", "expansion", "patch_layers", "vocabulary_size"),
    *("g_norm", "d_norm", "upsampling", "levels", "direction"),
)
"""Fields of a configuration that shape the arrays."""

CLASS_LAYERS = ("affine", "projection", "condition")
"""Layers of `jaxgan.networks.conditional` whose kernel has one row for each class, if there are classes."""


def weights_from(
    source: Path,
    state: GANState,
    more: Mapping[str, Callable[[Path], None]] | None = None,
    classes: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    experiment: str | None = None,
) -> tuple[GANState, str]:
    """An initial state with the parameters, batch statistics and EMA weights of another run.

    Of arrays with one row for each class, the rows of the classes that both runs have a name for are taken, and the
    others stay initial. If no name is shared and the number of classes is the same, rows are taken by their number.

    Args:
      source: the other run's folder, whose newest undamaged checkpoint is read.
      state: the initial state.
      more: files that must be the same in both runs, such as a vocabulary: by name, a function that writes this run's.
      classes: names of this run's labels.
      config: this run's configuration by field.
      experiment: name of this run's experiment, which must be the other's, too; None allows any.

    Returns:
      The state, and a message that says which weights it has, and which labels have other names.

    Raises:
      ValueError: there is no such run, arrays or files of the two runs differ, or a weight is not finite.
    """
    if not source.is_dir():
        raise ValueError(f"init_from={str(source)!r}: no such folder")
    like: dict[str, Any] = {
        name: {"params": player.params, "model_state": player.model_state}
        for name, player in (("generator", state.generator), ("discriminator", state.discriminator))
    }
    ema = {"ema_params": state.ema_params, "ema_model_state": state.ema_model_state}
    parts = [f"{name}/{part}" for name in like for part in like[name]]
    num_classes = (config or {}).get("num_classes")
    record, unread = _record(source)
    if experiment and record.get("experiment", experiment) != experiment:
        raise ValueError(f"init_from={str(source)!r} is a run of {record['experiment']}, not of {experiment}")
    before = record.get("config", {}).get("num_classes")
    counts = (before if type(before) is int and before > 0 else None, num_classes)
    shared = _shared((class_names(record) or ())[: counts[0]], classes or ())
    try:
        with Checkpoints(source / "checkpoints") as checkpoints:
            stored = checkpoints.arrays(None)
            has_ema = any(path.split("/")[0] == "ema_params" for path in stored)
            if has_ema and state.ema_params is not None:
                like, parts = like | ema, [*parts, *ema]
            found = checkpoints.restore(None, _resized(like, stored, counts), parts=parts)
            step = checkpoints.latest_step()
    except CheckpointError as error:
        raise ValueError(f"init_from={str(source)!r}: {_reason(record, unread, config or {})}{error}") from error
    others = other_classes(class_names(record), classes)
    taken = f"the weights of step {step} of {source}"
    if state.ema_params is None:
        taken += "; without its EMA weights, since this run has none" if has_ema else ""
    elif not has_ema:
        taken += "; it has no EMA weights, so the EMA starts at its raw weights"
    for name, leaf in leaves(found).items():
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not jnp.isfinite(leaf).all():
            raise ValueError(f"init_from={str(source)!r}: {name} of step {step} is not finite")
    if num_classes and (counts[0] != num_classes or (shared and others)):
        rows = [name for name, leaf in leaves(found).items() if _has_class_rows(name, leaf.shape, counts[0])]
        taken += f"; its classes are other ones, so rows of {len(rows)} arrays start anew"
        taken += f", but for {_listed(shared)}" if shared else ""
        found = jax.tree.map_with_path(
            lambda path, theirs, ours: _rows_of(theirs, ours, shared.values()) if _path(path) in rows else theirs,
            found,
            like,
        )
    elif others:
        taken += f"; its labels differ: {', '.join(others)}"
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


def _record(source: Path) -> tuple[Mapping[str, Any], str]:
    """The other run's `config.json`, and why it cannot be read; if so, only the checkpoints are used."""
    try:
        return load_config(source), ""
    except (OSError, ValueError) as error:
        return {}, str(error)


def _reason(record: Mapping[str, Any], unread: str, config: Mapping[str, Any]) -> str:
    """What of another run's configuration explains that its arrays do not fit."""
    theirs = record.get("config", {})
    differ = [name for name in SHAPING if name in theirs and name in config and theirs[name] != config[name]]
    if unread and config.get("num_classes"):
        return f"{unread}, so its number of classes is not known; "
    return "".join(f"its {name} was {theirs[name]!r}, here {config[name]!r}; " for name in differ)


def _path(keys: Any) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def _has_class_rows(path: str, shape: tuple[int, ...], count: int | None) -> bool:
    *_, layer, name = ("", *path.split("/"))  # the parameters may be one array
    return layer in CLASS_LAYERS and name != "bias" and shape[:1] == (count,)


def _resized(like: Any, stored: Mapping[str, tuple[int, ...]], counts: tuple[int | None, int | None]) -> Any:
    """`like` with the stored shape of those arrays that have one row for each class."""

    def resized(keys: Any, leaf: Any) -> Any:
        shape = stored.get(_path(keys), ())
        by_class = _has_class_rows(_path(keys), shape, counts[0]) and leaf.shape == (counts[1], *shape[1:])
        return jax.ShapeDtypeStruct(shape, leaf.dtype) if by_class else leaf

    return jax.tree.map_with_path(resized, like)


def _shared(theirs: Sequence[str], ours: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The labels of the classes with a name in both runs, theirs before ours."""
    # Normalized, since macOS returns names of folders decomposed.
    before = {unicodedata.normalize("NFC", name): label for label, name in enumerate(theirs)}
    named = ((unicodedata.normalize("NFC", name), label) for label, name in enumerate(ours))
    return {name: (before[name], label) for name, label in named if name in before}


def _rows_of(theirs: jax.Array, ours: jax.Array, labels: Iterable[tuple[int, int]]) -> jax.Array:
    """`ours` with the rows of the classes that both runs have."""
    for before, label in labels:
        ours = ours.at[label].set(theirs[before])
    return ours


def _listed(names: Iterable[str]) -> str:
    shown = [displayed(name) for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if shown[10:] else "")


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
