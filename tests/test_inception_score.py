import numpy as np
import pytest

from jaxgan.metrics.arrays import random_subset
from jaxgan.metrics.inception_score import inception_score

PROBABILITIES = np.random.default_rng(0).dirichlet(np.full(10, 0.3), 203)


# exp of the mean of scipy.stats.entropy(row, mean of the part), parts [i N // splits, (i + 1) N // splits) as in the
# authors' code, SciPy 1.17.1 and NumPy 2.4.6, recorded 2026-11-26. Here the rows are put where the shuffle finds them.
@pytest.mark.parametrize(
    ("splits", "mean", "std"), [(1, 2.383538885208264, 0.0), (10, 2.2848154936427045, 0.16207700389344853)]
)
def test_equals_scipys_entropy(splits, mean, std):
    rows = np.empty_like(PROBABILITIES)
    rows[random_subset(len(rows), None)] = PROBABILITIES
    score = inception_score(rows, splits=splits)
    assert score.mean == pytest.approx(mean, rel=1e-10) and score.std == pytest.approx(std, rel=1e-10)


def test_its_ends():
    classes = np.tile(np.eye(5), (4, 1))
    assert inception_score(classes, splits=1).mean == pytest.approx(5.0)  # zeros among the probabilities
    assert inception_score(np.full((8, 5), 0.2), splits=2) == pytest.approx((1.0, 0.0), abs=1e-12)
    assert inception_score(np.eye(5)[[2] * 8], splits=2) == pytest.approx((1.0, 0.0), abs=1e-12)


def test_samples_in_the_order_of_their_classes():
    """Consecutive parts held one class each, and a perfect score was 1 (sbarratt/inception-score-pytorch#12)."""
    in_order = np.repeat(np.eye(10), 100, axis=0)
    score = inception_score(in_order)
    shuffled = inception_score(np.random.default_rng(0).permutation(in_order))
    assert 9.0 < score.mean < 10.0 and score.mean == pytest.approx(shuffled.mean, rel=0.02)
    assert inception_score(in_order, seed=1).mean not in (score.mean, 1.0)


def test_half_precision_is_summed_in_float64():
    rows = PROBABILITIES.astype(np.float16)
    expected = inception_score(rows.astype(np.float64), splits=1)
    assert inception_score(rows, splits=1) == expected
    assert expected.mean == pytest.approx(2.3835, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inception_score(np.log(PROBABILITIES)), "have the minimum -.*but .N, K., at least 0"),
        (lambda: inception_score(2 * PROBABILITIES), "rows that sum to 2 to 2"),
        (lambda: inception_score(np.ones(20)), r"shape \(20,\)"),
        (lambda: inception_score(np.full((4, 2), np.nan)), "probabilities holds NaN or infinity in 4 of 4"),
        (lambda: inception_score(np.ones((1, 1))), r"shape \(1, 1\), but at least 2"),
        (lambda: inception_score(np.ones((15, 1))), "splits=10, but 15 samples give 1 to 7 parts"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
