"""The folders of a run's steps on disk: their names, unfinished ones, and damaged ones."""

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
    """A path of the folder that Orbax and TensorStore read correctly: the path itself, or a temporary link to it.

    Orbax reads a path as a glob pattern, TensorStore as part of a URL. So a path with special characters is replaced by
    a link with a plain name in the folder for temporary files, which is removed at the end of the context.
    """
    if re.fullmatch(r"[\w ./=,+@~-]*", str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="jaxgan-") as beside:
        link = Path(beside, "checkpoints")
        link.symlink_to(folder, target_is_directory=True)
        yield link


def unfinished(folder: Path) -> Iterator[Path]:
    """The steps that Orbax is still writing, or was writing when its process was killed."""
    yield from folder.glob("*.orbax-checkpoint-tmp*")


def remove_leftovers(folder: Path) -> None:
    """Removes unfinished steps."""
    for leftover in unfinished(folder):
        _remove(leftover)


def set_aside(folder: Path, step: int) -> None:
    """Renames the file or folder with a step's name to `STEP.damaged`."""
    path, aside = folder / str(step), folder / f"{step}.damaged"
    if os.path.lexists(path):
        _remove(aside)
        path.rename(aside)


def stored_arrays(folder: Path) -> set[str]:
    """The paths of the arrays that Orbax wrote into a step's folder `state`."""
    import tensorstore

    base = {"driver": "file", "path": f"{folder}/"}
    keys = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result().list().result()
    return {key.decode().removesuffix("/.zarray") for key in keys if key.endswith(b"/.zarray")}


def _remove(path: Path) -> None:
    """Removes a file, a folder with its content, or a link (not its target)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
