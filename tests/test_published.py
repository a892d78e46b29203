"""TFDS's own data sets, prepared from the files their authors publish, without TensorFlow."""

import gzip
import io
import struct
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxgan.data.builders import published
from jaxgan.data.sources import images

# The first labels of the training files that the authors publish; Fashion-MNIST's read off Debian's copy, MNIST's
# known from every tutorial (5, 0, 4, 1, 9).
FIRST = {"mnist": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], "fashion_mnist": [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]}


def idx(array):
    """The format as Yann LeCun's page describes it."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, name, *, before="", after=""):
    """12 training and 3 test images, whose first pixel is 100 or 200 and the row."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, first, labels in (("train", 100, [*FIRST[name], 6, 8]), ("t10k", 200, [7, 2, 1])):
        pixels = np.zeros((len(labels), 28, 28), np.uint8)
        pixels[:, 0, 0] = first + np.arange(len(labels))
        pixels[:, 3, 5] = 77
        for kind, array in (("images-idx3", pixels), ("labels-idx1", np.array(labels, np.uint8))):
            path = folder / f"{before}{prefix}-{kind}-ubyte{after}.gz"
            path.write_bytes(gzip.compress(idx(array)))


def pairs(arrays):
    return sorted(zip(arrays["image"][:, 0, 0, 0].tolist(), arrays["label"].tolist(), strict=True))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files(tmp_path, name):
    write_idx(tmp_path, name)
    train, test = (images(name, split, data_dir=tmp_path) for split in ("train", "test"))
    assert train["image"].shape == (12, 28, 28, 1) and train["image"].dtype == np.uint8
    assert set(train["image"][:, 3, 5, 0]) == {77}
    assert pairs(train) == list(zip(range(100, 112), [*FIRST[name], 6, 8], strict=True))
    assert pairs(test) == [(200, 7), (201, 2), (202, 1)]

    for file in tmp_path.glob("*.gz"):
        file.unlink()
    assert pairs(images(name, "test", data_dir=tmp_path)) == pairs(test)  # prepared once
    own = tfds.data_source(name, data_dir=tmp_path, split="test")
    assert [one["label"] for one in own] == test["label"].tolist()
    np.testing.assert_array_equal(np.stack([one["image"] for one in own]), test["image"])
    assert "tensorflow" not in sys.modules


def test_it_is_tfds_s_data_set(tmp_path):
    write_idx(tmp_path, "fashion_mnist")
    images("fashion_mnist", data_dir=tmp_path)
    theirs = tfds.builder("fashion_mnist", data_dir=tmp_path)  # of TFDS's own class
    assert theirs.info.splits["train"].num_examples == 12
    assert theirs.info.features["label"].names[:2] == ["T-shirt/top", "Trouser"]
    assert "Zalando" in theirs.info.description


@pytest.mark.parametrize("place", [".", "mnist", "downloads/mnist"])
def test_where_the_files_may_lie(tmp_path, place):
    write_idx(tmp_path / place, "mnist")
    assert len(images("mnist", data_dir=tmp_path)["label"]) == 12


def test_files_as_tfds_names_its_downloads(tmp_path):
    write_idx(tmp_path / "downloads/mnist", "mnist", before="cvdf-datasets_mnist_", after="NG5VuUjZc6l")
    (tmp_path / "downloads/mnist/cvdf-datasets_mnist_train-images-idx3-ubyteNG5VuUjZc6l.gz.INFO").write_text("{}")
    assert len(images("mnist", data_dir=tmp_path)["label"]) == 12


def test_where_debian_puts_fashion_mnist(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "DEBIAN", tmp_path / "debian")
    with pytest.raises(ValueError, match="apt-get install dataset-fashion-mnist; or put train-images-"):
        images("fashion_mnist", data_dir=tmp_path / "data")
    write_idx(tmp_path / "debian", "fashion_mnist")
    assert len(images("fashion_mnist", data_dir=tmp_path / "data")["label"]) == 12


def test_the_other_data_set_s_files_are_refused(tmp_path):
    write_idx(tmp_path, "fashion_mnist")
    with pytest.raises(ValueError, match="belong to another data set than mnist: the labels differ"):
        images("mnist", data_dir=tmp_path)
    labels = np.array(FIRST["fashion_mnist"], np.uint8)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(ValueError, match="have unequal numbers of images and labels"):
        images("fashion_mnist", data_dir=tmp_path)


def test_a_damaged_idx_file_is_named(tmp_path):
    write_idx(tmp_path, "mnist")
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for content in (whole[:40], b"junk", gzip.compress(b"junk"), gzip.compress(gzip.decompress(whole)[:-1])):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz is damaged"):
            images("mnist", data_dir=tmp_path)
    path.write_bytes(whole)
    assert len(images("mnist", "test", data_dir=tmp_path)["label"]) == 3  # no trace of the failures


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train-images-idx3-ubyte",
            idx(np.zeros((12, 14, 28), np.uint8)),
            r"shape \[12, 14, 28\], but \[N, 28, 28\]",
        ),
        ("train-images-idx3-ubyte", idx(np.zeros((12, 28), np.uint8)), r"shape \[12, 28\], but \[N, 28, 28\]"),
        ("train-labels-idx1-ubyte", idx(np.zeros((12, 1), np.uint8)), r"shape \[12, 1\], but \[N\]"),
        ("train-images-idx3-ubyte", b"\0\0\x08\3" + b"\xff" * 4 + b"\0\0\0\x1c" * 2, "N at most 100,000"),
        (
            "train-labels-idx1-ubyte",
            b"\0\0\x08\1" + b"\0\0\0\2" + bytes(2**20),
            "it has more than the 2 bytes of its header",
        ),
    ],
)
def test_an_idx_file_is_of_the_expected_shape(tmp_path, name, content, message):
    """So no more is unpacked than that, whatever a small file would unpack to."""
    write_idx(tmp_path, "mnist")
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=rf"{name}\.gz is damaged: .*{message}"):
        images("mnist", data_dir=tmp_path)


def test_a_missing_file_gives_the_places_and_the_command(tmp_path):
    write_idx(tmp_path, "mnist")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="data set mnist is not prepared") as refused:
        images("mnist", data_dir=tmp_path)
    message = str(refused.value)
    assert f"t10k-labels-idx1-ubyte.gz into {tmp_path} or {tmp_path}/mnist or" in message
    assert "tfds.builder('mnist'" in message and "\n" not in message


def write_cifar(path, name, label_bytes, *, leave_out=None):
    """Two records a file: the labels, then 1,024 bytes each of red, green and blue."""

    def records(start):
        pixels = np.repeat([[start, 1, 2], [start + 1, 1, 2]], 1024, axis=1).astype(np.uint8)
        labels = np.array([[start % 3, start % 5][:label_bytes], [0, 4][:label_bytes]], np.uint8)
        return np.concatenate([labels, pixels], axis=1).tobytes()

    if name == "cifar10":
        prefix, train, test = "cifar-10-batches-bin/", [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin"
        names = {"batches.meta.txt": [f"class{i}" for i in range(10)]}
    else:
        prefix, train, test = "cifar-100-binary/", ["train.bin"], "test.bin"
        names = {
            "coarse_label_names.txt": [f"coarse{i}" for i in range(20)],
            "fine_label_names.txt": [f"fine{i}" for i in range(100)],
        }
    files = {file: records(10 * (i + 1)) for i, file in enumerate([*train, test])}
    files |= {file: "\n".join(labels).encode() + b"\n\n" for file, labels in names.items()}
    with tarfile.open(path, "w:gz") as tar:
        for file, data in files.items():
            if file != leave_out:
                member = tarfile.TarInfo(prefix + file)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def test_cifar10(tmp_path):
    write_cifar(tmp_path / "cifar-10-binary.tar.gz", "cifar10", 1)
    train, test = (images("cifar10", split, data_dir=tmp_path) for split in ("train", "test"))
    assert train["image"].shape == (10, 32, 32, 3)
    expected = [(10 * i + j, (10 * i % 3, 0)[j]) for i in range(1, 6) for j in (0, 1)]
    assert pairs(train) == expected
    assert pairs(test) == [(60, 0), (61, 0)]
    np.testing.assert_array_equal(test["image"][..., 1:], np.broadcast_to([1, 2], (2, 32, 32, 2)))
    theirs = tfds.builder("cifar10", data_dir=tmp_path)
    assert theirs.info.features["label"].names == [f"class{i}" for i in range(10)]
    assert sorted(one["id"] for one in theirs.as_data_source("test")) == [b"test_00000", b"test_00001"]


def test_cifar100_has_the_fine_labels(tmp_path):
    write_cifar(tmp_path / "cifar-100-binary.tar.gz", "cifar100", 2)
    assert pairs(images("cifar100", data_dir=tmp_path)) == [(10, 0), (11, 4)]
    theirs = tfds.builder("cifar100", data_dir=tmp_path)
    assert theirs.info.features["coarse_label"].names[3] == "coarse3"
    assert sorted(one["coarse_label"] for one in theirs.as_data_source("train")) == [0, 1]


def test_a_damaged_tar_is_named(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_cifar(path, "cifar10", 1, leave_out="data_batch_3.bin")
    with pytest.raises(ValueError, match=r"tar\.gz is damaged: it has no cifar-10-batches-bin/data_batch_3\.bin"):
        images("cifar10", data_dir=tmp_path)
    path.write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"tar\.gz is damaged"):
        images("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tar_file_that_unpacks_without_an_end(tmp_path, kind, monkeypatch):
    """A member that nobody asked for, or the header of one, may be as large as it likes."""
    monkeypatch.setattr(published, "MOST_UNPACKED", 10**6)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/more")
        member.type, member.size = kind, 2 * 10**6
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(ValueError, match=r"tar\.gz is damaged: .*more than 1,000,000"):
        images("cifar10", data_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not published.DEBIAN.is_dir(), reason="the package dataset-fashion-mnist is not installed")
def test_the_whole_of_fashion_mnist(tmp_path):
    found = images("fashion_mnist", data_dir=tmp_path)
    assert found["image"].shape == (60_000, 28, 28, 1)
    assert np.bincount(found["label"]).tolist() == [6000] * 10
    with gzip.open(published.DEBIAN / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 784)
    assert sorted(map(bytes, pixels)) == sorted(map(bytes, found["image"].reshape(-1, 784)))
