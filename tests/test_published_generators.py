"""Generators of pytorch-CycleGAN-and-pix2pix from files of their weights, against recorded outputs of PyTorch.

`record_published_reference.py` recorded names, shapes and outputs with torch 2.13.0 (CPU) on 2026-12-01.
"""

import io
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from published_values import numbers, size_of, value
from small_domains import save
from test_image_to_image import images

from experiments import translate
from jaxgan.data.folder import read_image
from jaxgan.networks.image_to_image import residual_generator, unet_generator
from jaxgan.networks.published_generators import published_weights, read_published_generator
from jaxgan.networks.torch_weights import torch_weights_bytes
from jaxgan.pixels import from_uint8, to_uint8

RECORDED = json.loads(Path(__file__).with_name("published_generators.json").read_text())


def tensors_of(name):
    shapes = RECORDED[name]["shapes"].items()
    drawn = {key: value(index, key, shape) if shape else np.array(0) for index, (key, shape) in enumerate(shapes)}
    return drawn


def read(tensors):
    return read_published_generator(io.BytesIO(torch_weights_bytes(tensors)))


def applied(found, pictures):
    apply = jax.jit(lambda params, x: found.network.apply(params, found.model_state, x, train=False)[0])
    return np.asarray(apply(found.params, pictures))


def drawn(network, channels=3):
    shapes = jax.eval_shape(network.init, jax.random.key(0), images(0, 8, channels))
    return jax.tree.map(lambda leaf: np.random.default_rng(0).random(leaf.shape, np.float32), shapes)


@pytest.mark.parametrize("name", RECORDED)
def test_equal_to_pytorch(name):
    found = read(tensors_of(name))
    size = size_of(name)
    assert found.description == name.replace(", ", ", width 8, ")
    assert (found.size, found.channels) == (size if "unet" in name else 256, 1 if "6blocks, batch" in name else 3)
    output = applied(found, images(0, size, found.channels)[:1])
    np.testing.assert_allclose(numbers(output), RECORDED[name]["numbers"], atol=1e-4)


@pytest.mark.parametrize("name", ["resnet_9blocks, instance norm", "unet_128, instance norm"])
def test_written_weights_have_their_names_and_shapes(name):
    """And bring back the network they are of, whose biases before a norm are not there."""
    found = read(tensors_of(name))
    written = published_weights(found.params, found.model_state)
    assert {key: list(tensor.shape) for key, tensor in written.items()} == RECORDED[name]["shapes"]
    again = read(written)
    assert again.description == found.description
    jax.tree.map(np.testing.assert_array_equal, again.params, found.params)


def test_written_batch_norm():
    params, state = drawn(residual_generator(channels=1, width=4, blocks=1, norm="batch"), 1)
    found = read(published_weights(params, state))
    assert found.description == "resnet_1blocks, width 4, batch norm"
    jax.tree.map(np.testing.assert_array_equal, (found.params, found.model_state), (params, state))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (residual_generator(channels=3, width=4, blocks=1, upsampling="resize"), "no generator with upsampling=resize"),
        (residual_generator(channels=3, width=4, blocks=1, norm="layer"), "no generator with such norms"),
        (unet_generator(channels=3, width=4, levels=3, norm="batch"), r"no U-Net with such norms \(batch\)"),
    ],
)
def test_what_the_project_has_not(network, message):
    with pytest.raises(ValueError, match=message):
        published_weights(*drawn(network))


def without(tensors, name):
    return {key: tensor for key, tensor in tensors.items() if key != name}


def test_other_files():
    good, unet = tensors_of("resnet_6blocks, batch norm"), tensors_of("unet_128, instance norm")
    long = next(name for name in unet if name.count("model") == 8 and name.endswith("1.weight"))
    for tensors, message in (
        ({"fc.weight": np.zeros((2, 3), np.float32)}, "has no residual blocks and no U-Net, but fc.weight"),
        (without(good, "model.4.weight"), "model.4.weight, the kernel of a convolution, is missing"),
        (without(good, "model.11.conv_block.6.weight"), "model.11 has 1 convolutions, where a residual block has 2"),
        (without(good, "model.5.running_var"), "model.5.running_var is missing"),
        (
            {**good, "model.4.weight": np.zeros((16, 8, 5, 5), np.float32)},
            r"shape \[5, 5, 8, 16\], where \[3, 3, 8, 16",
        ),
        ({**good, "model.40.weight": np.zeros(3, np.float32)}, "model.40.weight do not belong to a resnet_6blocks"),
        ({**good, "model.4.weight": good["model.4.weight"] * np.float32(np.nan)}, "model.4.weight is not finite"),
        ({**unet, long: unet[long][:, :9]}, "where .* was expected"),
    ):
        with pytest.raises(ValueError, match=f"holds no generator of pytorch-CycleGAN-and-pix2pix: .*{message}"):
            read(tensors)


def test_a_folder_is_translated(tmp_path, capsys):
    """Of data parallel training, whose names begin with `module.`; in a folder with blanks and brackets."""
    tensors = tensors_of("resnet_6blocks, batch norm")
    file = tmp_path / "latest [net] G.pth"
    file.write_bytes(torch_weights_bytes({f"module.{name}": tensor for name, tensor in tensors.items()}))
    save(tmp_path / "in/x.png", (24, 32))
    options = {"input": str(tmp_path / "in"), "output": str(tmp_path / "out")}
    translate.main(translate.Config(weights=str(file), size="native", **options))
    assert "resnet_6blocks, width 8, batch norm" in capsys.readouterr().out
    pixels = read_image(tmp_path / "in/x.png", channels=1)
    expected = to_uint8(applied(read(tensors), from_uint8(pixels[None]))[0])
    assert np.abs(read_image(tmp_path / "out/x.png").astype(int) - expected).max() <= 1


def test_refused_flags(tmp_path):
    folders = {"input": "in", "output": "out"}
    for flags in ({}, {"run": "a", "weights": "b"}):
        with pytest.raises(ValueError, match=r"give either --run FOLDER or --weights FILE\.pth"):
            translate.Config(**flags, **folders)
    save(tmp_path / "in/x.png", (8, 8))
    folders = {"input": str(tmp_path / "in"), "output": str(tmp_path / "out")}
    for flags, message in (
        ({"noise": 1}, "--noise is for a --run"),
        ({"direction": "a_to_b"}, "--direction is for a --run"),
        ({"checkpoint": "best"}, "--checkpoint is for a --run"),
        ({}, r"none\.pth cannot be read as PyTorch weights: no such file"),
    ):
        with pytest.raises(ValueError, match=message):
            translate.main(translate.Config(weights=str(tmp_path / "none.pth"), **flags, **folders))
    assert not (tmp_path / "out").exists()
