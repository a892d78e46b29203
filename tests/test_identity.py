"""Identity of data: equal data have equal digests wherever they are stored, different data have different ones."""

import os
import shutil
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tiny_tfds import numbered, png, prepare

from jaxgan.data.captions import captioned_images
from jaxgan.data.domains import TwoDomains
from jaxgan.data.identity import digest, of_arrays, of_files, spread
from jaxgan.data.pipeline import DeviceBatches, StreamedBatches, image_batches
from jaxgan.data.sources import open_images

RANDOM = np.random.default_rng(0)


def write(folder, names, *, level=0):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), level, np.uint8)).save(folder / name)


def identity(name, **options):
    return open_images(name, **options).identity()


def test_a_folder_is_the_same_wherever_it_lies(tmp_path, monkeypatch):
    write(tmp_path / "data", ["cat/a.png", "dog/b.png", "dog/\u00e9.png"])
    monkeypatch.chdir(tmp_path)
    before = identity("folder:data")
    shutil.copytree("data", "moved/again")
    (tmp_path / "link").symlink_to("data")
    for name in ("folder:data/", "folder:./data", f"folder:{tmp_path}/data", "folder:moved/again", "folder:link"):
        assert identity(name) == before
    os.rename("data/dog/\u00e9.png", "data/dog/e\u0301.png")  # as macOS writes it
    assert identity("folder:data") == before


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda folder: os.truncate(folder / "cat/a.png", 5000), {"file sizes"}),
        (lambda folder: os.rename(folder / "cat/a.png", folder / "cat/c.png"), {"file names"}),
        (lambda folder: os.rename(folder / "dog/b.png", folder / "cat/b.png"), {"file names", "labels"}),
        (lambda folder: write(folder, ["bee/a.png"]), {"file names", "file sizes", "labels"}),
    ],
)
def test_a_folder_with_other_files_is_another(tmp_path, change, differs):
    write(tmp_path, ["cat/a.png", "dog/b.png", "dog/d.png"])
    before = identity(f"folder:{tmp_path}")
    change(tmp_path)
    after = identity(f"folder:{tmp_path}")
    assert {name for name in before if before[name] != after[name]} == differs


def test_a_look_at_each_file_is_cheap(tmp_path, monkeypatch):
    """A second for 100,000 of them, so 20 ms for 2,000; ten times that is allowed for a busy machine."""
    for number in range(2000):
        (tmp_path / f"{number}.png").touch()
    files = [str(tmp_path / f"{number}.png") for number in range(2000)]
    start = time.perf_counter()
    of_files(files, files)
    assert time.perf_counter() - start < 0.2


def test_an_array_is_known_by_what_it_holds(tmp_path):
    pixels = RANDOM.integers(256, size=(6, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    np.savez(tmp_path / "b.npz", image=pixels)
    np.savez(tmp_path / "c.npz", image=pixels, label=np.arange(6))
    np.save(tmp_path / "d.npy", pixels[::-1])
    a, b, c, d = (identity(str(tmp_path / name)) for name in ("a.npy", "b.npz", "c.npz", "d.npy"))
    assert a == b and a != d and set(c) - set(a) == {"shape of labels", "labels"}


def test_large_arrays_are_known_by_a_part(monkeypatch):
    monkeypatch.setattr("jaxgan.data.identity.MOST_BYTES", 100)
    values = np.arange(1000)
    other = values.copy()
    other[999] = 0
    assert of_arrays({"x": values}) == of_arrays({"x": values.copy()}) != of_arrays({"x": other})
    assert spread(1000, 3).tolist() == [0, 500, 999]


def test_lengths_count():
    assert digest(["ab", "c"]) != digest(["a", "bc"]) != digest(["abc"])
    assert digest(["\udcff"]) == digest(["\udcff"])  # a name that is no UTF-8


FEATURES = {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=20)}


def test_prepared_sets_are_known_by_name_version_and_content(tmp_path):
    for place, name, version, examples in (
        ("a", "mine", "1.0.0", numbered(4)),
        ("b", "mine", "1.0.0", numbered(4)),
        ("c", "mine", "1.0.1", numbered(4)),
        ("d", "mine", "1.0.0", [{"image": png(np.full((8, 8), 9, np.uint8)), "label": 1} for _ in range(4)]),
        ("e", "yours", "1.0.0", numbered(4)),
    ):
        prepare(tmp_path / place, name, FEATURES, {"train": examples}, version=version)
    a, b, c, d = (identity("mine", data_dir=tmp_path / place) for place in "abcd")
    e = identity("yours", data_dir=tmp_path / "e")
    assert a == b and len({str(one) for one in (a, c, d, e)}) == 4
    assert a["data set"] == "mine/1.0.0"


def test_batches_say_which_data_they_are_of(tmp_path):
    write(tmp_path / "data", [f"{name}.png" for name in "abcd"])
    name, options = f"folder:{tmp_path / 'data'}", {"batch_size": 2, "image_size": 4, "channels": 1}
    expected = identity(name)
    for mib, kind in ((1, DeviceBatches), (0, StreamedBatches)):
        batches = image_batches(name, resident_mib=mib, **options)
        assert isinstance(batches, kind) and batches.identity == expected
    both = TwoDomains(batches, batches).identity
    assert both["file names of domain a"] == expected["file names"] and len(both) == 2 * len(expected)

    own = DeviceBatches(RANDOM.integers(256, size=(4, 2, 2, 1), dtype=np.uint8), batch_size=2).identity
    assert set(own) == {"shape of image", "image"}
    points, others = (DeviceBatches(RANDOM.normal(size=(4, 2)), batch_size=2).identity for _ in range(2))
    assert points["shape of image"] == others["shape of image"] == "float32 [2]"
    assert points["values of image"] != others["values of image"]  # floats are known, too, but to three digits
    values = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 1.0]], np.float32)
    assert of_arrays({"x": values * (1 + 1e-6)})["values of x"] == "3.54 0 1"


def test_captions_count(tmp_path):
    write(tmp_path, ["a.png", "b.png"])
    (tmp_path / "a.txt").write_text("a bird")
    (tmp_path / "b.txt").write_text("a dog")
    before = captioned_images(f"folder:{tmp_path}")["identity"]()
    (tmp_path / "b.txt").write_text("a cat")
    after = captioned_images(f"folder:{tmp_path}")["identity"]()
    assert {name for name in before if before[name] != after[name]} == {"captions"}
