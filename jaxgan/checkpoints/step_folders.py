"""The folders of a run's steps on the disk: those that Orbax has not finished, those to set aside, and their names."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def plainly_named(folder: Path) -> Iterator[Path]:
    """The folder under a path that Orbax and TensorStore read as a path: itself, or a link to it while this lasts.

    Orbax takes a path for a pattern of names, TensorStore for a part of a URL. So a path with other characters than
    those of ordinary names is shown to them as a link of a plain name, in the folder for temporary files.
    """
    if re.fullmatch(r"[\w ./=,+@~-]*", str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="jaxgan-") as beside:
        link = Path(beside, "checkpoints")
        link.symlink_to(folder, target_is_directory=True)
        yield link


def unfinished(folder: Path) -> Iterator[Path]:
    """The steps that Orbax is writing, or was writing when its process was killed."""
    yield from folder.glob("*.orbax-checkpoint-tmp*")


def remove_leftovers(folder: Path) -> None:
    """Removes the steps that are unfinished."""
    for leftover in unfinished(folder):
        _remove(leftover)


def set_aside(folder: Path, step: int) -> None:
    """Renames whatever has a step's name to `STEP.damaged`."""
    path, aside = folder / str(step), folder / f"{step}.damaged"
    if os.path.lexists(path):
        _remove(aside)
        path.rename(aside)


def stored_arrays(folder: Path) -> set[str]:
    """The paths of the arrays that can be read in what Orbax wrote into a step's folder `state`."""
    import tensorstore

    base = {"driver": "file", "path": f"{folder}/"}
    keys = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result().list().result()
    return {key.decode().removesuffix("/.zarray") for key in keys if key.endswith(b"/.zarray")}


def _remove(path: Path) -> None:
    """Removes a folder with what is in it; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
