"""Images in .npy and .npz files, and files that are made to do harm."""

import os
import struct
import zipfile

import numpy as np
import pytest

from jaxgan.data import array_files
from jaxgan.data.array_files import read_arrays

PIXELS = np.random.default_rng(0).integers(256, size=(6, 8, 8, 3), dtype=np.uint8)


def npy(header, data=b""):
    """A .npy file with this header, whatever it says."""
    text = (header if isinstance(header, str) else repr(header)).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def described(shape, descr="|u1"):
    return {"descr": descr, "fortran_order": False, "shape": shape}


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize(
    "content",
    [
        npy(described((10**12, 8, 8))),
        npy(described((10**30, 8, 8))),
        npy(described((-1, 8, 8))),
        npy(described((2, 8, 8), "|O"), b"cos\nsystem\n(S'false'\ntR."),
        npy(described("x")),
        npy(described((2, 8, 8), "|u1z")),
        npy(described((2, 8, 8), 3)),
        npy(described((10**9, 0, 16))),
        npy(described((10, 0, 16, 3))),
        npy(described((10, 16, 16, 0))),
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{",
        npy("{"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, 8), 'more': 1}"),
        npy("[" * 5000),
        npy("(" * 200 + ")" * 200),
        b"\x93NUMPY\x09\x00" + bytes(80),
        b"\x93NUMPY",
    ],
)
def test_a_damaged_header_is_one_sentence(tmp_path, name, content):
    if name.endswith("z"):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr("image.npy", content)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} (cannot be read: .|holds)") as refused:
        read_arrays(tmp_path / name)
    assert "\n" not in str(refused.value).split("cannot be read")[0]


def test_an_npz_that_unpacks_to_more_than_it_may(tmp_path, monkeypatch):
    """A small file, of zeros: it is refused by its header, before memory is taken."""
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros((100, 64, 64), np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 2000
    monkeypatch.setattr(array_files, "MOST_NPZ", 100_000)
    with pytest.raises(ValueError, match=r"'image' has 409,600 bytes, more than 100,000: save it as \.npy"):
        read_arrays(tmp_path / "a.npz")


def test_a_member_of_another_size_than_its_header_says(tmp_path):
    for data in (b"", bytes(127), bytes(10_000)):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("image.npy", npy(described((2, 8, 8)), data))
        with pytest.raises(ValueError, match="but its header says"):
            read_arrays(tmp_path / "a.npz")


def test_images_of_too_many_pixels(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(npy(described((1, 10_000, 10_000))))
        file.truncate(10**8 + 1000)  # a hole, of no size on the disk
    with pytest.raises(ValueError, match=r"a\.npy holds images of 10000 x 10000 pixels, more than 89,478,485"):
        read_arrays(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3, 4, 2**40 + 5], r"has the label 1099511627781, but integers from 0 to 2\*\*31 - 1 were"),
        ([0, 1, 2, 3, 4, -1], "has the label -1"),
        (np.array([0, 1, 2, 3, 4, 2**63], np.uint64), "has the label 9223372036854775808"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "labels of type float64"),
        ([True] * 6, "labels of type bool"),
        ([[0]] * 6, r"shape \[6, 1\]"),
    ],
)
def test_labels_that_cannot_be_meant(tmp_path, labels, message):
    """2**40 + 5 became 5, as the lower 32 bits of it are."""
    np.savez(tmp_path / "a.npz", image=PIXELS, label=np.array(labels))
    with pytest.raises(ValueError, match=message):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (PIXELS.transpose(0, 3, 1, 2), r"shape \[6, 3, 8, 8\]: channels are first, .*transpose\(0, 2, 3, 1\)"),
        (PIXELS[:, None, ..., 0], r"shape \[6, 1, 8, 8\]: channels are first"),
        (PIXELS / 255, r"from \d\S* to 1: save \(images \* 255\)\.round\(\)\.astype\('uint8'\)"),
        (PIXELS / 127.5 - 1, r"from -\S+ to 1: save \(\(images \+ 1\) \* 127\.5\)"),
        (PIXELS.astype(np.float32), r"save images\.round\(\)\.astype\('uint8'\)"),
        ((PIXELS - 120.0) / 70, r"its values range from -1\.\d+ to 1\.\d+$"),
        (PIXELS[0], r"shape \[8, 8, 3\]: either one image, or grey images of 8 x 3 pixels: save images\[None\]"),
        (np.zeros((3, 0, 8), np.uint8), r"shape \[3, 0, 8\]: images of 0 pixels"),
        (PIXELS.astype(np.int16), r"int16 of shape \[6, 8, 8, 3\], but images were expected: uint8"),
    ],
)
def test_pixels_that_cannot_be_meant_name_the_conversion(tmp_path, pixels, message):
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(ValueError, match=message):
        read_arrays(tmp_path / "a.npy")


def test_the_conversion_that_is_named_gives_the_pixels_back(tmp_path):
    for images in (PIXELS / 255, PIXELS / 127.5 - 1, PIXELS.astype(np.float64)):
        np.save(tmp_path / "a.npy", images)
        with pytest.raises(ValueError) as refused:
            read_arrays(tmp_path / "a.npy")
        converted = eval(str(refused.value).rpartition(": save ")[2], {"images": images})
        np.testing.assert_array_equal(converted, PIXELS)


def test_names_of_classes(tmp_path):
    labels = [0, 1, 2, 0, 1, 2]
    np.savez(tmp_path / "a.npz", image=PIXELS, label=labels, names=["ant", "bee", "cow"])
    assert read_arrays(tmp_path / "a.npz").names == ("ant", "bee", "cow")
    np.savez(tmp_path / "a.npz", image=PIXELS, label=labels, names=[1, 2, 3])
    with pytest.raises(ValueError, match="but strings of at most"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("code", [0x7FFFFFFF, 0x110000, 0xD800, 0xDFFF])
@pytest.mark.parametrize("order", "<>")
def test_a_name_with_what_is_no_character(tmp_path, code, order):
    names = np.array([ord("a"), ord("b"), ord("c"), code], f"{order}u4").view(f"{order}U2")
    np.savez(tmp_path / "a.npz", image=PIXELS, label=[0, 1] * 3, names=names)
    with pytest.raises(ValueError, match=r"a\.npz has a name of class 1 that is not valid Unicode"):
        read_arrays(tmp_path / "a.npz")


def test_headers_are_compared_before_anything_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "MOST_TEXT", 100_000)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *args, **options: pytest.fail("unpacked"))
    for other in ({"label": np.zeros(7, int)}, {"names": np.zeros(9, "U9000")}, {"names": np.zeros((2, 2), "U1")}):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("image.npy", npy(described(PIXELS.shape), PIXELS.tobytes()))
            for name, values in other.items():
                file.writestr(f"{name}.npy", npy(described(values.shape, values.dtype.str), values.tobytes()))
        with pytest.raises(ValueError, match=r"a\.npz holds (labels|names) of type"):
            read_arrays(tmp_path / "a.npz")


def test_a_pipe_of_this_name_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="not a regular file"):
        read_arrays(tmp_path / "a.npy")
