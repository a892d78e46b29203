"""Adversarial losses: pure functions of the discriminator's raw scores."""

from __future__ import annotations

import chex
import jax.numpy as jnp
from jax import Array
from jax.nn import relu, softplus
from jax.typing import ArrayLike


def at_least_float32(scores: ArrayLike) -> Array:
    # bfloat16 keeps 8 bits of precision: a mean taken in it would hide the small changes that one looks for in a log.
    scores = jnp.asarray(scores)
    return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))


def minimax_discriminator_loss(
    real_scores: ArrayLike, fake_scores: ArrayLike, *, label_smoothing: float = 0.0
) -> Array:
    """The original GAN's discriminator loss: cross-entropy of telling real (1) from fake (0).

    `-E[t log s(real) + (1 - t) log(1 - s(real))] - E[log(1 - s(fake))]` with `s` the sigmoid and the real target
    `t = 1 - label_smoothing`. The two terms are summed, not averaged: a discriminator that outputs 1/2 for every sample
    has a loss of 2 log 2.

    >>> round(float(minimax_discriminator_loss(jnp.zeros(4), jnp.zeros(4))), 4)
    1.3863

    Args:
      real_scores: logits of real samples, any shape.
      fake_scores: logits of generated samples, any shape.
      label_smoothing: how far the real target lies below 1, in [0, 1); 0.1 is usual. One-sided: the fake target stays
        0, since smoothing it would reward the generator for keeping its current samples.

    Returns:
      A scalar, at least 0.

    Raises:
      AssertionError: if the smoothing is not a scalar.

    References:
      Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661;
      one-sided smoothing: Salimans et al., 2016, https://arxiv.org/abs/1606.03498
    """
    chex.assert_rank(label_smoothing, 0)
    real, fake = at_least_float32(real_scores), at_least_float32(fake_scores)
    # -t log s(x) - (1 - t) log(1 - s(x)) = softplus(-x) + (1 - t) x: no overflow, and a gradient at every score.
    return jnp.mean(softplus(-real) + label_smoothing * real) + jnp.mean(softplus(fake))


def minimax_generator_loss(fake_scores: ArrayLike) -> Array:
    """The original GAN's generator loss, the saturating one.

    `E[log(1 - s(fake))]` with `s` the sigmoid: minus the fake term of the discriminator's loss. Its gradient vanishes
    where the discriminator is confident (`-2e-9` at a score of -20), so use `non_saturating_generator_loss` to train.

    Args:
      fake_scores: logits of generated samples, any shape.

    Returns:
      A scalar, at most 0.

    References:
      Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661
    """
    return -jnp.mean(softplus(at_least_float32(fake_scores)))


def non_saturating_generator_loss(fake_scores: ArrayLike) -> Array:
    """The generator loss whose gradient does not vanish where the discriminator is confident.

    `-E[log s(fake)]` with `s` the sigmoid. Goes with `minimax_discriminator_loss`.

    >>> round(float(non_saturating_generator_loss(jnp.zeros(4))), 4)
    0.6931

    Args:
      fake_scores: logits of generated samples, any shape.

    Returns:
      A scalar, at least 0.

    References:
      Goodfellow et al., 2014, section 3, https://arxiv.org/abs/1406.2661
    """
    return jnp.mean(softplus(-at_least_float32(fake_scores)))


def _mean_squared_error(scores: ArrayLike, target: float) -> Array:
    chex.assert_rank(target, 0)  # an array of targets would broadcast [B, 1] scores to [B, B]
    return jnp.mean(jnp.square(at_least_float32(scores) - target))


def least_squares_discriminator_loss(
    real_scores: ArrayLike, fake_scores: ArrayLike, *, real_target: float = 1.0, fake_target: float = 0.0
) -> Array:
    """The discriminator loss of least-squares GANs (LSGAN).

    `E[(real - real_target)^2] + E[(fake - fake_target)^2]` of raw scores, without a sigmoid and without the paper's
    factor 1/2. Targets 1 and -1, with 0 for the generator, minimise a Pearson chi^2 divergence.

    >>> float(least_squares_discriminator_loss(jnp.array([0.5]), jnp.array([0.5])))
    0.5

    Args:
      real_scores: scores of real samples, any shape.
      fake_scores: scores of generated samples, any shape.
      real_target: the score wanted of real samples, a scalar (`b` in the paper).
      fake_target: the score wanted of generated samples, a scalar (`a` in the paper).

    Returns:
      A scalar, at least 0.

    Raises:
      AssertionError: if a target is not a scalar.

    References:
      Mao et al., 2016, https://arxiv.org/abs/1611.04076
    """
    return _mean_squared_error(real_scores, real_target) + _mean_squared_error(fake_scores, fake_target)


def least_squares_generator_loss(fake_scores: ArrayLike, *, target: float = 1.0) -> Array:
    """The generator loss of least-squares GANs (LSGAN).

    `E[(fake - target)^2]`, without the paper's factor 1/2.

    Args:
      fake_scores: scores of generated samples, any shape.
      target: the score that the generator aims for, a scalar (`c` in the paper).

    Returns:
      A scalar, at least 0.

    Raises:
      AssertionError: if the target is not a scalar.

    References:
      Mao et al., 2016, https://arxiv.org/abs/1611.04076
    """
    return _mean_squared_error(fake_scores, target)


def hinge_discriminator_loss(real_scores: ArrayLike, fake_scores: ArrayLike) -> Array:
    """The hinge discriminator loss: no reward for scores beyond a margin of 1.

    `E[max(0, 1 - real)] + E[max(0, 1 + fake)]`.

    >>> float(hinge_discriminator_loss(jnp.array([0.0, 2.0]), jnp.array([-3.0])))
    0.5

    Args:
      real_scores: scores of real samples, any shape.
      fake_scores: scores of generated samples, any shape.

    Returns:
      A scalar, at least 0.

    References:
      Lim and Ye, 2017, https://arxiv.org/abs/1705.02894;
      Miyato et al., 2018, https://arxiv.org/abs/1802.05957
    """
    return jnp.mean(relu(1.0 - at_least_float32(real_scores))) + jnp.mean(relu(1.0 + at_least_float32(fake_scores)))


def hinge_generator_loss(fake_scores: ArrayLike) -> Array:
    """The generator loss that goes with `hinge_discriminator_loss`.

    `-E[fake]`: no hinge, which would set the gradient to zero where the generator fails most.

    Args:
      fake_scores: scores of generated samples, any shape.

    Returns:
      A scalar of either sign.

    References:
      Lim and Ye, 2017, https://arxiv.org/abs/1705.02894;
      Miyato et al., 2018, https://arxiv.org/abs/1802.05957
    """
    return -jnp.mean(at_least_float32(fake_scores))


def wasserstein_estimate(real_scores: ArrayLike, fake_scores: ArrayLike) -> Array:
    """The critic's estimate of the Wasserstein-1 distance between data and generator.

    `E[real] - E[fake]`. Up to sampling error it is a lower bound of the distance if the critic is 1-Lipschitz, and of K
    times the distance if it is K-Lipschitz. Log it: it falls as the samples improve.

    >>> float(wasserstein_estimate(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 1.5])))
    1.0

    Args:
      real_scores: scores of real samples, any shape.
      fake_scores: scores of generated samples, any shape.

    Returns:
      A scalar of either sign.

    References:
      Arjovsky et al., 2017, https://arxiv.org/abs/1701.07875
    """
    return jnp.mean(at_least_float32(real_scores)) - jnp.mean(at_least_float32(fake_scores))


def wasserstein_discriminator_loss(real_scores: ArrayLike, fake_scores: ArrayLike) -> Array:
    """The critic's loss of Wasserstein GANs: minus `wasserstein_estimate`.

    `E[fake] - E[real]`. It has no lower bound unless something limits the critic's Lipschitz constant: weight clipping,
    a gradient penalty or spectral normalization. Negative values are normal.

    >>> float(wasserstein_discriminator_loss(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 1.5])))
    -1.0

    Args:
      real_scores: scores of real samples, any shape.
      fake_scores: scores of generated samples, any shape.

    Returns:
      A scalar of either sign.

    References:
      Arjovsky et al., 2017, https://arxiv.org/abs/1701.07875
    """
    return -wasserstein_estimate(real_scores, fake_scores)


def wasserstein_generator_loss(fake_scores: ArrayLike) -> Array:
    """The generator loss of Wasserstein GANs.

    `-E[fake]`.

    Args:
      fake_scores: scores of generated samples, any shape.

    Returns:
      A scalar of either sign. By itself it says nothing about the quality of the samples.

    References:
      Arjovsky et al., 2017, https://arxiv.org/abs/1701.07875
    """
    return -jnp.mean(at_least_float32(fake_scores))


def relativistic_discriminator_loss(real_scores: ArrayLike, fake_scores: ArrayLike) -> Array:
    """The relativistic discriminator loss over pairs: is this real sample more real than that generated one?

    `E[softplus(-(real - fake))] = -E[log s(real - fake)]` with `s` the sigmoid, over pairs of a real and a generated
    sample. The loss of RSGAN and, with `r1_penalty` and `r2_penalty`, of R3GAN.

    >>> round(float(relativistic_discriminator_loss(jnp.array([3.0, 3.0]), jnp.array([3.0, 3.0]))), 4)
    0.6931

    Args:
      real_scores: scores of real samples, any shape.
      fake_scores: scores of generated samples, the same shape.

    Returns:
      A scalar, at least 0.

    Raises:
      AssertionError: if the shapes differ.

    References:
      Jolicoeur-Martineau, 2018, https://arxiv.org/abs/1807.00734;
      R3GAN: Huang et al., 2025, https://arxiv.org/abs/2501.05441
    """
    real, fake = at_least_float32(real_scores), at_least_float32(fake_scores)
    chex.assert_equal_shape([real, fake])
    return jnp.mean(softplus(fake - real))


def relativistic_generator_loss(real_scores: ArrayLike, fake_scores: ArrayLike) -> Array:
    """The generator loss that goes with `relativistic_discriminator_loss`: the same with the roles exchanged.

    `E[softplus(-(fake - real))]`. The generator's update needs real scores too.

    Args:
      real_scores: scores of real samples, any shape.
      fake_scores: scores of generated samples, the same shape.

    Returns:
      A scalar, at least 0.

    Raises:
      AssertionError: if the shapes differ.

    References:
      Jolicoeur-Martineau, 2018, https://arxiv.org/abs/1807.00734;
      R3GAN: Huang et al., 2025, https://arxiv.org/abs/2501.05441
    """
    return relativistic_discriminator_loss(fake_scores, real_scores)


def relativistic_average_discriminator_loss(real_scores: ArrayLike, fake_scores: ArrayLike) -> Array:
    """The relativistic average discriminator loss: each score against the mean score of the other class (RaSGAN).

    `(E[softplus(-(real - E[fake]))] + E[softplus(fake - E[real])]) / 2`. The two terms are averaged, as in the author's
    code; the paper sums them. The means run over all real or all fake scores, patches included.

    >>> round(float(relativistic_average_discriminator_loss(jnp.zeros(3), jnp.zeros(5))), 4)
    0.6931

    Args:
      real_scores: scores of real samples, any shape.
      fake_scores: scores of generated samples, any shape.

    Returns:
      A scalar, at least 0.

    References:
      Jolicoeur-Martineau, 2018, https://arxiv.org/abs/1807.00734
    """
    real, fake = at_least_float32(real_scores), at_least_float32(fake_scores)
    return (jnp.mean(softplus(jnp.mean(fake) - real)) + jnp.mean(softplus(fake - jnp.mean(real)))) / 2


def relativistic_average_generator_loss(real_scores: ArrayLike, fake_scores: ArrayLike) -> Array:
    """The generator loss that goes with `relativistic_average_discriminator_loss`: the same with the roles exchanged.

    `(E[softplus(-(fake - E[real]))] + E[softplus(real - E[fake])]) / 2`. The generator's update needs real scores too.

    Args:
      real_scores: scores of real samples, any shape.
      fake_scores: scores of generated samples, any shape.

    Returns:
      A scalar, at least 0.

    References:
      Jolicoeur-Martineau, 2018, https://arxiv.org/abs/1807.00734
    """
    return relativistic_average_discriminator_loss(fake_scores, real_scores)
