"""How a score was made: the stamp it is saved with, and what may be compared with what."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan import files
from jaxgan.metrics.frechet import Statistics

_INCEPTION_NAMES = {"frechet": "fid", "kernel": "kid", "kernel_std": "kid_std"}
_INCEPTION_NAMES |= {"score": "inception_score", "score_std": "inception_score_std"}


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """Everything that moves a score besides the generator's weights, and which of these were scored.

    `dataclasses.asdict` makes it JSON, `read_stamp` reads it back.
    """

    dataset: str  # the real images
    split: str  # of the data set
    real_count: int  # how many of them
    fake_count: int  # how many generated images
    image_size: int  # of both, before the feature network's resizer
    features: str  # name of the feature network: inception, classifier, ...
    feature_weights: str  # SHA-256 of its weights, see `weights_hash`
    resizer: str  # what brings images to the network's size: one of `RESIZERS`, or none
    quantized: bool  # whether generated images were rounded to bytes, as files are
    averaged: bool  # whether the generator's averaged weights were scored, not the raw ones
    step: int  # the generator update they are of
    # Of larger sets a random subset without replacement is compared: so many images of each kind at most, 0 for all
    subset_seed: int = 0  # what decides which ones, see `random_subset` of `jaxgan.metrics.arrays`
    subset_size: int = 0  # for scores of features by neighbours; of captions and translations, for all scores
    pixel_subset_size: int = 0  # for scores of pixels
    kernel_subset_size: int = 0  # in each of the subsets that the kernel distance is a mean over
    real_digest: str = ""  # of what the real images show, all of them in any order, see `content_digest`


def read_stamp(values: Any) -> Stamp:
    """A stamp from JSON.

    Args:
      values: what `json.loads` gave.

    Returns:
      The `Stamp`.

    Raises:
      ValueError: no stamp, one of another version, or values of another type; names the fields.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a stamp is an object with fields, not {str(values)[:40]!r}")
    types = {field.name: {"str": str, "int": int, "bool": bool}[str(field.type)] for field in fields(Stamp)}
    if missing := [name for name in types if name not in values]:
        raise ValueError(f"it does not say how {', '.join(missing)} was, as scores of an earlier version do not")
    if unknown := sorted(set(values) - set(types)):
        raise ValueError(f"a stamp has no field {', '.join(unknown)}: there are {', '.join(types)}")
    if wrong := [name for name, kind in types.items() if type(values[name]) is not kind]:
        found = [f"{name} is {str(values[name])[:40]!r}, no {types[name].__name__}" for name in wrong]
        raise ValueError("; ".join(found))
    return Stamp(**values)


FREE = ("step",)
"""What may differ between scores that are compared, by default: a curve over training compares steps."""


def check_comparable(first: Stamp, second: Stamp, *, free: Collection[str] = FREE) -> None:
    """Refuses to compare scores that were not made alike.

    Args:
      first: the stamp of one score.
      second: that of the other.
      free: fields that may differ; to compare averaged weights with raw ones, `("step", "averaged")`.

    Raises:
      ValueError: another field differs; all that do are named with both values. Or `free` names no field.
    """
    names = [field.name for field in fields(Stamp)]
    if unknown := sorted(set(free) - set(names)):
        raise ValueError(f"a stamp has no field {', '.join(unknown)}: there are {', '.join(names)}")
    values = [(name, getattr(first, name), getattr(second, name)) for name in names if name not in free]
    if different := [f"{name} {one!r} and {other!r}" for name, one, other in values if one != other]:
        raise ValueError(f"scores made in different ways cannot be compared: {'; '.join(different)}")


def score_name(kind: str, features: str) -> str:
    """What a score is called in a report: by the features it was made of.

    Args:
      kind: `frechet`, `kernel`, `score` (of class probabilities) or any other.
      features: name of the feature network.

    Returns:
      `fid`, `kid` and `inception_score` of `inception`, and their `_std`; for others both names.

    >>> score_name("frechet", "inception"), score_name("frechet", "classifier")
    ('fid', 'classifier_frechet')
    """
    if features == "inception" and kind in _INCEPTION_NAMES:
        return _INCEPTION_NAMES[kind]
    return f"{features}_{kind}"


def weights_hash(params: Any) -> str:
    """The SHA-256 of weights: of every array's path, type, shape and bytes.

    Args:
      params: a pytree of arrays.

    Returns:
      64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


_OF_THE_GENERATOR = ("fake_count", "quantized", "averaged", "step")
_OF_SUBSETS = ("subset_seed", "subset_size", "pixel_subset_size", "kernel_subset_size")  # statistics are of all


def save_reference(file: str | os.PathLike[str], statistics: Statistics, stamp: Stamp) -> None:
    """Writes the statistics of the real images, which need computing but once, with how they were made.

    Args:
      file: where to, ending in `.npz`.
      statistics: of the real images' features.
      stamp: of a score against them; what it says of the generator is left out.
    """
    made = {
        f"stamp_{name}": value for name, value in asdict(stamp).items() if name not in _OF_THE_GENERATOR + _OF_SUBSETS
    }
    with files.draft(file) as stream:
        np.savez(stream, **statistics._asdict(), **made)


def load_reference(file: str | os.PathLike[str], stamp: Stamp) -> Statistics:
    """Reads what `save_reference` wrote, if it was made as a score now wants it.

    Args:
      file: the file.
      stamp: of the score.

    Returns:
      The `Statistics`.

    Raises:
      ValueError: no such file, or a reference made in another way; names what differs, and how.
    """
    try:
        with Path(file).open("rb") as stream, np.lib.npyio.NpzFile(stream) as arrays:
            stored = {name: arrays[name][()] for name in arrays}
    except FileNotFoundError:
        raise ValueError(f"{file} is not there") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is no reference: {error}") from None
    made = {name.removeprefix("stamp_"): value for name, value in stored.items() if name.startswith("stamp_")}
    wanted = {name: value for name, value in asdict(stamp).items() if name not in _OF_THE_GENERATOR + _OF_SUBSETS}
    different = [f"{name} {made.get(name)}, not {value}" for name, value in wanted.items() if made.get(name) != value]
    if different:
        raise ValueError(f"{file} is no reference for this score, it was made with {'; '.join(different)}")
    return Statistics(int(stored["count"]), stored["mean"], stored["scatter"])
