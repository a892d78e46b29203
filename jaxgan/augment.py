"""Differentiable augmentation: pure functions of a batch of images and a key.

A discriminator with few images learns them by heart. Shown real *and* generated images only as augmented at random, it
cannot, and because the generator trains through the same functions, it does not learn to draw the augmentation:
`make_gan(..., augment=diff_augment("color,translation,cutout"))` puts them on all three paths.

Images are `[B, H, W, C]` floats in [-1, 1] with any number of channels; each draws its own numbers. Results may leave
[-1, 1]. A place that is filled gets 0, middle grey, as in the authors' code.

>>> augment = diff_augment("color,translation,cutout")
>>> augment(jnp.zeros((8, 16, 16, 3)), jax.random.key(0)).shape
(8, 16, 16, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import chex
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxgan.types import AdversarialLoss, Augment, Metrics

Augmentation = Callable[[Array, Array], Array]
"""`(images [B, H, W, C], key) -> images`."""


def _draw(images: Array, key: Array, low: float, high: float) -> Array:
    """One number an image, uniform in [low, high)."""
    chex.assert_rank(images, 4)
    chex.assert_type(images, float)
    return jax.random.uniform(key, (len(images), 1, 1, 1), images.dtype, low, high)


def brightness(images: Array, key: Array) -> Array:
    """`x + b`, b ~ U(-0.5, 0.5), a quarter of the range of [-1, 1] either way."""
    return images + _draw(images, key, -0.5, 0.5)


def saturation(images: Array, key: Array) -> Array:
    """`m + s (x - m)`, s ~ U(0, 2), with m the mean over the channels of each pixel: nothing for one channel."""
    factor = _draw(images, key, 0.0, 2.0)
    mean = images.mean(axis=3, keepdims=True)
    return mean + factor * (images - mean)


def contrast(images: Array, key: Array) -> Array:
    """`m + c (x - m)`, c ~ U(0.5, 1.5), with m the mean over all of an image."""
    factor = _draw(images, key, 0.5, 1.5)
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return mean + factor * (images - mean)


def color(images: Array, key: Array) -> Array:
    """`brightness`, then `saturation`, then `contrast`."""
    keys = jax.random.split(key, 3)
    return contrast(saturation(brightness(images, keys[0]), keys[1]), keys[2])


def translation(images: Array, key: Array) -> Array:
    """Moves by whole pixels, up to an eighth of height and of width either way, and fills with 0.

    Both numbers are uniform on the integers in [-n, n] with n the eighth, rounded half up: 4 of 28 and of 32 pixels.
    """
    chex.assert_rank(images, 4)
    height, width, channels = images.shape[1:]
    rows, columns = _rounded(height / 8), _rounded(width / 8)
    padded = jnp.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, jnp.array([[2 * rows + 1, 2 * columns + 1]]))
    window = lambda image, corner: lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))
    return jax.vmap(window)(padded, corners)


def cutout(images: Array, key: Array) -> Array:
    """Fills a rectangle of half the height and half the width with 0; the part of it that falls outside is lost.

    Of `n = H / 2` rows, rounded half up, from `o - n // 2` on, with o uniform on the integers in [0, H] (in [0, H - 1]
    if n is odd); the columns alike. So up to half of the rectangle may lie beyond an edge, and a corner of the image
    loses less.
    """
    chex.assert_rank(images, 4)
    keys = jax.random.split(key)

    def inside(size: int, key: Array) -> Array:
        """Which of the rows (or columns) the rectangle covers, `[B, size]`."""
        hole = _rounded(size / 2)
        start = jax.random.randint(key, (len(images), 1), 0, size + 1 - hole % 2) - hole // 2
        place = jnp.arange(size)[None]
        return (start <= place) & (place < start + hole)

    rows, columns = inside(images.shape[1], keys[0]), inside(images.shape[2], keys[1])
    covered = rows[:, :, None, None] & columns[:, None, :, None]
    return jnp.where(covered, jnp.zeros((), images.dtype), images)


def _rounded(size: float) -> int:
    return int(size + 0.5)


AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "brightness": brightness,
        "saturation": saturation,
        "contrast": contrast,
        "color": color,
        "translation": translation,
        "cutout": cutout,
    }
)
"""Augmentations by name."""


def diff_augment(policy: str | Sequence[str]) -> Augmentation:
    """The named augmentations one after the other, on every image (DiffAugment).

    Args:
      policy: names out of `AUGMENTATIONS`, in order, as a sequence or with commas between. The authors take
        `color,cutout` for the whole of CIFAR-10 and `color,translation,cutout` for little data.

    Returns:
      A function `(images [B, H, W, C], key) -> images`, for `make_gan(..., augment=)`.

    Raises:
      ValueError: a name that is not there, or none at all.

    References:
      Zhao et al., 2020, https://arxiv.org/abs/2006.10738
    """
    steps = _named(policy)

    def augment(images: Array, key: Array) -> Array:
        for step, step_key in zip(steps, jax.random.split(key, len(steps)), strict=True):
            images = step(images, step_key)
        return images

    return augment


def adaptive(policy: str | Sequence[str]) -> Callable[[Array, Array, ArrayLike], Array]:
    """The named augmentations one after the other, each on each image with a probability that is an argument (ADA).

    While the probability stays well below 1, no augmentation can leak into the generator's images: unaugmented ones are
    then what a generator must draw most.

    >>> augment = adaptive("translation,cutout")
    >>> images = jnp.ones((4, 8, 8, 1))
    >>> bool((augment(images, jax.random.key(0), 0.0) == images).all())
    True

    Args:
      policy: names out of `AUGMENTATIONS`, in order, as a sequence or with commas between.

    Returns:
      A function `(images [B, H, W, C], key, probability) -> images`; the probability is a scalar in [0, 1], such as
      `ada_update` returns.

    Raises:
      ValueError: a name that is not there, or none at all.

    References:
      Karras et al., 2020, https://arxiv.org/abs/2006.06676, whose set of augmentations is a larger one
    """
    steps = _named(policy)

    def augment(images: Array, key: Array, probability: ArrayLike) -> Array:
        chex.assert_rank(probability, 0)
        for step, step_key in zip(steps, jax.random.split(key, len(steps)), strict=True):
            coin_key, draw_key = jax.random.split(step_key)
            coins = jax.random.bernoulli(coin_key, probability, (len(images), 1, 1, 1))
            images = jnp.where(coins, step(images, draw_key), images)
        return images

    return augment


def ada_update(
    p: ArrayLike, real_scores: ArrayLike, *, target: float = 0.6, batch_size: int, ramp_images: int = 500_000
) -> Array:
    """The next probability of `adaptive`: larger where the discriminator is too sure of the real images (ADA).

    `clip(p + sign(r - target) batch_size / ramp_images, 0, 1)`, `r = E[sign(real_scores)]`. r is 0 for a discriminator
    that cannot tell and 1 for one that has learnt the images by heart, if scores are counted from where the loss
    decides: see `decision_score`. `make_gan` and `make_text_gan` see to that.

    >>> round(float(ada_update(0.5, jnp.array([2.0, 1.0, 3.0]), batch_size=5_000)), 4)
    0.51

    Args:
      p: the probability now, a scalar in [0, 1]; it starts at 0.
      real_scores: scores of augmented real images, any shape, positive for those that are taken for real.
      target: the r to hold.
      batch_size: real images seen since the last update.
      ramp_images: real images in which p can go from 0 to 1.

    Returns:
      A float32 scalar in [0, 1].

    Raises:
      AssertionError: if `p` is not a scalar.

    References:
      Karras et al., 2020, https://arxiv.org/abs/2006.06676; the authors' code updates every 4 batches and does not
      stop at 1
    """
    chex.assert_rank(p, 0)
    r = jnp.mean(jnp.sign(jnp.asarray(real_scores)), dtype=jnp.float32)
    moved = jnp.asarray(p, jnp.float32) + jnp.sign(r - target) * batch_size / ramp_images
    return jnp.clip(moved, 0.0, 1.0)


def decision_score(loss: AdversarialLoss) -> float | None:
    """The raw score at which a discriminator trained with a loss holds real and generated for equally likely.

    It is the constant c that minimises `loss.discriminator(c, c)`, the middle one where many do: what an optimal
    discriminator says where data and generator are equally dense. 0 for cross-entropy and hinge, 1/2 for least squares
    with its targets 1 and 0, the score of `T = f'(1)` for an f-GAN. A loss that sees differences of scores alone fixes
    no such point, and an offset of all scores means nothing: R3GAN's authors report signs of differences.

    Args:
      loss: the loss; its discriminator's side is evaluated.

    Returns:
      The score, to 1/64, sought in [-32, 32]; None where a constant added to all scores leaves the loss as it is
      (Wasserstein, relativistic).
    """
    real, fake = jnp.array([0.5, -1.0, 2.0]), jnp.array([-0.25, 1.5, 0.0])
    shifts = jnp.array([[0.0], [-2.5], [1.25], [4.0]])
    shifted = jax.jit(jax.vmap(lambda shift: loss.discriminator(real + shift, fake + shift)))(shifts)
    if jnp.ptp(shifted) <= 1e-4:
        return None
    constants = jnp.linspace(-32.0, 32.0, 64 * 64 + 1)
    values = jax.jit(jax.vmap(lambda scores: loss.discriminator(scores, scores)))(constants[:, None])
    least = constants[values <= jnp.nanmin(values) + 1e-6]
    return float(least[0] + least[-1]) / 2


def adaptive_augment(policy: str | Sequence[str], *, target: float = 0.6, ramp_images: int = 500_000) -> Augment:
    """`adaptive` under the control of `ada_update`, for `make_gan(..., augment=)`.

    Args:
      policy: names out of `AUGMENTATIONS`, in order, as a sequence or with commas between.
      target: the mean sign of the scores of real images to hold, counted from where the loss decides.
      ramp_images: real images in which the probability can go from 0 to 1.

    Returns:
      The `Augment`; its state is `augment_probability`, 0 at the start.

    Raises:
      ValueError: a name that is not there, or none at all.
    """
    augment = adaptive(policy)

    def update(state: Metrics, real_scores: Array) -> Metrics:
        p = state["augment_probability"]
        seen = len(real_scores)
        return {
            "augment_probability": ada_update(p, real_scores, target=target, batch_size=seen, ramp_images=ramp_images)
        }

    return Augment(
        init={"augment_probability": jnp.zeros(())},
        apply=lambda state, images, key: augment(images, key, state["augment_probability"]),
        update=update,
    )


def named_augmentation(policy: str | None) -> Augment | Augmentation | None:
    """What a flag asks for: `color,translation` the fixed `diff_augment`, `ada:color,translation` the adaptive one.

    >>> named_augmentation("ada:color").init
    {'augment_probability': Array(0., dtype=float32)}
    """
    if policy is None:
        return None
    adapts = policy.startswith("ada:")
    return adaptive_augment(policy.removeprefix("ada:")) if adapts else diff_augment(policy)


def _named(policy: str | Sequence[str]) -> list[Augmentation]:
    names = [name.strip() for name in policy.split(",")] if isinstance(policy, str) else list(policy)
    for name in names or [""]:
        if name not in AUGMENTATIONS:
            raise ValueError(f"unknown augmentation {name!r}: there are {', '.join(AUGMENTATIONS)}")
    return [AUGMENTATIONS[name] for name in names]
