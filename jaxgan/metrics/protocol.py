"""How scores were computed: the stamp saved with them, and the check that two scores are comparable."""

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
    """All settings that a score depends on besides the generator's weights, and which weights were scored.

    `dataclasses.asdict` converts it for JSON, `read_stamp` reads it.
    """

    dataset: str  # data set of the real images
    split: str  # its split
    real_count: int  # number of real images
    fake_count: int  # number of generated images
    image_size: int  # side of both, before the resizer of the feature network
    features: str  # name of the feature network: inception, classifier, ...
    feature_weights: str  # SHA-256 of its weights, see `weights_hash`
    resizer: str  # method that resizes images to the network's input size: one of `RESIZERS`, or none
    quantized: bool  # whether generated images were rounded to uint8, as in files
    averaged: bool  # whether the EMA weights of the generator were scored, not the raw ones
    step: int  # generator update of the weights
    # Larger sets are reduced to random subsets, drawn without replacement: the largest number of images of each kind,
    # 0 for all.
    subset_seed: int = 0  # seed of the subsets, see `random_subset` of `jaxgan.metrics.arrays`
    subset_size: int = 0  # for nearest-neighbour scores of features; for captions and translations for all scores
    pixel_subset_size: int = 0  # for scores of pixels
    kernel_subset_size: int = 0  # size of the subsets of the kernel distance
    real_digest: str = ""  # digest of the content of all real images, in any order, see `content_digest`


def read_stamp(values: Any) -> Stamp:
    """A stamp from JSON.

    Args:
      values: the result of `json.loads`.

    Returns:
      The `Stamp`.

    Raises:
      ValueError: not a stamp, a stamp of another version, or values of the wrong type; the message names the fields.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a stamp is an object with fields, not {str(values)[:40]!r}")
    types = {field.name: {"str": str, "int": int, "bool": bool}[str(field.type)] for field in fields(Stamp)}
    if missing := [name for name in types if name not in values]:
        raise ValueError(f"its stamp has no {', '.join(missing)}: it is from an earlier version")
    if unknown := sorted(set(values) - set(types)):
        raise ValueError(f"a stamp has no field {', '.join(unknown)}: there are {', '.join(types)}")
    if wrong := [name for name, kind in types.items() if type(values[name]) is not kind]:
        found = [f"{name} is {str(values[name])[:40]!r}, not {types[name].__name__}" for name in wrong]
        raise ValueError("; ".join(found))
    return Stamp(**values)


IGNORED = ("step",)
"""Fields that may differ between comparable scores by default: a curve over training compares steps."""


def check_comparable(first: Stamp, second: Stamp, *, ignore: Collection[str] = IGNORED) -> None:
    """Checks that two scores were computed in the same way.

    Args:
      first: stamp of one score.
      second: stamp of the other score.
      ignore: fields that may differ; `("step", "averaged")` to compare EMA weights with raw ones.

    Raises:
      ValueError: other fields differ; the message names them with both values. Or `ignore` contains an unknown field.
    """
    names = [field.name for field in fields(Stamp)]
    if unknown := sorted(set(ignore) - set(names)):
        raise ValueError(f"a stamp has no field {', '.join(unknown)}: there are {', '.join(names)}")
    values = [(name, getattr(first, name), getattr(second, name)) for name in names if name not in ignore]
    if different := [f"{name} {one!r} and {other!r}" for name, one, other in values if one != other]:
        raise ValueError(f"scores computed in different ways cannot be compared: {'; '.join(different)}")


def score_name(kind: str, features: str) -> str:
    """The name of a score in reports, which depends on its features.

    Args:
      kind: `frechet`, `kernel`, `score` (of class probabilities) or another.
      features: name of the feature network.

    Returns:
      `fid`, `kid`, `inception_score` and their `_std` for `inception`; otherwise FEATURES_KIND.

    >>> score_name("frechet", "inception"), score_name("frechet", "classifier")
    ('fid', 'classifier_frechet')
    """
    if features == "inception" and kind in _INCEPTION_NAMES:
        return _INCEPTION_NAMES[kind]
    return f"{features}_{kind}"


def weights_hash(params: Any) -> str:
    """The SHA-256 of weights: of the path, type, shape and bytes of every array.

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
    """Saves the statistics of the real images and the settings they depend on, to compute them only once.

    Args:
      file: path of the file, ending in `.npz`.
      statistics: statistics of the real images' features.
      stamp: stamp of a score that uses them; its fields about the generator are not saved.
    """
    made = {
        f"stamp_{name}": value for name, value in asdict(stamp).items() if name not in _OF_THE_GENERATOR + _OF_SUBSETS
    }
    with files.draft(file) as stream:
        np.savez(stream, **statistics._asdict(), **made)


def load_reference(file: str | os.PathLike[str], stamp: Stamp) -> Statistics:
    """Reads a file of `save_reference`, if its settings match those of a score.

    Args:
      file: the file.
      stamp: stamp of the score.

    Returns:
      The `Statistics`.

    Raises:
      ValueError: the file does not exist, or has other settings; the message names the differences.
    """
    try:
        with Path(file).open("rb") as stream, np.lib.npyio.NpzFile(stream) as arrays:
            stored = {name: arrays[name][()] for name in arrays}
    except FileNotFoundError:
        raise ValueError(f"{file} does not exist") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is not a reference: {error}") from None
    made = {name.removeprefix("stamp_"): value for name, value in stored.items() if name.startswith("stamp_")}
    wanted = {name: value for name, value in asdict(stamp).items() if name not in _OF_THE_GENERATOR + _OF_SUBSETS}
    different = [f"{name} {made.get(name)}, not {value}" for name, value in wanted.items() if made.get(name) != value]
    if different:
        raise ValueError(f"{file} is not a reference for this score: it was computed with {'; '.join(different)}")
    return Statistics(int(stored["count"]), stored["mean"], stored["scatter"])
