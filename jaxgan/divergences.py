"""f-divergences: their closed forms, and the adversarial losses that estimate them.

An f-divergence is `D_f(P, Q) = E_Q[f(p / q)]` with a convex `f`: P is the data, Q the generator. Any critic `T` bounds
it from below, `D_f(P, Q) >= E_P[T] - E_Q[f*(T)]`, with equality at `T = f'(p / q)`. So a discriminator that maximises
the bound estimates the divergence, and a generator that minimises it approaches the data. `DIVERGENCES` has the
functions of each divergence by name, `f_gan_loss` makes the losses of discriminator and generator from them.

Two of them carry a factor of two: `jensen_shannon` is twice the Jensen-Shannon divergence JSD of P and Q, `2 JSD` in
[0, 2 log 2], and `gan`, the objective of the original GAN, is `2 JSD - log 4` in [-log 4, 0].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import softplus
from jax.scipy.special import erf, xlogy
from jax.typing import ArrayLike

from jaxgan.types import AdversarialLoss

Numbers = ArrayLike | Sequence[float]

LARGEST_EXPONENT = 30.0
"""The exponent above which activations and composites continue `exp` linearly.

The square of a gradient of e^30 = 1e13 fits in float32. A single gradient of 1e30 would leave Adam's second moment
infinite forever. Scores beyond it (below -30 where the exponent is the negative score) are far from any ratio `p / q`
that samples can show, but a bound computed there is approximate.
"""

LOG_2 = 0.6931471805599453


def _exp(exponent: Array) -> Array:
    return jnp.exp(jnp.minimum(exponent, LARGEST_EXPONENT)) + _beyond(exponent)


def _expm1(exponent: Array) -> Array:
    return jnp.expm1(jnp.minimum(exponent, LARGEST_EXPONENT)) + _beyond(exponent)


def _beyond(exponent: Array) -> Array:
    return jnp.exp(LARGEST_EXPONENT) * jnp.maximum(exponent - LARGEST_EXPONENT, 0.0)


def _within(domain: Array, values: Array) -> Array:
    return jnp.where(domain, values, jnp.inf)


class FDivergence(NamedTuple):
    """One f-divergence and the functions with which a critic bounds it, all elementwise on arrays.

    Attributes:
      f: the convex function of ratios `u = p / q >= 0`. `f(1)` is 0, except -log 4 for `gan`.
      activation: `g`, raw scores to values `T = g(v)` in the domain of the conjugate.
      conjugate: `f*(t) = sup_u (t u - f(u))` as the paper prints it, infinite outside its domain.
      composite: `f*(g(v))` of raw scores, in a form without overflow or cancellation.
      threshold: `f'(1)`. An optimal critic's `T` is above it where the data's density is the larger.
      slope_at_infinity: the limit of `f(u) / u` for large u: the divergence per unit of P's mass where Q has none.
    """

    f: Callable[[Array], Array]
    activation: Callable[[Array], Array]
    conjugate: Callable[[Array], Array]
    composite: Callable[[Array], Array]
    threshold: float
    slope_at_infinity: float


DivergenceName = Literal["total_variation", "kl", "reverse_kl", "pearson", "squared_hellinger", "jensen_shannon", "gan"]

DIVERGENCES: Mapping[str, FDivergence] = MappingProxyType(
    {
        "total_variation": FDivergence(
            f=lambda u: jnp.abs(u - 1.0) / 2.0,
            activation=lambda v: jnp.tanh(v) / 2.0,
            conjugate=lambda t: _within(jnp.abs(t) <= 0.5, t),
            composite=lambda v: jnp.tanh(v) / 2.0,
            threshold=0.0,
            slope_at_infinity=0.5,
        ),
        "kl": FDivergence(
            f=lambda u: xlogy(u, u),
            activation=lambda v: v,
            conjugate=lambda t: jnp.exp(t - 1.0),
            composite=lambda v: _exp(v - 1.0),
            threshold=1.0,
            slope_at_infinity=jnp.inf,
        ),
        "reverse_kl": FDivergence(
            f=lambda u: -jnp.log(u),
            activation=lambda v: -_exp(-v),
            conjugate=lambda t: _within(t < 0.0, -1.0 - jnp.log(-t)),
            composite=lambda v: v - 1.0,
            threshold=-1.0,
            slope_at_infinity=0.0,
        ),
        "pearson": FDivergence(
            f=lambda u: jnp.square(u - 1.0),
            activation=lambda v: v,
            conjugate=lambda t: jnp.square(t) / 4.0 + t,
            composite=lambda v: jnp.square(v) / 4.0 + v,
            threshold=0.0,
            slope_at_infinity=jnp.inf,
        ),
        "squared_hellinger": FDivergence(
            f=lambda u: jnp.square(jnp.sqrt(u) - 1.0),
            activation=lambda v: -_expm1(-v),
            conjugate=lambda t: _within(t < 1.0, t / (1.0 - t)),
            composite=_expm1,
            threshold=0.0,
            slope_at_infinity=1.0,
        ),
        "jensen_shannon": FDivergence(
            f=lambda u: xlogy(u, 2.0 * u / (1.0 + u)) - jnp.log((1.0 + u) / 2.0),
            activation=lambda v: LOG_2 - softplus(-v),
            conjugate=lambda t: _within(t < LOG_2, -jnp.log(2.0 - jnp.exp(t))),
            composite=lambda v: softplus(v) - LOG_2,
            threshold=0.0,
            slope_at_infinity=LOG_2,
        ),
        "gan": FDivergence(
            f=lambda u: xlogy(u, u / (1.0 + u)) - jnp.log1p(u),
            activation=lambda v: -softplus(-v),
            conjugate=lambda t: _within(t < 0.0, -jnp.log(-jnp.expm1(t))),
            composite=softplus,
            threshold=-LOG_2,
            slope_at_infinity=0.0,
        ),
    }
)
"""The f-divergences by name. P is the data and Q the generator; the right column is the range:

  total_variation     E_Q|p/q - 1| / 2                     [0, 1]
  kl                  E_P[log(p/q)]                        [0, inf]
  reverse_kl          E_Q[log(q/p)]                        [0, inf]
  pearson             E_Q[(p/q - 1)^2]                     [0, inf]
  squared_hellinger   E_Q[(sqrt(p/q) - 1)^2]               [0, 2], without the factor 1/2 of some authors
  jensen_shannon      KL(P, M) + KL(Q, M) = 2 JSD          [0, 2 log 2], with M = (P + Q) / 2; JSD is half of it
  gan                 2 JSD - log 4                        [-log 4, 0]
"""


def _divergence(name: str) -> FDivergence:
    if name not in DIVERGENCES:
        raise ValueError(f"unknown divergence {name!r}: there are {', '.join(DIVERGENCES)}")
    return DIVERGENCES[name]


def _wide(scores: ArrayLike) -> Array:
    # The exponentials of these losses need the range of float32, and their means its precision.
    scores = jnp.asarray(scores)
    return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))


def f_gan_loss(name: str, *, practical: bool = True) -> AdversarialLoss:
    """The discriminator and generator losses of an f-GAN, of raw scores `v` with `T = g(v)`.

    Discriminator: `-(E[T(real)] - E[f*(T(fake))])`, minus the bound of the divergence. Generator, practical form:
    `-E[T(fake)]`. Its gradient does not vanish where the discriminator is confident, except for total variation.
    Generator, theory form: `-E[f*(T(fake))]`, the bound itself. Its gradient vanishes there, except for `reverse_kl`
    and `pearson`.

    The losses are scalars in at least float32, of scores of any dtype and shape. The counts of real and fake scores may
    differ. Values, gradients and squared gradients are finite for scores from -1e4 to 1e4 (see `LARGEST_EXPONENT`).

    `gan` is exactly the minimax discriminator with the non-saturating generator (practical) or the minimax generator
    (theory). The discriminator loss of `jensen_shannon` is smaller by the constant log 4: its bound is one of 2 JSD,
    that of `gan` one of 2 JSD - log 4.

    >>> loss = f_gan_loss("jensen_shannon")
    >>> confident = loss.estimate(jnp.full(4, 20.0), jnp.full(4, -20.0))
    >>> round(float(confident["divergence_estimate"]), 4)  # 2 log 2, the largest 2 JSD
    1.3863

    Args:
      name: one of `DIVERGENCES`.
      practical: whether the generator loss has the practical form; otherwise the theory form.

    Returns:
      The `AdversarialLoss`; its `estimate` is the bound, `divergence_estimate`, in the units of `DIVERGENCES`.

    Raises:
      ValueError: an unknown name.

    References:
      Nowozin et al., 2016, https://arxiv.org/abs/1606.00709
    """
    divergence = _divergence(name)

    def bound(real_scores: ArrayLike, fake_scores: ArrayLike) -> Array:
        real, fake = _wide(real_scores), _wide(fake_scores)
        return jnp.mean(divergence.activation(real)) - jnp.mean(divergence.composite(fake))

    generator_term = divergence.activation if practical else divergence.composite
    return AdversarialLoss(
        discriminator=lambda real_scores, fake_scores: -bound(real_scores, fake_scores),
        generator=lambda real_scores, fake_scores: -jnp.mean(generator_term(_wide(fake_scores))),
        estimate=lambda real_scores, fake_scores: {"divergence_estimate": bound(real_scores, fake_scores)},
    )


def _expected_f(divergence: FDivergence, p: Array, q: Array) -> float:
    """`sum q f(p / q)`; where q is 0 a cell adds `p * slope_at_infinity`."""
    shared = q >= jnp.finfo(q.dtype).tiny  # smaller numbers are subnormal, and p / q would overflow
    ratio = jnp.where(shared, p, 1.0) / jnp.where(shared, q, 1.0)
    outside = float(jnp.sum(jnp.where(shared, 0.0, p)))
    inside = float(jnp.sum(jnp.where(shared, q * divergence.f(ratio), 0.0)))
    return inside + (outside * divergence.slope_at_infinity if outside > 0.0 else 0.0)


def discrete_divergence(name: str, p: Numbers, q: Numbers) -> float:
    """The exact f-divergence of two discrete distributions, in float64 on the host.

    `sum_i q_i f(p_i / q_i)`. A cell with `q_i = 0` adds `p_i` times the limit of `f(u) / u`, one with both 0 adds
    nothing. So `kl` and `pearson` are infinite where P has mass and Q has none, `reverse_kl` where Q has mass and P has
    none, and the others are always finite.

    >>> discrete_divergence("kl", [0.5, 0.5], [1.0, 0.0])
    inf
    >>> round(discrete_divergence("jensen_shannon", [1.0, 0.0], [0.0, 1.0]), 4)  # disjoint: 2 JSD = 2 log 2
    1.3863

    Args:
      name: one of `DIVERGENCES`.
      p: probabilities of P, `[K]`, summing to 1 within 1e-4.
      q: probabilities of Q, `[K]`.

    Returns:
      The divergence, in the range given at `DIVERGENCES`, possibly infinite.

    Raises:
      ValueError: an unknown name, or probabilities that are negative or do not sum to 1.
      AssertionError: if the shapes differ or are not `[K]`.

    References:
      Liese and Vajda, 2006, On divergences and informations in statistics and information theory
    """
    divergence = _divergence(name)
    with jax.enable_x64(True):
        p, q = jnp.asarray(p, jnp.float64), jnp.asarray(q, jnp.float64)
        chex.assert_rank([p, q], 1)
        chex.assert_equal_shape([p, q])
        for label, weights in (("p", p), ("q", q)):
            if not bool(jnp.all(weights >= 0.0)):
                raise ValueError(f"{label} holds {float(jnp.min(weights))}, but probabilities lie in [0, 1]")
            if not abs(float(jnp.sum(weights)) - 1.0) <= 1e-4:
                raise ValueError(f"{label} sums to {float(jnp.sum(weights)):.6g}, but probabilities sum to 1")
        return _expected_f(divergence, p, q)


def integrated_divergence(
    name: str,
    p_density: Callable[[Array], Array],
    q_density: Callable[[Array], Array],
    low: float,
    high: float,
    *,
    num_cells: int = 20_000,
) -> float:
    """The f-divergence of two densities on an interval, by the midpoint rule in float64 on the host.

    For smooth densities that vanish at both ends, the error falls faster than any power of the cell size; for total
    variation, and for densities with jumps at the edges of cells, with its square.

    >>> from jax.scipy.stats import norm
    >>> value = integrated_divergence("kl", norm.pdf, lambda x: norm.pdf(x, 1.0), -12.0, 13.0)
    >>> round(value, 6)  # (difference of means)^2 / 2
    0.5

    Args:
      name: one of `DIVERGENCES`.
      p_density: density of P: a function of positions `[num_cells]` float64 to values `[num_cells]`, at least 0.
      q_density: density of Q, likewise.
      low: left end of the interval.
      high: right end. The interval must hold all mass of both. It must not reach where q underflows (1e-308) and p
        does not: `kl` and `pearson` are then infinite, as if Q had no mass there.
      num_cells: number of cells, at least 1.

    Returns:
      The divergence, in the range given at `DIVERGENCES`, possibly infinite.

    Raises:
      ValueError: an unknown name, an empty interval, no cells, or a density that is negative or whose integral over the
        interval differs from 1 by more than 1e-3.
    """
    divergence = _divergence(name)
    if not low < high:
        raise ValueError(f"the interval from low={low} to high={high} is empty")
    if num_cells < 1:
        raise ValueError(f"num_cells={num_cells}, but the interval needs at least 1")
    with jax.enable_x64(True):
        cell = (high - low) / num_cells
        positions = low + cell * (jnp.arange(num_cells) + 0.5)
        p, q = (jnp.asarray(density(positions), jnp.float64) * cell for density in (p_density, q_density))
        for label, masses in (("p_density", p), ("q_density", q)):
            if not (bool(jnp.all(masses >= 0.0)) and abs(float(jnp.sum(masses)) - 1.0) <= 1e-3):
                raise ValueError(
                    f"{label} integrates to {float(jnp.sum(masses)):.6g} between {low} and {high}, but a density to 1"
                )
        return _expected_f(divergence, p, q)


def gaussian_divergence(name: str, p_mean: Numbers, p_std: Numbers, q_mean: Numbers, q_std: Numbers) -> float:
    """The f-divergence of two Gaussians with diagonal covariance, in closed form, in float64 on the host.

    With `r = p_std / q_std` and `z = (p_mean - q_mean) / q_std` in each dimension, and sums and products over
    dimensions:
    `kl = sum(r^2 - 1 + z^2) / 2 - log r`; `reverse_kl` is `kl` with P and Q exchanged;
    `pearson = prod(exp(z^2 / (2 - r^2)) / (r sqrt(2 - r^2))) - 1`, infinite unless every `r^2 < 2`;
    `squared_hellinger = 2 - 2 prod(sqrt(2 r / (1 + r^2)) exp(-z^2 / (4 (1 + r^2))))`;
    `total_variation = erf(|z| / sqrt(8))` for equal standard deviations, with the Euclidean norm of `z`.
    The others have no closed form: use `integrated_divergence`.

    >>> gaussian_divergence("kl", 0.0, 1.0, 2.0, 1.0)
    2.0

    Args:
      name: one of `total_variation`, `kl`, `reverse_kl`, `pearson`, `squared_hellinger`.
      p_mean: mean of P, a scalar or `[D]`.
      p_std: its standard deviation in each dimension, positive, the same shape.
      q_mean: mean of Q, the same shape.
      q_std: its standard deviation, the same shape.

    Returns:
      The divergence, in the range given at `DIVERGENCES`, possibly infinite.

    Raises:
      ValueError: an unknown name, a divergence without closed form, a mean that is not finite, or a standard deviation
        that is not positive.
      AssertionError: if the shapes differ.
    """
    _divergence(name)
    if name not in _GAUSSIAN:
        raise ValueError(
            f"{name} of Gaussians has no closed form, only {', '.join(_GAUSSIAN)}: use integrated_divergence"
        )
    with jax.enable_x64(True):
        given = {"p_mean": p_mean, "p_std": p_std, "q_mean": q_mean, "q_std": q_std}
        arrays = {label: jnp.asarray(array, jnp.float64) for label, array in given.items()}
        chex.assert_equal_shape(list(arrays.values()))
        for label, array in arrays.items():
            if not bool(jnp.all(jnp.isfinite(array) & ((array > 0.0) | label.endswith("mean")))):
                raise ValueError(f"{label}={array.tolist()}, but means are finite and standard deviations positive")
        return float(_GAUSSIAN[name](**arrays))


def _gaussian_total_variation(p_mean: Array, p_std: Array, q_mean: Array, q_std: Array) -> Array:
    if bool(jnp.any(p_std != q_std)):
        raise ValueError(
            "total_variation of Gaussians with unequal standard deviations has no closed form: "
            "use integrated_divergence"
        )
    return erf(jnp.sqrt(jnp.sum(jnp.square((p_mean - q_mean) / q_std)) / 8.0))


def _gaussian_kl(p_mean: Array, p_std: Array, q_mean: Array, q_std: Array) -> Array:
    ratio, gap = p_std / q_std, (p_mean - q_mean) / q_std
    return jnp.sum((jnp.square(ratio) - 1.0 + jnp.square(gap)) / 2.0 - jnp.log(ratio))


def _gaussian_reverse_kl(p_mean: Array, p_std: Array, q_mean: Array, q_std: Array) -> Array:
    return _gaussian_kl(p_mean=q_mean, p_std=q_std, q_mean=p_mean, q_std=p_std)


def _gaussian_pearson(p_mean: Array, p_std: Array, q_mean: Array, q_std: Array) -> Array:
    ratio, gap = p_std / q_std, (p_mean - q_mean) / q_std
    room = 2.0 - jnp.square(ratio)
    if bool(jnp.any(room <= 0.0)):
        return jnp.asarray(jnp.inf)
    return jnp.expm1(jnp.sum(jnp.square(gap) / room - jnp.log(ratio) - jnp.log(room) / 2.0))


def _gaussian_squared_hellinger(p_mean: Array, p_std: Array, q_mean: Array, q_std: Array) -> Array:
    ratio, gap = p_std / q_std, (p_mean - q_mean) / q_std
    both = 1.0 + jnp.square(ratio)
    return -2.0 * jnp.expm1(jnp.sum(jnp.log(2.0 * ratio / both) / 2.0 - jnp.square(gap) / (4.0 * both)))


_GAUSSIAN: Mapping[str, Callable[..., Array]] = {
    "total_variation": _gaussian_total_variation,
    "kl": _gaussian_kl,
    "reverse_kl": _gaussian_reverse_kl,
    "pearson": _gaussian_pearson,
    "squared_hellinger": _gaussian_squared_hellinger,
}
