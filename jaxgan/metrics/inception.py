"""The Inception network of the FID, with the weights published by its authors in 2015.

It is Inception v3 (Szegedy et al. 2015, arXiv:1512.00567) as in TensorFlow's graph of 2015-12-05. It differs from
torchvision's: 1,008 classes, average pooling that excludes the padding, and max pooling in the last block. FID, KID and
Inception score are defined by this network.

The weights are a PyTorch copy of that graph, `pt_inception-2015-12-05-6726825d.pth` of github.com/mseitzer/pytorch-fid.
"""

from __future__ import annotations

import hashlib
import io
import os
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike

from jaxgan import files
from jaxgan.devices.compilation_cache import cache_folder
from jaxgan.messages import note
from jaxgan.metrics.extract import RESIZERS, resize
from jaxgan.metrics.protocol import weights_hash
from jaxgan.networks.convolutions import Conv
from jaxgan.networks.torch_weights import read_torch_weights
from jaxgan.types import Params

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
SIZE = 299


class _Block(nn.Module):
    """Base class of the blocks: chains of convolutions (with batch norm folded in), each followed by a ReLU."""

    def chain(self, maps: Array, *layers: tuple) -> Array:
        """Applies layers, given as (name, features, kernel size) and optionally strides (1) and padding ('SAME')."""
        for name, features, kernel, *rest in layers:
            maps = nn.relu(Conv(features, kernel, *rest, name=name)(maps))
        return maps


def _mean_pool(maps: Array) -> Array:
    return nn.avg_pool(maps, (3, 3), padding="SAME", count_include_pad=False)


def _max_pool(maps: Array) -> Array:
    return nn.max_pool(maps, (3, 3), padding="SAME")


def _halve(maps: Array) -> Array:
    return nn.max_pool(maps, (3, 3), (2, 2))


def _join(*branches: Array) -> Array:
    return jnp.concatenate(branches, axis=-1)


class _BlockA(_Block):
    pool_features: int

    @nn.compact
    def __call__(self, maps: Array) -> Array:
        return _join(
            self.chain(maps, ("branch1x1", 64, 1)),
            self.chain(maps, ("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
            self.chain(maps, ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
            self.chain(_mean_pool(maps), ("branch_pool", self.pool_features, 1)),
        )


class _BlockB(_Block):
    @nn.compact
    def __call__(self, maps: Array) -> Array:
        half = (2, "VALID")
        return _join(
            self.chain(maps, ("branch3x3", 384, 3, *half)),
            self.chain(maps, ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, *half)),
            _halve(maps),
        )


class _BlockC(_Block):
    width: int

    @nn.compact
    def __call__(self, maps: Array) -> Array:
        width, row, column = self.width, (1, 7), (7, 1)
        return _join(
            self.chain(maps, ("branch1x1", 192, 1)),
            self.chain(maps, ("branch7x7_1", width, 1), ("branch7x7_2", width, row), ("branch7x7_3", 192, column)),
            self.chain(
                maps,
                ("branch7x7dbl_1", width, 1),
                ("branch7x7dbl_2", width, column),
                ("branch7x7dbl_3", width, row),
                ("branch7x7dbl_4", width, column),
                ("branch7x7dbl_5", 192, row),
            ),
            self.chain(_mean_pool(maps), ("branch_pool", 192, 1)),
        )


class _BlockD(_Block):
    @nn.compact
    def __call__(self, maps: Array) -> Array:
        half = (2, "VALID")
        return _join(
            self.chain(maps, ("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, *half)),
            self.chain(
                maps,
                ("branch7x7x3_1", 192, 1),
                ("branch7x7x3_2", 192, (1, 7)),
                ("branch7x7x3_3", 192, (7, 1)),
                ("branch7x7x3_4", 192, 3, *half),
            ),
            _halve(maps),
        )


class _BlockE(_Block):
    pool: Callable[[Array], Array]

    @nn.compact
    def __call__(self, maps: Array) -> Array:
        row, column = (1, 3), (3, 1)
        short = self.chain(maps, ("branch3x3_1", 384, 1))
        long = self.chain(maps, ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3))
        return _join(
            self.chain(maps, ("branch1x1", 320, 1)),
            self.chain(short, ("branch3x3_2a", 384, row)),
            self.chain(short, ("branch3x3_2b", 384, column)),
            self.chain(long, ("branch3x3dbl_3a", 384, row)),
            self.chain(long, ("branch3x3dbl_3b", 384, column)),
            self.chain(self.pool(maps), ("branch_pool", 192, 1)),
        )


class FIDInception(_Block):
    """Images `[B, H, W, 3]` of at least 75 pixels, in [-1, 1], to 2,048 features `[B, 2048]` and logits `[B, 1008]`.

    Layers have PyTorch's names. The logits have no bias, as in the original Inception score.
    """

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        maps = self.chain(
            images,
            ("Conv2d_1a_3x3", 32, 3, 2, "VALID"),
            ("Conv2d_2a_3x3", 32, 3, 1, "VALID"),
            ("Conv2d_2b_3x3", 64, 3),
        )
        maps = self.chain(_halve(maps), ("Conv2d_3b_1x1", 80, 1), ("Conv2d_4a_3x3", 192, 3, 1, "VALID"))
        maps = _BlockA(32, name="Mixed_5b")(_halve(maps))
        maps = _BlockA(64, name="Mixed_5c")(maps)
        maps = _BlockA(64, name="Mixed_5d")(maps)
        maps = _BlockB(name="Mixed_6a")(maps)
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            maps = _BlockC(width, name=name)(maps)
        maps = _BlockD(name="Mixed_7a")(maps)
        maps = _BlockE(_mean_pool, name="Mixed_7b")(maps)
        maps = _BlockE(_max_pool, name="Mixed_7c")(maps)
        features = maps.mean(axis=(1, 2))
        return features, nn.Dense(1008, use_bias=False, name="fc")(features)


class Inception(NamedTuple):
    """The network with its weights, for `jaxgan.metrics.extract`.

    Attributes:
      features: uint8 images `[B, H, W, C]`, grey or RGB, to features `[B, 2048]`.
      probabilities: features `[B, 2048]` to class probabilities `[B, 1008]`, for the Inception score.
      weights: SHA-256 of the weights, for the `Stamp`.
      resizer: the method that resizes images to 299 pixels.
    """

    features: Callable[[Array], Array]
    probabilities: Callable[[ArrayLike], Array]
    weights: str
    resizer: str


def load_inception(file: str | os.PathLike[str] | None = None, *, resizer: str = "antialiased") -> Inception:
    """The FID Inception network, with weights from a file, from the cache, or downloaded.

    Pixels become `(x - 128) / 128` after resizing, as in the original graph, clean-fid and torch-fidelity. pytorch-fid
    uses `x / 127.5 - 1` and another resizer, so its scores differ slightly.

    Args:
      file: `pt_inception-2015-12-05-6726825d.pth`; by default the file in `JAXGAN_CACHE` or `~/.cache/jaxgan`, which is
        downloaded if it is missing.
      resizer: `antialiased`, as in clean-fid, or `legacy`, as in the FID of 2017: see `jaxgan.metrics.extract.resize`.

    Returns:
      The `Inception`.

    Raises:
      ValueError: an unknown resizer, or a file without these weights.
      OSError: the file is missing and cannot be downloaded.
    """
    if resizer not in RESIZERS:
        raise ValueError(f"unknown resizer {resizer!r}: there are {', '.join(RESIZERS)}")
    params = convert_weights(read_torch_weights(io.BytesIO(_downloaded()) if file is None else file))
    weights, params = weights_hash(params), jax.tree.map(jnp.asarray, params)
    apply = jax.jit(partial(_features, resizer))

    def features(images: Array) -> Array:
        with jax.default_matmul_precision("highest"):  # otherwise a GPU rounds to 10 bits, which would change scores
            return apply(params, images)

    def probabilities(features: ArrayLike) -> Array:
        with jax.default_matmul_precision("highest"):
            return jax.nn.softmax(jnp.asarray(features) @ params["fc"]["kernel"])

    return Inception(features, probabilities, weights, resizer)


def _features(resizer: str, params: Params, images: Array) -> Array:
    resized = resize(jnp.broadcast_to(images, (*images.shape[:3], 3)), SIZE, resizer)
    outputs: Any = FIDInception().apply({"params": params}, (resized - 128.0) / 128.0)
    return outputs[0]


def convert_weights(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Converts PyTorch's weights to the parameters of `FIDInception`, with batch norms folded into convolutions.

    With `scale = weight / sqrt(var + 0.001)`, the kernel is multiplied by `scale`, and the bias is `bias - mean *
    scale`.

    Args:
      tensors: arrays by PyTorch's names; other names are ignored.

    Returns:
      Parameters, float32.

    Raises:
      ValueError: an array is missing or has another shape; the message names it.
    """
    shapes = jax.eval_shape(FIDInception().init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))["params"]

    def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in tensors:
            raise ValueError(f"these are not the weights of the FID Inception network: {name} is missing")
        if tensors[name].shape != shape:
            raise ValueError(f"{name} has shape {tensors[name].shape}, but {shape} in the FID Inception network")
        return np.asarray(tensors[name], np.float64)

    def convert(path: str, shapes: Mapping[str, Any]) -> dict[str, Any]:
        if "kernel" not in shapes:
            return {name: convert(f"{path}.{name}".lstrip("."), inner) for name, inner in shapes.items()}
        shape = shapes["kernel"].shape
        if path == "fc":
            return {"kernel": np.float32(tensor("fc.weight", shape[::-1]).T)}
        weight = tensor(f"{path}.conv.weight", (shape[3], shape[2], *shape[:2]))
        scale, bias, mean, var = (
            tensor(f"{path}.bn.{name}", shape[3:]) for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(var + 1e-3)
        return {"kernel": np.float32(weight.transpose(2, 3, 1, 0) * scale), "bias": np.float32(bias - mean * scale)}

    return convert("", shapes)


def _downloaded() -> bytes:
    """The file of the weights from the cache; downloaded if it is missing or damaged."""
    name, folder = URL.rpartition("/")[2], cache_folder()
    file = None if folder is None else folder / name
    if file is not None and file.exists():
        if _is_whole(data := files.read(file)):
            return data
        note(f"{file} is damaged: the FID Inception weights are downloaded again")
    try:
        with urllib.request.urlopen(URL, timeout=30) as response:
            data = response.read()
    except OSError as error:
        message = (
            f"the FID Inception weights are not in {folder or 'a cache'} and cannot be downloaded ({error}): get {URL}"
        )
        raise OSError(f"{message} by other means, and put it there or give its path") from None
    if not _is_whole(data):
        expected, found = _expected(), hashlib.sha256(data).hexdigest()
        raise OSError(f"{URL} has SHA-256 {found}, which does not begin with {expected}: the download is not used")
    try:
        if file is None:
            raise OSError("there is no home folder")
        files.write(file, data)
    except OSError as error:
        note(f"the FID Inception weights are not cached ({error}): set JAXGAN_CACHE to a writable folder")
    return data


def _expected() -> str:
    """The first digits of the SHA-256, which are part of the file's name."""
    return URL.removesuffix(".pth").rpartition("-")[2]


def _is_whole(data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest().startswith(_expected())
