import numpy as np
import pytest
from scipy import stats

from jaxgan.metrics.modes import confident_classes, labelled_modes, mode_coverage, stacked_labels


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


def test_what_is_not_finite_is_no_sample():
    """argmin and argmax take NaN for the nearest and the likeliest."""
    with pytest.raises(ValueError, match="samples holds NaN or infinity in 1 of 2"):
        mode_coverage([[0.0], [np.nan]], [[0.0]], 1.0)
    with pytest.raises(ValueError, match="probabilities holds NaN or infinity in 1 of 2"):
        confident_classes([[0.5, 0.5], [np.nan, np.nan]])


def test_stacked_labels_are_digits():
    every = np.stack(np.meshgrid(*[np.arange(10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    np.testing.assert_array_equal(stacked_labels(every), np.arange(1000))
    assert stacked_labels([[2, 1], [0, 2]], num_classes=3).tolist() == [7, 2]
    for labels, message in [
        ([[1, 10]], r"0\.\.9, not in 1\.\.10"),
        ([[-1, 2]], r"not in -1\.\.2"),
        ([1, 2], r"shape \(2,\)"),
        ([[0.5]], "float"),
    ]:
        with pytest.raises(ValueError, match=message):
            stacked_labels(labels)


def test_divergence_of_modes_against_scipy():
    random = np.random.default_rng(0)
    labels = random.choice(12, p=random.dirichlet(np.ones(12)), size=500)
    counts = np.bincount(labels, minlength=15)
    expected = random.integers(1, 50, size=15)
    scores = labelled_modes(labels, 15, expected=expected)
    assert scores["modes"] == np.count_nonzero(counts)
    assert scores["kl"] == pytest.approx(stats.entropy(counts, expected), rel=1e-12)
    assert labelled_modes(labels, 15)["kl"] == pytest.approx(stats.entropy(counts, np.ones(15)), rel=1e-12)


def test_all_modes_one_mode_and_a_mode_that_the_data_lacks():
    assert labelled_modes(np.arange(1000), 1000) == {"modes": 1000.0, "kl": pytest.approx(0.0, abs=1e-12)}
    assert labelled_modes(np.full(50, 7), 1000) == {"modes": 1.0, "kl": pytest.approx(np.log(1000))}
    assert labelled_modes([0, 1], 2, expected=[1.0, 0.0])["kl"] == np.inf


def test_the_divergence_of_perfect_samples_is_that_of_their_number():
    # (K - 1) / (2 N), the mean of the likelihood-ratio statistic's chi^2, halved.
    labels = np.random.default_rng(0).integers(1000, size=26_000)
    assert labelled_modes(labels, 1000)["kl"] == pytest.approx(999 / 52_000, rel=0.15)


@pytest.mark.parametrize(
    ("labels", "expected", "message"),
    [
        ([], None, r"shape \(0,\)"),
        ([0, 4], None, r"must be in 0\.\.3, not in 0\.\.4"),
        ([0.0, 1.0], None, "not float64"),
        ([0, 1], [0.5, 0.5], r"frequencies or counts \[4\], not \(2,\)"),
        ([0, 1], [0, 0, 0, 0], "the sum 0"),
        ([0, 1], [1, 1, 1, -1], "frequencies or counts"),
        ([0, 1], [1, 1, 1, np.nan], "frequencies or counts"),
    ],
)
def test_labels_that_are_no_modes(labels, expected, message):
    with pytest.raises(ValueError, match=message):
        labelled_modes(labels, 4, expected=expected)
