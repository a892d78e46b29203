import numpy as np
import pytest

from jaxgan.metrics.modes import confident_classes, mode_coverage


def test_samples_of_the_data_itself():
    centers = np.array([[0.0, 0.0], [3.0, 0.0]])
    random = np.random.default_rng(0)
    samples = centers[random.integers(2, size=20_000)] + 0.1 * random.normal(size=(20_000, 2))
    scores = mode_coverage(samples, centers, 0.1)
    assert scores["modes"] == 2
    assert scores["high_quality"] == pytest.approx(1 - np.exp(-4.5), abs=0.003)


def test_a_mode_needs_its_count_and_a_sample_its_place():
    centers = np.array([[0.0], [10.0]])
    samples = np.array([[0.0]] * 20 + [[10.0]] * 19 + [[5.0]])
    assert mode_coverage(samples, centers, 1.0) == {"modes": 1.0, "high_quality": 39 / 40}
    assert mode_coverage(samples, centers, 1.0, min_count=19)["modes"] == 2
    assert mode_coverage(samples + 4.0, centers, 1.0)["high_quality"] == 1 / 40  # the one between comes to lie at 9


def test_shapes_that_cannot_be_compared():
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        mode_coverage(np.zeros((4, 3)), np.zeros((2, 2)), 1.0)


def test_confident_classes_counts_every_class():
    probabilities = np.array([[0.91, 0.09, 0.0], [0.2, 0.8, 0.0], [0.95, 0.0, 0.05], [0.9, 0.1, 0.0]])
    scores = confident_classes(probabilities)
    assert scores == {"confident": 0.5, "class_0": 0.75, "class_1": 0.25, "class_2": 0.0}
    assert confident_classes(probabilities, threshold=0.5)["confident"] == 1.0
