"""Losses: pure functions of the discriminator's scores, and two of images, for translation without pairs.

Scores are raw outputs of the discriminator, before any sigmoid. They may have any shape (`[B]`, `[B, 1]`, PatchGAN
scores `[B, H, W, 1]`). Real and fake scores are averaged separately, so their counts may differ. Every loss is
minimised, and is a scalar in at least float32, whatever dtype the network ran in.

To train with one, differentiate it with respect to a network's parameters. To choose one by name, see `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import chex
import jax.numpy as jnp
from jax import Array
from jax.nn import relu, softplus
from jax.typing import ArrayLike

from jaxgan.types import AdversarialLoss


def _wide(scores: ArrayLike) -> Array:
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
    real, fake = _wide(real_scores), _wide(fake_scores)
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
    return -jnp.mean(softplus(_wide(fake_scores)))


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
    return jnp.mean(softplus(-_wide(fake_scores)))


def _mean_squared_error(scores: ArrayLike, target: float) -> Array:
    chex.assert_rank(target, 0)  # an array of targets would broadcast [B, 1] scores to [B, B]
    return jnp.mean(jnp.square(_wide(scores) - target))


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
    return jnp.mean(relu(1.0 - _wide(real_scores))) + jnp.mean(relu(1.0 + _wide(fake_scores)))


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
    return -jnp.mean(_wide(fake_scores))


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
    return jnp.mean(_wide(real_scores)) - jnp.mean(_wide(fake_scores))


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
    return -jnp.mean(_wide(fake_scores))


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
    real, fake = _wide(real_scores), _wide(fake_scores)
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
    real, fake = _wide(real_scores), _wide(fake_scores)
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


def matching_aware_discriminator_loss(
    real_scores: ArrayLike,
    fake_scores: ArrayLike,
    mismatched_scores: ArrayLike,
    *,
    loss: AdversarialLoss,
    mismatch_weight: float | Array = 0.5,
) -> Array:
    """The discriminator loss of a text GAN, which also sees real images with mismatched texts (GAN-CLS).

    `(1 - w) loss(real, fake) + w loss(real, mismatched)` with the discriminator loss of any adversarial loss and
    `w = mismatch_weight`. If that loss is a real term plus a fake term, this is the authors'
    `real term + (1 - w) fake term + w mismatched term`. It keeps the scale of `loss`: with cross-entropy, equal weights
    and zero logits it is 2 log 2.

    >>> zeros = jnp.zeros(4)
    >>> round(float(matching_aware_discriminator_loss(zeros, zeros, zeros, loss=LOSSES["non_saturating"])), 4)
    1.3863

    Args:
      real_scores: scores of real images with their own text, any shape.
      fake_scores: scores of generated images with the text they were generated from.
      mismatched_scores: scores of real images with the text of another image.
      loss: the adversarial loss.
      mismatch_weight: w, a scalar in [0, 1]; 0 leaves the mismatched pairs out.

    Returns:
      A scalar.

    Raises:
      AssertionError: if the weight is not a scalar.

    References:
      Reed et al., 2016, https://arxiv.org/abs/1605.05396
    """
    chex.assert_rank(mismatch_weight, 0)
    against_fake = loss.discriminator(jnp.asarray(real_scores), jnp.asarray(fake_scores))
    against_mismatched = loss.discriminator(jnp.asarray(real_scores), jnp.asarray(mismatched_scores))
    return (1.0 - mismatch_weight) * against_fake + mismatch_weight * against_mismatched


def mode_seeking_loss(
    samples: ArrayLike, other_samples: ArrayLike, latents: ArrayLike, other_latents: ArrayLike
) -> Array:
    """The mode-seeking loss of the generator (MSGAN): high if samples of one condition do not depend on the latents.

    `1 / (E|samples - other_samples| / E|latents - other_latents| + 1e-5)`, means over batch, pixels and channels. It is
    large if the generator ignores the latents, and nearly flat if it does not.

    >>> round(float(mode_seeking_loss(jnp.zeros(4), jnp.full(4, 0.5), jnp.zeros(4), jnp.ones(4))), 3)
    2.0

    Args:
      samples: samples `[B, ...]`.
      other_samples: samples of the same conditions from other latents, the same shape.
      latents: the latents of `samples`, `[B, latent_dim]`.
      other_latents: the latents of `other_samples`, the same shape.

    Returns:
      A scalar in (0, 1e5]. The caller multiplies it by a weight, 1 in the paper.

    Raises:
      AssertionError: if shapes differ.

    References:
      Mao et al., 2019, https://arxiv.org/abs/1903.05628
    """
    samples, other_samples, latents, other_latents = map(_wide, (samples, other_samples, latents, other_latents))
    chex.assert_equal_shape([samples, other_samples])
    chex.assert_equal_shape([latents, other_latents])
    distance = jnp.mean(jnp.abs(samples - other_samples)) / jnp.mean(jnp.abs(latents - other_latents))
    return 1.0 / (distance + 1e-5)


def _mean_absolute_error(images: ArrayLike, others: ArrayLike) -> Array:
    images, others = _wide(images), _wide(others)
    chex.assert_equal_shape([images, others])  # an axis of size 1 would broadcast
    return jnp.mean(jnp.abs(images - others))


def cycle_consistency_loss(images: ArrayLike, reconstructed: ArrayLike) -> Array:
    """The L1 distance of images to their reconstruction, the translation translated back.

    `E[|images - reconstructed|]`, the mean over all pixels and channels. The caller multiplies it by a weight, 10 in
    CycleGAN.

    >>> float(cycle_consistency_loss(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.0])))
    0.25

    Args:
      images: images of one domain, any shape.
      reconstructed: `b_to_a(a_to_b(images))`, the same shape.

    Returns:
      A scalar, at least 0; at most 2 for images in [-1, 1].

    Raises:
      AssertionError: if the shapes differ.

    References:
      Zhu et al., 2017, https://arxiv.org/abs/1703.10593
    """
    return _mean_absolute_error(images, reconstructed)


def identity_loss(images: ArrayLike, translated: ArrayLike) -> Array:
    """The L1 distance by which a generator changes images that are already in its target domain.

    `E[|images - translated|]`, the mean over all pixels and channels. The caller multiplies it by a weight, in CycleGAN
    half that of the cycle loss: 5.

    >>> float(identity_loss(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.0])))
    0.25

    Args:
      images: images of one domain, any shape.
      translated: the output of the generator into this domain for them, the same shape.

    Returns:
      A scalar, at least 0; at most 2 for images in [-1, 1].

    Raises:
      AssertionError: if the shapes differ.

    References:
      Taigman et al., 2016, https://arxiv.org/abs/1611.02200;
      Zhu et al., 2017, section 5.2, https://arxiv.org/abs/1703.10593
    """
    return _mean_absolute_error(images, translated)


def _of_fake(generator_loss: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda real_scores, fake_scores: generator_loss(fake_scores)


LossName = Literal[
    "minimax", "non_saturating", "least_squares", "hinge", "wasserstein", "relativistic", "relativistic_average"
]

LOSSES: Mapping[str, AdversarialLoss] = MappingProxyType(
    {
        "minimax": AdversarialLoss(minimax_discriminator_loss, _of_fake(minimax_generator_loss)),
        "non_saturating": AdversarialLoss(minimax_discriminator_loss, _of_fake(non_saturating_generator_loss)),
        "least_squares": AdversarialLoss(least_squares_discriminator_loss, _of_fake(least_squares_generator_loss)),
        "hinge": AdversarialLoss(hinge_discriminator_loss, _of_fake(hinge_generator_loss)),
        "wasserstein": AdversarialLoss(
            wasserstein_discriminator_loss,
            _of_fake(wasserstein_generator_loss),
            lambda real_scores, fake_scores: {"wasserstein_estimate": wasserstein_estimate(real_scores, fake_scores)},
        ),
        "relativistic": AdversarialLoss(relativistic_discriminator_loss, relativistic_generator_loss),
        "relativistic_average": AdversarialLoss(
            relativistic_average_discriminator_loss, relativistic_average_generator_loss
        ),
    }
)
"""The losses of both networks by name, with the default settings of the functions above.

For other settings make a pair: `AdversarialLoss(partial(minimax_discriminator_loss, label_smoothing=0.1), ...)`.
"""
