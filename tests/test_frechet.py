"""The Frechet distance against SciPy's matrix square root, closed forms, and where that root fails."""

import numpy as np
import pytest
from scipy import linalg

from jaxgan.metrics.frechet import Statistics, bias_warning, frechet_distance, gather_statistics


def two_sets(count, other, features):
    """Two Gaussian sets, as `default_rng` of NumPy 2.4.6 draws them."""
    return (
        np.random.default_rng(0).normal(size=(count, features)),
        np.random.default_rng(1).normal(0.3, 1.2, (other, features)),
    )


# pytorch-fid's formula, `|m1 - m2|^2 + tr(S1 + S2 - 2 sqrtm(S1 S2))`, on `two_sets` with SciPy 1.17.1 and NumPy 2.4.6,
# recorded 2026-11-26.
RECORDED = {
    (200, 150, 16): 3.380229622581652,
    (50, 300, 8): 1.7083710646331731,
    (40, 30, 64): 78.88273746508389,
    (500, 500, 3): 0.39528911114671494,
}


@pytest.mark.parametrize("shape", RECORDED)
def test_equals_the_recorded_formula_from_features_and_from_statistics(shape):
    real, fake = two_sets(*shape)
    assert frechet_distance(real, fake) == pytest.approx(RECORDED[shape], rel=1e-6)
    both = gather_statistics([real]), gather_statistics([fake])
    assert frechet_distance(*both) == pytest.approx(RECORDED[shape], rel=1e-6)
    assert frechet_distance(both[0], fake) == pytest.approx(RECORDED[shape], rel=1e-6)


def test_equals_scipy_now():
    real, fake = two_sets(60, 80, 5)
    first, second = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    expected = np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(
        first + second - 2 * linalg.sqrtm(first @ second)
    )
    assert frechet_distance(real, fake) == pytest.approx(float(np.real(expected)), rel=1e-9)


def test_diagonal_gaussians_by_the_closed_form():
    # Covariances that commute: |m1 - m2|^2 + |s1 - s2|^2 with standard deviations s. The four points have them exactly.
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * np.sqrt(3 / 4)
    assert frechet_distance(corners * [1, 2] + [1, 0], corners * [3, 5] + [0, 2]) == pytest.approx(1 + 4 + 4 + 9)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_it_scales_as_a_squared_distance_and_is_symmetric(scale):
    real, fake = two_sets(30, 20, 4)
    value = frechet_distance(scale * real, scale * fake)
    assert value == pytest.approx(scale**2 * frechet_distance(real, fake), rel=1e-9)
    assert value == pytest.approx(frechet_distance(scale * fake, scale * real), rel=1e-9)


def test_a_collapsed_generator_and_constant_features_have_a_distance():
    real, _ = two_sets(30, 2, 4)
    collapsed = np.tile(real[:1], (10, 1))
    expected = np.square(real.mean(0) - real[0]).sum() + np.trace(np.cov(real, rowvar=False))
    assert frechet_distance(real, collapsed) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(gather_statistics([real]), gather_statistics([collapsed])) == pytest.approx(expected)
    assert frechet_distance(collapsed, collapsed) == 0.0


@pytest.mark.parametrize("sizes", [(103,), (64, 39), (1, 102), (10,) * 10 + (3,), (1,) * 103])
def test_batches_of_any_sizes_have_the_statistics_of_all(sizes):
    features = 5.0 + np.random.default_rng(0).normal(size=(103, 6)).astype(np.float32)
    statistics = gather_statistics(np.split(features, np.cumsum(sizes)[:-1]))
    assert statistics.count == 103 and statistics.mean.dtype == np.float64
    np.testing.assert_allclose(statistics.mean, np.float64(features).mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(
        statistics.covariance, np.cov(np.float64(features), rowvar=False), rtol=1e-11, atol=1e-13
    )


def test_statistics_far_from_zero_keep_their_digits():
    # Sums of squares would lose all 16: 1e8 +- 1 squared is 1e16.
    features = 1e8 + np.arange(6.0)[:, None] % 2
    assert gather_statistics([features[:4], features[4:]]).covariance[0, 0] == pytest.approx(0.3)


def test_few_samples_are_warned_about_in_words():
    assert bias_warning(2049, 50_000, 2048) == ""
    assert "with 2048 samples and 2048 features" in bias_warning(50_000, 2048, 2048)
    assert "10 samples and 64" in bias_warning(10, 100, 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet_distance([[1.0, 2.0]], np.ones((5, 2))), r"real has shape \(1, 2\), but at least 2 samples"),
        (
            lambda: frechet_distance(np.ones((5, 2)), gather_statistics([[[1.0, 2.0]]])),
            "fake has 1 sample, but at",
        ),
        (lambda: frechet_distance(np.ones((5, 2)), np.ones((5, 3))), "real has 2 features per sample and fake 3"),
        (lambda: frechet_distance(np.ones((5, 2)), [[1.0, np.nan], [0, 0]]), "fake holds NaN or infinity in 1 of 2"),
        (lambda: frechet_distance(np.ones((5, 0)), np.ones((5, 0))), r"real has shape \(5, 0\), but a sample needs"),
        (
            lambda: frechet_distance(np.ones((5, 2)), Statistics(9, np.zeros(2), np.full((2, 2), np.nan))),
            "fake has statistics that hold NaN",
        ),
        (lambda: gather_statistics([]), "no batches of features"),
        (lambda: gather_statistics([np.ones((2, 3)), np.ones((2, 4))]), "a batch has 4 features .* before it 3"),
        (lambda: gather_statistics([np.ones((2, 3)), np.ones((0, 3))]), r"a batch has shape \(0, 3\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_statistics_are_a_plain_tuple():
    assert Statistics(2, np.zeros(1), np.ones((1, 1))).covariance.tolist() == [[1.0]]


def normals(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        ([0, 2], [1, 3], 1.0),
        ([0, 2], [0, 4], 3.0),  # 2.0 if the covariance is divided by n
        ([[0, 0], [2, 0]], [[0, 0], [0, 2]], 6.0),
        (normals(0, 10, 64), normals(1, 10, 64), 99.1742),
        (normals(0, 10, 2048), normals(1, 10, 2048), 4256.162),
        (normals(0, 64, 8), np.zeros((64, 8)), 8.28628),
    ],
)
def test_few_samples_and_collapse_have_a_distance(real, fake, expected):
    """mseitzer/pytorch-fid#13: with fewer samples than features the root was complex."""
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)
    if np.shape(real)[-1] < 100:  # the same from covariances, where the rank is short
        assert frechet_distance(gather_statistics([real]), gather_statistics([fake])) == pytest.approx(expected, 1e-6)
    for same in (real, fake):
        assert 0.0 <= frechet_distance(same, same) < 1e-6


def test_one_sample_is_refused_and_few_are_warned_about():
    """bioinf-jku/TTUR#5: whether a score of few images means anything was not said."""
    with pytest.raises(ValueError, match="at least 2 samples"):
        frechet_distance(normals(0, 1, 8), normals(1, 5, 8))
    assert "with 10 samples and 64 features" in bias_warning(10, 10, 64)
