"""Which of a run's recorded paths are followed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from jaxgan.files import expanded

FIELDS = ("dataset", "dataset_b", "data_dir")

PREPARED = re.compile(r"\w+(/\w[\w.+-]*)?(:[\d.*]+)?")
"""The names of prepared data sets: `name`, `name/config`, `name:1.0.0`."""

_DATA_DIR = "~/tensorflow_datasets"  # of TFDS, where neither a run nor TFDS_DATA_DIR names another


def check_trusted_paths(config: Any, folder: str | os.PathLike[str], *, given: Collection[str] = ()) -> None:
    """Refuses a run whose configuration takes its data from within the run folder.

    A run folder may come from others, and what it names is then read: a path elsewhere leads to the user's own files,
    one inside of it to files of whoever made the folder. So does a folder of images that the run folder lies in, since
    all that lies below is read, and a data set's name that leads from `data_dir` into the run folder. Both the path as
    it is written and what it leads to count.

    Args:
      config: of the run; of its fields `FIELDS` are looked at, where it has them.
      folder: the run folder.
      given: fields whose values are the user's own, not the run's: a path that they alone make up is not looked at.

    Raises:
      ValueError: with the field and the path.
    """
    roots = {_written(Path(folder)), Path(folder).resolve()}

    def leads_in(path: Path, whole: bool = False) -> bool:
        found = (_written(path), path.resolve())
        return any(
            place.is_relative_to(root) or (whole and root.is_relative_to(place)) for root in roots for place in found
        )

    values = {name: value for name in FIELDS if (value := getattr(config, name, None)) and "\0" not in value}
    data_dir = values.get("data_dir")
    own = bool(data_dir) and "data_dir" in given and leads_in(expanded(data_dir))  # the user says to read in there
    for name, value in values.items():
        joined = name != "data_dir" and not _is_path(value)
        parts = {name, "data_dir"} & values.keys() if joined else {name}
        if parts <= set(given) or (joined and own):
            continue
        if any(leads_in(path, whole) for path, whole in _places(name, value, data_dir)):
            said = f"{name}={value!r}" + (f", data_dir={data_dir!r}" if joined and data_dir else "")
            raise ValueError(
                f"{os.fspath(folder)} takes its data from within itself ({said}), which is not followed, since a run "
                "folder may come from others: move the data out of it"
            )


def _places(field: str, value: str, data_dir: str | None) -> Iterator[tuple[Path, bool]]:
    """The paths that a field leads to, and of each whether all that lies below is read."""
    if field == "data_dir":
        yield expanded(value), False
    elif _is_path(value):
        name = _unstacked(value)
        yield expanded(name.removeprefix("folder:")), name.startswith("folder:")
    elif PREPARED.fullmatch(_unstacked(value)):
        place = expanded(data_dir or os.environ.get("TFDS_DATA_DIR") or _DATA_DIR)
        base = _unstacked(value).partition(":")[0]
        for folder in (place, place / base, place / "downloads" / base):
            if folder != place:
                yield folder, False
            yield from ((package, False) for package in folder.glob(f"*{base}-datasource-*"))  # as npm unpacks one
        # Versions and configurations may be links, or the run folder may lie in the place of one.
        for depth in ("*", "*/*"):
            for file in sorted(place.joinpath(base).glob(f"{depth}/features.json")):
                yield file.parent, False


def _is_path(value: str) -> bool:
    """Whether a data set is named by its path."""
    name = _unstacked(value)
    return name.startswith("folder:") or name.endswith((".npy", ".npz"))


def _unstacked(name: str) -> str:
    while name.startswith("stacked:"):
        name = name.removeprefix("stacked:")
    return name


def _written(path: Path) -> Path:
    return Path(os.path.abspath(path))
