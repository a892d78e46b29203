"""The data set `shapes_styles`."""

import numpy as np
import pytest

from jaxgan.data.builders import shapes_styles
from jaxgan.data.builders.shapes_styles import draw_attributes
from jaxgan.data.prepared import read_features
from jaxgan.data.sources import images

SPLITS = ("trainA", "trainB", "testA", "testB")


def test_frequencies():
    drawn = draw_attributes(40_000, np.random.RandomState(0))
    share = lambda column: np.bincount(drawn[:, column]) / len(drawn)
    for shape, colour, size in ((1, 2, 3), (4, 5, 6)):
        np.testing.assert_allclose(share(shape), [0.5, 0.33, 0.17], atol=0.01)
        np.testing.assert_allclose(share(colour), [0.48, 0.28, 0.16, 0.08], atol=0.01)
        np.testing.assert_allclose(share(size), [0.5, 0.5], atol=0.01)
    # One value tells nothing of another.
    pairs = np.histogram2d(drawn[:, 2], drawn[:, 5], bins=4)[0] / len(drawn)
    np.testing.assert_allclose(pairs, np.outer(share(2), share(5)), atol=0.01)


def test_equal_frequencies():
    drawn = draw_attributes(40_000, np.random.RandomState(0), equal=True)
    for column, values in enumerate((2, 3, 4, 2, 3, 4, 2)):
        np.testing.assert_allclose(np.bincount(drawn[:, column]) / len(drawn), 1 / values, atol=0.01)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    small = {split: (stream, 40, style) for split, (stream, _, style) in shapes_styles._SPLITS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes_styles, "_SPLITS", small)
        for config in ("32", "64", "equal_32", "paired_32"):
            images(f"shapes_styles/{config}", "trainA", data_dir=path)
    return path


@pytest.fixture(scope="module")
def truth(data_dir):
    names = ("mask", "attributes", "boxes")
    return {split: read_features("shapes_styles", split, names=names, data_dir=data_dir) for split in SPLITS}


def test_the_two_styles(data_dir, truth):
    for split in SPLITS:
        pixels = images("shapes_styles", split, data_dir=data_dir)["image"]
        mask = truth[split]["mask"]
        assert pixels.shape == (40, 32, 32, 3) and mask.shape == (40, 32, 32, 1) and set(np.unique(mask)) == {0, 255}
        assert truth[split]["attributes"].shape == (40, 7) and truth[split]["boxes"].shape == (40, 2, 4)
        ground, objects = pixels[mask[..., 0] == 0], pixels[mask[..., 0] == 255]
        if split.endswith("A"):
            assert np.median(ground) == 255 and objects.min(axis=1).max() < 160
        else:
            assert np.median(ground) < 70 and objects.max(axis=1).mean() > 120
        assert 0.05 < (mask == 255).mean() < 0.25


def test_tests_are_paired_and_training_is_not(truth):
    for feature in ("mask", "attributes", "boxes"):
        np.testing.assert_array_equal(truth["testA"][feature], truth["testB"][feature])
        assert not np.array_equal(truth["trainA"][feature], truth["trainB"][feature])
    places = np.concatenate([truth[split]["boxes"] for split in ("trainA", "trainB", "testA")])
    assert len(np.unique(places, axis=0)) == 120  # no scene is in two splits


def test_training_in_pairs(data_dir, truth):
    """The training scenes of a stand in b, too, and the test scenes are those of the other configs."""
    names = ("attributes", "boxes")
    for split, other in (("trainA", "trainA"), ("trainB", "trainA"), ("testB", "testB")):
        found = read_features("shapes_styles/paired_32", split, names=names, data_dir=data_dir)
        for feature in names:
            np.testing.assert_array_equal(found[feature], truth[other][feature])
    a, b, chalk = (
        images(name, split, data_dir=data_dir)["image"]
        for name, split in (("shapes_styles/paired_32", "trainA"), ("shapes_styles/paired_32", "trainB"),
                            ("shapes_styles", "trainB"))
    )  # fmt: skip
    np.testing.assert_array_equal(a, images("shapes_styles", "trainA", data_dir=data_dir)["image"])
    assert abs(b.mean() - chalk.mean()) < 5 < abs(a.mean() - b.mean())


def test_pairs_show_the_same_colours_in_two_palettes(data_dir, truth):
    """Where one has red, the other has its lighter red: the channel that is strongest in an object is the same."""
    a, b = (images("shapes_styles", split, data_dir=data_dir)["image"] for split in ("testA", "testB"))
    for row, (colours, mask) in enumerate(
        zip(truth["testA"]["attributes"][:, [2, 5]], truth["testA"]["mask"], strict=True)
    ):
        if colours[0] == colours[1] and colours[0] < 3:
            inside = mask[..., 0] == 255
            assert a[row][inside].mean(axis=0).argmax() == b[row][inside].mean(axis=0).argmax() == colours[0]


def test_configs(data_dir):
    assert images("shapes_styles/64", "testB", data_dir=data_dir)["image"].shape == (40, 64, 64, 3)
    equal = read_features("shapes_styles/equal_32", "trainA", names=("attributes",), data_dir=data_dir)["attributes"]
    assert np.bincount(equal[:, 2], minlength=4)[3] > 4  # of 40, where the rarest colour had 8%
    with pytest.raises(ValueError, match="no config '16': there are 32, 64, paired_32, paired_64, equal_32, equal_64"):
        images("shapes_styles/16", "trainA", data_dir=data_dir)
    with pytest.raises(ValueError, match=r"no split 'train': there are trainA \(40 examples\)"):
        images("shapes_styles", data_dir=data_dir)
