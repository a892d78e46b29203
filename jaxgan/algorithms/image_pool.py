"""The pool of earlier generated images that a discriminator is shown beside the newest ones.

It keeps the discriminator from chasing the generator's last step: Shrivastava et al. 2016 (arXiv:1612.07828), and in
CycleGAN with 50 images.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array


class ImagePool(struct.PyTreeNode):
    """Images kept from earlier steps: part of a GAN's state, so that a resumed run shows the same ones.

    Attributes:
      images: `[size, H, W, C]`, zeros where nothing has been stored; of the type the generator makes, so that what
        comes out is what went in, bit for bit.
      count: int32 scalar, how many are stored.
    """

    images: Array
    count: Array


def create_pool(size: int, images: Array | jax.ShapeDtypeStruct) -> ImagePool:
    """An empty pool.

    Args:
      size: how many images it can hold; 0 for a pool that hands every image on.
      images: a batch `[B, H, W, C]` of what it is to hold, of which only shape and type matter.

    Returns:
      The pool.

    Raises:
      ValueError: a negative size.
    """
    if size < 0:
        raise ValueError(f"a pool holds 0 images or more, not {size}")
    return ImagePool(images=jnp.zeros((size, *images.shape[1:]), images.dtype), count=jnp.int32(0))


def query_pool(pool: ImagePool, images: Array, key: Array) -> tuple[Array, ImagePool]:
    """Trades new images for stored ones, one after the other.

    While the pool is not full, an image is stored and handed on. From then on, with probability 1/2 it takes the place
    of a stored one, drawn uniformly, which is handed on in its stead; else it is handed on and not stored. A later
    image of a batch may meet an earlier one.

    Args:
      pool: the pool.
      images: new images `[B, H, W, C]`, shaped like the stored ones.
      key: for the draws.

    Returns:
      Images `[B, H, W, C]` to train a discriminator on, and the pool.
    """
    size = len(pool.images)
    if not size:
        return images, pool
    trade_key, place_key = jax.random.split(key)
    arrivals = pool.count + jnp.arange(len(images))
    full = arrivals >= size
    trades = full & jax.random.bernoulli(trade_key, 0.5, full.shape)
    places = jnp.where(full, jax.random.randint(place_key, full.shape, 0, size), arrivals)

    def query(stored: Array, arrival: tuple[Array, ...]) -> tuple[Array, Array]:
        image, place, trade, full = arrival
        there = stored[place]
        stored = stored.at[place].set(jnp.where(trade | ~full, image, there))
        return stored, jnp.where(trade, there, image)

    stored, shown = jax.lax.scan(query, pool.images, (images, places, trades, full))
    return shown, ImagePool(images=stored, count=jnp.minimum(pool.count + len(images), size))
