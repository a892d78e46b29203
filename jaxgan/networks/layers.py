"""Normalization layers by name, and spectral normalization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from jaxgan.networks.convolutions import Conv
from jaxgan.types import ModelState, Params

NORMS = ("batch", "instance", "layer", "none")


class Norm(nn.Module):
    """Batch norm, instance norm, layer norm over a whole sample, or no normalization.

    Attributes:
      kind: `batch`: over batch, height and width, with running statistics (momentum 0.9) if `train` is false;
        `instance`: over height and width of each sample and channel, without scale and offset, as in CycleGAN;
        `layer`: over height, width and channels of each sample, as in WGAN-GP's critic; `none`.
      dtype: dtype of the output; statistics are float32.
      affine: whether there are a scale and an offset, one of each per channel.
      scale_std: batch norm's scales are initialized from N(1, scale_std): 0.02 in DCGAN (Radford et al. 2015,
        arXiv:1511.06434) and CycleGAN, 0 in the residual networks of WGAN-GP and SNGAN. Layer norm's start at 1.

    Raises:
      ValueError: an unknown kind.

    Papers: Ioffe and Szegedy 2015, arXiv:1502.03167; Ulyanov et al. 2016, arXiv:1607.08022; Ba et al. 2016,
    arXiv:1607.06450.
    """

    kind: str
    dtype: DTypeLike = jnp.float32
    affine: bool = True
    scale_std: float = 0.02

    @nn.compact
    def __call__(self, inputs: Array, *, train: bool) -> Array:
        options = {"epsilon": 1e-5, "dtype": self.dtype, "use_scale": self.affine, "use_bias": self.affine}
        if self.kind == "batch":
            near_one = lambda *shape: 1.0 + nn.initializers.normal(self.scale_std)(*shape)
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, scale_init=near_one, **options)(inputs)
        if self.kind == "instance":
            return _standardized(inputs).astype(self.dtype)
        if self.kind == "layer":
            axes = tuple(range(1, inputs.ndim))
            return nn.LayerNorm(reduction_axes=axes, feature_axes=-1, **options)(inputs)
        check_norm(self.kind)
        return inputs


def check_norm(kind: str) -> str:
    """Returns the name of a norm, or raises a ValueError if it is unknown."""
    if kind not in NORMS:
        raise ValueError(f"unknown norm {kind!r}: there are {', '.join(NORMS)}")
    return kind


def keeps_bias(kind: str) -> bool:
    """Whether a bias before this norm has an effect; batch and instance norm cancel it."""
    return kind not in ("batch", "instance")


def _standardized(inputs: Array) -> Array:
    """Mean 0 and variance 1 of each channel of each sample; a constant channel becomes 0."""
    wide = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
    axes = tuple(range(1, inputs.ndim - 1))
    mean, variance = wide.mean(axes, keepdims=True), wide.var(axes, keepdims=True)
    return (wide - mean) * jax.lax.rsqrt(variance + 1e-5)


SPECTRAL = "spectral"
"""The Linen collection of the power-iteration vectors: `u` `[features]`, under the path of its layer."""


class _SpectralNorm(nn.Module):
    """A mixin that divides the kernel W of a layer, as a matrix `[-1, features]`, by an estimate of its largest
    singular value.

    `W / sigma`, `sigma = v^T W u`, with u and `v = W u / |W u|` constant and `sigma` differentiated with respect to W.
    Passes do not change u; `power_step` does. Here v is computed from the current u, so sigma is half a power step
    ahead of the authors' (Chainer) and PyTorch's, which use the v from which u was computed, and never smaller.
    """

    def param(self, name: str, *arguments: Any, **options: Any) -> Any:
        value = super().param(name, *arguments, **options)
        return self._divided(value) if name == "kernel" else value

    def _divided(self, kernel: Array) -> Array:
        draw = lambda: _unit(jax.random.normal(self.make_rng("params"), kernel.shape[-1:], kernel.dtype))
        u = self.variable(SPECTRAL, "u", draw)
        matrix = kernel.reshape(-1, kernel.shape[-1])
        image = matrix @ u.value
        sigma = _unit(jax.lax.stop_gradient(image)) @ image
        return kernel / jnp.where(sigma > 0, sigma, 1.0)


class SpectralConv(_SpectralNorm, Conv):
    """`Conv` with spectral normalization; parameters have the same names and initial values.

    Paper: Miyato et al. 2018, arXiv:1802.05957, with one power step per update. The matrix of a kernel `[kh, kw, I, O]`
    is the transpose of the paper's, with the same singular values.
    """


class SpectralDense(_SpectralNorm, nn.Dense):
    """`flax.linen.Dense` with spectral normalization, see `SpectralConv`."""


def power_step(params: Params, model_state: ModelState) -> ModelState:
    """One power step of every spectrally normalized layer of a network: the `refresh` of every `from_linen` network.

    u becomes `W^T v / |W^T v|`, `v = W u / |W u|`, which converges to the first right singular vector. It depends on
    the weights only, so an update takes one power step, whatever its number of passes.

    Args:
      params: the network's parameters.
      model_state: its collections, with or without `SPECTRAL`.

    Returns:
      The collections with `SPECTRAL` updated and without gradient; the others unchanged.
    """

    def moved(vectors: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: moved(inner, params[name]) if isinstance(inner, Mapping) else _power_step(params["kernel"], inner)
            for name, inner in vectors.items()
        }

    if SPECTRAL not in model_state:
        return model_state
    return {**model_state, SPECTRAL: moved(model_state[SPECTRAL], params)}


def _power_step(kernel: Array, u: Array) -> Array:
    matrix = jax.lax.stop_gradient(kernel).reshape(-1, kernel.shape[-1])
    return _unit(_unit(matrix @ u) @ matrix)


def _unit(vector: Array) -> Array:
    return vector / (jnp.linalg.norm(vector) + 1e-12)
