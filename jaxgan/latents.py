"""Sampling and interpolation of a generator's latents."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def truncated_normal(key: Array, count: int, latent_dim: int, *, truncation: float | None = None) -> Array:
    """Latents from N(0, I), with values beyond the truncation drawn again (truncation trick).

    A smaller truncation gives more typical and less diverse samples: at 0.5 every value lies in [-0.5, 0.5].

    Args:
      key: random key.
      count: number of latents.
      latent_dim: size of each.
      truncation: largest absolute value, positive; None for no truncation.

    Returns:
      Latents `[count, latent_dim]`.

    Raises:
      ValueError: a truncation that is not positive.

    Paper: Brock et al. 2018, BigGAN, arXiv:1809.11096.

    >>> bool(abs(truncated_normal(jax.random.key(0), 100, 8, truncation=0.5)).max() <= 0.5)
    True
    """
    if truncation is None:
        return jax.random.normal(key, (count, latent_dim))
    if truncation <= 0:
        raise ValueError(f"truncation={truncation} must be positive")
    return jax.random.truncated_normal(key, -truncation, truncation, (count, latent_dim))


def slerp(start: ArrayLike, end: ArrayLike, fraction: ArrayLike) -> Array:
    """Spherical interpolation: the direction follows the great circle, the norm is interpolated linearly.

    `|x| (sin((1 - t) w) start/|start| + sin(t w) end/|end|) / sin(w)`, with w the angle between start and end and `|x|`
    interpolated linearly. Linear interpolation would pass near the origin, where N(0, I) in many dimensions has almost
    no mass. Parallel vectors are interpolated linearly.

    Args:
      start: latents `[..., latent_dim]`.
      end: the same shape.
      fraction: t in [0, 1]; any shape that broadcasts against `[...]`.

    Returns:
      Latents `[..., latent_dim]`: `start` at t = 0, `end` at t = 1.

    Paper: White 2016, arXiv:1609.04468.

    >>> [round(float(x), 3) for x in slerp(jnp.array([2.0, 0.0]), jnp.array([0.0, 2.0]), 0.5)]
    [1.414, 1.414]
    """
    start, end = jnp.asarray(start), jnp.asarray(end)
    chex.assert_equal_shape([start, end])
    t = jnp.asarray(fraction)[..., None]
    lengths = [jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (start, end)]
    a, b = (x / jnp.maximum(length, 1e-12) for x, length in zip((start, end), lengths, strict=True))
    angle = jnp.arccos(jnp.clip(jnp.sum(a * b, axis=-1, keepdims=True), -1.0, 1.0))
    parallel = jnp.sin(angle) < 1e-4
    sine = jnp.where(parallel, 1.0, jnp.sin(angle))
    direction = jnp.where(parallel, (1 - t) * a + t * b, (jnp.sin((1 - t) * angle) * a + jnp.sin(t * angle) * b) / sine)
    return ((1 - t) * lengths[0] + t * lengths[1]) * direction


def walk(corners: ArrayLike, steps: int) -> Array:
    """A closed walk through latents: `slerp` from each corner to the next, and from the last to the first.

    Args:
      corners: latents `[K, latent_dim]`.
      steps: number of latents from one corner to the next.

    Returns:
      Latents `[K * steps, latent_dim]`; every `steps`-th is a corner.

    >>> walk(jnp.eye(3), 4).shape
    (12, 3)
    """
    corners = jnp.asarray(corners)
    chex.assert_rank(corners, 2)
    following = jnp.roll(corners, -1, axis=0)
    fractions = jnp.arange(steps) / steps
    path = jax.vmap(lambda t: slerp(corners, following, jnp.full(len(corners), t)), out_axes=1)(fractions)
    return path.reshape(-1, corners.shape[1])


def directions(kernel: ArrayLike, count: int) -> Array:
    """Unit vectors of latents in which a linear first layer's output varies most, in decreasing order (GANSpace).

    With latents z from N(0, I), the output `z W + b` has the covariance `W^T W`. Its principal components are reached
    along the left singular vectors of W. The sign of each is chosen so that its largest entry is positive.

    Args:
      kernel: W, `[latent_dim, features]`.
      count: number of directions, at most `latent_dim`.

    Returns:
      Orthonormal vectors `[count, latent_dim]`.

    Raises:
      ValueError: another shape or count.

    Paper: Harkonen et al. 2020, arXiv:2004.02546, which finds those of other layers from samples.

    >>> directions([[0.0, 1.0], [3.0, 0.0]], 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    kernel = jnp.asarray(kernel, jnp.float32)
    if kernel.ndim != 2 or not 1 <= count <= len(kernel):
        raise ValueError(f"a kernel {list(kernel.shape)} has no {count} directions: [latent_dim, features] expected")
    vectors = jnp.linalg.eigh(kernel @ kernel.T)[1].T[::-1][:count]
    largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return jnp.where(largest < 0, -vectors, vectors)
