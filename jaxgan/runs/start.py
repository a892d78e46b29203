"""What a run begins with: a folder of its own, the step it goes on from, the weights of another run."""

from __future__ import annotations

import itertools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import files, records
from jaxgan.algorithms.state import GANState
from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints
from jaxgan.checkpoints.leaves import leaves
from jaxgan.runs import logging, report
from jaxgan.runs.config import RunConfig, class_names, differences, load_config, other_classes, run_folder
from jaxgan.runs.lock import refuse_held

_LOGS = (".err", ".log", ".out")


def refuse_at_once(config: RunConfig) -> None:
    """Refuses what can be refused before data is read and networks are trained for scores.

    Raises:
      ValueError: somebody else trains in the run folder, or it holds something else.
    """
    folder = run_folder(config)
    if config.coordinator is None and not config.check:
        refuse_held(folder)
    refuse_foreign(folder)


def refuse_foreign(folder: Path) -> None:
    """Refuses a folder that holds something, but no run; or a run with links where it would be written.

    Hidden files and logs may lie in it: `*.log`, `*.out`, `*.err`, `log.txt`, and whatever file this process prints to.

    Raises:
      ValueError: the message names what was found.
    """
    if not folder.is_dir() or (folder / "config.json").exists():
        return
    if any(path.name.isdecimal() for path in (folder / "checkpoints").glob("*")):
        raise ValueError(
            f"{folder} holds checkpoints, but its config.json is missing: put it back and the run goes on, or give "
            "another --workdir"
        )
    for path in sorted(folder.iterdir()):
        is_log = path.suffix in _LOGS or path.name == "log.txt" or any(map(path.samefile, _outputs()))
        if not (path.is_file() and (path.name.startswith(".") or is_log)):
            raise ValueError(f"{folder} holds {path.name}, but no run: give a new or an empty folder as --workdir")


def starting_step(config: RunConfig, folder: Path, latest: int | None, data: Mapping[str, Any]) -> int | None:
    """The step to resume from, None to start afresh.

    Args:
      config: of the run.
      folder: its folder.
      latest: the step of its last checkpoint, None where there is none.
      data: what `known_data` says of it.

    Raises:
      ValueError: it would mix two runs in one folder, or is not what `config.resume` asks for.
    """
    if latest is None and config.resume == "must":
        raise ValueError(
            f"nothing to resume: no checkpoint in {folder / 'checkpoints'}: leave out --resume must to start there"
        )
    refuse_foreign(folder)
    if latest is None and not (folder / "config.json").exists():
        return None
    if config.resume == "never":
        where = "before its first checkpoint" if latest is None else f"at step {latest}"
        raise ValueError(f"{folder} already holds a run, {where}: give another --workdir, or --resume auto")
    record = load_config(folder)
    if differing := differences(config, record, **data):
        raise ValueError(
            f"{folder} holds a run with another configuration: {'; '.join(differing)}. "
            "Give the same flags and data, or another --workdir"
        )
    before = record["config"].get("num_steps")
    if latest is not None and before != config.num_steps and latest < config.num_steps:
        print(f"num_steps was {before}, is {config.num_steps}: a schedule that ends with the run now ends there")
    return latest


def refuse_unusable(folder: Path, *, resumes: bool) -> None:
    """Refuses, before anything is compiled, what the run would stumble over when it comes to write.

    Args:
      folder: the run folder.
      resumes: whether it goes on; else `set_aside` takes its records out of the way.

    Raises:
      ValueError: a record cannot be read; the message names the line.
      LinkError: something that it writes to leads elsewhere.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name in ("tensorboard", "checkpoints", *report.DRAWINGS) or _holds_drawings(path):
            files.refuse_link(path, folder=True)
    kinds = {"metrics.jsonl": float, "starts.jsonl": float | str} if resumes else {}
    for name, kind in kinds.items():
        files.refuse_link(folder / name)
        try:
            if (folder / name).exists():
                logging.read_metrics(folder / name, values=kind)
        except ValueError as error:
            raise ValueError(f"{error}: delete that line, or move the file away, and the run goes on") from None


def _holds_drawings(path: Path) -> bool:
    return any(re.fullmatch(r"\d{8,}\.png", found.name) for found in path.glob("*.png"))


def set_aside(folder: Path) -> Path | None:
    """Moves what a start without a checkpoint wrote into a folder of its own, `earlier-1` and so on.

    Returns:
      That folder, None where there is nothing to move.
    """
    written = [folder / name for name in ("metrics.jsonl", "starts.jsonl", "report.html", "tensorboard")]
    written += [path for path in folder.iterdir() if not path.is_symlink() and _holds_drawings(path)]
    written = [path for path in written if os.path.lexists(path)]
    if not written:
        return None
    names = (folder / f"earlier-{number}" for number in itertools.count(1))
    aside = next(path for path in names if not os.path.lexists(path))
    files.make_folder(aside, inside=folder)
    for path in written:
        path.rename(aside / path.name)
    return aside


def weights_from(
    source: Path,
    state: GANState,
    more: Mapping[str, Callable[[Path], None]] | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[GANState, str]:
    """A fresh state with the parameters, batch statistics and EMA weights of another run.

    Args:
      source: the other run's folder; its newest checkpoint that is not damaged.
      state: the fresh state.
      more: files that must say the same in both runs, such as a vocabulary: by name, what writes this run's.
      classes: names of this run's labels.

    Returns:
      The state, and in words what was taken, and which labels meant something else.

    Raises:
      ValueError: there is no such run, a leaf of one has no place in the other, or a weight is not finite.
    """
    like = {
        name: {"params": player.params, "model_state": player.model_state}
        for name, player in (("generator", state.generator), ("discriminator", state.discriminator))
    }
    average = {"ema_params": state.ema_params, "ema_model_state": state.ema_model_state}
    parts = [f"{name}/{part}" for name in like for part in like[name]]
    try:
        with Checkpoints(source / "checkpoints") as checkpoints:
            found = checkpoints.restore(None, like, parts=parts)
            step = checkpoints.latest_step()
            has_average = any(path.startswith("ema_params/") for path in checkpoints.arrays(step or 0))
            taken = f"the weights of step {step} of {source}"
            if has_average and state.ema_params is not None:
                found |= checkpoints.restore(step, average, parts=list(average))
            elif state.ema_params is not None:
                copied = jax.tree.map(jnp.copy, found["generator"])  # one buffer cannot be donated twice
                found |= {"ema_params": copied["params"], "ema_model_state": copied["model_state"]}
                taken += "; it has no EMA weights, which start as its raw weights"
            else:
                found |= average
                taken += "; without its EMA weights, of which this run has none" if has_average else ""
    except CheckpointError as error:
        raise ValueError(f"init_from={str(source)!r}: {error}") from error
    if others := other_classes(_classes(source), classes):
        taken += f"; of its labels {', '.join(others)}"
    for name, leaf in leaves(found).items():
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not jnp.isfinite(leaf).all():
            raise ValueError(f"init_from={str(source)!r}: {name} of step {step} is not finite")
    for name, write in (more or {}).items():
        _refuse_other(source, name, write)
    state = state.replace(
        generator=state.generator.replace(**found["generator"]),
        discriminator=state.discriminator.replace(**found["discriminator"]),
        ema_params=found["ema_params"],
        ema_model_state=found["ema_model_state"],
    )
    return state, taken


def _classes(source: Path) -> Sequence[str] | None:
    try:
        return class_names(load_config(source))
    except ValueError:  # checkpoints alone are enough
        return None


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


def _outputs() -> list[Path]:
    """Files that this process prints to."""
    found = []
    for stream in (sys.stdout, sys.stderr):
        try:
            found.append(Path(f"/dev/fd/{stream.fileno()}"))
        except (OSError, ValueError, AttributeError):
            continue
    return [path for path in found if path.exists()]
