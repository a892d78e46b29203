"""The state of a GAN as immutable pytrees of arrays, and the optimizer update of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from jaxgan.algorithms.image_pool import ImagePool
from jaxgan.types import Metrics, ModelState, Network, Params


class TrainState(struct.PyTreeNode):
    """The training state of one player, a generator or a discriminator. It holds arrays only, no functions.

    Attributes:
      step: int32 scalar, number of updates of this player.
      params: its parameters.
      model_state: batch statistics and the like, `{}` if none.
      opt_state: its optimizer's state.
    """

    step: Array
    params: Params
    model_state: ModelState
    opt_state: optax.OptState


class GANState(struct.PyTreeNode):
    """Generator, discriminator and the EMA of the generator's weights.

    Attributes:
      key: the random key of the whole run; steps fold their number into it and never change it.
      generator: the generator; its `step` counts the run's steps.
      discriminator: the discriminator.
      ema_params: EMA of the generator's parameters, None if there is no EMA.
      ema_model_state: EMA of its model state.
      augment_state: state of an adaptive augmentation, scalars by name; `{}` without one.
    """

    key: Array
    generator: TrainState
    discriminator: TrainState
    ema_params: Params | None = None
    ema_model_state: ModelState | None = None
    augment_state: Metrics = struct.field(default_factory=dict)

    @property
    def step(self) -> Array:
        return self.generator.step


class CycleGANState(GANState):
    """Two generators, two discriminators and the pools of earlier generated images.

    The fields of a player are dicts of two. Those of the generators, which share one optimizer, have the keys `a_to_b`
    and `b_to_a`. Those of the discriminators have the keys `a` and `b`, the domain whose images they score.

    Attributes:
      pools: generated images of each domain, by domain.
    """

    pools: Mapping[str, ImagePool] = struct.field(default_factory=dict)


def create_player(network: Network, tx: optax.GradientTransformation, key: Array, *inputs: Any) -> TrainState:
    """A player with initial parameters and optimizer state; only shapes and dtypes of the inputs matter."""
    params, model_state = network.init(key, *inputs)
    return TrainState(step=jnp.int32(0), params=params, model_state=model_state, opt_state=tx.init(params))


def gradient_step(
    player: TrainState,
    loss_fn: Callable[[Params], tuple[Array, tuple[ModelState, Metrics]]],
    tx: optax.GradientTransformation,
) -> tuple[TrainState, Metrics]:
    """One optimizer update of one player.

    Args:
      player: the player to update.
      loss_fn: `params -> (loss, (model_state, metrics))`.
      tx: the player's optimizer.

    Returns:
      The player after the update, and the metrics of `loss_fn` with `loss` and `grad_norm` (the global norm of the
      gradient) added.
    """
    (loss, (model_state, metrics)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(player.params)
    player, norm = gradient_update(player, gradient, model_state, tx)
    return player, {"loss": loss, **metrics, **norm}


def gradient_update(
    player: TrainState, gradient: Params, model_state: ModelState, tx: optax.GradientTransformation
) -> tuple[TrainState, Metrics]:
    """One optimizer update of one player with a given gradient.

    Returns:
      The player after the update, with the given model state, and the metric `grad_norm`.
    """
    updates, opt_state = tx.update(gradient, player.opt_state, player.params)
    updated = player.replace(
        step=player.step + 1,
        params=optax.apply_updates(player.params, updates),
        model_state=model_state,
        opt_state=opt_state,
    )
    return updated, {"grad_norm": optax.tree.norm(gradient)}
