"""Exact Wasserstein distances of samples and of discrete distributions, in NumPy and SciPy float64 on the host.

`W_p(P, Q) = (min over transport plans of the mean of |x - y|^p)^(1/p)`, with the Euclidean norm. A Wasserstein critic
estimates it for `p = 1`. Three algorithms, which agree where they overlap:

  wasserstein_1d           points in one dimension, weighted or not, by sorting; for millions of points
  wasserstein_assignment   two sets of equally many points of equal weight, by assignment; for up to a few thousand
  wasserstein_discrete     two weighted sets, by linear programming, which also gives the plan; for a few hundred

An approximation for many points in many dimensions:

  sliced_wasserstein       the mean over one-dimensional projections; for tens of thousands
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, sparse
from scipy.spatial.distance import cdist


def wasserstein_1d(
    x: ArrayLike, y: ArrayLike, p: float = 1, *, weights_x: ArrayLike | None = None, weights_y: ArrayLike | None = None
) -> float:
    """The Wasserstein distance of two distributions in one dimension.

    `(int_0^1 |F^-1(t) - G^-1(t)|^p dt)^(1/p)` with the quantile functions of both. For equally many points of equal
    weight this is `mean(|sort(x) - sort(y)|^p)^(1/p)`. Sorting takes the time: 0.4 s for a million points on a CPU
    core.

    >>> wasserstein_1d([0.0, 1.0, 3.0], [5.0, 6.0, 8.0])
    5.0

    Args:
      x: positions, `[N]`.
      y: positions, `[M]`.
      p: the order, at least 1.
      weights_x: probabilities of `x`, `[N]`, summing to 1; all equal by default.
      weights_y: probabilities of `y`, `[M]`.

    Returns:
      The distance, at least 0.

    Raises:
      ValueError: positions that are not finite or not `[N]`, weights that are negative or do not sum to 1, or an order
        below 1.

    References:
      Villani, 2003, Topics in Optimal Transportation, section 2.2
    """
    _check_order(p)
    positions, levels = [], []
    for name, given, weights in (("x", x, weights_x), ("y", y, weights_y)):
        if np.ndim(given) != 1:
            raise ValueError(f"{name} has shape {np.shape(given)}, but positions in one dimension are [N]")
        points = _points(name, given)[:, 0]
        if weights is None:
            checked = np.full(len(points), 1 / len(points))
        else:
            checked = _weights(f"weights_{name}", weights, points)
        order = np.argsort(points)
        positions.append(points[order])
        levels.append(np.cumsum(checked[order]))
    # Between two steps of either distribution function both quantiles are constant.
    steps = np.sort(np.concatenate(levels))
    widths = np.diff(steps, prepend=0.0)
    quantiles = [
        points[np.minimum(np.searchsorted(level, steps), len(points) - 1)]
        for points, level in zip(positions, levels, strict=True)
    ]
    return float(np.sum(widths * np.abs(quantiles[0] - quantiles[1]) ** p) ** (1 / p))


def wasserstein_assignment(x: ArrayLike, y: ArrayLike, p: float = 1) -> float:
    """The Wasserstein distance of two sets of equally many points of equal weight, in any dimension.

    `(min over permutations s of mean_i |x_i - y_s(i)|^p)^(1/p)`: with equal weights some optimal plan is a permutation.
    Memory grows as N^2, time as N^3. On a CPU core, two Gaussians in the plane with means 0.7 apart took 0.03 s for 500
    points each, 0.2 s for 1,000, 3 s for 2,000 and 30 s for 4,000; in 16 dimensions half to a fifth of that.

    >>> wasserstein_assignment([[0.0, 0.0], [0.0, 1.0]], [[3.0, 1.0], [3.0, 0.0]])
    3.0

    Args:
      x: points, `[N, ...]`; axes after the first are one vector.
      y: points, the same shape.
      p: the order, at least 1.

    Returns:
      The distance, at least 0.

    Raises:
      ValueError: sets of unequal size or dimension, points that are not finite, or an order below 1.

    References:
      Kuhn, 1955, The Hungarian method for the assignment problem;
      the algorithm used: Crouse, 2016, On implementing 2D rectangular assignment algorithms
    """
    distances = _distances_of_pairs(x, y, p)
    costs = _costs(distances, p)
    return _distance(float(np.mean(costs[optimize.linear_sum_assignment(costs)])), distances, p)


def wasserstein_brute_force(x: ArrayLike, y: ArrayLike, p: float = 1) -> float:
    """The distance of `wasserstein_assignment` by trying every permutation: a reference for tests.

    >>> wasserstein_brute_force([[0.0, 0.0], [0.0, 1.0]], [[3.0, 1.0], [3.0, 0.0]])
    3.0

    Args:
      x: points, `[N, ...]`, at most 8.
      y: points, the same shape.
      p: the order, at least 1.

    Returns:
      The distance, at least 0.

    Raises:
      ValueError: as `wasserstein_assignment`, or more than 8 points.
    """
    distances = _distances_of_pairs(x, y, p)
    if len(distances) > 8:
        raise ValueError(f"{len(distances)} points have {len(distances)}! permutations: at most 8 (40,320)")
    permutations = np.array(list(itertools.permutations(range(len(distances)))))
    means = np.mean(distances[np.arange(len(distances)), permutations] ** p, axis=1)
    return float(np.min(means) ** (1 / p))


def wasserstein_discrete(
    weights_x: ArrayLike, x: ArrayLike, weights_y: ArrayLike, y: ArrayLike, p: float = 1
) -> tuple[float, np.ndarray]:
    """The Wasserstein distance of two discrete distributions in any dimension, and an optimal transport plan.

    The linear program `min sum_ij plan_ij |x_i - y_j|^p` over `plan >= 0` whose rows sum to `weights_x` and whose
    columns sum to `weights_y`; the distance is its value to the power `1 / p`. It has N M unknowns: on a CPU core
    random points in the plane took 0.03 s for 100 points each, 0.2 s for 200, 0.6 s for 300 and 3 s for 500.

    >>> distance, plan = wasserstein_discrete([1.0], [[0.0]], [0.5, 0.5], [[1.0], [3.0]])
    >>> distance, plan.tolist()
    (2.0, [[0.5, 0.5]])

    Args:
      weights_x: probabilities of `x`, `[N]`, summing to 1.
      x: points, `[N, ...]`; axes after the first are one vector.
      weights_y: probabilities of `y`, `[M]`.
      y: points, `[M, ...]`.
      p: the order, at least 1.

    Returns:
      The distance, at least 0, and the plan `[N, M]`: the mass that goes from `x_i` to `y_j`. At most N + M - 1 of its
      entries are not 0.

    Raises:
      ValueError: weights that are negative or do not sum to 1, points that are not finite or differ in dimension, or an
        order below 1.
      RuntimeError: the solver found no optimum; the message holds its reason.

    References:
      Kantorovich, 1942, On the translocation of masses;
      the solver, HiGHS: Huangfu and Hall, 2018, Parallelizing the dual revised simplex method
    """
    _check_order(p)
    x, y = _point_sets(x, y)
    weights_x, weights_y = _weights("weights_x", weights_x, x), _weights("weights_y", weights_y, y)
    distances = cdist(x, y)
    costs = _costs(distances, p)
    rows = sparse.kron(sparse.eye_array(len(x)), np.ones((1, len(y))))
    columns = sparse.kron(np.ones((1, len(x))), sparse.eye_array(len(y)))
    solution = optimize.linprog(
        costs.ravel(),
        A_eq=sparse.vstack([rows, columns], format="csr"),
        b_eq=np.concatenate([weights_x, weights_y]),
        method="highs-ds",  # the simplex method ends in a vertex, where the plan is sparse
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not solution.success:
        raise RuntimeError(f"no optimal transport plan was found: {solution.message}")
    plan = np.maximum(solution.x, 0.0).reshape(costs.shape)
    return _distance(float(np.sum(plan * costs)), distances, p), plan


def sliced_wasserstein(x: ArrayLike, y: ArrayLike, p: float = 2, *, directions: int = 128, seed: int = 0) -> float:
    """The sliced Wasserstein distance of two sets of points of equal weight, in any dimension.

    `(E over unit vectors v of W_p(x.v, y.v)^p)^(1/p)`, the mean over random directions. It is 0 only for equal
    distributions, at most the Wasserstein distance, and in D dimensions smaller by a factor of about `sqrt(D)`.

    >>> sliced_wasserstein([[0.0], [1.0]], [[5.0], [6.0]])  # in one dimension it is the Wasserstein distance
    5.0

    Args:
      x: points, `[N, ...]`; axes after the first are one vector.
      y: points, `[M, ...]`.
      p: the order, at least 1.
      directions: number of random directions. The same seed gives the same directions, so values are comparable.
      seed: seed of the directions.

    Returns:
      The distance, at least 0.

    Raises:
      ValueError: no directions, points that are not finite or differ in dimension, or an order below 1.

    References:
      Bonneel et al., 2015, Sliced and Radon Wasserstein barycenters of measures
    """
    _check_order(p)
    x, y = _point_sets(x, y)
    if directions < 1:
        raise ValueError(f"directions={directions}, but the mean needs at least 1")
    vectors = np.random.default_rng(seed).normal(size=(x.shape[1], directions))
    vectors /= np.linalg.norm(vectors, axis=0)
    lines = zip((x @ vectors).T, (y @ vectors).T, strict=True)
    return float(np.mean([wasserstein_1d(a, b, p) ** p for a, b in lines]) ** (1 / p))


def _distances_of_pairs(x: ArrayLike, y: ArrayLike, p: float) -> np.ndarray:
    _check_order(p)
    x, y = _point_sets(x, y)
    if len(x) != len(y):
        raise ValueError(
            f"x has {len(x)} points and y {len(y)}, but an assignment needs equally many: see wasserstein_discrete"
        )
    return cdist(x, y)


def _costs(distances: np.ndarray, p: float) -> np.ndarray:
    # Relative to the largest distance: solvers stop at an absolute tolerance, and large powers overflow.
    return (distances / (np.max(distances) or 1.0)) ** p


def _distance(mean_cost: float, distances: np.ndarray, p: float) -> float:
    return float(np.max(distances) * mean_cost ** (1 / p))


def _check_order(p: float) -> None:
    if not 1 <= p < math.inf:
        raise ValueError(f"p={p}, but the order of a Wasserstein distance is at least 1 and finite")


def _point_sets(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = _points("x", x), _points("y", y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has points of dimension {x.shape[1]} and y of dimension {y.shape[1]}")
    return x, y


def _points(name: str, points: ArrayLike) -> np.ndarray:
    """`[N, D]` float64, finite."""
    array = np.asarray(points, np.float64)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, but [N, ...] with at least one point is expected")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds NaN or infinity")
    return array.reshape(len(array), -1)


def _weights(name: str, weights: ArrayLike, points: np.ndarray) -> np.ndarray:
    """`[N]` float64, normalized: a transport plan exists only if both sums are equal."""
    array = np.asarray(weights, np.float64)
    if array.shape != (len(points),):
        raise ValueError(f"{name} has shape {array.shape}, but there are {len(points)} points")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds NaN or infinity")
    if np.any(array < 0.0):
        raise ValueError(f"{name} holds {array.min():.6g}, but weights are not negative")
    if abs(array.sum() - 1.0) > 1e-4:
        raise ValueError(f"{name} sums to {array.sum():.6g}, but probabilities sum to 1")
    return array / array.sum()
