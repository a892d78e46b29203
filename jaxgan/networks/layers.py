"""Normalization by name."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

NORMS = ("batch", "layer", "none")


class Norm(nn.Module):
    """Batch norm, layer norm over a whole sample, or nothing.

    Attributes:
      kind: `batch`: over batch, height and width, with running statistics (momentum 0.9) where `train` is false;
        `layer`: over height, width and channels of each sample, as WGAN-GP's critic has it; `none`.
      dtype: of the output; statistics are float32. Scale and offset are one number a channel.

    Raises:
      ValueError: another kind.

    Papers: Ioffe and Szegedy 2015, arXiv:1502.03167; Ba et al. 2016, arXiv:1607.06450. The scale starts at N(1, 0.02)
    under batch norm, as in DCGAN (Radford et al. 2015, arXiv:1511.06434), and at 1 under layer norm.
    """

    kind: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool) -> Array:
        if self.kind == "batch":
            return nn.BatchNorm(
                use_running_average=not train, momentum=0.9, epsilon=1e-5, scale_init=_near_one, dtype=self.dtype
            )(inputs)
        if self.kind == "layer":
            axes = tuple(range(1, inputs.ndim))
            return nn.LayerNorm(reduction_axes=axes, feature_axes=-1, epsilon=1e-5, dtype=self.dtype)(inputs)
        check_norm(self.kind)
        return inputs


def check_norm(kind: str) -> str:
    """The name of a norm, checked."""
    if kind not in NORMS:
        raise ValueError(f"unknown norm {kind!r}: there are {', '.join(NORMS)}")
    return kind


def _near_one(key: Array, shape: Any, dtype: Any = jnp.float32) -> Array:
    return 1.0 + nn.initializers.normal(0.02)(key, shape, dtype)
