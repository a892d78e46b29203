import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from jaxgan.metrics import neighbours
from jaxgan.metrics.neighbours import nearest_distances, nearest_neighbours, pairwise_diversity, squared_blocks

RANDOM = np.random.default_rng(0)


def test_nearest_against_scipy(monkeypatch):
    samples, data = RANDOM.normal(size=(700, 3, 2)), RANDOM.normal(size=(50, 3, 2))
    expected = cdist(samples.reshape(700, 6), data.reshape(50, 6))
    # At once; ten rows at a time; and eight examples, of which the last part has but two.
    for block, part in ((neighbours.BLOCK, neighbours.PART), (512, neighbours.PART), (512, 50)):
        monkeypatch.setattr(neighbours, "BLOCK", block)
        monkeypatch.setattr(neighbours, "PART", part)
        rows, distances = nearest_neighbours(samples, data, k=3)
        np.testing.assert_array_equal(rows, expected.argsort(axis=1)[:, :3])
        np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :3], rtol=1e-12)
        np.testing.assert_array_equal(nearest_distances(samples, data), distances[:, 0])


def test_a_copy_is_found_and_at_distance_0():
    data = RANDOM.integers(256, size=(40, 8, 8, 1), dtype=np.uint8)
    rows, distances = nearest_neighbours(data[[7, 31]], data)
    assert rows.tolist() == [[7], [31]] and distances.tolist() == [[0.0], [0.0]]


def test_distances_of_points_far_from_zero_keep_their_digits():
    a, b = RANDOM.normal(size=(2, 20, 3)) + 1e6
    squares = np.concatenate([block.squares for block in squared_blocks(a, b, np.float64)])
    np.testing.assert_allclose(np.sqrt(squares), cdist(a, b), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-25, 1e-9, 1.0, 1e9, 1e25])
@pytest.mark.parametrize("features", [1, 50, 2048])
def test_a_block_is_off_by_no_more_than_it_says(features, scale, dtype):
    a, b = scale * RANDOM.normal(size=(2, 40, features)) + (3.0 if abs(np.log10(scale)) < 10 else 0.0)
    b[7] *= 1e3
    for block in squared_blocks(a, b, dtype):
        assert block.squares.dtype == (np.float64 if abs(np.log10(scale)) > 10 else dtype)
        exact = block.exact(*np.indices(block.squares.shape).reshape(2, -1)).reshape(block.squares.shape)
        assert np.abs(block.squares - exact).max() <= block.error
        # Limits at a distance, and one digit below it: decided as differences have it.
        np.testing.assert_array_equal(block.within(exact[:, :1]), exact <= exact[:, :1])
        np.testing.assert_array_equal(block.within(np.nextafter(exact[3], 0.0)), exact < exact[3])


@pytest.mark.parametrize("spread", [1e-7, 1e-4, 1.0])
def test_what_float32_cannot_decide_is_decided_in_float64(monkeypatch, spread):
    """300 points within `spread` of one another, far from some others, as of a generator that collapsed."""
    monkeypatch.setattr(neighbours, "BLOCK", 2**12)
    a, b = spread * RANDOM.normal(size=(2, 300, 4)) + 10.0
    b[::100] = 0.0
    exact = cdist(a, b, "sqeuclidean")
    rows, squares = neighbours.nearest_rows(a, b, 5)
    np.testing.assert_array_equal(rows, exact.argsort(axis=1)[:, :5])
    np.testing.assert_allclose(squares, np.sort(exact, axis=1)[:, :5], rtol=1e-12)
    limits = np.median(exact, axis=1, keepdims=True)
    for block in squared_blocks(a, b):
        again = len(np.flatnonzero(np.abs(block.squares - limits[block.rows]) <= block.error))
        assert (again > 16 * len(block.a)) == (spread < 1.0)
        np.testing.assert_array_equal(block.within(limits[block.rows]), exact[block.rows] <= limits[block.rows])


def test_of_equal_distances_the_first_is_nearest():
    """Two clusters far apart: within one, a matrix product leaves nothing of the differences."""
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    data = np.concatenate([points, points + 3e8])
    for shift in (0.0, 3e8):
        rows, distances = nearest_neighbours(points[:1] + shift, data, k=6)
        assert (rows[0] % 6).tolist() == [0, 1, 2, 3, 5, 4] and distances[0].tolist() == [0, 1, 1, 1, 1, 2]


def test_diversity_against_scipy_and_of_one_thing(monkeypatch):
    samples = RANDOM.normal(size=(60, 5))
    expected = pdist(samples).mean()
    assert pairwise_diversity(samples) == pytest.approx(expected, rel=1e-9)
    monkeypatch.setattr(neighbours, "BLOCK", 500)
    assert pairwise_diversity(samples) == pytest.approx(expected, rel=1e-9)
    assert pairwise_diversity(np.full((30, 3), 0.1)) == 0.0
    # Many times the same: as often as all of them together, less the pairs of one sample with itself.
    assert pairwise_diversity(np.repeat(samples, 3, axis=0)) == pytest.approx(expected * 59 * 3 / 179, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest_distances(np.zeros((2, 3)), np.zeros((2, 4))), "equal dimension expected, not 3 and 4"),
        (lambda: nearest_distances(np.zeros((2, 3)), np.zeros((0, 3))), r"data has shape \(0, 3\), but at least 1"),
        (lambda: nearest_neighbours(np.zeros((2, 3)), np.zeros((4, 3)), k=5), r"data has .* at least 5 samples"),
        (lambda: nearest_neighbours(np.zeros((2, 3)), np.zeros((4, 3)), k=0), "k=0"),
        (lambda: nearest_neighbours(np.full((2, 3), np.inf), np.zeros((2, 3))), "samples holds NaN"),
        (
            lambda: nearest_neighbours(np.zeros((2, 3)), np.where(np.eye(8, 3), np.nan, 0.0)),
            "data holds NaN or infinity in 3 of 8 samples",
        ),
        (lambda: nearest_distances(np.zeros((2, 3)), np.full((4, 3), -1e200)), "data holds values from -1e.200 to -1e"),
        (lambda: pairwise_diversity(np.zeros((1, 3))), "at least 2 samples"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
