"""Penalties on the slope of a critic: pure functions of the critic and the samples it judges.

A critic is any function of inputs `[B, ...]` to raw scores `[B]` or `[B, ...]` that scores each sample by itself, so
it holds no batch norm. Several scores of one sample (a PatchGAN map) are summed before they are differentiated.
Penalties are scalar expectations without a weight: scale them, add them up, and add the sum to the discriminator's
loss. Where the loss sees augmented samples, so must the critic: `lambda x: score(augment(x))`, differentiated through.

>>> def penalty(critic, real, fake, key):
...     return 10.0 * gradient_penalty(critic, real, fake, key) + 0.5 * r1_penalty(critic, real)
>>> critic = lambda points: 3.0 * points[:, 0]
>>> round(float(penalty(critic, jnp.zeros((8, 2)), jnp.ones((8, 2)), jax.random.key(0))), 2)  # 10 * 2^2 + .5 * 9 / 2
42.25

Whatever dtype the critic runs in, what happens to its slopes happens in at least float32.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jax import Array

from jaxgan.types import AugmentedCritic, CriticFn


def _wide(array: Array) -> Array:
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _squared_slopes(critic: CriticFn, inputs: Array) -> Array:
    """|d score / d input|^2 over all but the batch axis: `[B]`, in at least float32."""
    chex.assert_type(inputs, float)

    def total_score(x):
        scores = critic(x)
        chex.assert_equal_shape_prefix([x, scores], 1)  # a critic that averages its batch has slopes B times too small
        return jnp.sum(scores)

    # No sample's score depends on another sample, so the gradient of the sum holds every sample's own gradient.
    gradients = _wide(jax.grad(total_score)(inputs))
    return jnp.sum(jnp.square(gradients), axis=tuple(range(1, gradients.ndim)))


def gradient_penalty(
    critic: CriticFn, real: Array, fake: Array, key: Array, *, target: float = 1.0, one_sided: bool = False
) -> Array:
    """Holds the critic's slope at `target` between real and generated samples (WGAN-GP).

    `E[(|grad critic(x)| - target)^2]` at `x = real + alpha (fake - real)`, one `alpha` ~ U[0, 1] a sample, with the
    Euclidean norm over all non-batch axes together. One-sided: `E[max(0, |grad critic(x)| - target)^2]`. With
    `target=0` it is the zero-centred penalty `E[|grad critic(x)|^2]`.

    >>> critic = lambda images: jnp.sum(images, axis=(1, 2, 3))  # slope sqrt(2 * 2 * 4) = 4
    >>> images = jnp.zeros((8, 2, 2, 4))
    >>> round(float(gradient_penalty(critic, images, images, jax.random.key(0))), 4)
    9.0

    Args:
      critic: inputs `[B, ...]` to raw scores `[B]` or `[B, ...]`.
      real: real samples, `[B, ...]`, of a floating dtype; the critic is called with this dtype.
      fake: generated samples, the same shape.
      key: draws the points between them.
      target: the slope wanted, at least 0.
      one_sided: whether smaller slopes go free.

    Returns:
      A scalar, at least 0, to be weighted by the caller (lambda, 10 in the paper).

    Raises:
      AssertionError: if the shapes differ, the samples are not floating, or the critic returns no score per sample.

    References:
      Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028;
      one-sided: Petzka et al., 2017, https://arxiv.org/abs/1709.08894;
      zero-centred: Thanh-Tung et al., 2019, https://arxiv.org/abs/1902.03984
    """
    chex.assert_equal_shape([real, fake])
    dtype = jnp.result_type(real, fake)
    real, fake = _wide(real), _wide(fake)
    alpha = jax.random.uniform(key, (real.shape[0],) + (1,) * (real.ndim - 1), real.dtype)
    between = (real + alpha * (fake - real)).astype(dtype)
    # The root has no slope at 0: without the constant a flat critic's gradient would be NaN.
    excess = jnp.sqrt(_squared_slopes(critic, between) + 1e-12) - target
    return jnp.mean(jnp.square(jax.nn.relu(excess) if one_sided else excess))


def r1_penalty(critic: CriticFn, real: Array) -> Array:
    """Flattens the critic at real samples (R1).

    `E[|grad critic(real)|^2] / 2`, with the Euclidean norm over all non-batch axes together.

    >>> float(r1_penalty(lambda points: 3.0 * points[:, 0], jnp.zeros((8, 2))))
    4.5

    Args:
      critic: inputs `[B, ...]` to raw scores `[B]` or `[B, ...]`.
      real: real samples, `[B, ...]`, of a floating dtype.

    Returns:
      A scalar, at least 0, to be weighted by the caller (gamma). Code that leaves out the 1/2 means twice our gamma.

    Raises:
      AssertionError: if the samples are not floating or the critic returns no score per sample.

    References:
      Mescheder et al., 2018, https://arxiv.org/abs/1801.04406
    """
    return jnp.mean(_squared_slopes(critic, real)) / 2


def r2_penalty(critic: CriticFn, fake: Array) -> Array:
    """Flattens the critic at generated samples (R2).

    `E[|grad critic(fake)|^2] / 2`: `r1_penalty` at the other samples. Of an `AugmentedCritic`, which
    `make_gan` and `make_text_gan` give to penalties, it takes `of_fake`: the augmentation drawn for generated samples.

    Args:
      critic: inputs `[B, ...]` to raw scores `[B]` or `[B, ...]`.
      fake: generated samples, `[B, ...]`, of a floating dtype.

    Returns:
      A scalar, at least 0, to be weighted by the caller (gamma).

    Raises:
      AssertionError: if the samples are not floating or the critic returns no score per sample.

    References:
      Mescheder et al., 2018, https://arxiv.org/abs/1801.04406
    """
    return r1_penalty(critic.of_fake if isinstance(critic, AugmentedCritic) else critic, fake)


def dragan_penalty(
    critic: CriticFn, real: Array, key: Array, *, noise_scale: float = 0.5, target: float = 1.0
) -> Array:
    """Holds the critic's slope at `target` around real samples (DRAGAN).

    `gradient_penalty` between the real samples and `real + noise_scale std(real) u`, where `u` ~ U[0, 1] is drawn for
    every element and the standard deviation is one number for the whole batch, as in the authors' code.

    Args:
      critic: inputs `[B, ...]` to raw scores `[B]` or `[B, ...]`.
      real: real samples, `[B, ...]`, of a floating dtype.
      key: draws the noise, and the points between the samples and their noisy copies.
      noise_scale: the largest noise, in standard deviations of the data.
      target: the slope wanted, at least 0.

    Returns:
      A scalar, at least 0, to be weighted by the caller (lambda, 10 in the paper).

    Raises:
      AssertionError: if the samples are not floating or the critic returns no score per sample.

    References:
      Kodali et al., 2017, https://arxiv.org/abs/1705.07215
    """
    noise_key, alpha_key = jax.random.split(key)
    data = _wide(real)
    noise = noise_scale * jnp.std(data) * jax.random.uniform(noise_key, data.shape, data.dtype)
    return gradient_penalty(critic, real, (data + noise).astype(jnp.result_type(real)), alpha_key, target=target)
