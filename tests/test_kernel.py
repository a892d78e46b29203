"""The kernel distance against loops over all pairs, and what makes it unbiased."""

from fractions import Fraction

import numpy as np
import pytest

from jaxgan.metrics.kernel import kernel_distance


def two_sets(count, other, features):
    """Two Gaussian sets, as `default_rng` of NumPy 2.4.6 draws them."""
    return (
        np.random.default_rng(0).normal(size=(count, features)),
        np.random.default_rng(1).normal(0.3, 1.2, (other, features)),
    )


def test_one_subset_of_everything_equals_the_recorded_loops():
    # Python loops over all pairs of `two_sets(60, 60, 16)`, in float64, of
    # mean_(i!=j) k(x_i, x_j) + mean_(i!=j) k(y_i, y_j) - 2 mean_(i,j) k(x_i, y_j), k(a, b) = (a.b / 16 + 1)^3,
    # which is what torch-fidelity's and the authors' KID average over subsets. Recorded 2026-11-26, Python 3.11.7.
    real, fake = two_sets(60, 60, 16)
    distance = kernel_distance(real, fake, subset_size=60, subsets=1)
    assert distance.mean == pytest.approx(0.3040033596655851, rel=1e-10) and distance.std is None


def test_subsets_equal_the_recorded_loops():
    # The same loops over 4 subsets of 20, drawn in turn from the real and the generated set by default_rng(5).choice.
    distance = kernel_distance(*two_sets(60, 60, 16), subset_size=20, subsets=4, seed=5)
    assert distance.mean == pytest.approx(0.44789000411876567, rel=1e-10)
    assert distance.std == pytest.approx(0.09663037391231737, rel=1e-10)


def test_by_hand_with_unequal_counts():
    # x = 0, 0; y = 1, 2, drawn whole: 1 + 3^3 - 2 (1 + 1 + 1 + 1) / 4.
    assert kernel_distance([0, 0], [1, 2], subset_size=2, subsets=1).mean == 26.0
    assert kernel_distance([0, 0, 0, 0], [1, 2], subset_size=2, subsets=3).mean == 26.0


def test_a_single_subset_has_no_standard_deviation():
    real, fake = two_sets(20, 20, 3)
    whole = kernel_distance(real, fake, subset_size=20)
    assert whole == kernel_distance(real, fake, subset_size=20, subsets=1) and whole.std is None
    some = kernel_distance(real, np.vstack([fake, fake + 1.0]), subset_size=20)
    assert some.std is not None and some.std > 1e-3


@pytest.mark.parametrize("size", [0.0, 1.0, -1e3, 1e9, 1e40])
def test_features_that_are_all_alike_are_at_distance_0(size):
    real = np.full((9, 4), size)
    assert kernel_distance(real, real[:6], subset_size=5).mean == 0.0
    assert kernel_distance(real, np.full((7, 4), size / 2.0), subset_size=5).mean >= 0.0
    with pytest.raises(ValueError, match="for which scores overflow"):
        kernel_distance(real + 1e41, real, subset_size=5)


def test_large_features_that_differ_little():
    """Exactly, in fractions: x.y / 1 of whole numbers near 10^6."""
    real, fake = [10**6 + n for n in (0, 1, 3)], [10**6 + n for n in (1, 2, 2)]
    k = lambda a, b: (a * b + 1) ** 3
    within = lambda x: sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j)
    exact = Fraction(within(real) + within(fake), 6) - Fraction(2 * sum(k(a, b) for a in real for b in fake), 9)
    found = kernel_distance(np.array(real, float), np.array(fake, float), subset_size=3, subsets=1).mean
    assert found == pytest.approx(float(exact), rel=1e-6)


def test_it_is_unbiased_and_not_clipped():
    # Of one distribution the mean over many draws is 0, so about half of the single ones are negative.
    random = np.random.default_rng(0)
    values = [kernel_distance(*random.normal(size=(2, 20, 4)), subset_size=20, subsets=1).mean for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert 0.3 < np.mean(np.array(values) < 0) < 0.8


def test_a_seed_decides_the_subsets():
    real, fake = two_sets(50, 40, 3)
    options = {"subset_size": 10, "subsets": 3}
    assert kernel_distance(real, fake, seed=1, **options) == kernel_distance(real, fake, seed=1, **options)
    assert kernel_distance(real, fake, seed=1, **options) != kernel_distance(real, fake, seed=2, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_distance(*two_sets(60, 50, 2)), "subset_size=1000 must be .* 60 real and 50 fake samples"),
        (lambda: kernel_distance(*two_sets(9, 9, 2), subset_size=1), "subset_size=1 must"),
        (lambda: kernel_distance(*two_sets(9, 9, 2), subset_size=5, subsets=0), "subsets=0"),
        (lambda: kernel_distance([[1.0]], [[1.0], [2.0]]), r"real has shape \(1, 1\), but at least 2"),
        (lambda: kernel_distance([1.0, np.inf], [1.0, 2.0], subset_size=2), "real holds NaN"),
        (lambda: kernel_distance(np.ones((3, 2)), np.ones((3, 1)), subset_size=2), "2 features per sample and fake 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
