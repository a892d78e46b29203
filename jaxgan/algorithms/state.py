"""The state of a two-player game as immutable pytrees of arrays, and the one update both players use."""

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
    """One player: arrays only, its functions are closed over by whoever updates it.

    Attributes:
      step: int32 scalar, this player's own updates.
      params: its parameters.
      model_state: batch statistics and the like, `{}` if none.
      opt_state: its optimizer's state.
    """

    step: Array
    params: Params
    model_state: ModelState
    opt_state: optax.OptState


class GANState(struct.PyTreeNode):
    """Two players and the generator's moving average.

    Attributes:
      key: the random key of the whole run; steps fold their number into it and never change it.
      generator: the generator; its `step` counts the run's steps.
      discriminator: the discriminator.
      ema_params: moving average of the generator's parameters, None without averaging.
      ema_model_state: the same of its model state.
      augment_state: scalars by name that an adaptive augmentation carries, `{}` without one.
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
    """Two generators, two discriminators and what the discriminators are shown of earlier steps.

    What a player holds is a dict of two: by `a_to_b` and `b_to_a` for the generators, which share one optimizer, and by
    the domain it judges, `a` and `b`, for the discriminators.

    Attributes:
      pools: by domain, generated images of it.
    """

    pools: Mapping[str, ImagePool] = struct.field(default_factory=dict)


def create_player(network: Network, tx: optax.GradientTransformation, key: Array, *inputs: Any) -> TrainState:
    """A player with fresh parameters and a fresh optimizer; of the inputs only shapes and types matter."""
    params, model_state = network.init(key, *inputs)
    return TrainState(step=jnp.int32(0), params=params, model_state=model_state, opt_state=tx.init(params))


def gradient_step(
    player: TrainState,
    loss_fn: Callable[[Params], tuple[Array, tuple[ModelState, Metrics]]],
    tx: optax.GradientTransformation,
) -> tuple[TrainState, Metrics]:
    """One optimizer update of one player.

    Args:
      player: who moves.
      loss_fn: `params -> (loss, (model_state, metrics))`.
      tx: the player's optimizer.

    Returns:
      The player after the update, and the metrics of `loss_fn` with `loss` and `grad_norm` (the global norm of the
      gradient) added.
    """
    (loss, (model_state, metrics)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(player.params)
    moved, norm = gradient_update(player, gradient, model_state, tx)
    return moved, {"loss": loss, **metrics, **norm}


def gradient_update(
    player: TrainState, gradient: Params, model_state: ModelState, tx: optax.GradientTransformation
) -> tuple[TrainState, Metrics]:
    """One optimizer update of one player, along a gradient that is there already.

    Returns:
      The player after the update, with the given model state, and the metric `grad_norm`.
    """
    updates, opt_state = tx.update(gradient, player.opt_state, player.params)
    moved = player.replace(
        step=player.step + 1,
        params=optax.apply_updates(player.params, updates),
        model_state=model_state,
        opt_state=opt_state,
    )
    return moved, {"grad_norm": optax.tree.norm(gradient)}
