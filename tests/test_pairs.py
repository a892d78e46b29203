"""Pairs of images in two folders, or side by side in one file."""

import numpy as np
import pytest
from PIL import Image
from small_domains import save
from test_domains import SMALL

from experiments import pix2pix
from jaxgan.data.base import Stored
from jaxgan.data.domains import check_paired, configured_domains
from jaxgan.data.folder import size_of
from jaxgan.data.pairs import check_has_pairs, halves, side_of
from jaxgan.data.sources import images
from jaxgan.pixels import to_uint8

COUNT = 5


def numbered(path, number, *, left=0, size=(12, 24)):
    """An image whose right half is the negative of its left half, noise that its number seeds."""
    half = np.random.default_rng(number).integers(256, size=(size[0], size[1] // 2, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([half, 255 - half], axis=1)).save(path)
    return half


def both(config):
    """Batches of pairs, of which b is the negative of a wherever it was cropped and flipped."""
    batches = configured_domains(config)
    for step in range(2 * COUNT):
        (batch,) = batches(step)
        yield to_uint8(batch["a"]), to_uint8(batch["b"])


@pytest.mark.parametrize("resident_mib", [0, 1])
@pytest.mark.parametrize("kind", ["pairs", "folder"])
def test_both_images_of_a_pair_are_cropped_and_flipped_alike(tmp_path, kind, resident_mib):
    for number in range(COUNT):
        half = numbered(tmp_path / f"train/{number}.png", number)
        for split, image in (("trainA", half), ("trainB", 255 - half)):
            (tmp_path / split).mkdir(exist_ok=True)
            Image.fromarray(image).save(tmp_path / f"{split}/{number}.png")
    dataset = f"{kind}:{tmp_path}"
    options = SMALL | {"image_size": 8, "load_size": 12, "flip": True, "resident_mib": resident_mib}
    seen = set()
    for a, b in both(pix2pix.Config(dataset=dataset, **options)):
        np.testing.assert_array_equal(a, 255 - b)
        seen.add(a.tobytes())
    assert len(seen) > COUNT + 2  # other crops of the same images
    if kind == "pairs":
        whole = images(dataset, "trainA")["image"]
        np.testing.assert_array_equal(whole[3], numbered(tmp_path / "x.png", 3))


def test_splits_of_halves(tmp_path):
    for number in range(COUNT):
        numbered(tmp_path / f"train/{number}.png", number)
        numbered(tmp_path / f"val/{number}.png", 10 + number, size=(20, 30))
    name = f"pairs:{tmp_path}"
    for split, size in (("trainA", COUNT), ("trainB[:60%]", 3), ("trainA+valA", 2 * COUNT)):
        assert len(images(name, split, image_size=8)["image"]) == size
    assert side_of(name, "trainB[:60%]+valB") == ("train[:60%]+val", "B")
    for split in ("train", "trainA+trainB", "trainC", "A"):
        with pytest.raises(ValueError, match="its splits are trainA, the left images of the folder train"):
            images(name, split)
    with pytest.raises(ValueError, match=r"no split 'test': there are train \(5 examples\), val"):
        images(name, "testA")
    with pytest.raises(ValueError, match="if its files are two images side by side, give pairs:/"):
        images(f"folder:{tmp_path}", "trainA")
    (tmp_path / "train").rename(tmp_path / "trainA")
    (tmp_path / "val").rename(tmp_path / "trainB")
    with pytest.raises(ValueError, match="if the images of a pair are in two folders, give folder:/"):
        images(name, "trainA")


@pytest.mark.parametrize(("size", "found"), [((12, 25), "25 x 12"), ((12, 12), "12 x 12"), ((20, 12), "12 x 20")])
def test_a_file_that_holds_no_pair_is_named_with_the_cure(tmp_path, size, found):
    numbered(tmp_path / "train/1.png", 1)
    save(tmp_path / "train/2.png", size)
    with pytest.raises(ValueError, match=rf"2.png has {found} pixels, but two images .* side by side .*: crop it, or"):
        images(f"pairs:{tmp_path}", "trainB", image_size=8)


def test_halves_of_deep_and_turned_images(tmp_path):
    deep = np.repeat(np.array([[0, 65535]], np.uint16), 4, axis=1).repeat(4, axis=0)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    stored = Stored("x", 1, lambda rows: ([str(tmp_path / "deep.png")] * len(rows), None))
    (left,), _ = halves(stored, "y", "A").fetch([0])
    assert left.dtype == np.uint8 and left.shape == (4, 4, 1) and not left.any()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert size_of(tmp_path / "turned.jpg") == (20, 40)
    assert halves(stored, "y", "A").identity() != halves(stored, "y", "B").identity()
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert size_of(tmp_path / "bad.png") is None


def folders(path, a, b):
    for split, names in (("trainA", a), ("trainB", b)):
        for name in names:
            save(path / split / name, (8, 8))
    return (f"folder:{path}", "trainA"), (f"folder:{path}", "trainB")


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (["1.png", "2.png"], ["1.png", "3.png"], r"trainA/2.png has no partner in the other split"),
        (["1.png"], ["1.png", "x/1.png"], r"trainB/x/1.png has no partner"),
        (["1.png", "1.jpg", "2.png"], ["1.png", "2.png"], r"trainA/1.png and .*trainB/2.png would be a pair"),
    ],
)
def test_names_that_do_not_match_are_refused(tmp_path, a, b, message):
    with pytest.raises(ValueError, match=message):
        check_paired(*folders(tmp_path, a, b))


def test_names_match_whatever_their_endings_and_sizes_must(tmp_path):
    pairs = folders(tmp_path, ["x/1.png", "2.png", "3.JPG"], ["x/1.jpg", "2.png", "3.png"])
    check_paired(*pairs)
    save(tmp_path / "trainB/2.png", (8, 10))
    with pytest.raises(ValueError, match=r"trainA/2.png has 8 x 8 pixels, but .*B/2.png has 10 x 8: .* resize one"):
        configured_domains(pix2pix.Config(dataset=f"folder:{tmp_path}", **SMALL))


def test_known_data_sets_without_pairs_are_refused():
    for name, cure in (
        ("shapes_styles", "give shapes_styles/paired_32 or paired_64"),
        ("shapes_styles/equal_32:1.0.0", "paired_32"),
        ("emoji", "only testA and testB are"),
        ("cycle_gan/facades", "give folders of pairs"),
    ):
        with pytest.raises(ValueError, match=cure):
            check_has_pairs(name, "trainA")
    check_has_pairs("shapes_styles", "testA")
    check_has_pairs("shapes_styles/paired_64", "trainA")
