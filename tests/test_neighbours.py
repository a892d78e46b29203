import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxgan.metrics.neighbours import coverage, nearest_distances

RANDOM = np.random.default_rng(0)


def test_nearest_distances_against_scipy():
    samples, data = RANDOM.normal(size=(700, 3, 2)), RANDOM.normal(size=(50, 3, 2))
    expected = cdist(samples.reshape(700, 6), data.reshape(50, 6)).min(axis=1)
    np.testing.assert_allclose(nearest_distances(samples, data), expected, rtol=1e-9)
    np.testing.assert_allclose(nearest_distances(data, data), 0.0, atol=1e-6)


def test_coverage_of_the_same_distribution_of_a_part_and_of_nothing():
    real, fake = RANDOM.normal(size=(1000, 2)), RANDOM.normal(size=(1000, 2))
    assert coverage(real, fake, k=5) == pytest.approx(1 - 2**-5, abs=0.02)
    left = fake[fake[:, 0] < 0]
    assert coverage(real, left, k=5) == pytest.approx(0.5, abs=0.06)
    assert coverage(real, fake + 100.0) == 0.0
    assert coverage(real, real) == 1.0


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="one shape"):
        nearest_distances(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="at least one"):
        nearest_distances(np.zeros((2, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="k=5"):
        coverage(np.zeros((5, 3)), np.zeros((2, 3)))
