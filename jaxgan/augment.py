"""Differentiable augmentation: pure functions of a batch of images and a key.

A discriminator that is trained on few images memorizes them. Random augmentation of both real and generated images
prevents that. The generator is trained through the same augmentation, so it does not learn to produce augmented images.
`make_gan(..., augment=diff_augment("color,translation,cutout"))` augments all inputs of the discriminator, in both
updates.

Images are `[B, H, W, C]` floats in [-1, 1] with any number of channels; each gets its own random numbers. Results may
leave [-1, 1]. Pixels that an augmentation fills become 0, middle grey, as in the authors' code.

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
    """One random number per image, uniform in [low, high)."""
    chex.assert_rank(images, 4)
    chex.assert_type(images, float)
    return jax.random.uniform(key, (len(images), 1, 1, 1), images.dtype, low, high)


def brightness(images: Array, key: Array) -> Array:
    """`x + b`, b ~ U(-0.5, 0.5): at most a quarter of the range [-1, 1] up or down."""
    return images + _draw(images, key, -0.5, 0.5)


def saturation(images: Array, key: Array) -> Array:
    """`m + s (x - m)`, s ~ U(0, 2), with m the mean of each pixel over channels: no change for one channel."""
    factor = _draw(images, key, 0.0, 2.0)
    mean = images.mean(axis=3, keepdims=True)
    return mean + factor * (images - mean)


def contrast(images: Array, key: Array) -> Array:
    """`m + c (x - m)`, c ~ U(0.5, 1.5), with m the mean of the whole image."""
    factor = _draw(images, key, 0.5, 1.5)
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return mean + factor * (images - mean)


def color(images: Array, key: Array) -> Array:
    """`brightness`, then `saturation`, then `contrast`."""
    keys = jax.random.split(key, 3)
    return contrast(saturation(brightness(images, keys[0]), keys[1]), keys[2])


def translation(images: Array, key: Array) -> Array:
    """Shifts each image by whole pixels, at most an eighth of its height and width, and fills with 0.

    Both shifts are uniform on the integers in [-n, n], with n an eighth of the side, rounded half up: 4 for sides of 28
    and of 32 pixels.
    """
    chex.assert_rank(images, 4)
    height, width, channels = images.shape[1:]
    rows, columns = _rounded(height / 8), _rounded(width / 8)
    padded = jnp.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, jnp.array([[2 * rows + 1, 2 * columns + 1]]))
    window = lambda image, corner: lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))
    return jax.vmap(window)(padded, corners)


def cutout(images: Array, key: Array) -> Array:
    """Fills a random rectangle of half the height and half the width with 0, clipped at the edges of the image.

    It covers `n = H / 2` rows, rounded half up, starting at `o - n // 2` with o uniform on the integers in [0, H] (in
    [0, H - 1] if n is odd), and columns likewise. So up to half of the rectangle may lie beyond an edge, and pixels
    near a corner are covered less often.
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
    """Applies the named augmentations one after the other to every image (DiffAugment).

    Args:
      policy: names from `AUGMENTATIONS` in the order of application, as a sequence or separated by commas. The authors
        use `color,cutout` for all of CIFAR-10 and `color,translation,cutout` for small data sets.

    Returns:
      A function `(images [B, H, W, C], key) -> images`, for `make_gan(..., augment=)`.

    Raises:
      ValueError: an unknown name, or no names.

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
    """Applies each of the named augmentations to each image with a given probability (ADA).

    While the probability is well below 1, augmentations do not leak into the generator's images: most of the real
    images that it must match are then not augmented.

    >>> augment = adaptive("translation,cutout")
    >>> images = jnp.ones((4, 8, 8, 1))
    >>> bool((augment(images, jax.random.key(0), 0.0) == images).all())
    True

    Args:
      policy: names from `AUGMENTATIONS` in the order of application, as a sequence or separated by commas.

    Returns:
      A function `(images [B, H, W, C], key, probability) -> images`; the probability is a scalar in [0, 1], such as
      `ada_update` returns.

    Raises:
      ValueError: an unknown name, or no names.

    References:
      Karras et al., 2020, https://arxiv.org/abs/2006.06676, with a larger set of augmentations
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
    """The next probability of `adaptive`: it rises while the discriminator overfits to the real images (ADA).

    `clip(p + sign(r - target) batch_size / ramp_images, 0, 1)`, `r = E[sign(real_scores)]`. r is 0 for a discriminator
    that cannot tell real from fake, and 1 for one that has memorized the real images. For that, the decision score of
    the loss must be subtracted from the scores (see `decision_score`); `make_gan` and `make_text_gan` do so.

    >>> round(float(ada_update(0.5, jnp.array([2.0, 1.0, 3.0]), batch_size=5_000)), 4)
    0.51

    Args:
      p: the current probability, a scalar in [0, 1]; it starts at 0.
      real_scores: scores of augmented real images, any shape, positive where the discriminator decides for real.
      target: the value of r to hold.
      batch_size: number of real images since the last update.
      ramp_images: number of real images in which p can go from 0 to 1.

    Returns:
      A float32 scalar in [0, 1].

    Raises:
      AssertionError: if `p` is not a scalar.

    References:
      Karras et al., 2020, https://arxiv.org/abs/2006.06676; the authors' code updates every 4 batches and does not
      limit p to 1
    """
    chex.assert_rank(p, 0)
    r = jnp.mean(jnp.sign(jnp.asarray(real_scores)), dtype=jnp.float32)
    moved = jnp.asarray(p, jnp.float32) + jnp.sign(r - target) * batch_size / ramp_images
    return jnp.clip(moved, 0.0, 1.0)


def decision_score(loss: AdversarialLoss) -> float | None:
    """The raw score at which a discriminator trained with a loss considers real and generated equally likely.

    It is the constant c that minimises `loss.discriminator(c, c)`, the middle of the interval if many do: the score of
    an optimal discriminator where data and generator have equal density. It is 0 for cross-entropy and hinge, 1/2 for
    least squares with targets 1 and 0, the score of `T = f'(1)` for an f-GAN. A loss of score differences alone has no
    such point, because a constant added to all scores does not change it. R3GAN's authors report the signs of
    differences.

    Args:
      loss: the adversarial loss; only its `discriminator` is evaluated.

    Returns:
      The score, to 1/64, within [-32, 32]; None if a constant added to all scores does not change the loss
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
    """`adaptive`, with its probability updated by `ada_update`, for `make_gan(..., augment=)`.

    Args:
      policy: names from `AUGMENTATIONS` in the order of application, as a sequence or separated by commas.
      target: the mean sign to hold of real scores minus the decision score, see `ada_update`.
      ramp_images: number of real images in which the probability can go from 0 to 1.

    Returns:
      The `Augment`; its state is `augment_probability`, initially 0.

    Raises:
      ValueError: an unknown name, or no names.
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
    """The augmentation of a flag: `color,translation` is `diff_augment`, `ada:color,translation` `adaptive_augment`.

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
