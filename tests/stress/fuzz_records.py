"""Fuzzing of the files in run folders, caches and data sets.

Each file is a random mutation of one that jaxgan wrote: flipped bits, truncation, zeros, JSON values of another type,
deep nesting, duplicate names, a pipe or a folder in its place. It must be read, or refused with an error that names it.
Anything else is a crash: another error, a dead process, a timeout, or a silently wrong value that a digest, a checksum
or a type could detect. `mutated(number, seed)` reproduces a file.

    python -m tests.stress.fuzz_records --count 5000
"""

import contextlib
import dataclasses
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgan.runs.flags import check, kinds
from tests.stress import fuzz

SECONDS = 10  # time limit for one file
MEBIBYTES = 8192  # limit of the address space, much of which the threads of JAX and Orbax use
ODD = (
    *("null", "true", "-1", "1e400", "NaN", '"x"', "[]", "{}", "1" + "0" * 400, "9" * 5000, '"\\ud800"', '""', "0.5"),
    *("[" * 50_000, "[[[[3]]]]", '{"a": {"a": 1}}', '"' + "x" * 10_000 + '"', "[" + "1," * 10_000 + "1]", "2147483648"),
)
PIPE, FOLDER, LOOP = b"\0pipe", b"\0folder", b"\0loop"


@cache
def _base() -> Path:
    """The folder of the valid files; each process makes one."""
    return Path(tempfile.mkdtemp(prefix="jaxgan-fuzz-"))


@cache
def good() -> Mapping[str, bytes]:
    """Valid files by kind."""
    from experiments import gan
    from jaxgan.checkpoints.checkpoint import Checkpoints
    from jaxgan.data.vocabulary import Vocabulary
    from jaxgan.runs import logging, report
    from jaxgan.runs.config import save_config

    folder = _base()
    config = gan.Config(workdir="runs/gan", best="classifier_frechet")
    save_config(config, folder, {"image": jnp.zeros((4, 32, 32, 1))}, size=1000)
    with logging.MetricsFile(folder / "metrics.jsonl") as metrics:
        for step in (10, 20, 30):
            metrics.write_scalars(step, {"d_loss": 1 / step, "real_score": float("nan"), "steps_per_second": 30.0})
    report.record_start(folder, 0, "1 x cpu")
    report.record_start(folder, 20, "1 x cpu")
    report.save_labels(folder, rows=["a cat", "a dog"], columns=["a", "b"])
    Vocabulary.of(["a red circle above a blue square"]).save(folder / "vocabulary.json")
    _scores(folder / "scores.jsonl")
    pixels = np.random.default_rng(0).integers(256, size=(6, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "images.npz", image=pixels, label=np.arange(6) % 3)
    np.save(folder / "images.npy", pixels)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(10, STATE)
    _classifier(folder / "cache")
    _prepare(folder / "data")
    return {name: next(folder.glob(place)).read_bytes() for name, (_, place) in READERS.items()}


STATE = {"w": jnp.arange(64.0).reshape(8, 8), "step": jnp.int32(10)}


def _scores(file: Path) -> None:
    stamp = {"dataset": "noise", "split": "test", "real_count": 256, "fake_count": 30, "image_size": 32}
    stamp |= {"features": "classifier", "feature_weights": "ab", "resizer": "none", "quantized": True}
    stamp |= {"averaged": True, "step": 3}
    file.write_text(json.dumps({"scores": {"classifier_frechet": 3.5, "confident": 0.8}, "stamp": stamp}) + "\n")


def _classifier(folder: Path) -> str:
    """The digest of the weights of a classifier from the cache, trained if missing."""
    from jaxgan.metrics.features import train_classifier

    images = np.random.default_rng(1).integers(256, size=(64, 8, 8, 1), dtype=np.uint8)
    os.environ["JAXGAN_CACHE"] = str(folder)
    jax.config.update("jax_compilation_cache_dir", str(_base() / "compiled"))  # to compile only once
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return train_classifier(images, np.arange(64, dtype=np.int32) % 10, epochs=1).weights


def _prepare(folder: Path) -> None:
    """A TFDS data set of six images."""
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image, label = tfds.features.Image(shape=(8, 8, 1)), tfds.features.ClassLabel(num_classes=3)
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number in range(6):
                encoded = fuzz.encoded(Image.new("L", (8, 8), number), "png")
                yield number, {"image": io.BytesIO(encoded), "label": number % 3}

    Tiny.name = "tiny"
    options = tfds.download.DownloadConfig(try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        Tiny(data_dir=folder, file_format="array_record").download_and_prepare(download_config=options)


def _config(folder: Path) -> None:
    from experiments import gan
    from jaxgan.runs import open_run
    from jaxgan.runs.config import load_config

    record = load_config(folder)
    config: Any = open_run._config(gan.Config, record["config"], folder)
    for name, kind in kinds(gan.Config).items():
        if check(name, value := getattr(config, name), kind) != value:
            raise TypeError(f"{name}={value!r} is accepted")
    json.dumps(dataclasses.asdict(config)).encode()


def _metrics(folder: Path) -> None:
    from jaxgan.runs.logging import read_metrics

    for entry in read_metrics(folder / "metrics.jsonl"):
        if not (type(entry["step"]) is int and all(type(value) in (int, float) for value in entry.values())):
            raise TypeError(f"{entry} is accepted")


def _starts(folder: Path) -> None:
    from jaxgan.runs import report

    report._starts(folder, []).encode()


def _labels(folder: Path) -> None:
    from jaxgan.runs import report

    json.dumps(report._labels(folder / "labels.json")).encode()


def _vocabulary(folder: Path) -> None:
    from jaxgan.data.vocabulary import Vocabulary

    " ".join(Vocabulary.load(folder / "vocabulary.json").words).encode()


def _last_scores(folder: Path) -> None:
    from experiments import evaluate

    scores, _ = evaluate._read_scores(folder / "scores.jsonl")
    if not all(type(value) is float for value in scores.values()):
        raise TypeError(f"{scores} are accepted")


def _images(folder: Path) -> None:
    from jaxgan.data.sources import images

    (file,) = folder.glob("images.np?")
    found = images(str(file))
    if found["image"].dtype != np.uint8 or found.get("label", np.int32(0)).dtype != np.int32:
        raise TypeError(f"the result is {found['image'].dtype}")
    if file.suffix == ".npz":  # has checksums
        _same(found["image"], np.load(_base() / "images.npz")["image"])


def _checkpoint(folder: Path) -> None:
    from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints

    try:
        with Checkpoints(folder / "checkpoints") as checkpoints:
            found = checkpoints.restore(None, STATE)
    except CheckpointError as error:
        raise ValueError(str(error)) from None
    for name, leaf in STATE.items():
        _same(found[name], leaf)


def _cached(folder: Path) -> None:
    if _classifier(folder / "cache") != _weights():
        raise TypeError("another classifier is used")


@cache
def _weights() -> str:
    return _classifier(_base() / "cache")


def _prepared(folder: Path) -> None:
    from jaxgan.data.sources import images

    found = images("tiny", data_dir=folder / "data")["image"]
    _same(np.sort(found.max(axis=(1, 2, 3))), np.arange(6))


def _same(found: Any, expected: Any) -> None:
    if not np.array_equal(np.asarray(found), np.asarray(expected)):
        raise TypeError("the values differ")


# The function that reads a file, and the path of the file in the folder.
READERS: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "config.json": (_config, "config.json"),
    "metrics.jsonl": (_metrics, "metrics.jsonl"),
    "starts.jsonl": (_starts, "starts.jsonl"),
    "labels.json": (_labels, "labels.json"),
    "vocabulary.json": (_vocabulary, "vocabulary.json"),
    "scores.jsonl": (_last_scores, "scores.jsonl"),
    "images.npz": (_images, "images.npz"),
    "images.npy": (_images, "images.npy"),
    "digests.json": (_checkpoint, "checkpoints/10/digests.json"),
    "arrays of a checkpoint": (_checkpoint, "checkpoints/10/state/d/*"),
    "classifier in the cache": (_cached, "cache/readers/*.npz"),
    "features.json": (_prepared, "data/tiny/1.0.0/features.json"),
    "dataset_info.json": (_prepared, "data/tiny/1.0.0/dataset_info.json"),
}


# The order of kinds: files that take a tenth of a second or more come a fifth as often as the others.
TURNS = [*READERS, *[name for name, (_, place) in READERS.items() if "/" not in place] * 4]


def _odd_value(content: bytes, chance: random.Random) -> bytes:
    """Replaces a JSON value by one of another type, or duplicates a name."""
    try:
        lines = content.decode().rstrip("\n").split("\n")
        whole = [json.loads(line) for line in lines] if _is_lines(lines) else [json.loads(content)]
    except (ValueError, RecursionError):
        return fuzz.flipped(content, chance)
    places = [(row, path) for row, value in enumerate(whole) for path in _paths(value)]
    row, path = chance.choice(places)
    texts = [json.dumps(value) for value in whole]
    key = json.dumps("\0place")
    texts[row] = json.dumps(_with(whole[row], path, "\0place")).replace(key, chance.choice(ODD), 1)
    if chance.random() < 0.1 and texts[row].startswith("{"):
        texts[row] = "{" + chance.choice(('"step": 1, "step": 2, ', '"config": {}, ', '"": 0, ')) + texts[row][1:]
    return ("\n".join(texts) + "\n").encode(errors="replace")


def _is_lines(lines: list[str]) -> bool:
    try:
        return all(isinstance(json.loads(line), dict) for line in lines)
    except (ValueError, RecursionError):
        return False


def _paths(value: Any, path: tuple = ()) -> list[tuple]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [found for key, one in inside for found in _paths(one, (*path, key))]


def _with(value: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = _with(value[path[0]], path[1:], new)
    return copied


def _other_kind(content: bytes, chance: random.Random) -> bytes:
    """Content of another file type, or something that is not a file."""
    others = (
        PIPE,
        FOLDER,
        LOOP,
        b"",
        b"\n",
        b"null",
        b"\xff\xfe{\0}\0",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        bytes(1000),
    )
    return chance.choice((*others, chance.randbytes(300), *good().values()))


CHANGES = {
    "bits flipped": fuzz.flipped,
    "cut short": fuzz.cut,
    "zeros": fuzz.zeroed,
    "an odd value": _odd_value,
    "two odd values": lambda content, chance: _odd_value(_odd_value(content, chance), chance),
    "another file": _other_kind,
}


def mutated(number: int, seed: int = 0) -> tuple[str, str, bytes]:
    """Kind, name and content of a file, reproducible from number and seed."""
    chance = random.Random(f"{seed} {number}")
    name = TURNS[number % len(TURNS)]
    return name, name, CHANGES[chance.choice(list(CHANGES))](good()[name], chance)


def read(folder: Path, name: str) -> None:
    """Reads a file that `fuzz.verdict` wrote, in its place among the valid files."""
    good()
    reader, place = READERS[name]
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    whole = _base() / Path(place).parts[0]
    (shutil.copytree if whole.is_dir() else shutil.copy)(whole, folder / whole.name)
    file = next(folder.glob(place))
    file.unlink()
    if content == PIPE:
        os.mkfifo(file)
    elif content == FOLDER:
        file.mkdir()
    elif content == LOOP:
        file.symlink_to(file.name)
    else:
        file.write_bytes(content)
    with contextlib.redirect_stderr(io.StringIO()):  # hides expected warnings
        reader(folder)


if __name__ == "__main__":
    from tests.stress import fuzz_records as this

    fuzz.command(__doc__, 5000, reader=this.read, make=this.mutated, kinds=TURNS, seconds=SECONDS, mebibytes=MEBIBYTES)
