"""The GAN of Goodfellow et al. 2014 (arXiv:1406.2661) and every variant with one generator and one discriminator."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxgan.algorithms.microbatches import in_microbatches
from jaxgan.algorithms.state import GANState, create_player, gradient_step, gradient_update
from jaxgan.algorithms.steps import (
    Drawn,
    alternating,
    as_augment,
    check_penalty,
    check_samples,
    check_unmixed,
    decided,
    draw_with,
    latents_of,
    mean_score,
    named_metrics,
    sampling_weights,
    start_ema,
    step_keys,
    update_ema,
    value_at,
)
from jaxgan.optim import check_decay
from jaxgan.types import (
    GAN,
    AdversarialLoss,
    Augment,
    AugmentedCritic,
    Batch,
    Metrics,
    Network,
    PenaltyFn,
)


def make_gan(
    generator: Network,
    discriminator: Network,
    *,
    loss: AdversarialLoss,
    g_tx: optax.GradientTransformation,
    d_tx: optax.GradientTransformation,
    latent_dim: int,
    penalty: PenaltyFn | None = None,
    penalty_weight: float | optax.Schedule = 1.0,
    augment: Augment | Callable[[Array, Array], Array] | None = None,
    d_steps: int = 1,
    g_batch_multiple: int = 1,
    ema_decay: float | optax.Schedule | None = None,
    microbatches: int = 1,
    remat: bool = False,
) -> GAN:
    """A GAN as pure, jitted functions over one immutable `GANState`.

    `d_step` minimises `loss.discriminator(D(x), D(G(z))) + penalty_weight penalty` over D alone, `g_step` minimises
    `loss.generator(D(x), D(G(z)))` over G alone, `z ~ N(0, I)`; `train_step` is `d_steps` of the first on a batch
    each, then one of the second on the last of them. Both networks run with `train=True` in both; only the model state
    of the network being updated is kept. The generator is updated on the latents of the discriminator's last update: in
    `train_step` the two share one pass of the generator, unless `g_batch_multiple` is above 1.

    Args:
      generator: `(latents [B, latent_dim], condition?) -> samples`, shaped like `batch["image"]`.
      discriminator: `(samples, condition?) -> raw scores`, `[B]` or `[B, ...]`.
      loss: the losses of both networks, see `jaxgan.losses.LOSSES`.
      g_tx: the generator's optimizer.
      d_tx: the discriminator's optimizer; it counts its own updates, `d_steps` for each of the generator's.
      latent_dim: size of a latent vector.
      penalty: a function of `jaxgan.penalties`, or a `weighted_sum` of some. Its critic is the discriminator with
        condition, key and model state fixed. It augments samples before it scores them; gradients are with respect to
        the samples before augmentation. The augmentation is the one that the loss drew for the real samples, in
        `r2_penalty` the one for the generated samples.
      penalty_weight: weight of the penalty in the discriminator's loss, at least 0; a schedule counts the
        discriminator's own updates. At 0 the penalty is not computed.
      augment: `(samples, key) -> samples`, applied to real and fake samples in both steps; or an `Augment`, which
        adapts in `d_step` to the scores of real samples, minus the loss's `jaxgan.augment.decision_score`.
      d_steps: discriminator updates per generator update.
      g_batch_multiple: samples that a generator update draws for each row of its batch; they share its condition.
      ema_decay: decay, in [0, 1), of the EMA of the generator's weights, which `sample` then uses; None for no EMA. A
        schedule counts generator updates.
      microbatches: number of parts of a batch in which the networks are computed, to save memory for activations: see
        `jaxgan.algorithms.microbatches`.
      remat: whether to compute activations again in the backward pass, to save memory for them: see there.

    Returns:
      The `GAN`. Metrics: `d_loss`, `g_loss`, `real_score`, `fake_score` (means of the raw scores), `d_grad_norm`,
      `g_grad_norm`, and if there are such: `penalty` (before `penalty_weight`), the loss's own estimate, the state of
      the augmentation, `d_learning_rate`, `g_learning_rate`.

    Raises:
      ValueError: a penalty on a discriminator that mixes its batch, since a penalty is a function of single samples; a
        count or a decay out of range; in `init`, samples that are not shaped like `batch["image"]`.
    """
    penalty = check_penalty(penalty, penalty_weight, discriminator)
    if min(d_steps, g_batch_multiple) < 1:
        raise ValueError(f"d_steps={d_steps}, g_batch_multiple={g_batch_multiple}: at least 1 expected")
    check_decay(ema_decay)
    augment = as_augment(augment)
    generator, discriminator = (in_microbatches(one, microbatches, remat=remat) for one in (generator, discriminator))

    def init(key: Array, batch: Batch) -> GANState:
        g_key, d_key, state_key = jax.random.split(key, 3)
        samples = batch["image"]
        latents = jnp.zeros((len(samples), latent_dim))
        g = create_player(generator, g_tx, g_key, latents, *_condition(batch))
        check_samples(generator, g, samples, latents, *_condition(batch))
        d = create_player(discriminator, d_tx, d_key, samples, *_condition(batch))
        check_unmixed(penalty, d.model_state)
        state = GANState(state_key, g, d, augment_state=jax.tree.map(jnp.asarray, augment.init))
        return start_ema(state, (g.params, g.model_state), ema_decay)

    def draw(state: GANState, batch: Batch, d_update: Array | None = None) -> Drawn:
        """Training samples for one update of the discriminator, by default its next one."""
        g = state.generator
        d_update = state.discriminator.step if d_update is None else d_update
        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(state.key, 2), d_update))
        latents = latents_of(keys[0], batch, latent_dim)
        return draw_with(generator, g, keys[1], latents, *_condition(batch))

    def d_step(state: GANState, batch: Batch, drawn: Drawn | None = None) -> tuple[GANState, Metrics]:
        keys = step_keys(state.key, 0, state.discriminator, 5)
        condition = _condition(batch)
        real = batch["image"]
        fake = (drawn or draw(state, batch)).fake
        start = discriminator.refresh(state.discriminator.params, state.discriminator.model_state)
        augment_state = state.augment_state

        def loss_fn(params):
            def score(samples, model_state, key):
                return discriminator.apply(params, model_state, samples, *condition, train=True, key=key)

            real_scores, model_state = score(augment.apply(augment_state, real, keys[0]), start, keys[1])
            fake_scores, model_state = score(augment.apply(augment_state, fake, keys[2]), model_state, keys[3])
            value = loss.discriminator(real_scores, fake_scores)
            metrics = {"real_score": mean_score(real_scores), "fake_score": mean_score(fake_scores)}
            metrics |= loss.estimate(real_scores, fake_scores)
            if augment_state:
                metrics |= augment.update(augment_state, decided(loss, real_scores, fake_scores))
            if penalty is not None:
                critic = AugmentedCritic(
                    of_real=lambda x: score(augment.apply(augment_state, x, keys[0]), start, keys[1])[0],
                    of_fake=lambda x: score(augment.apply(augment_state, x, keys[2]), start, keys[1])[0],
                )
                metrics["penalty"] = penalty(critic, real, fake, keys[4])
                value += value_at(penalty_weight, state.discriminator.step) * metrics["penalty"]
            return value, (model_state, metrics)

        d, metrics = gradient_step(state.discriminator, loss_fn, d_tx)
        adapted = {name: metrics[name] for name in augment_state}
        return state.replace(discriminator=d, augment_state=adapted), named_metrics("d", d, metrics)

    def g_step(state: GANState, batch: Batch, drawn: Drawn | None = None) -> tuple[GANState, Metrics]:
        keys = step_keys(state.key, 1, state.generator, 4)
        d = state.discriminator
        augment_state = state.augment_state
        rows = _repeated(batch, g_batch_multiple)
        drawn = drawn or draw(state, rows, d.step - 1)

        def score(samples, condition, model_state, key):
            return discriminator.apply(d.params, model_state, samples, *condition, train=True, key=key)

        # Most generator losses ignore the real scores; the compiler then drops this pass.
        real = augment.apply(augment_state, batch["image"], keys[0])
        real_scores, d_model_state = score(real, _condition(batch), d.model_state, keys[1])
        real_scores = _repeated(real_scores, g_batch_multiple)

        def loss_fn(fake):
            fake = augment.apply(augment_state, fake, keys[2])
            return loss.generator(real_scores, score(fake, _condition(rows), d_model_state, keys[3])[0])

        value, fake_gradient = jax.value_and_grad(loss_fn)(drawn.fake)
        (gradient,) = drawn.vjp(fake_gradient)
        g, metrics = gradient_update(state.generator, gradient, drawn.model_state, g_tx)
        state = update_ema(state, (g.params, g.model_state), ema_decay).replace(generator=g)
        return state, named_metrics("g", g, {"loss": value, **metrics})

    def preview(key: Array, batch: Batch) -> dict[str, Array]:
        inputs = {"latents": latents_of(key, batch, latent_dim)}
        return inputs | {name: batch[name] for name in ("condition",) if name in batch}

    def sample(state: GANState, inputs) -> dict[str, Array]:
        g = state.generator
        params, model_state = sampling_weights(state, (g.params, g.model_state))
        samples, _ = generator.apply(params, model_state, inputs["latents"], *_condition(inputs), train=False)
        return {"samples": samples}

    return GAN(
        init=jax.jit(init),
        d_step=jax.jit(d_step),
        g_step=jax.jit(g_step),
        # Both networks can share one pass of the generator only if both need the same number of samples.
        train_step=jax.jit(alternating(d_step, g_step, d_steps, draw=draw if g_batch_multiple == 1 else None)),
        preview=jax.jit(preview),
        sample=jax.jit(sample),
        d_steps=d_steps,
    )


def _condition(batch) -> tuple[Array, ...]:
    return (batch["condition"],) if "condition" in batch else ()


def _repeated(rows, times: int):
    """Repeats each row of the arrays of a pytree."""
    return rows if times == 1 else jax.tree.map(lambda array: jnp.repeat(array, times, axis=0), rows)
