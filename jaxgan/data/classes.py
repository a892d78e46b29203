"""Classes: which a folder has, whether a data set's are those a run is made for, and which name has which label."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data.identity import composed
from jaxgan.messages import displayed

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
        meant = f"; give folder:{one} for the classes {_listed(deeper)}" if deeper else ""
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
        raise ValueError(
            f"data set {name} has {len(classes)} classes ({_listed(classes)}) and num_classes={num_classes}: "
            f"give --num-classes {len(classes)}"
        )
    if source.labels is None or not len(source.labels):
        return
    found = np.unique(source.labels)
    check_labels(name, found, num_classes, cure="" if found[0] < 0 else f": give --num-classes {found[-1] + 1}")
    if (missing := num_classes - len(found)) > 0:
        present = set(found.tolist())
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


def check_labels(name: str, labels: np.ndarray, num_classes: int, *, cure: str = "") -> None:
    """Refuses labels that are of no class.

    Args:
      name: of the data set.
      labels: integers.
      num_classes: of the run.
      cure: what the message ends with.
    """
    if wrong := labels[(labels < 0) | (labels >= num_classes)].tolist():
        raise ValueError(f"data set {name} has label {wrong[0]}, outside 0..num_classes-1={num_classes - 1}{cure}")


def label_names(labels: Iterable[int], classes: Sequence[str] | None) -> list[str]:
    """What stands beside images of these labels: the names of their classes where they have any, else their numbers.

    >>> label_names([2, 0], ("ant", "bee", "cow")), label_names([2, 0], None)
    (['cow', 'ant'], ['2', '0'])
    """
    return [displayed(classes[label]) if classes and label < len(classes) else str(label) for label in labels]


def find_label(name: str, classes: Sequence[str] | None, num_classes: int) -> int:
    """The label that a class's name or a number means; where a name is a number too, the name goes first.

    Raises:
      ValueError: neither a class nor a label.

    >>> find_label("bee", ("ant", "bee"), 2), find_label("1", ("ant", "bee"), 2), find_label("1", ("1", "0"), 2)
    (1, 1, 0)
    """
    for label, known in enumerate(classes or ()):
        if composed(known) == composed(name):
            return label
    try:
        label = int(name)
    except ValueError:
        if not classes:
            raise ValueError(f"label {name!r} is no number, and the classes of this run have no names") from None
        near = difflib.get_close_matches(name, classes, n=1)
        meant = f"; did you mean {displayed(near[0])}?" if near else ""
        raise ValueError(f"no class is called {name!r}: there are {_listed(classes)}{meant}") from None
    if not 0 <= label < num_classes:
        raise ValueError(f"labels are in 0..{num_classes - 1}, not {label}")
    return label


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(map(displayed, classes[:10])) + (", ..." if len(classes) > 10 else "")
