"""The generators of junyanz/pytorch-CycleGAN-and-pix2pix, from files of their weights (`latest_net_G.pth`).

Residual generators (`resnet_9blocks`, `resnet_6blocks`) and U-Nets (`unet_128`, `unet_256`) of any width, with batch
norm, instance norm or none. The file holds tensors alone; what they belong to is found from their names and shapes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.networks.image_to_image import residual_generator, unet_generator
from jaxgan.networks.torch_weights import read_torch_weights
from jaxgan.types import ModelState, Network, Params

PROJECT = "pytorch-CycleGAN-and-pix2pix"
# PyTorch's name of each part of a layer or norm, without its place, and ours.
_LAYER = {"weight": "kernel", "bias": "bias"}
_BATCH_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
_LEFT_OUT = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")


class PublishedGenerator(NamedTuple):
    """A generator and its weights.

    Attributes:
      network: images `[B, H, W, C]` in [-1, 1] to images `[B, H, W, channels]` in [-1, 1].
      params: its parameters.
      model_state: its model state, the running statistics of batch norm if it has that.
      channels: channels C of its input.
      size: side of the images it is for: that in the name of a U-Net, 256 for a residual generator.
      description: such as `resnet_9blocks, width 64, instance norm`.
    """

    network: Network
    params: Params
    model_state: ModelState
    channels: int
    size: int
    description: str


def read_published_generator(file: str | os.PathLike[str] | BinaryIO) -> PublishedGenerator:
    """Reads a generator of pytorch-CycleGAN-and-pix2pix, without PyTorch and without executing code from the file.

    Biases before instance norm change nothing and are left out, and so are the running statistics of instance norm in
    files of PyTorch before 0.4. Dropout is not in the file, and the network has none.

    Args:
      file: path of a file in one of the formats of `read_torch_weights`, or the open file.

    Raises:
      ValueError: the file cannot be read, or its tensors are not those of such a generator; the message names the first
        that does not fit.

    Paper: Zhu et al. 2017, arXiv:1703.10593; Isola et al. 2017, arXiv:1611.07004.
    """
    found = {name.removeprefix("module."): value for name, value in read_torch_weights(file).items()}
    try:
        is_unet = any(name.startswith("model.model.") for name in found)
        return _read(found, *(_unet(found) if is_unet else _residual(found)))
    except ValueError as error:
        raise ValueError(f"{file} holds no generator of {PROJECT}: {error}") from None


class _Place(NamedTuple):
    """A layer in the file, with the norm that follows it, if any, and their names in our network."""

    layer: str
    name: tuple[str, ...]
    norm: str | None = None
    norm_name: tuple[str, ...] = ()


def published_weights(params: Params, model_state: ModelState) -> dict[str, np.ndarray]:
    """The tensors of a generator as pytorch-CycleGAN-and-pix2pix names them: the inverse of reading them.

    Args:
      params: parameters of a `residual_generator` or a `unet_generator`.
      model_state: its model state.

    Raises:
      ValueError: that project does not have such a generator: with upsampling by resizing, with another norm than batch
        or instance norm, or a U-Net with batch norm, whose outermost and innermost convolutions have no bias there.
    """
    is_unet, statistics = "down_0" in params, model_state.get("batch_stats", {})
    first = "up_1" if is_unet else "layer_0"
    norm = "batch" if statistics else "instance" if "bias" not in params[first] else "none or layer"
    if norm == "none or layer" or (is_unet and statistics):
        raise ValueError(f"{PROJECT} has no {'U-Net' if is_unet else 'generator'} with such norms ({norm})")
    if is_unet:
        places, _ = _unet_places(sum(name.startswith("down_") for name in params))
    else:
        if params["layer_3"]["kernel"].shape[2] > params["layer_3"]["kernel"].shape[3]:
            raise ValueError(f"{PROJECT} has no generator with upsampling=resize")
        places, _ = _residual_places([(1, 5)] * sum(name.startswith("block_") for name in params))
    tensors: dict[str, np.ndarray] = {}
    for place in places:
        here = _at(params, place.name)
        kernel = np.asarray(here["kernel"], np.float32).transpose(3, 2, 0, 1)
        tensors[f"{place.layer}.weight"] = kernel
        transposed = place.name[-1] in ("layer_3", "layer_4") or place.name[-1].startswith("up_")
        if not statistics or "bias" in here:  # theirs stands before instance norm, too, and changes nothing
            zeros = np.zeros(kernel.shape[1 if transposed else 0])
            tensors[f"{place.layer}.bias"] = np.asarray(here.get("bias", zeros), np.float32)
        if statistics and place.norm:
            for part, ours in _BATCH_NORM.items():
                tree = params if ours in ("scale", "bias") else statistics
                (found,) = _at(tree, place.norm_name).values()
                tensors[f"{place.norm}.{part}"] = np.asarray(found[ours], np.float32)
            tensors[f"{place.norm}.num_batches_tracked"] = np.array(0, np.int64)
    return tensors


def _residual(found: Mapping[str, np.ndarray]) -> tuple[list[_Place], str, dict[str, Any]]:
    """The layers of a `ResnetGenerator` in a file, its kind, and the arguments of ours."""
    matches = (re.match(r"model\.(\d+)\.conv_block\.", name) for name in found)
    blocks = sorted({int(match[1]) for match in matches if match})
    if blocks != [*range(10, 10 + len(blocks))] or "model.1.weight" not in found:
        raise ValueError(f"it has no residual blocks and no U-Net, but {_some(found)}")
    layers = []
    for block in blocks:
        kernels = (re.fullmatch(rf"model\.{block}\.conv_block\.(\d+)\.weight", name) for name in found)
        layers.append(sorted(int(match[1]) for match in kernels if match and found[match[0]].ndim == 4))
        if len(layers[-1]) != 2:
            raise ValueError(f"model.{block} has {len(layers[-1])} convolutions, where a residual block has 2")
    places, kind = _residual_places(layers)
    return places, kind, {"blocks": len(blocks)}


def _residual_places(blocks: Sequence[Sequence[int]]) -> tuple[list[_Place], str]:
    """From the numbers of both convolutions in each block; a norm stands right after its layer."""

    def place(layer: str, number: int, index: int, path: tuple[str, ...] = ()) -> _Place:
        return _Place(f"{layer}.{number}", (*path, f"layer_{index}"), f"{layer}.{number + 1}", (*path, f"norm_{index}"))

    places = [place("model", number, index) for index, number in enumerate((1, 4, 7))]
    for index, numbers in enumerate(blocks):
        inside, path = f"model.{10 + index}.conv_block", (f"block_{index}",)
        places += [place(inside, number, layer, path) for layer, number in enumerate(numbers)]
    after = 10 + len(blocks)
    places += [place("model", after, 3), place("model", after + 3, 4), _Place(f"model.{after + 7}", ("image",))]
    return places, f"resnet_{len(blocks)}blocks"


def _unet(found: Mapping[str, np.ndarray]) -> tuple[list[_Place], str, dict[str, Any]]:
    """The layers of a `UnetGenerator` in a file, its kind, and the arguments of ours."""
    levels = 1
    while any(name.startswith(f"{_prefix(levels)}.") for name in found):
        levels += 1
    places, kind = _unet_places(levels)
    return places, kind, {"levels": levels}


def _unet_places(levels: int) -> tuple[list[_Place], str]:
    places = []
    for level in range(levels):
        prefix, outermost, innermost = _prefix(level), level == 0, level == levels - 1
        down = _Place(f"{prefix}.{0 if outermost else 1}", (f"down_{level}",))
        if not (outermost or innermost):
            down = down._replace(norm=f"{prefix}.2", norm_name=(f"norm_down_{level}",))
        up = f"{prefix}.{3 if outermost or innermost else 5}"
        norm = f"{prefix}.{4 if innermost else 6}"
        places += [
            down,
            _Place(up, ("image",)) if outermost else _Place(up, (f"up_{level}",), norm, (f"norm_up_{level}",)),
        ]
    return places, f"unet_{2**levels}"


def _prefix(level: int) -> str:
    """Where the modules of a level of the U-Net stand: inside those of the level around it."""
    return "model.model" + ".1.model" * (level > 0) + ".3.model" * (level - 1)


def _read(
    found: Mapping[str, np.ndarray], places: list[_Place], kind: str, options: dict[str, Any]
) -> PublishedGenerator:
    for place in places:
        if found.get(f"{place.layer}.weight", np.empty(0)).ndim != 4:
            raise ValueError(f"{place.layer}.weight, the kernel of a convolution, is missing")
    image = next(place for place in places if place.name == ("image",))
    first, last = (found[f"{place.layer}.weight"] for place in (places[0], image))
    width, channels = first.shape[:2]
    normed = next(place for place in places if place.norm)
    affine, biased = f"{normed.norm}.weight" in found, f"{normed.layer}.bias" in found
    norm = "batch" if affine else "instance" if biased else "none"
    is_unet = "levels" in options
    make = unet_generator if is_unet else residual_generator
    network = make(channels=last.shape[1 if is_unet else 0], width=width, norm=norm, **options)
    size = 2 ** options["levels"] if is_unet else 256
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, size, size, channels)))
    params, model_state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)  # a bias may be missing
    used = _fill(found, places, params, model_state.get("batch_stats", {}))
    if unknown := [name for name in found if name not in used and not _LEFT_OUT.search(name)]:
        raise ValueError(f"{_some(unknown)} do not belong to a {kind}")
    return PublishedGenerator(network, params, model_state, channels, size, f"{kind}, width {width}, {norm} norm")


def _fill(
    found: Mapping[str, np.ndarray], places: list[_Place], params: Params, statistics: dict[str, Any]
) -> set[str]:
    """Fills parameters and batch norm's statistics in place; returns the names of the tensors that have a place."""
    used = set()
    for place in places:
        inside = _at(params, place.name)
        for part, ours in _LAYER.items():
            name = f"{place.layer}.{part}"
            if name in found:
                used.add(name)
                if ours in inside:  # without the biases before instance norm
                    value = found[name].transpose(2, 3, 1, 0) if ours == "kernel" else found[name]
                    _put(inside, ours, value, name)
        if place.norm is None or not (here := _at(params, place.norm_name)):
            continue
        (batch_norm,) = here  # flax's module within ours
        for part, ours in _BATCH_NORM.items():
            name = f"{place.norm}.{part}"
            if name not in found:
                raise ValueError(f"{name} is missing")
            used.add(name)
            tree = params if ours in ("scale", "bias") else statistics
            _put(_at(tree, (*place.norm_name, batch_norm)), ours, found[name], name)
    return used


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree.get(key, {})
    return tree


def _put(tree: dict[str, Any], ours: str, value: np.ndarray, name: str) -> None:
    if tree[ours].shape != value.shape:
        raise ValueError(f"{name} has shape {list(value.shape)}, where {list(tree[ours].shape)} was expected")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} is not finite")
    tree[ours] = np.asarray(value, np.float32)


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if names[3:] else "")
