"""Which of a run's recorded paths are followed."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path
from typing import Any

from jaxgan.files import expanded

FIELDS = ("dataset", "dataset_b", "data_dir")


def check_trusted_paths(config: Any, folder: str | os.PathLike[str], *, given: Container[str] = ()) -> None:
    """Refuses a run whose configuration takes its data from within the run folder.

    A run folder may come from others, and what it names is then read: a path elsewhere leads to the user's own files,
    one inside of it to files of whoever made the folder. Both the path as it is written and what it leads to count.

    Args:
      config: of the run; of its fields `FIELDS` are looked at, where it has them.
      folder: the run folder.
      given: fields that are not looked at, since the user says otherwise.

    Raises:
      ValueError: with the field and the path.
    """
    roots = {_written(Path(folder)), Path(folder).resolve()}
    for name in FIELDS:
        path = _path(name, getattr(config, name, None))
        if path is None or name in given:
            continue
        if any(place.is_relative_to(root) for root in roots for place in (_written(path), path.resolve())):
            raise ValueError(
                f"{os.fspath(folder)} takes its data from within itself ({name}={getattr(config, name)!r}), which is "
                "not followed, since a run folder may come from others: move the data out of it"
            )


def _path(field: str, value: str | None) -> Path | None:
    """The path that a field leads to, None where it names a data set."""
    if not value:
        return None
    name = value.removeprefix("stacked:") if field != "data_dir" else value
    if field == "data_dir" or name.startswith("folder:") or name.endswith((".npy", ".npz")):
        return expanded(name.removeprefix("folder:") if field != "data_dir" else name)
    return None


def _written(path: Path) -> Path:
    return Path(os.path.abspath(path))
