"""Tests of jaxgan.runs.images."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.runs.images import as_image, image_grid, labelled_rows, save_image, scatter


def test_one_output_is_a_nearly_square_grid():
    images = np.linspace(-1, 1, 5, dtype=np.float32)[:, None, None, None] * np.ones((5, 32, 32, 1), np.float32)
    grid = image_grid({"samples": jnp.asarray(images)})
    assert grid.dtype == np.uint8
    assert grid.shape == (2 * 64 + 2, 3 * 64 + 2 * 2, 1)  # 3 columns, 2 rows, each tile twice as large
    tiles = [grid[row * 66 : row * 66 + 64, column * 66 : column * 66 + 64] for row in (0, 1) for column in (0, 1, 2)]
    # (x + 1) * 127.5 of -1, -0.5, 0, 0.5, 1, rounded to the nearest; the sixth place stays white, as the gaps are.
    for tile, value in zip(tiles, [0, 64, 128, 191, 255, 255], strict=True):
        assert set(np.unique(tile)) == {value}
    assert set(np.unique(grid[64:66])) == set(np.unique(grid[:, 64:66])) == {255}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 28, 28, 1), (84, 84, 1)),
        ((200, 8, 8, 3), (10 * 66 - 2, 10 * 66 - 2, 3)),  # at most 100 of them
        ((4, 64, 64, 3), (130, 130, 3)),
        ((2, 100, 70, 3), (100, 142, 3)),
        ((3, 16, 32, 1), (66, 130, 1)),
    ],
)
def test_grid_sizes(shape, expected):
    assert image_grid({"samples": np.zeros(shape, np.float32)}).shape == expected


def test_several_outputs_are_columns_in_order():
    def images(value, channels):
        return np.full((12, 64, 64, channels), value, np.uint8)

    grid = image_grid({"a": images(10, 1), "a_to_b": images(20, 3), "a_to_b_to_a": images(30, 1)})
    assert grid.shape == (10 * 66 - 2, 3 * 66 - 2, 3)  # at most 10 rows; grey beside colour becomes colour
    for column, value in enumerate((10, 20, 30)):
        assert set(np.unique(grid[:64, column * 66 : column * 66 + 64])) == {value}


def test_rows_are_examples():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 64, 64, 1), np.uint8)
    grid = image_grid({"a": images, "b": images + 100})
    assert [[int(grid[row * 66, column * 66, 0]) for column in (0, 1)] for row in (0, 1, 2)] == [
        [0, 100],
        [1, 101],
        [2, 102],
    ]


def test_values_that_are_no_colours():
    values = np.array([np.nan, np.inf, -np.inf, 3e38], np.float32)
    images = np.broadcast_to(values[:, None, None, None], (4, 64, 64, 1))
    grid = image_grid({"samples": images})
    assert [int(grid[y, x, 0]) for y in (0, 66) for x in (0, 66)] == [0, 255, 0, 255]


@pytest.mark.parametrize(
    "shapes", [[], [(4, 2)], [(0, 8, 8, 3)], [(4, 8, 8, 2)], [(4, 8, 8, 3), (4, 9, 8, 3)], [(4, 8, 8, 3), (5, 8, 8, 3)]]
)
def test_a_grid_of_anything_else_is_refused(shapes):
    with pytest.raises(ValueError, match=r"image_grid draws images \[N, H, W, 1 or 3\]"):
        image_grid({str(number): np.zeros(shape, np.float32) for number, shape in enumerate(shapes)})


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_pictures_are_written_exactly(tmp_path, channels):

    shape = (5, 7) if channels is None else (5, 7, channels)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    save_image(tmp_path / "new" / "a.png", image)
    with Image.open(tmp_path / "new" / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(file).reshape(shape), image)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_a_picture_is_never_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_image(path, np.zeros((4, 4), np.uint8))
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_image(path, np.full((4, 4), 9, np.uint8))
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("drawing", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), None, "a"])
def test_what_is_no_drawing_is_refused(tmp_path, drawing):
    with pytest.raises(ValueError, match="an image is"):
        save_image(tmp_path / "a.png", drawing)


def test_labelled_rows_are_images_beside_their_labels():
    images = np.zeros((4, 8, 8, 1), np.uint8)
    images[2:] = 255
    picture = labelled_rows(images, ["dark", "light"])
    assert picture.dtype == np.uint8
    grid = image_grid({"0": images[::2], "1": images[1::2]})
    np.testing.assert_array_equal(picture[:, -grid.shape[1] :], np.broadcast_to(grid, (*grid.shape[:2], 3)))
    text = picture[:, : -grid.shape[1]]
    assert text[: len(text) // 2].min() < 100 and text[len(text) // 2 :].min() < 100
    letters = [labelled_rows(images[:1], [label]) for label in "üéжλ"]
    assert len({one.tobytes() for one in letters}) == len(letters)  # and not the same box for all
    for labels in (["a", "b", "c"], [], ["x"] * 11):
        with pytest.raises(ValueError, match="labels"):
            labelled_rows(images, labels)


def test_scatter_draws_samples_over_data(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 100)
    data = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    figure = scatter(jnp.zeros((50, 2)), data, title="step 100")
    (axes,) = figure.axes
    np.testing.assert_allclose([axes.get_xlim(), axes.get_ylim()], [(-1.3, 1.3)] * 2, atol=1e-3)
    assert axes.get_aspect() == 1.0
    image = as_image(figure)
    assert image.shape == (400, 400, 3)
    reddish = (image[..., 0].astype(int) - image[..., 2]) > 60
    assert reddish.any()  # the samples, all in the middle of the circle
    save_image(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").stat().st_size < 40_000
    assert "matplotlib.pyplot" not in sys.modules
    with pytest.raises(ValueError, match=r"points \[N, 2\]"):
        scatter(np.zeros((5, 3)), data)
