"""The files of a folder of images: their kinds, names and links, and folders without any."""

import os
import sys

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from PIL import Image

from jaxgan.algorithms.gan import make_gan
from jaxgan.data.folder import image_files
from jaxgan.data.pipeline import DeviceBatches, StreamedBatches, configured_batches, image_batches
from jaxgan.data.sources import images, open_images
from jaxgan.losses import LOSSES
from jaxgan.networks.linen import from_linen
from jaxgan.pixels import to_uint8
from jaxgan.runs import cli
from jaxgan.runs.image_config import ImageConfig

RANDOM = np.random.default_rng(0)


def pixels(*shape):
    return RANDOM.integers(256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_grey_is_scaled_by_65535(channels, tmp_path):
    """junyanz/pytorch-CycleGAN-and-pix2pix#321: 16-bit PNGs came out black."""
    Image.fromarray(np.array([[0, 256, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    data = images(f"folder:{tmp_path}", channels=channels)
    source = open_images(f"folder:{tmp_path}", channels=channels)
    expected = np.repeat(np.array([-1.0, -0.99219, 0.0000153, 1.0])[:, None], channels, axis=1)
    for batches in (DeviceBatches(data, batch_size=1), StreamedBatches(source, batch_size=1)):
        (batch,) = batches(0)
        np.testing.assert_allclose(batch["image"], expected[None, None], atol=1e-4)


def kinds(folder):
    """One file of every kind, 32x32; where it can say so, pixel A, at the top left, is red, and B beside it blue."""
    colour = pixels(32, 32, 3)
    colour[0, :2] = (255, 0, 0), (0, 0, 255)
    hidden = np.dstack([colour, np.full((32, 32), 255, np.uint8)])
    hidden[0, 0, 3] = 0
    palette = Image.fromarray((np.arange(1024).reshape(32, 32) % 2).astype(np.uint8)).convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(folder / "palette.png")
    for mode in ("RGB", "L", "LA", "1"):
        Image.fromarray(colour).convert(mode).save(folder / f"{mode}.png")
    Image.fromarray(colour).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(hidden).save(folder / "rgba.png")


class Generator(nn.Module):
    channels: int

    @nn.compact
    def __call__(self, latents, *, train):
        return nn.tanh(nn.Dense(32 * 32 * self.channels)(latents)).reshape(-1, 32, 32, self.channels)


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(1)(images.reshape(len(images), -1))[:, 0]


@pytest.mark.parametrize("resident_mib", [0, 1])
@pytest.mark.parametrize("channels", [3, 1])
def test_every_kind_of_file_in_one_folder(channels, resident_mib, tmp_path):
    """eriklindernoren/PyTorch-GAN#39: a few grey files in a folder of colour ended a run."""
    kinds(tmp_path)
    options = {"image_size": 32, "channels": channels}
    batches = image_batches(f"folder:{tmp_path}", batch_size=3, resident_mib=resident_mib, **options)
    gan = make_gan(
        from_linen(Generator(channels)),
        from_linen(Discriminator()),
        loss=LOSSES["hinge"],
        g_tx=optax.sgd(0.1),
        d_tx=optax.sgd(0.1),
        latent_dim=2,
    )
    state = gan.init(jax.random.key(0), batches(0)[0])
    for step in range(4):  # two epochs
        assert batches(step)[0]["image"].shape == (3, 32, 32, channels)
        state, metrics = gan.train_step(state, batches(step))
    assert np.isfinite(metrics["d_loss"])
    assert jax.tree.leaves(state.discriminator.params)[1].shape == (32 * 32 * channels, 1)

    names = [os.path.basename(file) for file in image_files(tmp_path)]
    found = dict(zip(names, images(f"folder:{tmp_path}", **options)["image"], strict=True))
    red, blue, white = ((255, 0, 0), (0, 0, 255), (255,) * 3) if channels == 3 else ((76,), (29,), (255,))  # luma
    assert (found["palette.png"][0, 0].tolist(), found["palette.png"][0, 1].tolist()) == (list(red), list(blue))
    assert (found["rgba.png"][0, 0].tolist(), found["rgba.png"][0, 1].tolist()) == (list(white), list(blue))
    assert set(found["1.png"].ravel()) == {0, 255}


def test_names_links_and_litter(tmp_path):
    """GaParmar/clean-fid#37: names in upper case were passed over."""
    folder, other = tmp_path / "folder", tmp_path / "other"
    for i, path in enumerate(["a.jpg", "b.JPG", "c.Jpeg", "d.png", "sub/e.PNG", "../other/g.jpg"], start=1):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(folder / path)
    (folder / "link_f.jpg").symlink_to(folder / "a.jpg")
    (folder / "linkdir").symlink_to(other)
    for litter in (".DS_Store", "._a.jpg", "Thumbs.db", "notes.txt"):
        (folder / litter).write_bytes(b"junk")

    name, expected = f"folder:{folder}", [20, 40, 60, 80, 20, 120, 100]  # a b c d link_f linkdir/g sub/e
    options = {"batch_size": 7, "image_size": 8, "channels": 3}
    for _ in range(2):
        assert images(name)["image"][:, 4, 4, 0].tolist() == expected
        for resident_mib in (0, 1):
            batches = image_batches(name, resident_mib=resident_mib, **options)
            assert sorted(to_uint8(batches(0)[0]["image"])[:, 4, 4, 0].tolist()) == sorted(expected)

    (folder / "h.jpg").symlink_to(folder / "gone.jpg")
    for resident_mib in (0, 1):
        with pytest.raises(ValueError, match=r"folder/h\.jpg is a link whose target does not exist$"):
            image_batches(name, resident_mib=resident_mib, **options)
    (folder / "h.jpg").unlink()

    Image.fromarray(pixels(64, 64, 3)).save(folder / "t.jpg")
    whole = (folder / "t.jpg").read_bytes()
    (folder / "t.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"folder/t\.jpg: image file is truncated"):  # before any step
        image_batches(name, **options)
    streamed = image_batches(name, resident_mib=0, **options)
    with pytest.raises(ValueError, match=r"folder/t\.jpg: image file is truncated"):  # where it is met
        for step in range(5):
            streamed(step)


@pytest.mark.parametrize(
    ("dataset", "split", "message"),
    [
        ("folder:none", "train", "none does not exist, but a folder was expected"),
        ("folder:empty", "train", "empty holds 0 images"),
        ("folder:notes", "train", "notes holds 0 images"),
        ("folder:three", "train", "folder:three has 3 examples, fewer than one batch of 8"),
        ("folder:unpaired", "trainB", "split 'trainB' of folder:unpaired is empty"),
        ("folder:notes/notes.txt", "train", "notes/notes.txt is a file, but a folder was expected"),
        ("none.npy", "train", "none.npy cannot be read"),
    ],
)
@pytest.mark.parametrize("resident_mib", [0, 1])
def test_folders_without_images(dataset, split, message, resident_mib, tmp_path, monkeypatch, capsys):
    """eriklindernoren/PyTorch-GAN#99: a wrong folder was an error about the number of samples."""
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "notes", "three", "unpaired/trainA", "unpaired/trainB"):
        os.makedirs(folder)
    with open("notes/notes.txt", "w"):
        pass
    for path in ("three/1.png", "three/2.png", "three/3.png", "unpaired/trainA/1.png"):
        Image.fromarray(pixels(8, 8, 3)).save(path)
    arguments = ["--dataset", dataset, "--split", split, "--batch-size", "8", "--resident-mib", str(resident_mib)]
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(ImageConfig, configured_batches)
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
