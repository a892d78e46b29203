"""The start of a run: checks of its folder, and the step to resume from."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgan import files
from jaxgan.runs import logging, report
from jaxgan.runs.config import RunConfig, differences, load_config, run_folder
from jaxgan.runs.lock import refuse_held

_LOGS = (".err", ".log", ".out")


def refuse_at_once(config: RunConfig) -> None:
    """Checks the run folder before data is read and classifiers are trained for scores.

    Raises:
      ValueError: another process trains in the run folder, or it holds other files.
    """
    folder = run_folder(config)
    if config.coordinator is None and not config.check:
        refuse_held(folder)
    refuse_foreign(folder)


def refuse_foreign(folder: Path) -> None:
    """Refuses a folder that holds files but no run.

    It may hold hidden files and logs: `*.log`, `*.out`, `*.err`, `log.txt`, and the files that this process prints to.

    Raises:
      ValueError: the message names what was found.
    """
    if not folder.is_dir() or (folder / "config.json").exists():
        return
    if any(path.name.isdecimal() for path in (folder / "checkpoints").glob("*")):
        raise ValueError(
            f"{folder} holds checkpoints, but its config.json is missing: put it back to resume the run, or give "
            "another --workdir"
        )
    for path in sorted(folder.iterdir()):
        is_log = path.suffix in _LOGS or path.name == "log.txt" or any(map(path.samefile, _outputs()))
        if not (path.is_file() and (path.name.startswith(".") or is_log)):
            raise ValueError(f"{folder} holds {path.name}, but no run: give a new or empty folder as --workdir")


def starting_step(config: RunConfig, folder: Path, latest: int | None, data: Mapping[str, Any]) -> int | None:
    """The step to resume from, None to start anew.

    Args:
      config: configuration of the run.
      folder: the run folder.
      latest: step of its last checkpoint, None if there is none.
      data: description of the data, see `known_data`.

    Raises:
      ValueError: the folder holds a run with another configuration or other data, or `config.resume` forbids this.
    """
    if latest is None and config.resume == "must":
        raise ValueError(
            f"nothing to resume: no checkpoint in {folder / 'checkpoints'}; leave out --resume must to start there"
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
        print(f"num_steps was {before}, is {config.num_steps}: schedules that end with the run now end at this step")
    return latest


def refuse_unusable(folder: Path, *, resumes: bool) -> None:
    """Refuses a run folder with links or damaged records, before anything is compiled.

    Args:
      folder: the run folder.
      resumes: whether the run is resumed; if not, `set_aside` moves the records away.

    Raises:
      ValueError: a record cannot be read; the message names the line.
      LinkError: a file or folder that the run writes to is a link.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name in ("tensorboard", "checkpoints", *report.IMAGE_FOLDERS) or _holds_images(path):
            files.refuse_link(path, folder=True)
    kinds = {"metrics.jsonl": float, "starts.jsonl": float | str} if resumes else {}
    for name, kind in kinds.items():
        files.refuse_link(folder / name)
        try:
            if (folder / name).exists():
                logging.read_metrics(folder / name, values=kind)
        except ValueError as error:
            raise ValueError(f"{error}: delete that line, or move the file away, to resume the run") from None


def _holds_images(path: Path) -> bool:
    return any(re.fullmatch(r"\d{8,}\.png", found.name) for found in path.glob("*.png"))


def set_aside(folder: Path) -> Path | None:
    """Moves the files of an earlier start, which saved no checkpoint, to `earlier-1`, `earlier-2`, ...

    Returns:
      The new folder, None if there was nothing to move.
    """
    written = [folder / name for name in ("metrics.jsonl", "starts.jsonl", "report.html", "tensorboard")]
    written += [path for path in folder.iterdir() if not path.is_symlink() and _holds_images(path)]
    written = [path for path in written if os.path.lexists(path)]
    if not written:
        return None
    names = (folder / f"earlier-{number}" for number in itertools.count(1))
    aside = next(path for path in names if not os.path.lexists(path))
    files.make_folder(aside, inside=folder)
    for path in written:
        path.rename(aside / path.name)
    return aside


def _outputs() -> list[Path]:
    """The files that standard output and error are redirected to."""
    found = []
    for stream in (sys.stdout, sys.stderr):
        try:
            found.append(Path(f"/dev/fd/{stream.fileno()}"))
        except (OSError, ValueError, AttributeError):
            continue
    return [path for path in found if path.exists()]
