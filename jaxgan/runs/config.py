"""The flags every experiment shares, and what a run folder remembers of them."""

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
from jaxgan.runs.flags import BatchSize, Count, Flags, PathName, Pixels, Range, Seed, Steps, StepsOrNone, check
from jaxgan.types import Batch

Mebibytes = Annotated[int, Range(0, 2**30)]
Processes = Annotated[int, Range(1, 2**16)]

_LONGEST_NAME = 200  # bytes of a run folder's name, of 255 that file systems take: others are made from it
_MOST = 2**24  # bytes of a config.json, which may name 100,000 classes
_BETTER_SMALL = ("loss", "frechet", "fid", "kernel", "kid", "l1", "kl")  # last word of a score's name


def free(default: Any) -> Any:
    """A field that does not change what is computed; it may differ when a run is resumed."""
    return dataclasses.field(default=default, metadata={"free": True})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Flags):
    """How long, how fast and where to. Every field is a result field (it changes what is computed) or a free one."""

    experiment: ClassVar[str] = "run"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}

    num_steps: Steps = free(2000)  # generator updates in all; may grow when a run is resumed
    batch_size: BatchSize = 64  # examples to an update, over all devices
    seed: Seed = 0  # of weights, latents and data order
    # run folder: new, empty (but for hidden files and logs) or this run's; by default runs/<experiment> and what
    # differs from the defaults
    workdir: PathName | None = free(None)
    resume: Literal["auto", "must", "never"] = free("auto")  # go on from a checkpoint if any; insist; or refuse
    init_from: PathName | None = None  # run folder whose weights to start from, at step 0 with fresh optimizers
    dtype: Literal["float32", "bfloat16"] = "float32"  # what the networks compute in; parameters stay float32
    log_every: Steps = free(50)  # steps between log lines, which are means over the steps since the last
    sample_every: Steps = free(500)  # steps between pictures
    checkpoint_every: Steps = free(500)  # steps between checkpoints
    evaluate_every: StepsOrNone = free(0)  # steps between evaluations, 0 for at most one at the end
    keep: Count = free(2)  # newest checkpoints to keep, besides the best
    best: str | None = free(None)  # evaluation metric whose best checkpoint is kept too
    on_nonfinite: Literal["stop", "skip"] = free("stop")  # at a NaN or infinity: stop, or skip the update
    debug_nans: bool = free(False)  # stop at the operation that gives a NaN, with its place in the code; slow
    # a dry run: a few steps, what they cost and what they read; the run folder is not made, and the first batch is
    # drawn beside it as <workdir>-check.png
    check: bool = free(False)
    on_alarm: Literal["note", "stop"] = free("note")  # at what looks like a collapse: say so, or save and stop too
    num_devices: Processes | None = free(None)  # devices to share the batch among, by default all
    # steps that a GPU or TPU takes at a time; the flags above that count steps must be multiples of it
    steps_per_call: Steps = 1
    # where several processes train together, at which HOST:PORT they find the first of them; "auto" asks the cluster
    # (Slurm, Open MPI, Kubernetes, Cloud TPU) for this and the next two
    coordinator: str | None = free(None)
    num_processes: Processes | None = free(None)  # how many these are
    process_id: Annotated[int, Range(0, 2**16 - 1)] | None = free(None)  # which of them this one is, from 0

    def __post_init__(self):
        super().__post_init__()
        if (updates := self.num_steps * getattr(self, "n_critic", 1)) >= 2**31:
            raise ValueError(
                f"num_steps={self.num_steps} makes {updates:,} updates of one network, at most 2**31 - 1 are counted"
            )
        for name in ("num_steps", "log_every", "sample_every", "checkpoint_every", "evaluate_every"):
            if (value := getattr(self, name)) % self.steps_per_call:
                raise ValueError(f"{name}={value} is no multiple of steps_per_call={self.steps_per_call}")
        if self.debug_nans and self.on_nonfinite == "skip":
            raise ValueError("debug_nans stops where on_nonfinite=skip would go on: give one of them")

    @property
    def best_mode(self) -> Literal["min", "max"]:
        """Whether the score named by `best` is better small or large."""
        return "min" if (self.best or "").rpartition("_")[2] in _BETTER_SMALL else "max"

    @classmethod
    def from_preset(cls, preset: str, **changes: Any) -> Self:
        """The configuration of a named preset, with changes."""
        if preset not in cls.presets:
            raise ValueError(f"unknown preset {preset!r}; {cls.experiment} has {', '.join(cls.presets)}")
        named = {"preset": preset} if "preset" in _names(cls) else {}
        return cls(**{**cls.presets[preset], **named, **changes})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConfig(RunConfig):
    """What every experiment on images adds."""

    # a data set: mnist_5k, noise, fashion_mnist, mnist, cifar10, cifar100, another that TFDS has prepared, stacked: and
    # the name of one of digits or clothes, folder:PATH, PATH.npy or PATH.npz; see jaxgan.data.sources.images
    dataset: str = "mnist_5k"
    split: str = "train"  # what of it to train on, as TFDS writes it: train, train[:90%], train+test
    data_dir: PathName | None = free(None)  # where prepared data sets lie, by default that of tensorflow-datasets
    image_size: Pixels = 32  # pixels, square; images are cut square and resized to it
    channels: Literal[1, 3] = 1  # 1 for grey, 3 for colour; images of the other kind are converted
    load_size: Pixels | None = None  # pixels to resize to first; image_size is then cut out, elsewhere each time
    flip: bool = False  # mirror half of the images left to right, others each time
    # of all the discriminator sees: color, translation and cutout, or some of them, with commas between; after "ada:"
    # with a probability that follows how sure it is of the real images
    augment: str | None = None
    resident_mib: Mebibytes = free(1024)  # largest data set to keep on the device, in MiB; larger ones are read anew


@dataclasses.dataclass(frozen=True, kw_only=True)
class DomainsConfig(RunConfig):
    """What every experiment that translates between two domains adds; sizes are those of the authors of CycleGAN."""

    # a data set with the splits trainA and trainB: shapes_styles, emoji, cycle_gan/horse2zebra once it is prepared, or
    # folder:PATH with folders of these names; with --dataset-b any data set, as domain a
    dataset: str = "shapes_styles"
    dataset_b: str | None = None  # data set of domain b, by default the same
    split_a: str | None = None  # what to train on, by default trainA, or train where the domains are two data sets
    split_b: str | None = None  # the same of domain b, by default trainB, or train
    paired: bool = False  # show row i of a with row i of b, where these belong together
    data_dir: PathName | None = free(None)  # where prepared data sets lie, by default that of tensorflow-datasets
    image_size: Pixels = 256  # pixels, square; images are cut square and resized to it
    channels_a: Literal[1, 3] = 3  # of domain a: 1 for grey, 3 for colour; images of the other kind are converted
    channels_b: Literal[1, 3] = 3  # of domain b
    load_size: Pixels | None = 286  # pixels to resize to first; image_size is then cut out, elsewhere each time
    flip: bool = True  # mirror half of the images left to right, others each time
    resident_mib: Mebibytes = free(1024)  # largest data set to keep on the device, in MiB; larger ones are read anew


def _names(config: type | RunConfig) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


def result_fields(config: RunConfig) -> dict[str, Any]:
    """The fields that change what is computed."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if not f.metadata.get("free")}


def run_folder(config: RunConfig) -> Path:
    """`workdir`, or `runs/<experiment>` with `-<field>=<value>` for every result field that is not the preset's own.

    So the same command finds its run again, and another command gets a folder of its own. A name of more than 200 bytes
    is cut at a field, and ends in a digest of the whole. Control characters and slashes become underscores.
    """
    if config.workdir is not None:
        return Path(config.workdir)
    preset = getattr(config, "preset", "default")
    usual = result_fields(type(config).from_preset(preset))
    differing = {name: value for name, value in result_fields(config).items() if value != usual[name]}
    if preset != "default":
        differing = {"preset": preset, **differing}
    parts = [config.experiment, *(f"{name}={value}" for name, value in differing.items())]
    parts = [re.sub(r"[/\x00-\x1f\x7f]", "_", part) for part in parts]
    size = lambda kept: len(os.fsencode("-".join(kept)))
    kept = parts
    if size(parts) > _LONGEST_NAME:
        digest = hashlib.blake2b(os.fsencode("-".join(parts)), digest_size=6).hexdigest()
        while kept[1:] and size([*kept, digest]) > _LONGEST_NAME:
            kept = kept[:-1]
        kept = [*kept, digest]
    return Path("runs") / "-".join(kept)


def check_writable(folder: Path) -> None:
    """Refuses a folder that could not be made or written in, before minutes are spent on what should go there.

    Raises:
      NotADirectoryError: it, or what it should be in, is a file.
      PermissionError: it, or the folder it should be made in, may not be written in.
      FileNotFoundError: it, or the folder it should be made in, is a link to nowhere.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not existing.exists():
        message = f"is a link to nowhere ({os.readlink(existing)}): make that folder, or remove the link"
        raise FileNotFoundError(errno.ENOENT, message, str(existing))
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def known_data(batches: Any) -> dict[str, Any]:
    """What `save_config` and `differences` are told of a run's data.

    Args:
      batches: a `Batches`; it may also have `classes`, names of the labels 0, 1, 2, ..., and `identity`, digests by
        what they are of, see `jaxgan.data.identity`.
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
    """Writes `config.json`: every field, a batch's shapes, the versions that computed it, the git revision if any.

    The shapes are what it takes to open the run where its data set is not. The data set's size, its classes and its
    identity are what it takes to know it again: the order of its examples depends on the size, what a label means on
    the classes, and everything on the examples themselves, wherever they lie.

    Raises:
      ValueError: `load_config` would refuse it, as names with what is no character.
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
        if len(text) > _MOST:  # of ASCII, as json writes it
            raise ValueError(f"it has {len(text):,} bytes, above {_MOST:,}")
        _parsed(text)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'} is not written, since nothing could read it: {error}") from None
    files.write(folder / "config.json", text)


def load_config(folder: Path) -> dict[str, Any]:
    """The record `save_config` wrote: `experiment`, `config`, `batch`, `size`, `classes`, `data`, `versions`, ...

    Raises:
      ValueError: there is none, or it is not what `save_config` can have written. The fields of `config` are those of
        an experiment and are checked where its configuration is made of them.
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
        raise ValueError("it is JSON, but no object")
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
    """The names of a run's labels 0, 1, 2, ... as `save_config` wrote them, None where it wrote none."""
    return tuple(record["classes"]) if record.get("classes") else None


def differences(
    config: RunConfig,
    record: Mapping[str, Any],
    *,
    size: int,
    classes: Sequence[str] | None = None,
    identity: Mapping[str, str] | None = None,
) -> list[str]:
    """What keeps a run from going on: result fields and data that differ, old and new value.

    Where the record and the data say what they are (`identity`), that decides whether the data set is the same one, and
    neither how its path is written nor where it lies; elsewhere its name and its size do.
    """
    before = record["config"]
    # Through JSON, as the record went: tuples come back as lists.
    now = json.loads(json.dumps(result_fields(config)))
    # What a field that came later is by default, runs of before it did.
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
        found.append(f"the data set is another: {', '.join(others)} differ")
    return found


def _same(name: str, before: Any, now: Any) -> bool:
    if name == "init_from" and isinstance(before, str) and isinstance(now, str):  # however its path is written
        return os.path.realpath(before) == os.path.realpath(now)
    return before == now


def _other_data(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    return [name for name in dict.fromkeys((*now, *before)) if before.get(name) != now.get(name)]


def other_classes(before: Sequence[str] | None, now: Sequence[str] | None) -> list[str]:
    """In words, which labels have other names than before; nothing where either has none."""
    if not before or not now:
        return []
    if len(before) != len(now):
        return [f"the data set had {len(before)} classes, has {len(now)}"]
    # Composed, since macOS gives the names of folders decomposed.
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
