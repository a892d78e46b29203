"""MLPs, for points and small vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from jaxgan.networks.linen import from_linen
from jaxgan.types import Network


class MLP(nn.Module):
    """Dense layers with an activation between them.

    Attributes:
      widths: sizes of the hidden layers.
      features: size of the output; None for one raw score per row, `[B]`.
      activation: activation between the layers; none after the last.
      dtype: dtype of the computation; parameters are float32.
    """

    widths: Sequence[int]
    features: int | None = None
    activation: Callable[[Array], Array] = nn.relu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool) -> Array:
        del train
        hidden = inputs
        for width in self.widths:
            hidden = nn.Dense(width, dtype=self.dtype, kernel_init=nn.initializers.he_normal())(hidden)
            hidden = self.activation(hidden)
        output = nn.Dense(1 if self.features is None else self.features, dtype=self.dtype)(hidden)
        return output[..., 0] if self.features is None else output


def mlp_generator(widths: Sequence[int] = (128,) * 3, *, features: int, dtype: DTypeLike = jnp.float32) -> Network:
    """Latents `[B, latent_dim]` to points `[B, features]`."""
    return from_linen(MLP(widths, features, dtype=dtype))


def mlp_discriminator(widths: Sequence[int] = (128,) * 3, *, dtype: DTypeLike = jnp.float32) -> Network:
    """Points `[B, features]` to raw scores `[B]`."""
    return from_linen(MLP(widths, activation=lambda hidden: nn.leaky_relu(hidden, 0.2), dtype=dtype))
