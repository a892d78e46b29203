"""Drawn scenes, what is said of them, and the data set `shapes`."""

import hashlib
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxgan.data.builders import scene_captions, scenes, shapes
from jaxgan.data.builders.scene_captions import WORDS, describe, parse
from jaxgan.data.builders.scenes import ATTRIBUTES, attributes_of, boxes, draw, masks, meaning_of, place
from jaxgan.data.builders.shapes import has_held_out
from jaxgan.data.prepared import read_features
from jaxgan.data.sources import images

EVERYTHING = attributes_of(np.arange(1152))


@pytest.fixture(scope="module")
def placed():
    return place(EVERYTHING, np.random.RandomState(0))


def test_meanings_are_numbered_without_gaps():
    assert len({tuple(row) for row in EVERYTHING.tolist()}) == 1152
    np.testing.assert_array_equal(meaning_of(EVERYTHING), np.arange(1152))
    axis, shape, colour, size, *second = 1, 2, 3, 0, 1, 2, 1
    by_hand = (((axis * 3 + shape) * 4 + colour) * 2 + size) * 24 + (second[0] * 4 + second[1]) * 2 + second[2]
    assert meaning_of(np.array([axis, shape, colour, size, *second])) == by_hand
    assert meaning_of(EVERYTHING).dtype == np.int32
    with pytest.raises(ValueError, match="invalid entry"):
        meaning_of(np.array([0, 3, 0, 0, 0, 0, 0]))


def test_objects_lie_inside_and_apart(placed):
    found = boxes(placed)
    assert found.shape == (1152, 2, 4) and found.dtype == np.float32
    assert found.min() > 0.029 and found.max() < 0.971
    upright = EVERYTHING[:, 0] == 0
    gaps = np.where(upright, found[:, 1, 0] - found[:, 0, 2], found[:, 1, 1] - found[:, 0, 3])
    assert gaps.min() > 0.049
    apart = np.abs(placed.centres[:, 1] - placed.centres[:, 0])
    along = np.where(upright, apart[:, 1], apart[:, 0])
    across = np.where(upright, apart[:, 0], apart[:, 1])
    assert (across <= along / 2 + 1e-9).all()


def test_places_vary_within_a_meaning():
    same = place(np.repeat(EVERYTHING[:1], 500, axis=0), np.random.RandomState(0))
    assert len(np.unique(same.centres, axis=0)) == 500
    assert (same.centres.std(axis=0) > 0.08).all()
    assert same.radii.min() >= 0.105 and same.radii.max() <= 0.12 and same.radii.std() > 0.003
    large = place(np.repeat([[0, 0, 0, 1, 0, 0, 1]], 100, axis=0), np.random.RandomState(0)).radii
    assert large.min() > 1.4 * same.radii.max()  # the two sizes are far from each other


@pytest.mark.parametrize(("shape", "area"), [(0, np.pi), (1, (2 * 0.88) ** 2), (2, 2.2)])
def test_antialiased_areas(shape, area):
    """The colour that was laid down, in pixels, against the area of the shape."""
    attributes = np.repeat([[0, shape, 2, 1, shape, 2, 1]], 40, axis=0)
    scene = place(attributes, np.random.RandomState(1))
    pixels = draw(scene, 64)
    blue = np.array([45, 95, 220])
    cover = (255.0 - pixels).sum(axis=(1, 2, 3)) / (255 - blue).sum()
    np.testing.assert_allclose(cover, area * (64 * scene.radii**2 * 64).sum(axis=1), rtol=0.02)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # edges in between


def test_boxes_and_masks_are_where_the_objects_are(placed):
    few = scenes.Scenes(*(field[::37] for field in placed))
    inside = masks(few, 32)
    # Every colour has a channel below 60, so half of a pixel covered leaves about 150 in it.
    assert (inside != (draw(few, 32).min(axis=3) < 150)).mean() < 1e-3
    for mask, pair in zip(inside, boxes(few) * 32, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, left = pair[:, :2].min(axis=0)
        bottom, right = pair[:, 2:].max(axis=0)
        # A corner of a triangle may cover too little of its pixel.
        np.testing.assert_allclose(
            [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1], [top, bottom, left, right], atol=1.6
        )


def test_what_is_asked_for_is_drawn():
    """Red above yellow, by the pixels: in flat red channels 1 and 2 are low, in yellow channel 2 alone."""
    scene = place(parse("a large red square above a large yellow circle")[None], np.random.RandomState(0))
    (pixels,) = draw(scene, 32).astype(int)
    down, across = np.nonzero(pixels[..., 2] < 100)
    reddish = pixels[down, across, 1] < 100
    assert 80 < reddish.sum() < 200 and 80 < (~reddish).sum() < 200
    assert down[reddish].max() < down[~reddish].min()


def test_chalk_repeats_every_four_pixels(placed):
    few = scenes.Scenes(*(field[::23] for field in placed))
    pixels, inside = draw(few, 32, style="chalk"), masks(few, 32)
    assert pixels[inside].max(axis=-1).mean() > 120 and pixels[~inside].mean() < 70  # light on dark
    board = np.median(pixels, axis=0)
    np.testing.assert_array_equal(board[4:], board[:-4])
    np.testing.assert_array_equal(board[:, 4:], board[:, :-4])
    assert len(np.unique(board.reshape(-1, 3), axis=0)) == 2


def test_rendered_images_are_always_bit_identical():
    """Recorded on x86-64; the same with NumPy 2.4 and 2.5, and with their vector instructions switched off."""
    few = place(EVERYTHING[::9], np.random.RandomState(0))
    digest = lambda pixels: hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
    found = [digest(draw(few, size, style=style)) for size in (32, 64) for style in ("flat", "chalk")]
    assert found == ["c38388356d268438", "1829ed152e251aea", "25169f9523882f4d", "dafc4997053add00"]


def test_an_unknown_style():
    with pytest.raises(ValueError, match="unknown style 'oil': there are flat, chalk"):
        draw(place(EVERYTHING[:1], np.random.RandomState(0)), 32, style="oil")


def test_captions_mean_what_they_describe():
    said = describe(EVERYTHING, np.random.RandomState(0))
    assert {len(captions) for captions in said} == {5}
    for row, captions in zip(EVERYTHING, said, strict=True):
        for caption in captions:
            np.testing.assert_array_equal(parse(caption), row, err_msg=caption)
    words = [caption.split() for captions in said for caption in captions]
    assert max(map(len, words)) == 14
    assert {word for caption in words for word in caption} | {"an"} == set(WORDS)


def test_captions_vary():
    said = describe(np.repeat(EVERYTHING[:1], 400, axis=0), np.random.RandomState(0))
    assert [len({captions[i] for captions in said}) for i in range(5)] == [16] * 5
    first = describe(EVERYTHING[:9], np.random.RandomState(5))
    assert first == describe(EVERYTHING[:9], np.random.RandomState(5))


@pytest.mark.parametrize(
    "caption",
    [
        "a small red circle above a large blue square",
        "there is a large blue square below a small red circle",
        "Red small circle over big blue SQUARE!",
        "above the big blue square is a little red circle",
        "under a small red circle, a large blue square",
    ],
)
def test_paraphrases_have_one_meaning(caption):
    assert parse(caption).tolist() == [0, 0, 0, 0, 1, 2, 1]
    assert parse(caption).dtype == np.int32


def test_sides():
    left = parse("a small red circle to the left of a large blue square")
    assert left.tolist() == [1, 0, 0, 0, 1, 2, 1]
    np.testing.assert_array_equal(left, parse("a large blue square right of a small red circle"))
    assert parse("a small red circle to the right of a large blue square").tolist() == [1, 1, 2, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("a purple dog above a small red circle", "unknown words: purple, dog; known are a, above, an, below, big"),
        ("", r"needs one relation \(above, over, .*\), but has none"),
        ("a small red circle and a large blue square", "unknown words: and"),
        ("a small red circle above below a large blue square", "but has above, below"),
        ("a small red circle above a square", "names no size and no colour of object 2"),
        ("a small circle above a large blue square", "names no colour of object 1"),
        ("a small large red circle above a large blue square", "two sizes of one object, the second is 'large'"),
        ("a red blue small circle above a large blue square", "two colours of one object"),
        ("a small red circle above", "not of the form"),
        ("a small red circle above a large blue square small", "not of the form"),
        ("a small red circle a large blue square above", "not of the form"),
        ("a small above red circle a large blue square", "not of the form"),
        ("a small red circle above a large blue square a small red circle", "not of the form"),
    ],
)
def test_captions_that_cannot_be_read(caption, message):
    with pytest.raises(ValueError, match=message):
        parse(caption)


def test_words_are_of_one_kind_each():
    known = list(scene_captions._VALUES) + list(scene_captions._DIRECTIONS) + list(scene_captions._FILLERS)
    assert len(known) == len(set(known)) == len(WORDS)


def test_held_out_pairs():
    held_out = has_held_out(EVERYTHING)
    assert (~held_out).sum() == 2 * (9 * 2) ** 2  # axes, and for each object 9 pairs and 2 sizes
    assert has_held_out(parse("a small green circle above a large blue circle"))
    assert not has_held_out(parse("a small red circle above a large blue circle"))
    for columns in (slice(1, 3), slice(4, 6)):  # every shape and every colour is seen in both places
        seen = EVERYTHING[~held_out][:, columns]
        assert set(seen[:, 0]) == {0, 1, 2} and set(seen[:, 1]) == {0, 1, 2, 3}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "_SPLITS", {"train": 300, "test": 60, "heldout": 60})
        for name in ("shapes", "shapes/64"):
            images(name, data_dir=path)
    return path


def test_the_data_set(data_dir):
    for split, count in (("train", 300), ("test", 60), ("heldout", 60)):
        pixels = images("shapes", split, data_dir=data_dir)["image"]
        assert pixels.shape == (count, 32, 32, 3) and pixels.dtype == np.uint8
        names = ("captions", "meaning", "attributes", "boxes", "colour")
        truth = read_features("shapes/32", split, names=names, data_dir=data_dir)
        assert list(truth) == ["captions", "meaning", "attributes", "boxes"]
        np.testing.assert_array_equal(meaning_of(truth["attributes"]), truth["meaning"])
        assert (has_held_out(truth["attributes"]) == (split == "heldout")).all()
        for row, captions in zip(truth["attributes"], truth["captions"], strict=True):
            assert len(captions) == 5
            assert all(parse(caption).tolist() == row.tolist() for caption in captions)
        # The images are those of the truth beside them: coloured in the boxes, white around them.
        for image, pair in zip(pixels, truth["boxes"] * 32, strict=True):
            outside = np.ones((32, 32), bool)
            for top, left, bottom, right in pair:
                outside[int(top - 0.5) : int(bottom + 1.5), int(left - 0.5) : int(right + 1.5)] = False
                assert image[int((top + bottom) / 2), int((left + right) / 2)].min() < 100
            assert image[outside].min() == 255
    assert "tensorflow" not in sys.modules


def test_larger_scenes_are_the_same_scenes(data_dir):
    small, large = (images(name, "test", data_dir=data_dir)["image"] for name in ("shapes", "shapes/64"))
    assert large.shape == (60, 64, 64, 3)
    halved = large.reshape(60, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - small).mean() < 1.5


def test_the_data_set_says_what_is_in_it(data_dir):
    info = tfds.builder_from_directory(data_dir / "shapes/32/1.0.0").info
    assert "green circle, blue square, red triangle" in info.description
    assert all(name in info.description for name in ATTRIBUTES)


def test_an_unknown_config_and_split(data_dir):
    with pytest.raises(ValueError, match="shapes has no config '48': there are 32, 64"):
        images("shapes/48", data_dir=data_dir)
    with pytest.raises(ValueError, match=r"unknown data set 'shapes/32:9\.0\.0'"):
        images("shapes:9.0.0", data_dir=data_dir)
    assert len(images("shapes:1.0.0", "test", data_dir=data_dir)["image"]) == 60
    with pytest.raises(ValueError, match=r"has no split 'valid': there are train \(300 examples\), test \(60"):
        images("shapes", "valid", data_dir=data_dir)


@pytest.mark.slow
def test_the_whole_data_set(tmp_path):
    found = images("shapes", "train+test+heldout", data_dir=tmp_path)["image"]
    assert found.shape == (34_000, 32, 32, 3)
    seen = read_features("shapes", "train", names=("meaning",), data_dir=tmp_path)["meaning"]
    assert len(np.unique(seen)) == 648 and np.bincount(seen).max() < 90
    assert len(np.unique(found.reshape(34_000, -1), axis=0)) == 34_000
