"""Networks that look at images: here a small classifier trained on the labelled data set itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import Array

from jaxgan.networks.convolutions import Conv
from jaxgan.pixels import from_uint8


class Classifier(nn.Module):
    """Three strided convolutions, 128 features, and logits.

    Attributes:
      num_classes: how many.
      width: channels of the first convolution.
    """

    num_classes: int
    width: int = 16

    @nn.compact
    def __call__(self, images: Array) -> Array:
        hidden = images
        for width in (self.width, 2 * self.width, 4 * self.width):
            hidden = nn.relu(nn.GroupNorm(num_groups=8)(Conv(width, 4, 2, padding=1)(hidden)))
        hidden = nn.relu(nn.Dense(128)(hidden.reshape(len(hidden), -1)))
        return nn.Dense(self.num_classes)(hidden)


def train_classifier(
    images: np.ndarray, labels: np.ndarray, *, epochs: int = 12, batch_size: int = 64, seed: int = 0
) -> Callable[[np.ndarray], np.ndarray]:
    """Trains a `Classifier`, always to the same weights on the same machine.

    Images are shifted by up to two pixels at random while it trains; Adam, its rate falling to zero.

    Args:
      images: uint8 `[N, H, W, C]`.
      labels: integers `[N]` in 0..K-1, every class present.
      epochs: passes over the images.
      batch_size: images to an update.
      seed: of weights, order and shifts.

    Returns:
      `predict`: uint8 images `[M, H, W, C]` to class probabilities `[M, K]`.
    """
    network = Classifier(num_classes=int(labels.max()) + 1)
    params = network.init(jax.random.key(seed), from_uint8(images[:1]))
    steps = epochs * (len(images) // batch_size)
    tx = optax.adam(optax.cosine_decay_schedule(2e-3, steps))

    def logits(params: Any, images: Array) -> Any:
        return network.apply(params, images)

    @jax.jit
    def update(params, opt_state, images, labels):
        def loss_fn(params):
            return optax.softmax_cross_entropy_with_integer_labels(logits(params, images), labels).mean()

        updates, opt_state = tx.update(jax.grad(loss_fn)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    opt_state = tx.init(params)
    random = np.random.default_rng(seed)
    for _ in range(epochs):
        order = random.permutation(len(images))[: len(images) // batch_size * batch_size]
        for rows in order.reshape(-1, batch_size):
            shifted = np.roll(images[rows], random.integers(-2, 3, size=2), axis=(1, 2))
            params, opt_state = update(params, opt_state, from_uint8(shifted), jnp.asarray(labels[rows]))

    probabilities = jax.jit(lambda images: jax.nn.softmax(logits(params, from_uint8(images))))

    def predict(images: np.ndarray) -> np.ndarray:
        return np.concatenate([probabilities(images[i : i + 500]) for i in range(0, len(images), 500)])

    return predict
