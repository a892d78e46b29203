"""Precision, recall, density and coverage against the `prdc` package and by hand."""

import tracemalloc

import numpy as np
import pytest

from jaxgan.metrics import neighbours
from jaxgan.metrics.precision_recall import density_coverage, find_neighbours, precision_recall

RANDOM = np.random.default_rng(7)


def two_sets(count, other, features):
    """Two Gaussian sets, as `default_rng` of NumPy 2.4.6 draws them."""
    return (
        np.random.default_rng(0).normal(size=(count, features)),
        np.random.default_rng(1).normal(0.3, 1.2, (other, features)),
    )


# compute_prdc of prdc 0.2 (scikit-learn 1.9.1) on `two_sets`, by shape and k: precision, recall, density, coverage.
# Recorded 2026-11-26.
RECORDED = {
    (200, 150, 16, 3): (0.4266666666666667, 0.925, 0.44666666666666666, 0.54),
    (200, 150, 16, 5): (0.5, 0.975, 0.4466666666666667, 0.71),
    (50, 300, 8, 3): (0.6233333333333333, 0.98, 0.5566666666666666, 1.0),
    (40, 30, 64, 3): (0.1, 1.0, 0.04444444444444444, 0.075),
    (500, 500, 3, 3): (0.864, 0.966, 0.8653333333333333, 0.826),
    (500, 500, 3, 5): (0.922, 0.996, 0.8492000000000002, 0.938),
}


@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_equals_prdc(case):
    *shape, k = case
    real, fake = two_sets(*shape)
    scores = precision_recall(real, fake, k=k) | density_coverage(real, fake, k=k)
    assert list(scores) == ["precision", "recall", "density", "coverage"]
    assert tuple(scores.values()) == pytest.approx(RECORDED[case], rel=1e-10)


def test_in_parts_it_is_the_same(monkeypatch):
    real, fake = two_sets(50, 70, 4)
    whole = precision_recall(real, fake) | density_coverage(real, fake)
    monkeypatch.setattr(neighbours, "BLOCK", 200)  # 2 to 4 rows at a time, the last part shorter
    assert precision_recall(real, fake) | density_coverage(real, fake) == whole


@pytest.mark.parametrize("features", [1, 3, 2048])
def test_repeated_images_and_copies_of_them(features):
    """Ties: the radii are 0, and so are the distances of the samples, which a matrix product does not see."""
    distinct = RANDOM.normal(size=(20, features))
    real, fake = np.repeat(distinct, 7, axis=0), np.tile(distinct, (5, 1))
    assert precision_recall(real, fake) == {"precision": 1.0, "recall": 1.0}
    # In a ball of radius 0 lie the 7 copies of one image: 7 of the k = 5 there should be.
    assert density_coverage(real, fake) == {"density": 7 / 5, "coverage": 1.0}
    assert not find_neighbours(real, 6).squares.any()
    half = np.tile(distinct[:10], (5, 1))
    assert precision_recall(real, half)["recall"] == density_coverage(real, half)["coverage"] == 0.5
    away = precision_recall(real, fake + 1e-9) | density_coverage(real, fake + 1e-9)
    assert set(away.values()) == {0.0}


def test_equal_distances_are_decided_as_differences_have_it():
    """Against loops over points of a lattice, where most distances are equal, far from zero and from each other."""
    random = np.random.default_rng(3)
    real, fake = (random.integers(3, size=(count, 4)) + 1e8 * random.integers(2, size=(count, 1)) for count in (60, 40))
    squares = lambda a, b: np.square(a[:, None] - b[None]).sum(axis=2)
    radius = lambda points, k: np.sort(squares(points, points), axis=1)[:, k]
    near = squares(real, fake)
    within = near <= radius(real, 3)[:, None]
    expected = {"precision": within.any(axis=0).mean(), "recall": (near <= radius(fake, 3)).any(axis=1).mean()}
    assert precision_recall(real, fake) == pytest.approx(expected, rel=1e-12)
    within = near <= radius(real, 5)[:, None]
    expected = {"density": within.mean() * 60 / 5, "coverage": within.any(axis=1).mean()}
    assert density_coverage(real, fake) == pytest.approx(expected, rel=1e-12)


def test_neighbours_are_found_once_for_many_sets():
    real, fake = two_sets(200, 150, 16)
    known = find_neighbours(real, 5)
    for k in (1, 3, 5):
        assert precision_recall(known, fake, k=k) == precision_recall(real, fake, k=k)
        assert density_coverage(known, fake, k=k) == density_coverage(real, fake, k=k)
    with pytest.raises(ValueError, match="k=6, but the Neighbours of the real examples have 5 each"):
        density_coverage(known, fake, k=6)
    with pytest.raises(ValueError, match="16 features per sample and fake 4"):
        precision_recall(known, np.ones((9, 4)))


def test_the_same_distribution_a_part_of_it_and_another():
    real, fake = RANDOM.normal(size=(2, 1000, 2))
    scores = density_coverage(real, fake)
    assert scores["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)
    assert scores["density"] == pytest.approx(1.0, abs=0.1)
    half = precision_recall(real, fake[fake[:, 0] < 0]) | density_coverage(real, fake[fake[:, 0] < 0])
    assert half["precision"] > 0.9 and half["recall"] == pytest.approx(0.5, abs=0.1)
    assert half["coverage"] == pytest.approx(0.5, abs=0.06)
    away = precision_recall(real, fake + 100.0) | density_coverage(real, fake + 100.0)
    assert set(away.values()) == {0.0}
    assert density_coverage(real, real)["coverage"] == 1.0


def test_a_collapsed_generator_has_precision_and_no_recall():
    real = RANDOM.normal(size=(100, 3))
    collapsed = np.tile(real.mean(axis=0), (50, 1))
    assert precision_recall(real, collapsed) == {"precision": 1.0, "recall": 0.0}
    assert density_coverage(real, collapsed)["coverage"] < 0.5


def test_an_outlier_raises_recall_but_not_density_and_coverage():
    # One generated outlier's ball holds everything: the weakness of recall that density and coverage were made for.
    real, fake = RANDOM.normal(size=(100, 2)), np.concatenate([np.full((9, 2), 30.0), [[-30.0, -30.0]]])
    assert precision_recall(real, fake, k=3) == {"precision": 0.0, "recall": 1.0}
    assert density_coverage(real, fake, k=3) == {"density": 0.0, "coverage": 0.0}


def test_images_are_flattened_and_roles_swap():
    real, fake = RANDOM.normal(size=(20, 2, 2, 1)), RANDOM.normal(size=(30, 2, 2, 1))
    scores = precision_recall(real, fake)
    swapped = precision_recall(fake.reshape(30, 4), real.reshape(20, 4))
    assert (scores["precision"], scores["recall"]) == (swapped["recall"], swapped["precision"])


@pytest.mark.parametrize("score", [precision_recall, density_coverage])
def test_refusals(score):
    for real, fake, message in [
        (np.ones((5, 3)), np.ones((9, 3)), "k=5 needs more than k real samples, not 5"),
        (np.ones((9, 3)), np.ones((9, 4)), "3 features per sample and fake 4"),
        (np.full((9, 3), np.nan), np.ones((9, 3)), "real holds NaN"),
        (np.ones((9, 3)), np.ones((0, 3)), r"fake has shape \(0, 3\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            score(real, fake, k=5)
    with pytest.raises(ValueError, match="k=0"):
        score(np.ones((9, 3)), np.ones((9, 3)), k=0)
    with pytest.raises(ValueError, match="k=5 needs more than k fake samples, not 4"):
        precision_recall(np.ones((9, 3)), np.ones((4, 3)), k=5)


def test_distances_are_not_all_held_at_once(monkeypatch):
    """1,500 x 1,500 distances are 18 MB; some rows at a time, a tenth of that is enough."""
    monkeypatch.setattr(neighbours, "BLOCK", 2**14)
    real, fake = np.random.default_rng(0).normal(size=(2, 1500, 2))
    for score in (precision_recall, density_coverage):
        tracemalloc.start()
        score(real, fake)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2e6
