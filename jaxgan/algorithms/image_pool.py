"""A pool of earlier generated images, which the discriminator sees beside the newest ones.

It keeps the discriminator from fitting the generator's last step only: Shrivastava et al. 2016 (arXiv:1612.07828).
CycleGAN has pools of 50 images.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array


class ImagePool(struct.PyTreeNode):
    """Images kept from earlier steps. It is part of a GAN's state, so a resumed run uses the same images.

    Attributes:
      images: `[size, H, W, C]`, of the dtype of the generator's output; zeros where nothing has been stored yet.
      count: int32 scalar, number of images stored.
    """

    images: Array
    count: Array


def create_pool(size: int, images: Array | jax.ShapeDtypeStruct) -> ImagePool:
    """An empty pool.

    Args:
      size: number of images it can hold; with 0 `query_pool` returns its input.
      images: a batch `[B, H, W, C]` of such images; only shape and dtype matter.

    Returns:
      The pool.

    Raises:
      ValueError: a negative size.
    """
    if size < 0:
        raise ValueError(f"pool size {size}: 0 or more expected")
    return ImagePool(images=jnp.zeros((size, *images.shape[1:]), images.dtype), count=jnp.int32(0))


def query_pool(pool: ImagePool, images: Array, key: Array) -> tuple[Array, ImagePool]:
    """Exchanges new images with stored ones, one image after the other.

    While the pool is not full, each image is stored and returned. Once it is full, with probability 1/2 an image
    replaces a stored one, drawn uniformly, and the stored one is returned; else the image itself is returned and not
    stored. An image of a batch may be exchanged with an earlier one of the same batch.

    Args:
      pool: the pool.
      images: new images `[B, H, W, C]`, shaped like the stored ones.
      key: random key.

    Returns:
      Images `[B, H, W, C]` to train the discriminator on, and the new pool.
    """
    size = len(pool.images)
    if not size:
        return images, pool
    swap_key, index_key = jax.random.split(key)
    free = pool.count + jnp.arange(len(images))
    full = free >= size
    swaps = full & jax.random.bernoulli(swap_key, 0.5, full.shape)
    indices = jnp.where(full, jax.random.randint(index_key, full.shape, 0, size), free)

    def query(stored: Array, row: tuple[Array, ...]) -> tuple[Array, Array]:
        image, index, swap, full = row
        earlier = stored[index]
        stored = stored.at[index].set(jnp.where(swap | ~full, image, earlier))
        return stored, jnp.where(swap, earlier, image)

    stored, shown = jax.lax.scan(query, pool.images, (images, indices, swaps, full))
    return shown, ImagePool(images=stored, count=jnp.minimum(pool.count + len(images), size))
