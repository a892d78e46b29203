"""Common parts of the steps of all algorithms: random keys, the EMA, and the names of metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxgan.algorithms.state import GANState, TrainState
from jaxgan.augment import decision_score
from jaxgan.optim import ema, learning_rate_of
from jaxgan.types import AdversarialLoss, Augment, Batch, Metrics, ModelState, Network, Params, PenaltyFn

State = TypeVar("State", bound=GANState)
Weights = tuple[Params, ModelState]

MIXED = (
    "a penalty is a function of single samples, but this discriminator mixes its batch (batch norm): "
    "give it a norm of single samples, such as norm='layer', or none, or leave the penalty out"
)


def check_penalty(
    penalty: PenaltyFn | None, weight: float | optax.Schedule, *discriminators: Network
) -> PenaltyFn | None:
    """The penalty, or None if its weight is 0.

    Raises:
      ValueError: a negative weight, or a penalty on a discriminator that is known to mix its batch.
    """
    if not callable(weight) and weight < 0:
        raise ValueError(f"penalty_weight={weight}: 0 or more expected")
    if penalty is None or (not callable(weight) and weight == 0):
        return None
    if any(network.mixes_batch for network in discriminators):
        raise ValueError(MIXED)
    return penalty


def check_unmixed(penalty: PenaltyFn | None, model_state: ModelState) -> None:
    """Refuses a penalty on a discriminator whose model state holds batch statistics."""
    paths = (path for path, _ in jax.tree.leaves_with_path(model_state))
    if penalty is not None and any(jax.tree_util.DictKey("batch_stats") in path for path in paths):
        raise ValueError(MIXED)


def check_samples(generator: Network, player: TrainState, like: Array, *inputs: Array) -> None:
    """Refuses a generator whose samples are not shaped like the data's."""
    apply = partial(generator.apply, train=False)
    samples, _ = jax.eval_shape(apply, player.params, player.model_state, *inputs)
    if samples.shape != like.shape:
        raise ValueError(f"the generator makes samples {list(samples.shape)}, but the batch is {list(like.shape)}")


def start_ema(state: State, weights: Weights, decay: float | optax.Schedule | None) -> State:
    """The state with an EMA that starts at these weights, or without an EMA if the decay is None."""
    if decay is None:
        return state
    # Copies: the loop donates the state, and a buffer cannot be donated twice.
    params, model_state = jax.tree.map(jnp.copy, weights)
    return state.replace(ema_params=params, ema_model_state=model_state)


def update_ema(state: State, weights: Weights, decay: float | optax.Schedule | None) -> State:
    """Updates the EMA of a state from before the generator's update with the weights after it."""
    if decay is None:
        return state
    average = ema((state.ema_params, state.ema_model_state), weights, value_at(decay, state.step))
    return state.replace(ema_params=average[0], ema_model_state=average[1])


def sampling_weights(state: GANState, raw: Weights) -> Weights:
    """The weights to sample with: the EMA weights if there are any, else the raw weights."""
    return raw if state.ema_params is None else (state.ema_params, state.ema_model_state)


def step_keys(key: Array, player: int, state: TrainState, count: int) -> tuple[Array, ...]:
    """Keys for one update, from the run's key, the player's number and its step count: no two updates share a key."""
    return tuple(jax.random.split(jax.random.fold_in(jax.random.fold_in(key, player), state.step), count))


def latents_of(key: Array, batch: Batch, latent_dim: int) -> Array:
    """A latent for each row of a batch, `[B, latent_dim]`, on the device that holds the row.

    If the latents did not depend on the batch, the compiler would draw all of them on every device, and compute all
    generated samples there too. So they depend on it formally: the latent of a row that is not finite is 0.
    """
    rows = batch["image"].reshape(len(batch["image"]), -1)[:, :1]
    return jnp.where(jnp.isfinite(rows), jax.random.normal(key, (len(rows), latent_dim)), 0.0)


def value_at(value: float | optax.Schedule, update: Array) -> Any:
    """The value of a constant or of a schedule."""
    return value(update) if callable(value) else value


def mean_score(scores: Array) -> Array:
    """The mean in float32, whatever dtype the network computes in."""
    return jnp.mean(scores, dtype=jnp.float32)


def named_metrics(prefix: str, player: TrainState, metrics: Metrics) -> Metrics:
    """Metrics under their names in the log: `loss` and `grad_norm` get the player's prefix; adds its learning rate."""
    metrics = {f"{prefix}_{name}" if name in ("loss", "grad_norm") else name: value for name, value in metrics.items()}
    rate = learning_rate_of(player.opt_state)
    return metrics if rate is None else metrics | {f"{prefix}_learning_rate": rate}


class Drawn(NamedTuple):
    """One pass of a generator that an update of the discriminator and one of the generator can share.

    Attributes:
      fake: the generated samples.
      vjp: the gradient with respect to `fake` to that with respect to the generator's parameters.
      model_state: the generator's model state after the pass.
    """

    fake: Array
    vjp: Callable[[Array], tuple[Params]]
    model_state: ModelState


def draw_with(generator: Network, player: TrainState, key: Array, *inputs: Any) -> Drawn:
    """One training pass of a generator, whose `key` seeds its dropout."""
    start = generator.refresh(player.params, player.model_state)

    def generate(params: Params) -> tuple[Array, ModelState]:
        return generator.apply(params, start, *inputs, train=True, key=key)

    return Drawn(*jax.vjp(generate, player.params, has_aux=True))


def halved_discriminator_loss(
    score: Callable[[Array, ModelState, Array], tuple[Array, ModelState]],
    real: Array,
    fake: Array,
    start: ModelState,
    keys: tuple[Array, ...],
    *,
    loss: AdversarialLoss,
    penalty: PenaltyFn | None,
    penalty_weight: Any,
) -> tuple[Array, tuple[ModelState, Metrics]]:
    """Half the loss of a discriminator of translations, as in the authors' code: it learns more slowly.

    Args:
      score: `(images, model_state, key) -> (scores, model_state)`.
      real, fake: images of the target domain.
      start: the discriminator's model state before its passes.
      keys: three, for the passes of the real and the generated images, and for the penalty.
      loss, penalty, penalty_weight: as for the algorithm; the weight at this update.

    Returns:
      The loss, the model state after the passes, and the metrics.
    """
    real_key, fake_key, penalty_key = keys
    real_scores, model_state = score(real, start, real_key)
    fake_scores, model_state = score(fake, model_state, fake_key)
    value = loss.discriminator(real_scores, fake_scores)
    metrics = {"real_score": mean_score(real_scores), "fake_score": mean_score(fake_scores)}
    metrics |= loss.estimate(real_scores, fake_scores)
    if penalty is not None:
        critic = lambda images: score(images, start, real_key)[0]
        metrics["penalty"] = penalty(critic, real, fake, penalty_key)
        value += penalty_weight * metrics["penalty"]
    return value / 2, (model_state, metrics)


def alternating(
    d_step: Callable[..., tuple[Any, Metrics]],
    g_step: Callable[..., tuple[Any, Metrics]],
    d_steps: int,
    *,
    draw: Callable[[Any, Batch], Any] | None = None,
) -> Callable[[Any, tuple[Batch, ...]], tuple[Any, Metrics]]:
    """A `train_step` of `d_steps` updates of the discriminator, on a batch each, and one update of the generator.

    `draw(state, batch)` makes samples that the discriminator's last update and the generator's update share.
    """

    def train_step(state: Any, batches: tuple[Batch, ...]) -> tuple[Any, Metrics]:
        if len(batches) != d_steps:
            raise ValueError(f"train_step takes d_steps={d_steps} batches, not {len(batches)}")
        # Unrolled: on a CPU convolutions inside lax.scan run an order of magnitude slower.
        for batch in batches[:-1]:
            state, _ = d_step(state, batch)
        shared = () if draw is None else (draw(state, batches[-1]),)
        state, d_metrics = d_step(state, batches[-1], *shared)
        state, g_metrics = g_step(state, batches[-1], *shared)
        return state, d_metrics | g_metrics

    return train_step


def as_augment(augment: Augment | Callable[[Array, Array], Array] | None) -> Augment:
    """An `Augment` from an `Augment`, from a function `(samples, key) -> samples`, or from None (no augmentation)."""
    if isinstance(augment, Augment):
        return augment
    apply = augment or (lambda samples, key: samples)
    return Augment({}, lambda state, samples, key: apply(samples, key), lambda state, real_scores: state)


def decided(loss: AdversarialLoss, real_scores: Array, fake_scores: Array) -> Array:
    """Scores of real samples minus the loss's `decision_score`, or minus the mean fake score if it has none."""
    with jax.ensure_compile_time_eval():
        point = decision_score(loss)
    return real_scores - (mean_score(fake_scores) if point is None else point)
