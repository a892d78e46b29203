import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from jaxgan.metrics import neighbours
from jaxgan.metrics.neighbours import distance_blocks, nearest_distances, nearest_neighbours, pairwise_diversity

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
    blocks = list(distance_blocks(a, b))
    np.testing.assert_allclose(np.concatenate([block for _, block in blocks]), cdist(a, b), rtol=1e-6)


def test_diversity_against_scipy_and_of_one_thing(monkeypatch):
    samples = RANDOM.normal(size=(60, 5))
    expected = pdist(samples).mean()
    assert pairwise_diversity(samples) == pytest.approx(expected, rel=1e-9)
    monkeypatch.setattr(neighbours, "BLOCK", 500)
    assert pairwise_diversity(samples) == pytest.approx(expected, rel=1e-9)
    assert pairwise_diversity(np.full((10, 3), 0.1)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest_distances(np.zeros((2, 3)), np.zeros((2, 4))), "one dimension expected, not 3 and 4"),
        (lambda: nearest_distances(np.zeros((2, 3)), np.zeros((0, 3))), r"data has shape \(0, 3\), but at least 1"),
        (lambda: nearest_neighbours(np.zeros((2, 3)), np.zeros((4, 3)), k=5), r"data has .* at least 5 samples"),
        (lambda: nearest_neighbours(np.zeros((2, 3)), np.zeros((4, 3)), k=0), "k=0"),
        (lambda: nearest_neighbours(np.full((2, 3), np.inf), np.zeros((2, 3))), "samples holds NaN"),
        (lambda: pairwise_diversity(np.zeros((1, 3))), "at least 2 samples"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
