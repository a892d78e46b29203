"""The flags that all experiments share, the run folder's name, and its `config.json`."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from jaxgan import files, records
from jaxgan.messages import displayed
from jaxgan.runs.flags import BatchSize, Count, Flags, PathName, Range, Seed, Steps, StepsOrNone, check
from jaxgan.types import Batch

Processes = Annotated[int, Range(1, 2**16)]

_LONGEST_NAME = 200  # bytes of a run folder's name; file systems allow 255, and longer names are derived from it
_MOST = 2**24  # bytes of a config.json, which may name 100,000 classes
_BETTER_SMALL = ("loss", "frechet", "fid", "kernel", "kid", "l1", "kl")  # last words of names of scores to minimise


def runtime(default: Any) -> Any:
    """A runtime option: a field that does not change the result, and may differ when a run is resumed."""
    return dataclasses.field(default=default, metadata={"runtime": True})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Flags):
    """How long to train and where to write. A field either changes the result, or is a runtime option (`runtime`)."""

    experiment: ClassVar[str] = "run"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}

    num_steps: Steps = runtime(2000)  # generator updates; raise it to train a finished run further
    batch_size: BatchSize = 64  # examples per update, over all devices
    seed: Seed = 0  # random seed of weights, latents and data order
    # run folder, new, empty (but for hidden files and logs) or of this run; by default runs/<experiment> followed by
    # the flags that differ from their defaults
    workdir: PathName | None = runtime(None)
    # auto: resume from the last checkpoint if there is one; must: refuse to start anew; never: refuse a used folder
    resume: Literal["auto", "must", "never"] = runtime("auto")
    init_from: PathName | None = None  # run folder whose weights to start from, at step 0 and with new optimizer states
    dtype: Literal["float32", "bfloat16"] = "float32"  # dtype the networks compute in; parameters stay float32
    log_every: Steps = runtime(50)  # steps between log lines; a line holds the means since the line before
    sample_every: Steps = runtime(500)  # steps between sample images
    checkpoint_every: Steps = runtime(500)  # steps between checkpoints
    evaluate_every: StepsOrNone = runtime(0)  # steps between evaluations; 0: at the end, if the run is scored at all
    keep: Count = runtime(2)  # number of newest checkpoints to keep, besides the best
    best: str | None = runtime(None)  # score whose best checkpoint is kept too, such as classifier_frechet
    on_nonfinite: Literal["stop", "skip"] = runtime("stop")  # at a NaN or infinity: stop the run, or skip the update
    debug_nans: bool = runtime(False)  # stop at the operation that first gives a NaN, with its line of code; slow
    # dry run: take a few steps, print their time, memory and data, draw the first batch as <workdir>-check.png, and
    # write nothing else
    check: bool = runtime(False)
    on_alarm: Literal["note", "stop"] = runtime("note")  # at signs of a collapse: print them, or also save and stop
    num_devices: Processes | None = runtime(None)  # number of devices that share the batch, by default all
    # on a CPU, let glibc keep freed memory for the next step: faster steps, more memory; off if tcmalloc or jemalloc is
    # preloaded
    keep_memory: bool = runtime(True)
    # training steps per call of a GPU or TPU; --num-steps and all --*-every flags must be multiples of it
    steps_per_call: Steps = 1
    # HOST:PORT of the first of several processes that train together; auto: ask the cluster (Slurm, Open MPI,
    # Kubernetes, Cloud TPU) for this and the next two flags
    coordinator: str | None = runtime(None)
    num_processes: Processes | None = runtime(None)  # number of processes that train together
    process_id: Annotated[int, Range(0, 2**16 - 1)] | None = runtime(None)  # index of this process, from 0

    def __post_init__(self):
        super().__post_init__()
        if (updates := self.num_steps * getattr(self, "n_critic", 1)) >= 2**31:
            raise ValueError(
                f"num_steps={self.num_steps} means {updates:,} updates of one network; at most 2**31 - 1 can be counted"
            )
        for name in ("num_steps", "log_every", "sample_every", "checkpoint_every", "evaluate_every"):
            if (value := getattr(self, name)) % self.steps_per_call:
                raise ValueError(f"{name}={value} is no multiple of steps_per_call={self.steps_per_call}")
        if self.batch_size % (parts := getattr(self, "microbatches", 1)):
            raise ValueError(f"microbatches={parts} does not divide batch_size={self.batch_size}")
        if self.debug_nans and self.on_nonfinite == "skip":
            raise ValueError("debug_nans stops at a NaN, on_nonfinite=skip does not: give only one of them")

    @property
    def best_mode(self) -> Literal["min", "max"]:
        """Whether the best value of the score `best` is its smallest or its largest."""
        return "min" if (self.best or "").rpartition("_")[2] in _BETTER_SMALL else "max"

    @classmethod
    def from_preset(cls, preset: str, **changes: Any) -> Self:
        """The configuration of a named preset, with changes."""
        if preset not in cls.presets:
            raise ValueError(f"unknown preset {preset!r}; {cls.experiment} has {', '.join(cls.presets)}")
        named = {"preset": preset} if "preset" in _names(cls) else {}
        return cls(**{**cls.presets[preset], **named, **changes})


def _names(config: type | RunConfig) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


def result_fields(config: RunConfig) -> dict[str, Any]:
    """The fields that change the result, by name."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if not f.metadata.get("runtime")}


def run_folder(config: RunConfig) -> Path:
    """`workdir`, or `runs/<experiment>` with `-<field>=<value>` for each of `result_fields` that is not the preset's.

    So the same command finds its run again, and another command gets its own folder. A name of more than 200 bytes is
    cut after a field and ends in a digest of the whole. Characters that a shell would interpret, control characters and
    slashes become underscores.
    """
    if config.workdir is not None:
        return Path(config.workdir)
    preset = getattr(config, "preset", "default")
    defaults = result_fields(type(config).from_preset(preset))
    differing = {name: value for name, value in result_fields(config).items() if value != defaults[name]}
    if preset != "default":
        differing = {"preset": preset, **differing}
    parts = [config.experiment, *(f"{name}={value}" for name, value in differing.items())]
    parts = [re.sub(r"[^\w.,:=+@%-]", "_", part) for part in parts]
    size = lambda kept: len(os.fsencode("-".join(kept)))
    kept = parts
    if size(parts) > _LONGEST_NAME:
        digest = hashlib.blake2b(os.fsencode("-".join(parts)), digest_size=6).hexdigest()
        while kept[1:] and size([*kept, digest]) > _LONGEST_NAME:
            kept = kept[:-1]
        kept = [*kept, digest]
    return Path("runs") / "-".join(kept)


def check_writable(folder: Path) -> None:
    """Refuses a folder that cannot be created or written to, before a long computation of its contents.

    Raises:
      NotADirectoryError: it, or a parent, is a file.
      PermissionError: it, or the parent to create it in, is not writable.
      FileNotFoundError: it, or the parent to create it in, is a broken link.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not existing.exists():
        message = f"is a broken link (to {os.readlink(existing)}): create that folder, or remove the link"
        raise FileNotFoundError(errno.ENOENT, message, str(existing))
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def known_data(batches: Any) -> dict[str, Any]:
    """The description of a run's data for `save_config` and `differences`.

    Args:
      batches: a `Batches`; it may also have `classes`, names of the labels 0, 1, 2, ..., and `identity`, digests by
        name, see `jaxgan.data.identity`.
    """
    return {
        "size": batches.size,
        "classes": getattr(batches, "classes", None),
        "identity": getattr(batches, "identity", None),
    }


def save_config(
    config: RunConfig,
    folder: Path,
    batch: Batch,
    *,
    size: int,
    classes: Sequence[str] | None = None,
    identity: Mapping[str, str] | None = None,
) -> None:
    """Writes `config.json`: all fields, the shapes of a batch, package versions and the git revision if any.

    With the shapes the run can be opened without its data set. Size, classes and identity of the data set show whether
    it is the same when the run is resumed: the order of examples depends on the size, the meaning of a label on the
    classes, and the result on the examples themselves, but not on where they are stored.

    Raises:
      ValueError: `load_config` would refuse it, for instance because of invalid characters in names.
    """
    record = {
        "experiment": config.experiment,
        "config": dataclasses.asdict(config),
        "batch": {name: {"shape": list(field.shape), "dtype": str(field.dtype)} for name, field in batch.items()},
        "size": size,
        **({} if classes is None else {"classes": list(classes)}),
        **({} if identity is None else {"data": dict(identity)}),
        "versions": _versions(),
        "git_revision": _git_revision(),
    }
    text = json.dumps(record, indent=2) + "\n"
    try:
        if len(text) > _MOST:  # characters are bytes, since json writes ASCII
            raise ValueError(f"it has {len(text):,} bytes, above {_MOST:,}")
        _parsed(text)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'} is not written, since it could not be read: {error}") from None
    files.write(folder / "config.json", text)


def load_config(folder: Path) -> dict[str, Any]:
    """The record `save_config` wrote: `experiment`, `config`, `batch`, `size`, `classes`, `data`, `versions`, ...

    Raises:
      ValueError: there is no config.json, or `save_config` cannot have written it. The fields of `config` depend on the
        experiment and are checked when its configuration is created from them.
    """
    file = folder / "config.json"
    try:
        return _parsed(files.read_text(file, most=_MOST))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder} is not a run folder: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None


def _parsed(text: str) -> dict[str, Any]:
    record = records.parse(text)
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
    for name, kind in _RECORD.items():
        if name in record:
            check(name, record[name], kind)
    if missing := {"experiment", "config"} - record.keys():
        raise ValueError(f"it has no {', '.join(sorted(missing))}")
    for name, field in record.get("batch", {}).items():
        check(f"shape of {name}", field.get("shape"), _Shape)
        check(f"dtype of {name}", field.get("dtype"), _DType)
    return record


def class_names(record: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of a run's labels 0, 1, 2, ... as `save_config` wrote them, None if it wrote none."""
    return tuple(record["classes"]) if record.get("classes") else None


def differences(
    config: RunConfig,
    record: Mapping[str, Any],
    *,
    size: int,
    classes: Sequence[str] | None = None,
    identity: Mapping[str, str] | None = None,
) -> list[str]:
    """Differences that keep a run from being resumed: fields that change the result, and data, with old and new value.

    If both the record and the data have an `identity`, it decides whether the data set is the same, whatever its
    path; else its name and its size decide.
    """
    before = record["config"]
    # Through JSON, like the record: tuples become lists.
    now = json.loads(json.dumps(result_fields(config)))
    # Fields that were added after the run was recorded have their defaults.
    before = {field.name: field.default for field in dataclasses.fields(config)} | before
    known = record.get("data")
    others = None if known is None or identity is None else _other_data(known, identity)
    paths = ("dataset", "dataset_b") if others == [] else ()
    differ = [name for name, value in now.items() if name not in paths and not _same(name, before[name], value)]
    found = [f"{name} was {before[name]!r}, is {now[name]!r}" for name in differ]
    if record.get("experiment") != config.experiment:
        found.insert(0, f"experiment was {record.get('experiment')!r}, is {config.experiment!r}")
    if record.get("size", size) != size:
        found.append(f"the data set had {record['size']:,} examples, has {size:,}")
    found += other_classes(class_names(record), classes)
    if others and record.get("size", size) == size:
        found.append(f"the data set has changed: {', '.join(others)} differ")
    return found


def _same(name: str, before: Any, now: Any) -> bool:
    if name == "init_from" and isinstance(before, str) and isinstance(now, str):  # a path has several spellings
        return os.path.realpath(before) == os.path.realpath(now)
    return before == now


def _other_data(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    # Older records have no "values of", which floating-point arrays are told apart by.
    names = [name for name in dict.fromkeys((*now, *before)) if name in before or not name.startswith("values of ")]
    return [name for name in names if before.get(name) != now.get(name)]


def other_classes(before: Sequence[str] | None, now: Sequence[str] | None) -> list[str]:
    """Messages about labels whose names have changed; none if labels had or have no names."""
    if not before or not now:
        return []
    if len(before) != len(now):
        return [f"the data set had {len(before)} classes, has {len(now)}"]
    # Normalized, since macOS returns names of folders decomposed.
    same = lambda old, new: unicodedata.normalize("NFC", old) == unicodedata.normalize("NFC", new)
    pairs = [(number, *names) for number, names in enumerate(zip(before, now, strict=True)) if not same(*names)]
    found = [f"class {number} was {displayed(old)!r}, is {displayed(new)!r}" for number, old, new in pairs]
    return found if len(found) <= 3 else [*found[:3], f"and {len(found) - 3} more classes"]


_Shape = tuple[Annotated[int, Range(0, 2**31 - 1)], ...]
_DType = Literal[
    "float32", "bfloat16", "float16", "float64", "uint8", "int32", "int8", "int16", "int64", "uint16", "uint32", "bool"
]
_RECORD: Mapping[str, Any] = {
    "experiment": str,
    "config": dict[str, Any],
    "batch": dict[str, dict[str, Any]],
    "size": Annotated[int, Range(1, 2**63 - 1)],
    "classes": tuple[str, ...],
    "data": dict[str, str],
    "versions": dict[str, str],
    "git_revision": str | None,
}


def _versions() -> dict[str, str]:
    names = ("jaxgan", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            continue
    return found


def _git_revision() -> str | None:
    try:
        command = [
            "git",
            "-C",
            str(Path(__file__).parent),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
