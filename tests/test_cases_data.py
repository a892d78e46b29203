"""Bugs that others met in public GAN code, by number, where images come in; the others are in test_cases."""

import os
import sys

import jax
import numpy as np
import optax
import pytest
import tensorflow_datasets as tfds
from flax import linen as nn
from PIL import Image
from tiny_tfds import numbered, png, prepare

from jaxgan.algorithms.gan import make_gan
from jaxgan.data.folder import image_files
from jaxgan.data.pipeline import DeviceBatches, StreamedBatches, configured_batches, image_batches
from jaxgan.data.sources import images, open_images
from jaxgan.losses import LOSSES
from jaxgan.networks.linen import from_linen
from jaxgan.pixels import to_uint8
from jaxgan.runs import cli
from jaxgan.runs.config import ImageConfig

RANDOM = np.random.default_rng(0)


def pixels(*shape):
    return RANDOM.integers(256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_case_1_sixteen_bit_grey_is_scaled_by_65535(channels, tmp_path):
    """16-bit PNGs loaded through an 8-bit path came out saturated or black."""
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
def test_case_2_every_kind_of_file_in_one_folder(channels, resident_mib, tmp_path):
    """Grey, palette or RGBA files in a colour folder crashed late; transparent pixels showed hidden colours."""
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


def test_case_4_names_links_and_litter(tmp_path):
    """Litter crashed the loader; upper-case names and links were passed over; one truncated file killed a run."""
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
def test_case_5_folders_without_images(dataset, split, message, resident_mib, tmp_path, monkeypatch, capsys):
    """A wrong or empty folder gave a misleading message, or a run that finished happily with zero steps."""
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


GREY = {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=20)}


def test_case_7_splits_and_features_that_are_not_there(tmp_path):
    """Split names differ per data set, and a wanted feature was absent, without a word of what there is."""
    prepare(tmp_path, "mine", GREY, {"train": numbered(20)})
    with pytest.raises(ValueError, match=r"no split 'validation': there are train \(20 examples\)"):
        images("mine", "validation", data_dir=tmp_path)
    with pytest.raises(ValueError, match="is empty"):
        images("mine", "train[:1%]", data_dir=tmp_path)
    prepare(tmp_path, "other", {"img": GREY["image"]}, {"train": [{"img": one["image"]} for one in numbered(3)]})
    with pytest.raises(ValueError, match="no feature 'image': there are img"):
        images("other", data_dir=tmp_path)


def test_case_7_disjoint_slices_do_not_meet(tmp_path):
    """Validation and training overlapped where a shuffled stream was cut."""
    prepare(tmp_path, "mine", GREY, {"train": numbered(20)})
    both = []
    for _ in range(2):
        parts = [images("mine", split, data_dir=tmp_path) for split in ("train[:70%]", "train[70%:]")]
        hashes = [{hash(one.tobytes()) for one in part["image"]} for part in parts]
        assert [len(part) for part in hashes] == [14, 6]
        assert not hashes[0] & hashes[1]
        both.append(hashes)
    assert both[0] == both[1]


def test_case_7_images_of_another_form_than_asked_for(tmp_path):
    """16-bit images, grey ones where colour was asked for, and unequal sizes in one data set."""
    deep = {"image": tfds.features.Image(shape=(1, 4, 1), dtype=np.uint16)}
    prepare(tmp_path, "deep", deep, {"train": [{"image": png(np.array([[0, 256, 32768, 65535]], np.uint16))}]})
    found = images("deep", data_dir=tmp_path)["image"]
    np.testing.assert_allclose(found.ravel(), [-1.0, -0.99219, 0.0000153, 1.0], atol=1e-4)

    prepare(tmp_path, "mine", GREY, {"train": numbered(4)})
    found = images("mine", data_dir=tmp_path, channels=3)["image"]
    assert found.shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])

    uneven = {"image": tfds.features.Image(shape=(None, None, 3))}
    sizes = [(8, 8, 3), (9, 7, 3), (30, 20, 3)]
    prepare(tmp_path, "uneven", uneven, {"train": [{"image": png(pixels(*size))} for size in sizes]})
    assert images("uneven", data_dir=tmp_path, image_size=8)["image"].shape == (3, 8, 8, 3)
    with pytest.raises(ValueError, match=r"uneven train, example \d has .* give an image_size"):
        images("uneven", data_dir=tmp_path)
