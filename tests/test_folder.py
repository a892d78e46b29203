"""Image files to arrays."""

import io
import os
import unicodedata
import warnings

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import folder
from jaxgan.data.folder import SUFFIXES, image_files, read_image

RANDOM = np.random.default_rng(0).integers(256, size=(12, 10, 3), dtype=np.uint8)


def encoded(array, mode=None, format="png", **options):
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, format, **options)
    file.seek(0)
    return file


def luma(rgb):
    """ITU-R BT.601, to the nearest integer."""
    return np.rint(rgb.astype(np.float64) @ [0.299, 0.587, 0.114])[..., None]


def test_pixels_come_back_exactly():
    np.testing.assert_array_equal(read_image(encoded(RANDOM)), RANDOM)
    np.testing.assert_array_equal(read_image(encoded(RANDOM[..., 0])), RANDOM[..., :1])
    square = RANDOM[:10]
    np.testing.assert_array_equal(read_image(encoded(square), image_size=10), square)


def test_a_path_is_read_as_well(tmp_path):
    Image.fromarray(RANDOM).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RANDOM)


def test_grey_is_repeated_and_colour_becomes_luma():
    grey = RANDOM[..., 0]
    np.testing.assert_array_equal(read_image(encoded(grey), channels=3), np.repeat(grey[..., None], 3, axis=2))
    assert read_image(encoded(grey), channels=3, image_size=16).shape == (16, 16, 3)
    np.testing.assert_allclose(read_image(encoded(RANDOM), channels=1), luma(RANDOM), atol=1)


def test_reducing_is_antialiased():
    """Every fourth column white: a quarter of 255 is 64 everywhere, where picking pixels gives 0 or 255."""
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, 1::4] = 255
    reduced = read_image(encoded(stripes), image_size=16)
    np.testing.assert_allclose(reduced[:, 2:-2].astype(float), 64, atol=3)
    deep = read_image(encoded(stripes.astype(np.uint16) * 257), image_size=16)
    np.testing.assert_allclose(deep[:, 2:-2], -0.5, atol=0.03)


def test_the_centre_of_an_oblong_image_is_kept():
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 200
    np.testing.assert_array_equal(read_image(encoded(wide), image_size=8), np.full((8, 8, 1), 200))
    np.testing.assert_array_equal(read_image(encoded(wide.T), image_size=8), np.full((8, 8, 1), 200))
    assert read_image(encoded(np.full((1, 50), 9, np.uint8)), image_size=8).tolist() == [[[9]] * 8] * 8


@pytest.mark.parametrize(("mode", "grey"), [("1", True), ("L", True), ("LA", True), ("P", False), ("RGBA", False)])
def test_every_kind_becomes_grey_or_rgb(mode, grey):
    assert read_image(encoded(RANDOM, mode)).shape == (12, 10, 1 if grey else 3)
    for channels in (1, 3):
        assert read_image(encoded(RANDOM, mode), channels=channels).shape == (12, 10, channels)


def test_a_palette_is_looked_up():
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    file = io.BytesIO()
    image.save(file, "png")
    assert read_image(file).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_other_colour_spaces_become_rgb():
    flat = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    cmyk = read_image(encoded(flat, "CMYK", "tiff"))
    np.testing.assert_allclose(cmyk.astype(int), flat, atol=2)


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_transparency_is_laid_over_white(channels):
    """Red at alpha 0, 51 and 255: (1 - a) 255 + a red, by hand; Pillow alone would show the hidden red."""
    red = np.array([[(255, 0, 0, 0), (255, 0, 0, 51), (255, 0, 0, 255)]], np.uint8)
    expected = np.array([[(255, 255, 255), (255, 204, 204), (255, 0, 0)]])
    if channels == 1:
        expected = luma(expected)
    np.testing.assert_allclose(read_image(encoded(red), channels=channels), expected, atol=1)


def test_transparency_of_every_kind():
    black = np.array([[(0, 0), (0, 51), (0, 255)]], np.uint8)
    assert read_image(encoded(black)).ravel().tolist() == [255, 204, 0]  # grey with alpha
    grey = np.array([[3, 7]], np.uint8)
    assert read_image(encoded(grey, transparency=3)).ravel().tolist() == [255, 7]
    deep = np.array([[0, 65535, 256]], np.uint16)
    assert read_image(encoded(deep, transparency=0)).ravel().tolist()[:2] == [1.0, 1.0]
    palette = Image.fromarray(grey).convert("P")
    file = io.BytesIO()
    palette.save(file, "png", transparency=7)
    assert read_image(file, channels=1).ravel().tolist() == [3, 255]
    colour = np.array([[(1, 2, 3), (3, 2, 1)]], np.uint8)
    assert read_image(encoded(colour, transparency=(1, 2, 3))).tolist() == [[[255] * 3, [3, 2, 1]]]


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_sixteen_bits_keep_their_depth(format):
    values = np.array([[0, 1, 256, 32768, 65535]], np.uint16)
    pixels = read_image(encoded(values, format=format))
    assert pixels.dtype == np.float32 and pixels.shape == (1, 5, 1)
    np.testing.assert_allclose(pixels[0, :, 0], values[0] / 32767.5 - 1.0, atol=1e-7)
    np.testing.assert_array_equal(read_image(encoded(values, format=format), channels=3), np.repeat(pixels, 3, axis=2))
    edge = np.repeat([[0, 0, 65535, 65535]], 4, axis=0).astype(np.uint16)
    larger = read_image(encoded(edge, format=format), image_size=16)
    assert larger.min() == -1.0 and larger.max() == 1.0  # where the filter overshoots


def test_exif_orientation_turns_the_image():
    """Orientation 6: the stored image is to be turned clockwise by a quarter, so its left column comes on top."""
    stored = np.zeros((8, 16, 3), np.uint8)
    stored[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_image(encoded(stored, format="png", exif=exif))
    assert turned.shape == (16, 8, 3)
    np.testing.assert_array_equal(turned[:, 0, 0], [255] * 8 + [0] * 8)


def test_the_first_of_several_frames():
    frames = [Image.fromarray(np.full((4, 4), level, np.uint8)) for level in (10, 200)]
    file = io.BytesIO()
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:])
    assert set(read_image(file).ravel()) == {10}


def test_pixels_are_taken_as_files_are():
    np.testing.assert_array_equal(read_image(RANDOM), RANDOM)
    np.testing.assert_array_equal(read_image(RANDOM[..., :1]), RANDOM[..., :1])
    np.testing.assert_array_equal(read_image(RANDOM[..., 0]), RANDOM[..., :1])
    np.testing.assert_array_equal(read_image(RANDOM, image_size=8), read_image(encoded(RANDOM), image_size=8))
    assert read_image(np.array([[(255, 0, 0, 0)]], np.uint8)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_are_refused(dtype, tmp_path):
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"a\.tiff: an image of mode [IF] \(32 bits\), but 8 or 16 bits"):
        read_image(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match="but uint8 was expected"):
        read_image(np.ones((4, 4), dtype))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_damaged_file_is_named(suffix, tmp_path):
    path = tmp_path / f"t.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"junk", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"t\.{suffix}: "):
            read_image(path)
    with pytest.raises(ValueError, match=r"^not an image in a supported format \(BMP, GIF, JPEG, PNG, TIFF, WEBP\)$"):
        read_image(io.BytesIO(b"junk"))
    with pytest.raises(ValueError, match="No such file"):
        read_image(tmp_path / "none.png")


def test_a_file_is_what_its_content_says(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(RANDOM).read())
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), RANDOM)
    # Pillow would hand it to Ghostscript, if that is there.
    (tmp_path / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ValueError, match=r"b\.png: not an image in a supported format"):
        read_image(tmp_path / "b.png")


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 120)
    assert read_image(encoded(RANDOM)).shape == (12, 10, 3)
    Image.new("1", (11, 11)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: "), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, which stops nothing
        read_image(tmp_path / "a.png")


def touch(place, *names):
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()


def test_a_folder_s_files(tmp_path):
    images = [f"{i}{suffix}" for i, suffix in enumerate(SUFFIXES)]
    touch(tmp_path, *images, "A.PNG", "sub/b.JpG", "sub/deep er/c.png")
    touch(
        tmp_path, "notes.txt", "Thumbs.db", ".DS_Store", "._a.jpg", ".git/d.png", "__MACOSX/e.png", "png", "f.png.txt"
    )
    found = image_files(tmp_path)
    assert found == sorted(str(tmp_path / name) for name in [*images, "A.PNG", "sub/b.JpG", "sub/deep er/c.png"])
    assert found == image_files(str(tmp_path))


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "here/a.png", "there/b.png")
    os.symlink(tmp_path / "there", tmp_path / "here/linked")
    os.symlink(tmp_path / "here/a.png", tmp_path / "here/c.png")
    os.symlink(tmp_path / "here", tmp_path / "here/round")
    os.symlink(tmp_path, tmp_path / "there/up")  # which holds both folders again
    found = [os.path.relpath(file, tmp_path / "here") for file in image_files(tmp_path / "here")]
    assert found == ["a.png", "c.png", "linked/b.png"]


def test_folders_that_cannot_be_meant(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(ValueError, match=r"holds 0 images: no file ends in \.bmp"):
        image_files(tmp_path)
    with pytest.raises(ValueError, match=r"notes\.txt is a file, but a folder"):
        image_files(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="none does not exist"):
        image_files(tmp_path / "none")
    os.symlink(tmp_path / "gone.jpg", tmp_path / "h.jpg")
    with pytest.raises(ValueError, match=r"h\.jpg is a link whose target does not exist"):
        image_files(tmp_path)
    (tmp_path / "h.jpg").unlink()
    os.symlink("/dev/zero", tmp_path / "h.jpg")
    with pytest.raises(ValueError, match=r"h\.jpg is a link whose target is not a regular file"):
        image_files(tmp_path)


def test_folders_that_link_to_each_other_end_in_an_error(tmp_path, monkeypatch):
    """Nine of them, each with links to the eight others, have a million ways through them."""
    for own in range(9):
        touch(tmp_path, f"{own}/a.png")
        for other in set(range(9)) - {own}:
            os.symlink(tmp_path / str(other), tmp_path / str(own) / f"to {other}")
    monkeypatch.setattr(folder, "MOST_LINKS", 500)
    with pytest.raises(ValueError, match=r"contains more than 500 links to folders, one of them .*each other"):
        image_files(tmp_path)


def test_folders_in_folders_without_an_end(tmp_path):
    deep = tmp_path
    for _ in range(400):
        deep = deep / "d"
    touch(deep, "a.png")
    assert image_files(tmp_path) == [str(deep / "a.png")]


def test_names_are_sorted_in_one_unicode_form(tmp_path):
    """A folder copied from macOS, whose names are decomposed, keeps its order."""
    for form in ("NFC", "NFD"):
        touch(tmp_path / form, *(unicodedata.normalize(form, name) for name in ("e.png", "\u00e9.png", "z.png")))
    found = [
        [unicodedata.normalize("NFC", os.path.basename(file)) for file in image_files(tmp_path / form)]
        for form in ("NFC", "NFD")
    ]
    assert found[0] == found[1] == ["e.png", "z.png", "\u00e9.png"]
