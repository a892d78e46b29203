"""Reads and writes the tensors of a PyTorch checkpoint without PyTorch, and without executing code from the file.

A checkpoint is a pickle, which may call any function. Here it may only build dicts and tensors of numbers; anything
else is refused, and the message names it.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import math
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxgan.files import expanded

_TYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "BoolStorage": np.dtype("?"),
}

MOST_SHARED = 4  # bytes of all tensors, which may share their numbers, for each byte of the file
_MAGIC = 0x1950A86A20F9469CFC6C  # the first object in files of PyTorch before 1.6


def read_torch_weights(file: str | os.PathLike[str] | BinaryIO) -> dict[str, np.ndarray]:
    """The tensors of a state dict, in the format of PyTorch 1.6 and later (a zip archive) or the older one.

    Args:
      file: path of a file written by `torch.save(model.state_dict(), file)`, or the open file.

    Returns:
      Arrays by name, with axes in PyTorch's order.

    Raises:
      ValueError: the file does not exist, is damaged or not a state dict, or asks for more than tensors.
    """
    file = expanded(file) if isinstance(file, str | os.PathLike) else file
    try:
        with file.open("rb") if isinstance(file, Path) else contextlib.nullcontext(file) as stream:
            state = _read_zip(stream) if zipfile.is_zipfile(stream) else _read_legacy(stream)
        if not isinstance(state, dict) or not all(isinstance(value, _Tensor) for value in state.values()):
            raise ValueError("it is not a flat dict of tensors")
        stored = sum(len(data) for data in {id(t.storage): t.storage.data for t in state.values()}.values())
        wanted = sum(math.prod(t.size) * t.storage.dtype.itemsize for t in state.values())
        if wanted > MOST_SHARED * stored:  # a small file could ask for more than the memory
            raise ValueError(f"its tensors have {wanted:,} bytes, but the file has {stored:,}")
        return {str(name): tensor.array() for name, tensor in state.items()}
    except Exception as error:  # damaged pickles raise many types of errors
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
        raise ValueError(f"{file} cannot be read as PyTorch weights: {reason}") from None


class _Tensor:
    """A view of a storage, which may be read later."""

    def __init__(self, storage: _Storage, offset: int, size: tuple[int, ...], strides: tuple[int, ...], *_: Any):
        self.storage, self.offset, self.size, self.strides = storage, offset, size, strides

    def array(self) -> np.ndarray:
        values = np.frombuffer(self.storage.data, self.storage.dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.size, self.strides, strict=True))
        if min(self.offset, 0, *self.size, *self.strides) < 0 or (0 not in self.size and last >= len(values)):
            raise ValueError(f"a tensor of shape {self.size} exceeds its storage of {len(values)} numbers")
        strides = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.size, strides).copy()


class _Storage:
    """Bytes and their dtype."""

    def __init__(self, dtype: np.dtype, data: bytes = b""):
        self.dtype, self.data = dtype, data


class _Unpickler(pickle.Unpickler):
    """Resolves only the names that a state dict needs."""

    def __init__(self, stream: BinaryIO, find_storage: Callable[[str, np.dtype], _Storage]):
        super().__init__(stream)
        self.find_storage = find_storage

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f"{module_name}.{global_name}"
        if module_name == "torch" and global_name in _TYPES:
            return _TYPES[global_name]
        if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):  # the first before 0.4
            return _Tensor
        if name == "torch._utils._rebuild_parameter":
            return lambda tensor, requires_grad, hooks: tensor
        if name == "collections.OrderedDict":
            return collections.OrderedDict
        raise ValueError(f"it asks for {name}, but only tensors are read")

    def persistent_load(self, pid: Any, /) -> _Storage:
        _, dtype, key, *_ = pid
        return self.find_storage(key, dtype)


def _read_zip(stream: BinaryIO) -> Any:
    with zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():  # PyTorch compresses nothing, and what is compressed has any size
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")
        (pickled,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are not little-endian")

        @functools.cache  # tensors may share a storage
        def find_storage(key: str, dtype: np.dtype) -> _Storage:
            return _Storage(dtype, archive.read(f"{folder}data/{key}"))

        return _Unpickler(io.BytesIO(archive.read(pickled)), find_storage).load()


def _read_legacy(stream: BinaryIO) -> Any:
    stream.seek(0)
    storages: dict[str, _Storage] = {}
    load = lambda: _Unpickler(stream, lambda key, dtype: storages.setdefault(key, _Storage(dtype))).load()
    if load() != _MAGIC:
        raise ValueError("it does not begin like a PyTorch file")
    _, system, state, keys = load(), load(), load(), load()
    if not system.get("little_endian", True):
        raise ValueError("its numbers are not little-endian")
    for key in keys:
        storage, count = storages[key], int.from_bytes(stream.read(8), "little")
        storage.data = stream.read(count * storage.dtype.itemsize)
    return state


def torch_weights_bytes(tensors: Mapping[str, np.ndarray], *, software: str = "jaxgan") -> bytes:
    """The file that `torch.load` reads as a state dict of these tensors, in the format of PyTorch 1.6 and later.

    Args:
      tensors: float32 and int64 arrays by name, with axes in PyTorch's order.
      software: what wrote the file, said inside it.
    """
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:  # uncompressed, as PyTorch wants it
        items = []
        for index, (name, tensor) in enumerate(tensors.items()):
            kind = "LongStorage" if tensor.dtype == np.int64 else "FloatStorage"
            values = np.asarray(tensor, _TYPES[kind], order="C")
            archive.writestr(f"archive/data/{index}", values.tobytes())
            strides = [stride // values.itemsize for stride in values.strides]
            items.append(_text(name) + _pickled_tensor(kind, index, values.size, tensor.shape, strides))
        archive.writestr("archive/data.pkl", b"\x80\x02}(" + b"".join(items) + b"u.")
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/software", software)
    return output.getvalue()


def _pickled_tensor(kind: str, index: int, count: int, shape: Sequence[int], strides: Sequence[int]) -> bytes:
    """`torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())` in pickle's protocol 2."""
    storage = b"(" + _text("storage") + f"ctorch\n{kind}\n".encode() + _text(str(index)) + _text("cpu")
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = storage + _int(count) + b"tQ" + _int(0) + _tuple(shape) + _tuple(strides) + b"\x89" + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def _int(value: int) -> bytes:
    return b"J" + int(value).to_bytes(4, "little")


def _tuple(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(_int, values)) + b"t"
