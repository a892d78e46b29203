"""Which of the data paths recorded in a run folder are trusted."""

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
    """Refuses a run whose configuration reads data from inside the run folder.

    A run folder may come from others. A data path outside it refers to the user's own files, but a path inside it to
    files of the folder's author. The same holds for a folder of images that contains the run folder, because all its
    sub-folders are read, and for the name of a data set that leads from `data_dir` into the run folder. Both the path
    as written and the resolved path are checked.

    Args:
      config: the configuration of the run; its fields `FIELDS` are checked, if it has them.
      folder: the run folder.
      given: fields that the user has given: a path made up of these alone is not checked.

    Raises:
      ValueError: such a path; the message names the field and the path.
    """
    roots = {_written(Path(folder)), Path(folder).resolve()}

    def leads_in(path: Path, whole: bool = False) -> bool:
        found = (_written(path), path.resolve())
        return any(
            place.is_relative_to(root) or (whole and root.is_relative_to(place)) for root in roots for place in found
        )

    values = {name: value for name in FIELDS if (value := getattr(config, name, None)) and "\0" not in value}
    data_dir = values.get("data_dir")
    own = bool(data_dir) and "data_dir" in given and leads_in(expanded(data_dir))  # the user asked to read in there
    for name, value in values.items():
        joined = name != "data_dir" and not _is_path(value)
        parts = {name, "data_dir"} & values.keys() if joined else {name}
        if parts <= set(given) or (joined and own):
            continue
        if any(leads_in(path, whole) for path, whole in _places(name, value, data_dir)):
            said = f"{name}={value!r}" + (f", data_dir={data_dir!r}" if joined and data_dir else "")
            raise ValueError(
                f"{os.fspath(folder)} reads its data from inside itself ({said}), which is refused, since a run folder "
                "may come from others: move the data out of it"
            )


def _places(field: str, value: str, data_dir: str | None) -> Iterator[tuple[Path, bool]]:
    """The paths that a field refers to, and for each whether its sub-folders are read too."""
    if field == "data_dir":
        yield expanded(value), False
    elif _is_path(value):
        name = _unstacked(value)
        path = name.removeprefix("folder:").removeprefix("pairs:")
        yield expanded(path), path != name
    elif PREPARED.fullmatch(_unstacked(value)):
        place = expanded(data_dir or os.environ.get("TFDS_DATA_DIR") or _DATA_DIR)
        base = _unstacked(value).partition(":")[0]
        for folder in (place, place / base, place / "downloads" / base):
            if folder != place:
                yield folder, False
            yield from ((package, False) for package in folder.glob(f"*{base}-datasource-*"))  # unpacked npm packages
        # Versions and configurations may be links, and the run folder may take the place of one.
        for depth in ("*", "*/*"):
            for file in sorted(place.joinpath(base).glob(f"{depth}/features.json")):
                yield file.parent, False


def _is_path(value: str) -> bool:
    """Whether the name of a data set contains a path."""
    name = _unstacked(value)
    return name.startswith(("folder:", "pairs:")) or name.endswith((".npy", ".npz"))


def _unstacked(name: str) -> str:
    while name.startswith("stacked:"):
        name = name.removeprefix("stacked:")
    return name


def _written(path: Path) -> Path:
    return Path(os.path.abspath(path))
