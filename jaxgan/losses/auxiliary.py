"""Losses beside the adversarial one: mismatched pairs, mode seeking, cycle consistency, identity, L1."""

from __future__ import annotations

import chex
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxgan.losses.adversarial import at_least_float32
from jaxgan.types import AdversarialLoss


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

    >>> from jaxgan.losses import LOSSES
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
    samples, other_samples, latents, other_latents = map(
        at_least_float32, (samples, other_samples, latents, other_latents)
    )
    chex.assert_equal_shape([samples, other_samples])
    chex.assert_equal_shape([latents, other_latents])
    distance = jnp.mean(jnp.abs(samples - other_samples)) / jnp.mean(jnp.abs(latents - other_latents))
    return 1.0 / (distance + 1e-5)


def _mean_absolute_error(images: ArrayLike, others: ArrayLike) -> Array:
    images, others = at_least_float32(images), at_least_float32(others)
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


def l1_loss(images: ArrayLike, translated: ArrayLike) -> Array:
    """The L1 distance of translations to the images that they should be.

    `E[|images - translated|]`, the mean over all pixels and channels. The caller multiplies it by a weight, 100 in
    pix2pix.

    >>> float(l1_loss(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.0])))
    0.25

    Args:
      images: the true images of the target domain, any shape.
      translated: the generator's translations of the other images of the pairs, the same shape.

    Returns:
      A scalar, at least 0; at most 2 for images in [-1, 1].

    Raises:
      AssertionError: if the shapes differ.

    References:
      Isola et al., 2017, section 3.1, https://arxiv.org/abs/1611.07004
    """
    return _mean_absolute_error(images, translated)
