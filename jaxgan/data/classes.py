"""Class labels: classes of a folder, checks against a run's number of classes, and class names."""

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
    """Why the sub-folders of a folder are not classes; empty if they are.

    Args:
      classes: names of the sub-folders.
      files: the image files.
      inside: the path of each file, relative to the folder of the classes.
    """
    beside = [file for file, parts in zip(files, inside, strict=True) if len(parts) == 1]
    if beside and len(classes) < 2:
        return "its images are not in sub-folders, which would be the classes"
    if beside:
        more = f" and {len(beside) - 1} more images are" if len(beside) > 1 else " is"
        return f"{beside[0]}{more} not in the folder of a class"
    if len({parts[0] for parts in inside}) == 1:
        one = Path(files[0]).parents[len(inside[0]) - 2]
        deeper = sorted({parts[1] for parts in inside if len(parts) > 2})
        meant = f"; give folder:{one} for the classes {_listed(deeper)}" if deeper else ""
        return f"all its images are in one sub-folder, {one}, but labels need at least two classes{meant}"
    if all(one.lower() in LIKE_SPLITS for one in classes):
        return f"its folders {', '.join(classes)} look like splits, not classes: rename the training folder to train"
    return ""


def check_classes(name: str, source: Any, num_classes: int) -> None:
    """Refuses a data set in which a class has no example, or a label has no class.

    Args:
      name: name of the data set.
      source: a `Source`, with its `classes` and `labels` if known.
      num_classes: number of classes of the run.
    """
    classes = source.classes
    if classes is not None and len(classes) != num_classes:
        raise ValueError(
            f"data set {name} has {len(classes)} classes ({_listed(classes)}), but num_classes={num_classes}: "
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
                f"data set {name} has {first} classes, labels 0 to {first - 1}, but num_classes={num_classes}: "
                f"give --num-classes {first}"
            )
        raise ValueError(
            f"{missing} of {num_classes} classes have no image in this split of data set {name}, the first is {named}: "
            "add images, or renumber the labels without it"
        )


def check_labels(name: str, labels: np.ndarray, num_classes: int, *, cure: str = "") -> None:
    """Refuses labels outside 0..num_classes-1.

    Args:
      name: name of the data set.
      labels: integers.
      num_classes: number of classes of the run.
      cure: advice at the end of the message.
    """
    if wrong := labels[(labels < 0) | (labels >= num_classes)].tolist():
        raise ValueError(f"data set {name} has label {wrong[0]}, outside 0..num_classes-1={num_classes - 1}{cure}")


def label_names(labels: Iterable[int], classes: Sequence[str] | None) -> list[str]:
    """Captions for images with these labels: class names if there are any, else the numbers.

    >>> label_names([2, 0], ("ant", "bee", "cow")), label_names([2, 0], None)
    (['cow', 'ant'], ['2', '0'])
    """
    return [displayed(classes[label]) if classes and label < len(classes) else str(label) for label in labels]


def find_label(name: str, classes: Sequence[str] | None, num_classes: int) -> int:
    """The label for a class name or a number. If a class name is itself a number, it is read as the name.

    Raises:
      ValueError: neither a class name nor a label.

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
            raise ValueError(f"label {name!r} is not a number, and the classes of this run have no names") from None
        near = difflib.get_close_matches(name, classes, n=1)
        meant = f"; did you mean {displayed(near[0])}?" if near else ""
        raise ValueError(f"no class is called {name!r}: there are {_listed(classes)}{meant}") from None
    if not 0 <= label < num_classes:
        raise ValueError(f"labels are in 0..{num_classes - 1}, not {label}")
    return label


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(map(displayed, classes[:10])) + (", ..." if len(classes) > 10 else "")
