"""Classes: which a folder has, and whether a data set's are those a run is made for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.text import displayed

LIKE_SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval")


def why_unlabelled(classes: Sequence[str], files: Sequence[str], inside: Sequence[tuple[str, ...]]) -> str:
    """Why the sub-folders of a folder are no classes; nothing where they are.

    Args:
      classes: names of the sub-folders.
      files: the image files.
      inside: of each, its path from the folder that holds the classes.
    """
    beside = [file for file, parts in zip(files, inside, strict=True) if len(parts) == 1]
    if beside and len(classes) < 2:
        return "its images lie in no sub-folders, which would be the classes"
    if beside:
        more = f" and {len(beside) - 1} more images lie" if len(beside) > 1 else " lies"
        return f"{beside[0]}{more} in no class's folder"
    if len({parts[0] for parts in inside}) == 1:
        one = Path(files[0]).parents[len(inside[0]) - 2]
        deeper = sorted({parts[1] for parts in inside if len(parts) > 2})
        meant = f"; give folder:{one} for the classes {', '.join(map(displayed, deeper[:10]))}" if deeper else ""
        return f"all its images lie in one sub-folder, {one}, and one class says nothing of them{meant}"
    if all(one.lower() in LIKE_SPLITS for one in classes):
        return f"its folders {', '.join(classes)} look like splits, not classes: call the training images' folder train"
    return ""


def check_classes(name: str, source: Any, num_classes: int) -> None:
    """Refuses what would train classes that have no example, or leave labels without a class.

    Args:
      name: of the data set.
      source: with its `classes` and `labels`, as far as they are known.
      num_classes: of the run.
    """
    classes = source.classes
    if classes is not None and len(classes) != num_classes:
        shown = ", ".join(map(displayed, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise ValueError(
            f"data set {name} has {len(classes)} classes ({shown}) and num_classes={num_classes}: "
            f"give --num-classes {len(classes)}"
        )
    if source.labels is None or not len(source.labels):
        return
    found = np.unique(source.labels)
    present = set(found.tolist())
    if wrong := found[(found < 0) | (found >= num_classes)].tolist():
        cure = "" if wrong[0] < 0 else f": give --num-classes {found[-1] + 1}"
        raise ValueError(f"data set {name} has label {wrong[0]}, outside 0..num_classes-1={num_classes - 1}{cure}")
    if (missing := num_classes - len(found)) > 0:
        first = next(label for label in range(num_classes) if label not in present)
        named = f"{first} ({displayed(classes[first])})" if classes else str(first)
        if classes is None and first == len(found):
            raise ValueError(
                f"data set {name} has the labels 0 to {first - 1}, {first} classes, and num_classes={num_classes}: "
                f"give --num-classes {first}"
            )
        raise ValueError(
            f"{missing} of {num_classes} classes have no image in this split of data set {name}, the first is {named}: "
            "add images, or number the classes without it"
        )
