"""Gradient penalties: pure functions of a critic and the samples it scores.

All have the signature `(critic, real, fake=None, key=None)` and return a scalar expectation without a weight.
`make_gan` takes the function and its weight, `penalty=r1_penalty, penalty_weight=0.5`; a sum is a `weighted_sum`. In
code of your own, add `weight * penalty(critic, real, fake, key)` to the discriminator's loss.

A critic is any function of inputs `[B, ...]` to raw scores `[B]` or `[B, ...]` that scores each sample by itself, so
it has no batch norm. Several scores of one sample (PatchGAN) are summed before they are differentiated. If the loss
augments samples, the critic must do so too: `lambda x: score(augment(x))`; the gradient passes through both.

>>> penalty = weighted_sum((10.0, gradient_penalty), (0.5, r1_penalty))
>>> critic = lambda points: 3.0 * points[:, 0]
>>> round(float(penalty(critic, jnp.zeros((8, 2)), jnp.ones((8, 2)), jax.random.key(0))), 2)  # 10 * 2^2 + .5 * 9 / 2
42.25

Gradients are squared and averaged in at least float32, whatever dtype the critic runs in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import Array

from jaxgan.types import AugmentedCritic, CriticFn, PenaltyFn


def _wide(array: Array) -> Array:
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _squared_norms(critic: Callable[[Any], Array], inputs: Any) -> Array:
    """|d score / d inputs|^2 over all arrays and all but the batch axis: `[B]`, in at least float32."""
    chex.assert_type(jax.tree.leaves(inputs), float)

    def total_score(x):
        scores = critic(x)
        # A mean over the batch would make gradients B times too small.
        chex.assert_equal_shape_prefix([*jax.tree.leaves(x), scores], 1)
        return jnp.sum(scores)

    # Scores do not depend on other samples, so the gradient of the sum holds the gradient of each sample's score.
    gradients = [_wide(gradient) for gradient in jax.tree.leaves(jax.grad(total_score)(inputs))]
    norms = [jnp.sum(jnp.square(one), axis=tuple(range(1, one.ndim))) for one in gradients]
    return sum(norms[1:], norms[0])


def weighted_sum(*terms: tuple[float, PenaltyFn]) -> PenaltyFn | None:
    """Several penalties as one: `sum_i weight_i penalty_i(critic, real, fake, key_i)`.

    Args:
      terms: pairs of a weight, at least 0, and a penalty. Terms of weight 0 are not computed.

    Returns:
      The penalty, of the same signature. Each term gets its own key, a single term the key itself. None if all weights
      are 0.

    Raises:
      ValueError: a negative weight.

    >>> weighted_sum((0.0, gradient_penalty), (0.0, r1_penalty)) is None
    True
    """
    if negative := [weight for weight, _ in terms if weight < 0]:
        raise ValueError(f"weight of a penalty {negative[0]}: 0 or more expected")
    active = [(weight, penalty) for weight, penalty in terms if weight]
    if not active:
        return None

    def total(critic: CriticFn, real: Array, fake: Any = None, key: Any = None) -> Array:
        keys = [key] * len(active) if key is None or len(active) == 1 else jax.random.split(key, len(active))
        parts = [weight * penalty(critic, real, fake, k) for (weight, penalty), k in zip(active, keys, strict=True)]
        return sum(parts[1:], parts[0])

    return total


def gradient_penalty(
    critic: CriticFn,
    real: Array,
    fake: Array | None = None,
    key: Array | None = None,
    *,
    target: float = 1.0,
    one_sided: bool = False,
) -> Array:
    """Penalizes gradient norms of the critic other than `target` between real and generated samples (WGAN-GP).

    `E[(|grad critic(x)| - target)^2]` at `x = real + alpha (fake - real)`, one `alpha` ~ U[0, 1] per sample, with the
    Euclidean norm over all non-batch axes together. One-sided: `E[max(0, |grad critic(x)| - target)^2]`. With
    `target=0` it is the zero-centred penalty `E[|grad critic(x)|^2]`.

    >>> critic = lambda images: jnp.sum(images, axis=(1, 2, 3))  # gradient norm sqrt(2 * 2 * 4) = 4
    >>> images = jnp.zeros((8, 2, 2, 4))
    >>> round(float(gradient_penalty(critic, images, images, jax.random.key(0))), 4)
    9.0

    Args:
      critic: inputs `[B, ...]` to raw scores `[B]` or `[B, ...]`.
      real: real samples, `[B, ...]`, of a floating dtype; the critic is called with this dtype.
      fake: generated samples, of the same shape.
      key: random key for `alpha`.
      target: desired gradient norm, at least 0.
      one_sided: whether only gradient norms above the target are penalized.

    Returns:
      A scalar, at least 0, before its weight (lambda, 10 in the paper).

    Raises:
      ValueError: without generated samples or a key.
      AssertionError: if the shapes differ, the samples are not floating, or the critic returns no score per sample.

    References:
      Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028;
      one-sided: Petzka et al., 2017, https://arxiv.org/abs/1709.08894;
      zero-centred: Thanh-Tung et al., 2019, https://arxiv.org/abs/1902.03984
    """
    if fake is None or key is None:
        raise ValueError("gradient_penalty needs generated samples and a key: (critic, real, fake, key)")
    chex.assert_equal_shape([real, fake])
    dtype = jnp.result_type(real, fake)
    real, fake = _wide(real), _wide(fake)
    alpha = jax.random.uniform(key, (real.shape[0],) + (1,) * (real.ndim - 1), real.dtype)
    between = (real + alpha * (fake - real)).astype(dtype)
    # The square root has no derivative at 0: without 1e-12 a constant critic would get NaN gradients.
    excess = jnp.sqrt(_squared_norms(critic, between) + 1e-12) - target
    return jnp.mean(jnp.square(jax.nn.relu(excess) if one_sided else excess))


def r1_penalty(critic: CriticFn, real: Array, fake: Array | None = None, key: Array | None = None) -> Array:
    """Penalizes the critic's gradient at real samples (R1).

    `E[|grad critic(real)|^2] / 2`, with the Euclidean norm over all non-batch axes together.

    >>> float(r1_penalty(lambda points: 3.0 * points[:, 0], jnp.zeros((8, 2))))
    4.5

    Args:
      critic: inputs `[B, ...]` to raw scores `[B]` or `[B, ...]`.
      real: real samples, `[B, ...]`, of a floating dtype.
      fake, key: not used.

    Returns:
      A scalar, at least 0, before its weight (gamma). Code that leaves out the 1/2 means twice our gamma.

    Raises:
      AssertionError: if the samples are not floating or the critic returns no score per sample.

    References:
      Mescheder et al., 2018, https://arxiv.org/abs/1801.04406
    """
    del fake, key
    return jnp.mean(_squared_norms(critic, real)) / 2


def r2_penalty(critic: CriticFn, real: Array, fake: Array | None = None, key: Array | None = None) -> Array:
    """Penalizes the critic's gradient at generated samples (R2).

    `E[|grad critic(fake)|^2] / 2`: `r1_penalty` at generated samples. If the critic is an `AugmentedCritic`, which
    `make_gan` and `make_text_gan` pass, it calls `of_fake`, with the augmentation drawn for generated samples.

    Args:
      critic: inputs `[B, ...]` to raw scores `[B]` or `[B, ...]`.
      real, key: not used.
      fake: generated samples, `[B, ...]`, of a floating dtype.

    Returns:
      A scalar, at least 0, before its weight (gamma).

    Raises:
      ValueError: without generated samples.
      AssertionError: if the samples are not floating or the critic returns no score per sample.

    References:
      Mescheder et al., 2018, https://arxiv.org/abs/1801.04406
    """
    if fake is None:
        raise ValueError("r2_penalty needs generated samples: (critic, real, fake)")
    return r1_penalty(critic.of_fake if isinstance(critic, AugmentedCritic) else critic, fake)


def matching_aware_gradient_penalty(
    critic: Callable[[Any], Array], real: Any, fake: Any = None, key: Any = None, *, power: float = 6.0
) -> Array:
    """Penalizes the critic's gradient at real images with their texts (MA-GP of DF-GAN).

    `E[|grad critic(x, t)|^power]` with the Euclidean norm over image x and text embedding t together, so that the
    critic is smooth around images that are real and match, where the generator should arrive.

    >>> critic = lambda pair: 3.0 * pair[0][:, 0] + 4.0 * pair[1][:, 1]  # gradient norm 5
    >>> float(matching_aware_gradient_penalty(critic, (jnp.zeros((8, 2)), jnp.ones((8, 3))), power=2.0))
    25.0

    Args:
      critic: pairs `(images [B, ...], embeddings [B, E])` to raw scores `[B]` or `[B, ...]`, or the `AugmentedCritic`
        that `make_text_gan` passes.
      real: a pair of real images and the embeddings of their texts, of floating dtypes; with an `AugmentedCritic` the
        images alone.
      fake, key: not used.
      power: p, at least 2.

    Returns:
      A scalar, at least 0, before its weight (k, 2 in the paper).

    Raises:
      ValueError: a power below 2; the critic of `make_gan`, which has no text; real samples that are no pair.
      AssertionError: if the inputs are not floating or the critic returns no score per pair.

    References:
      Tao et al., 2022, https://arxiv.org/abs/2008.05865
    """
    del fake, key
    if not power >= 2:
        raise ValueError(f"power={power}: at least 2 expected")
    if isinstance(critic, AugmentedCritic):
        if critic.of_pair is None:
            raise ValueError("matching_aware_gradient_penalty needs the texts of make_text_gan")
        score, real = critic.of_pair, (real, critic.text)
        critic = lambda pair: score(*pair)
    elif not isinstance(real, tuple | list) or len(real) != 2:
        raise ValueError("real must be a pair: images and the embeddings of their texts")
    return jnp.mean(_squared_norms(critic, real) ** (power / 2))


def dragan_penalty(
    critic: CriticFn,
    real: Array,
    fake: Array | None = None,
    key: Array | None = None,
    *,
    noise_scale: float = 0.5,
    target: float = 1.0,
) -> Array:
    """Penalizes gradient norms of the critic other than `target` around real samples (DRAGAN).

    `gradient_penalty` between the real samples and `real + noise_scale std(real) u`, where `u` ~ U[0, 1] is drawn for
    every element and the standard deviation is one number for the whole batch, as in the authors' code.

    Args:
      critic: inputs `[B, ...]` to raw scores `[B]` or `[B, ...]`.
      real: real samples, `[B, ...]`, of a floating dtype.
      fake: not used.
      key: random key for the noise and `alpha`.
      noise_scale: upper bound of the noise, in standard deviations of the data.
      target: desired gradient norm, at least 0.

    Returns:
      A scalar, at least 0, before its weight (lambda, 10 in the paper).

    Raises:
      ValueError: without a key.
      AssertionError: if the samples are not floating or the critic returns no score per sample.

    References:
      Kodali et al., 2017, https://arxiv.org/abs/1705.07215
    """
    if key is None:
        raise ValueError("dragan_penalty needs a key: (critic, real, fake, key)")
    noise_key, alpha_key = jax.random.split(key)
    data = _wide(real)
    noise = noise_scale * jnp.std(data) * jax.random.uniform(noise_key, data.shape, data.dtype)
    return gradient_penalty(critic, real, (data + noise).astype(jnp.result_type(real)), alpha_key, target=target)
