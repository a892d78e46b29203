"""Exact Wasserstein distances against every permutation, against SciPy, and against closed forms."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgan.transport import (
    sliced_wasserstein,
    wasserstein_1d,
    wasserstein_assignment,
    wasserstein_brute_force,
    wasserstein_discrete,
)

each_order = pytest.mark.parametrize("p", [1, 2, 3.5])


def point_sets(count, dimension, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, dimension)), random.normal(0.5, 2.0, (count, dimension))


def equal_weights(points):
    return np.full(len(points), 1.0 / len(points))


def test_brute_force_by_hand():
    # Crossed pairs: straight across costs 3 and 3, crosswise sqrt(10) twice.
    assert wasserstein_brute_force([[0, 0], [0, 1]], [[3, 0], [3, 1]]) == pytest.approx(3.0)
    # On the line {0, 2} to {3, 7}: 3 and 5 in order, whatever p > 1; by p = 2 that is sqrt(17).
    assert wasserstein_brute_force([2.0, 0.0], [3.0, 7.0]) == pytest.approx(4.0)
    assert wasserstein_brute_force([2.0, 0.0], [3.0, 7.0], 2) == pytest.approx(math.sqrt(17.0))


@each_order
@pytest.mark.parametrize("dimension", [1, 2, 5])
@pytest.mark.parametrize("count", range(1, 7))
def test_all_algorithms_agree_with_brute_force(count, dimension, p):
    for seed in range(3):
        x, y = point_sets(count, dimension, seed)
        expected = wasserstein_brute_force(x, y, p)
        assert wasserstein_assignment(x, y, p) == pytest.approx(expected, abs=1e-9)
        distance, _ = wasserstein_discrete(equal_weights(x), x, equal_weights(y), y, p)
        assert distance == pytest.approx(expected, abs=1e-9)
        if dimension == 1:
            assert wasserstein_1d(x[:, 0], y[:, 0], p) == pytest.approx(expected, abs=1e-9)


@each_order
def test_ties_and_repeated_points(p):
    x, y = np.array([[0, 0], [0, 0], [1, 1], [1, 1]]), np.array([[0, 0], [1, 1], [1, 1], [2, 2]])
    expected = wasserstein_brute_force(x, y, p)
    assert expected == pytest.approx((2 * math.sqrt(2.0) ** p / 4) ** (1 / p))  # two of four points move by sqrt 2
    assert wasserstein_assignment(x, y, p) == pytest.approx(expected, abs=1e-9)
    assert wasserstein_discrete(equal_weights(x), x, equal_weights(y), y, p)[0] == pytest.approx(expected, abs=1e-9)
    assert wasserstein_1d(x[:, 0], y[:, 0], p) == pytest.approx(expected / math.sqrt(2.0), abs=1e-9)


@pytest.mark.parametrize(("count", "other"), [(50, 50), (30, 47)])
def test_one_dimension_against_scipy(count, other):
    random = np.random.default_rng(count)
    x, y = random.normal(size=count), random.normal(1.0, 2.0, other)
    assert wasserstein_1d(x, y) == pytest.approx(stats.wasserstein_distance(x, y), abs=1e-12)
    weights_x, weights_y = random.dirichlet(np.ones(count)), random.dirichlet(np.ones(other))
    weights_x[3] = 0.0
    weights_x /= weights_x.sum()
    expected = stats.wasserstein_distance(x, y, weights_x, weights_y)
    assert wasserstein_1d(x, y, weights_x=weights_x, weights_y=weights_y) == pytest.approx(expected, abs=1e-12)
    assert wasserstein_1d(x, y, weights_x=weights_x) == pytest.approx(
        stats.wasserstein_distance(x, y, weights_x), abs=1e-12
    )
    assert wasserstein_discrete(weights_x, x, weights_y, y)[0] == pytest.approx(expected, abs=1e-9)


@each_order
def test_unequal_counts_are_repeated_points(p):
    # Two points against three are six against six.
    x, y = np.array([0.3, 2.0]), np.array([-1.0, 0.5, 4.0])
    expected = wasserstein_brute_force(np.repeat(x, 3), np.repeat(y, 2), p)
    assert wasserstein_1d(x, y, p) == pytest.approx(expected, abs=1e-12)
    assert wasserstein_discrete(equal_weights(x), x, equal_weights(y), y, p)[0] == pytest.approx(expected, abs=1e-9)


def test_weights_rounded_to_float32_are_accepted():
    thirds, uneven = np.array([[0.33333, 0.33333, 0.33333], [0.2, 0.2, 0.60002]], np.float32)
    x, y = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 4.0])
    expected = stats.wasserstein_distance(x, y, thirds, uneven)  # which divides weights by their sum
    assert wasserstein_1d(x, y, weights_x=thirds, weights_y=uneven) == pytest.approx(expected, abs=1e-12)
    distance, plan = wasserstein_discrete(thirds, x, uneven, y)
    assert distance == pytest.approx(expected, abs=1e-9) and plan.sum() == pytest.approx(1.0, abs=1e-9)


def test_several_dimensions_against_scipy():
    random = np.random.default_rng(5)
    x, y = random.normal(size=(12, 3)), random.normal(1.0, 2.0, (17, 3))
    weights_x, weights_y = random.dirichlet(np.ones(12)), random.dirichlet(np.ones(17))
    expected = stats.wasserstein_distance_nd(x, y, weights_x, weights_y)  # by the dual program
    assert wasserstein_discrete(weights_x, x, weights_y, y)[0] == pytest.approx(expected, abs=1e-9)


@each_order
def test_the_transport_plan_has_the_marginals_and_the_cost(p):
    random = np.random.default_rng(6)
    x, y = random.normal(size=(9, 2)), random.normal(1.0, 2.0, (14, 2))
    weights_x, weights_y = random.dirichlet(np.ones(9)), random.dirichlet(np.ones(14))
    distance, plan = wasserstein_discrete(weights_x, x, weights_y, y, p)
    assert plan.shape == (9, 14) and plan.min() >= 0.0 and np.count_nonzero(plan) <= 9 + 14 - 1
    np.testing.assert_allclose(plan.sum(axis=1), weights_x, atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0), weights_y, atol=1e-9)
    lengths = np.linalg.norm(x[:, None] - y[None], axis=-1)
    assert distance == pytest.approx(np.sum(plan * lengths**p) ** (1 / p), abs=1e-12)
    # The optimal plan costs at most as much as the product of the marginals: every point to every point.
    assert distance <= np.sum(np.outer(weights_x, weights_y) * lengths**p) ** (1 / p)


@each_order
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_translation_costs_its_length_in_any_unit(p, scale):
    x, _ = point_sets(40, 3)
    x, way = scale * x, scale * np.array([0.1, -0.2, 0.05])
    length = np.linalg.norm(way)
    y = np.random.default_rng(1).permutation(x + way)
    assert wasserstein_assignment(x, y, p) == pytest.approx(length, rel=1e-6)
    assert wasserstein_discrete(equal_weights(x), x, equal_weights(y), y, p)[0] == pytest.approx(length, rel=1e-6)
    assert wasserstein_1d(x[:, 0], y[:, 0], p) == pytest.approx(abs(way[0]), rel=1e-6)


def test_gaussians_in_one_dimension():
    # Villani 2003: W_2^2 of two Gaussians is the squared difference of means plus that of standard deviations; W_1 with
    # equal ones is the difference of means. Quantiles replace samples; the missing tails need the tolerance.
    quantiles = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert wasserstein_1d(quantiles, 1.0 + 2.0 * quantiles, 2) == pytest.approx(math.sqrt(2.0), rel=1e-3)
    assert wasserstein_1d(quantiles, 0.7 + quantiles) == pytest.approx(0.7)


@each_order
def test_only_equal_distributions_have_distance_0(p):
    x, y = point_sets(8, 2)
    shuffled = x[::-1]
    assert wasserstein_assignment(x, shuffled, p) == pytest.approx(0.0, abs=1e-9)
    assert wasserstein_discrete(equal_weights(x), x, equal_weights(x), shuffled, p)[0] == pytest.approx(0.0, abs=1e-9)
    assert wasserstein_1d(x[:, 0], shuffled[:, 0], p) == pytest.approx(0.0, abs=1e-9)
    assert wasserstein_discrete([1.0], [[2.0, 2.0]], [1.0], [[2.0, 2.0]], p)[0] == 0.0
    assert wasserstein_assignment(x, y, p) > 0.1


@each_order
def test_it_is_a_metric(p):
    x, y = point_sets(6, 2)
    z, _ = point_sets(6, 2, seed=9)
    way = lambda a, b: wasserstein_assignment(a, b, p)
    assert way(x, y) == pytest.approx(way(y, x), abs=1e-12)
    assert way(x, y) <= way(x, z) + way(z, y) + 1e-12


def test_a_1_lipschitz_critic_gives_a_lower_bound():
    # Kantorovich and Rubinstein: W_1 bounds every difference of means of a 1-Lipschitz function.
    x, y = point_sets(30, 2)
    distance = wasserstein_assignment(x, y)
    for center in np.random.default_rng(3).normal(size=(20, 2)) * 3.0:
        critic = lambda points, center=center: np.linalg.norm(points - center, axis=1)
        assert abs(critic(x).mean() - critic(y).mean()) <= distance + 1e-12


def test_points_may_be_images_and_jax_arrays():
    x, y = point_sets(5, 12)
    images = jnp.asarray(x, jnp.float32).reshape(5, 2, 3, 2), jnp.asarray(y, jnp.float32).reshape(5, 2, 3, 2)
    assert wasserstein_assignment(*images) == pytest.approx(wasserstein_brute_force(x, y), rel=1e-6)


@each_order
def test_the_sliced_distance_in_one_dimension_is_the_distance(p):
    x, y = point_sets(30, 1)
    assert sliced_wasserstein(x, y[:20], p, directions=3) == pytest.approx(wasserstein_1d(x[:, 0], y[:20, 0], p))


def test_the_sliced_distance_of_a_translation_has_a_closed_form():
    # The component of a translation v along a random direction has mean square |v|^2 / D, and in the plane mean
    # absolute value 2 |v| / pi.
    x, _ = point_sets(40, 8)
    way = np.full(8, 0.5)
    assert sliced_wasserstein(x, x + way, directions=4000) == pytest.approx(math.sqrt(2.0 / 8), rel=0.05)
    plane = sliced_wasserstein(x[:, :2], x[::-1, :2] + [3.0, 4.0], 1, directions=4000)
    assert plane == pytest.approx(10 / math.pi, rel=0.05)


@each_order
def test_the_sliced_distance_is_at_most_the_distance_and_depends_on_the_seed(p):
    x, y = point_sets(25, 3)
    value = sliced_wasserstein(x, y, p)
    assert 0.1 < value <= wasserstein_assignment(x, y, p)
    assert value == sliced_wasserstein(x, y[::-1], p) == sliced_wasserstein(y, x, p)
    assert value != sliced_wasserstein(x, y, p, seed=1)
    assert sliced_wasserstein(x, x[::-1], p) == pytest.approx(0.0, abs=1e-12)


NAN = [math.nan, 1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wasserstein_1d([[0.0]], [1.0]), r"x has shape \(1, 1\), but positions in one dimension are \[N\]"),
        (lambda: wasserstein_1d([0.0], NAN), "y holds NaN or infinity"),
        (lambda: wasserstein_1d([0.0], [math.inf]), "y holds NaN or infinity"),
        (lambda: wasserstein_1d([], [1.0]), r"x has shape \(0,\), but \[N, ...\] with at least one"),
        (lambda: wasserstein_1d([0.0], [1.0], 0.5), "p=0.5, but the order"),
        (lambda: wasserstein_1d([0.0], [1.0], math.nan), "p=nan, but the order"),
        (lambda: wasserstein_1d([0.0], [1.0], weights_y=[0.9]), "weights_y sums to 0.9, but probabilities sum to 1"),
        (lambda: wasserstein_assignment([0.0], [1.0, 2.0]), "x has 1 points and y 2, .*see wasserstein_discrete"),
        (lambda: wasserstein_assignment([[0.0, 1.0]], [1.0]), "dimension 2 and y of dimension 1"),
        (lambda: wasserstein_assignment(NAN, [1.0, 2.0]), "x holds NaN"),
        (lambda: wasserstein_assignment([0.0], [1.0], 0), "p=0, but the order"),
        (lambda: wasserstein_brute_force(np.zeros(9), np.zeros(9)), "9 points have 9! permutations: at most 8"),
        (lambda: wasserstein_brute_force([0.0], [1.0, 2.0]), "x has 1 points and y 2"),
        (
            lambda: wasserstein_discrete([0.5, 0.6], [0, 1], [1], [0]),
            "weights_x sums to 1.1, but probabilities sum to",
        ),
        (lambda: wasserstein_discrete([1], [0], [1.5, -0.5], [0, 1]), "weights_y holds -0.5, but weights are not neg"),
        (lambda: wasserstein_discrete(NAN, [0, 1], [1], [0]), "weights_x holds NaN"),
        (lambda: wasserstein_discrete([1.0], [0, 1], [1], [0]), r"weights_x has shape \(1,\), but there are 2 points"),
        (lambda: wasserstein_discrete([1], [0], [1], [math.nan]), "y holds NaN"),
        (lambda: wasserstein_discrete([1], [[0, 1]], [1], [0]), "dimension 2 and y of dimension 1"),
        (lambda: sliced_wasserstein([[0, 1]], [0]), "dimension 2 and y of dimension 1"),
        (lambda: sliced_wasserstein(NAN, [1.0]), "x holds NaN"),
        (lambda: sliced_wasserstein([0], [1], 0.5), "p=0.5, but the order"),
        (lambda: sliced_wasserstein([0], [1], directions=0), "directions=0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
