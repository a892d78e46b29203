"""TFDS's MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100, prepared without TensorFlow or a network.

Names, versions, features, splits and the order of examples are those of TFDS. Only what TFDS does with TensorFlow is
done here: reading the files of the authors, and encoding the images. So `tfds.data_source(name)` reads a data set
prepared here, and jaxgan reads one that TFDS prepared.
"""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tensorflow_datasets.image_classification import cifar, mnist

from jaxgan.data.folder import Image  # Pillow's; raises with advice if it is not installed

MOST_ROWS = 100_000
"""Largest number of images or labels in a file."""

MOST_UNPACKED = 2**29
"""Largest unpacked size of a tar.gz, in bytes."""


class _Published:
    """A mixin for TFDS builders that reads local files, by the names in `FILES`."""

    FILES: tuple[str, ...]

    def __init__(self, *, files: dict[str, Path], **options: Any):
        self._files = files
        super().__init__(**options)


class MNIST(_Published, mnist.MNIST, skip_registration=True):
    name = "mnist"
    FILES = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    FIRST_LABELS = bytes((5, 0, 4, 1, 9, 2, 1, 3, 1, 4))  # other data sets have the same file names

    def _split_generators(self, dl_manager):
        shapes = ((28, 28), ()) * 2
        train_images, train_labels, test_images, test_labels = (
            _read_idx(self._files[name], shape) for name, shape in zip(self.FILES, shapes, strict=True)
        )
        folder = self._files[self.FILES[0]].parent
        if train_labels[:10].tobytes() != self.FIRST_LABELS:
            raise ValueError(f"the files in {folder} belong to another data set than {self.name}: the labels differ")
        if (len(train_images), len(test_images)) != (len(train_labels), len(test_labels)):
            raise ValueError(f"the files in {folder} have unequal numbers of images and labels")
        return {
            "train": self._generate_examples(train_images, train_labels),
            "test": self._generate_examples(test_images, test_labels),
        }

    def _generate_examples(self, images, labels):
        for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            # A Pillow image, because TFDS encodes arrays with TensorFlow.
            yield row, {"image": Image.fromarray(image), "label": label}


class FashionMNIST(MNIST, mnist.FashionMNIST, skip_registration=True):
    name = "fashion_mnist"
    FIRST_LABELS = bytes((9, 0, 0, 3, 0, 2, 7, 2, 5, 5))


class Cifar10(_Published, cifar.Cifar10, skip_registration=True):
    name = "cifar10"
    FILES = ("cifar-10-binary.tar",)

    def _split_generators(self, dl_manager):
        features: Any = self.info.features
        described = self._cifar_info
        (path,) = self._files.values()
        names = (*described.label_files, *described.train_files, *described.test_files)
        files = _read_tar(path, {described.prefix + name for name in names})
        try:
            for key, name in zip(described.label_keys, described.label_files, strict=True):
                features[key].names = files[described.prefix + name].decode().split()
            train, test = (
                b"".join(files[described.prefix + name] for name in names)
                for names in (described.train_files, described.test_files)
            )
        except KeyError as missing:
            raise ValueError(f"{path} is damaged: it has no {missing.args[0]}") from None
        return {"train": self._generate_examples("train_", train), "test": self._generate_examples("test_", test)}

    def _generate_examples(self, prefix, data):
        keys = self._cifar_info.label_keys
        if (rest := len(data) % (len(keys) + 3 * 32 * 32)) or not data:
            raise ValueError(f"the files of {self.name} are damaged: {rest} bytes are left of {len(data):,}")
        for row, record in enumerate(np.frombuffer(data, np.uint8).reshape(-1, len(keys) + 3 * 32 * 32)):
            labels = dict(zip(keys, record.tolist(), strict=False))
            pixels = record[len(keys) :].reshape(3, 32, 32).transpose(1, 2, 0)
            yield row, {"id": f"{prefix}{row:05d}", "image": Image.fromarray(pixels), **labels}


class Cifar100(Cifar10, cifar.Cifar100, skip_registration=True):
    name = "cifar100"
    FILES = ("cifar-100-binary.tar",)


DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist
BUILDERS: dict[str, Any] = {builder.name: builder for builder in (MNIST, FashionMNIST, Cifar10, Cifar100)}


def folders(name: str, data_dir: Path) -> list[Path]:
    """The folders in which the files of a data set are searched, in this order."""
    found = [data_dir, data_dir / name, data_dir / "downloads" / name]  # the last is TFDS's folder of downloads
    return [*found, DEBIAN] if name == "fashion_mnist" else found


def find_files(name: str, data_dir: Path) -> dict[str, Path] | None:
    """The files of a data set by the names in its builder's `FILES`, all in one folder; None if not found.

    They end in .gz; TFDS's downloads have the address before the name and a checksum after it.
    """
    for folder in folders(name, data_dir):
        found = {file: sorted(folder.glob(f"*{file}*.gz")) for file in BUILDERS[name].FILES}
        if all(found.values()):
            return {file: paths[0] for file, paths in found.items()}
    return None


def _read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An array in the IDX format: two zeros, the type (8 for uint8), the rank, the sizes as big-endian integers."""
    try:
        with gzip.open(path) as file:
            start = file.read(4)
            if start[:3] != b"\x00\x00\x08":
                raise ValueError("it is not an IDX file of bytes")
            found = np.frombuffer(file.read(4 * start[3]), ">u4").tolist()
            if tuple(found[1:]) != shape or not found or found[0] > MOST_ROWS:
                raise ValueError(
                    f"it holds bytes of shape {found}, but [{', '.join(map(str, ('N', *shape)))}] was expected, with N "
                    f"at most {MOST_ROWS:,}"
                )
            size = math.prod(found)
            data = file.read(size + 1)  # a small file may unpack to a huge one
        if len(data) != size:
            raise ValueError(f"it has {'more' if len(data) > size else 'fewer'} than the {size:,} bytes of its header")
        return np.frombuffer(data, np.uint8).reshape(found)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _read_tar(path: Path, wanted: Container[str]) -> dict[str, bytes]:
    try:
        return dict(tar_members(path, wanted.__contains__, most=MOST_UNPACKED))
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def tar_members(path: Path, wanted: Callable[[str], Any], *, most: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted files in a tar.gz, read one by one; nothing is written to disk.

    Raises:
      ValueError: one of them has more than `most` bytes, or the archive unpacks to more than `MOST_UNPACKED`.
    """
    with gzip.open(path) as file, tarfile.open(fileobj=_Bounded(file), mode="r|") as tar:  # pyright: ignore
        for member in tar:
            if member.isfile() and not member.issparse() and wanted(member.name):  # sparse files may have any size
                if member.size > most:
                    raise ValueError(f"{member.name} has {member.size:,} bytes, more than {most:,}")
                if content := tar.extractfile(member):
                    yield member.name, content.read()
            tar.members = []  # tarfile would keep all of them


class _Bounded:
    """A file that raises an error after `MOST_UNPACKED` bytes."""

    def __init__(self, file: BinaryIO):
        self._file, self._left = file, MOST_UNPACKED

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {MOST_UNPACKED:,} bytes")
        return data
