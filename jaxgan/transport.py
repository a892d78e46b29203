"""Exact Wasserstein distances of samples and of discrete laws, in NumPy and SciPy float64 on the host.

`W_p(P, Q) = (min over plans of the mean of |x - y|^p)^(1/p)`, with the Euclidean norm: what a Wasserstein critic
estimates for `p = 1`. Three ways to it, which agree where they overlap:

  wasserstein_1d           points of the line, weighted or not: sorts them; for millions
  wasserstein_assignment   as many points here as there, of equal weight: pairs them off; for up to a few thousand
  wasserstein_discrete     any two weighted clouds: a linear programme, which also gives the plan; for a few hundred

And what stands in for it where there are many points in many dimensions:

  sliced_wasserstein       the same on random lines; for tens of thousands
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
    """The Wasserstein distance of two laws on the line.

    `(int_0^1 |F^-1(t) - G^-1(t)|^p dt)^(1/p)` with the quantile functions of both: for equally many points of equal
    weight `mean(|sort(x) - sort(y)|^p)^(1/p)`. The time is that of sorting: 0.4 s for a million points on a CPU core.

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
      ValueError: positions that are not finite or not `[N]`, weights that are not a law of them, or an order below 1.

    References:
      Villani, 2003, Topics in Optimal Transportation, section 2.2
    """
    _check_order(p)
    positions, levels = [], []
    for name, given, weights in (("x", x, weights_x), ("y", y, weights_y)):
        if np.ndim(given) != 1:
            raise ValueError(f"{name} has shape {np.shape(given)}, but positions on a line are [N]")
        points = _cloud(name, given)[:, 0]
        law = np.full(len(points), 1 / len(points)) if weights is None else _law(f"weights_{name}", weights, points)
        order = np.argsort(points)
        positions.append(points[order])
        levels.append(np.cumsum(law[order]))
    # From one step of either distribution function to the next both quantiles are constant.
    steps = np.sort(np.concatenate(levels))
    widths = np.diff(steps, prepend=0.0)
    quantiles = [
        points[np.minimum(np.searchsorted(level, steps), len(points) - 1)]
        for points, level in zip(positions, levels, strict=True)
    ]
    return float(np.sum(widths * np.abs(quantiles[0] - quantiles[1]) ** p) ** (1 / p))


def wasserstein_assignment(x: ArrayLike, y: ArrayLike, p: float = 1) -> float:
    """The Wasserstein distance of two clouds of equally many points of equal weight, in any dimension.

    `(min over permutations s of mean_i |x_i - y_s(i)|^p)^(1/p)`: with equal weights some best plan moves every point
    as a whole. Memory grows as N^2, time as N^3. On a CPU core two Gaussians 0.7 apart in the plane took 0.03 s for 500
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
      ValueError: clouds of unequal size or dimension, points that are not finite, or an order below 1.

    References:
      Kuhn, 1955, The Hungarian method for the assignment problem;
      the algorithm used: Crouse, 2016, On implementing 2D rectangular assignment algorithms
    """
    distances = _distances_of_pairs(x, y, p)
    costs = _costs(distances, p)
    return _distance(float(np.mean(costs[optimize.linear_sum_assignment(costs)])), distances, p)


def wasserstein_brute_force(x: ArrayLike, y: ArrayLike, p: float = 1) -> float:
    """What `wasserstein_assignment` returns, by trying every permutation: the reference that others are tested by.

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
    """The Wasserstein distance of two discrete laws in any dimension, and a plan that attains it.

    The linear programme `min sum_ij plan_ij |x_i - y_j|^p` over `plan >= 0` whose rows sum to `weights_x` and whose
    columns sum to `weights_y`; the distance is its value to the power `1 / p`. It has N M unknowns: on a CPU core
    random laws in the plane took 0.03 s for 100 points each, 0.2 s for 200, 0.6 s for 300 and 3 s for 500.

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
      The distance, at least 0, and the plan `[N, M]`: how much of `x_i` goes to `y_j`. It has at most N + M - 1
      entries that are not 0.

    Raises:
      ValueError: weights that are not a law of their points, points that are not finite or not of one dimension, or an
        order below 1.
      RuntimeError: the solver found no optimum, in its own words.

    References:
      Kantorovich, 1942, On the translocation of masses;
      the solver, HiGHS: Huangfu and Hall, 2018, Parallelizing the dual revised simplex method
    """
    _check_order(p)
    x, y = _clouds(x, y)
    weights_x, weights_y = _law("weights_x", weights_x, x), _law("weights_y", weights_y, y)
    distances = cdist(x, y)
    costs = _costs(distances, p)
    rows = sparse.kron(sparse.eye_array(len(x)), np.ones((1, len(y))))
    columns = sparse.kron(np.ones((1, len(x))), sparse.eye_array(len(y)))
    solution = optimize.linprog(
        costs.ravel(),
        A_eq=sparse.vstack([rows, columns], format="csr"),
        b_eq=np.concatenate([weights_x, weights_y]),
        method="highs-ds",  # the simplex ends in a corner, where the plan is as sparse as it can be
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not solution.success:
        raise RuntimeError(f"no optimal plan was found: {solution.message}")
    plan = np.maximum(solution.x, 0.0).reshape(costs.shape)
    return _distance(float(np.sum(plan * costs)), distances, p), plan


def sliced_wasserstein(x: ArrayLike, y: ArrayLike, p: float = 2, *, directions: int = 128, seed: int = 0) -> float:
    """The sliced Wasserstein distance of two clouds of equal weights, in any dimension.

    `(E over unit vectors v of W_p(x.v, y.v)^p)^(1/p)`, the mean over random directions: 0 only for one and the same
    law, at most the Wasserstein distance, and of D dimensions smaller than it by about `sqrt(D)`.

    >>> sliced_wasserstein([[0.0], [1.0]], [[5.0], [6.0]])  # on the line every direction is the line
    5.0

    Args:
      x: points, `[N, ...]`; axes after the first are one vector.
      y: points, `[M, ...]`.
      p: the order, at least 1.
      directions: how many are averaged; with the same seed they are the same, so that values compare.
      seed: of the directions.

    Returns:
      The distance, at least 0.

    Raises:
      ValueError: no directions, points that are not finite or not of one dimension, or an order below 1.

    References:
      Bonneel et al., 2015, Sliced and Radon Wasserstein barycenters of measures
    """
    _check_order(p)
    x, y = _clouds(x, y)
    if directions < 1:
        raise ValueError(f"directions={directions}, but the mean needs at least 1")
    vectors = np.random.default_rng(seed).normal(size=(x.shape[1], directions))
    vectors /= np.linalg.norm(vectors, axis=0)
    lines = zip((x @ vectors).T, (y @ vectors).T, strict=True)
    return float(np.mean([wasserstein_1d(a, b, p) ** p for a, b in lines]) ** (1 / p))


def _distances_of_pairs(x: ArrayLike, y: ArrayLike, p: float) -> np.ndarray:
    _check_order(p)
    x, y = _clouds(x, y)
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} points and y {len(y)}, but pairs need equally many: see wasserstein_discrete")
    return cdist(x, y)


def _costs(distances: np.ndarray, p: float) -> np.ndarray:
    # Relative to the largest distance: solvers stop at an absolute tolerance, and large powers overflow.
    return (distances / (np.max(distances) or 1.0)) ** p


def _distance(mean_cost: float, distances: np.ndarray, p: float) -> float:
    return float(np.max(distances) * mean_cost ** (1 / p))


def _check_order(p: float) -> None:
    if not 1 <= p < math.inf:
        raise ValueError(f"p={p}, but the order of a Wasserstein distance is at least 1 and finite")


def _clouds(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = _cloud("x", x), _cloud("y", y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has points of dimension {x.shape[1]} and y of dimension {y.shape[1]}")
    return x, y


def _cloud(name: str, points: ArrayLike) -> np.ndarray:
    """`[N, D]` float64, finite."""
    array = np.asarray(points, np.float64)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, but a cloud is [N, ...] with at least one point")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds NaN or infinity")
    return array.reshape(len(array), -1)


def _law(name: str, weights: ArrayLike, points: np.ndarray) -> np.ndarray:
    """`[N]` float64, summing to 1 to rounding: both laws must hold the same mass for a plan to exist."""
    law = np.asarray(weights, np.float64)
    if law.shape != (len(points),):
        raise ValueError(f"{name} has shape {law.shape}, but there are {len(points)} points")
    if not np.all(np.isfinite(law)):
        raise ValueError(f"{name} holds NaN or infinity")
    if np.any(law < 0.0):
        raise ValueError(f"{name} holds {law.min():.6g}, but weights are not negative")
    if abs(law.sum() - 1.0) > 1e-4:
        raise ValueError(f"{name} sums to {law.sum():.6g}, but a law sums to 1")
    return law / law.sum()
