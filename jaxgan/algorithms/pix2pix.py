"""pix2pix: translation between two domains that is learned from pairs (Isola et al. 2017, arXiv:1611.07004)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxgan.algorithms.cyclegan import DOMAINS, PREVIEWED
from jaxgan.algorithms.microbatches import in_microbatches
from jaxgan.algorithms.state import GANState, create_player, gradient_step, gradient_update
from jaxgan.algorithms.steps import (
    Drawn,
    alternating,
    check_penalty,
    check_samples,
    check_unmixed,
    draw_with,
    halved_discriminator_loss,
    named_metrics,
    sampling_weights,
    start_ema,
    step_keys,
    update_ema,
    value_at,
)
from jaxgan.losses import l1_loss
from jaxgan.optim import check_decay
from jaxgan.types import GAN, AdversarialLoss, Batch, Metrics, ModelState, Network, PenaltyFn

Direction = Literal["a_to_b", "b_to_a"]


def make_pix2pix(
    generator: Network,
    discriminator: Network,
    *,
    loss: AdversarialLoss,
    g_tx: optax.GradientTransformation,
    d_tx: optax.GradientTransformation,
    direction: Direction = "a_to_b",
    l1_weight: float = 100.0,
    penalty: PenaltyFn | None = None,
    penalty_weight: float | optax.Schedule = 1.0,
    ema_decay: float | optax.Schedule | None = None,
    microbatches: int = 1,
    remat: bool = False,
) -> GAN:
    """A pix2pix as pure, jitted functions over one immutable `GANState`.

    With x the source and y the target image of a pair, the generator minimises

        loss.generator(D(x, y), D(x, G(x))) + l1_weight E|y - G(x)|

    and the discriminator, divided by 2 as in the authors' code,

        loss.discriminator(D(x, y), D(x, G(x))) + penalty_weight penalty

    `train_step` updates the discriminator, then the generator, which share one pass of the generator. `d_step` and
    `g_step` are the two halves. Both networks run with `train=True` in both; only the model state of the network being
    updated is kept.

    Args:
      generator: source images `[B, H, W, C]` to images `[B, H, W, C']` of the target domain.
      discriminator: source and target image, one after the other on the channel axis `[B, H, W, C + C']`, to raw
        scores, `[B]` or `[B, ...]`.
      loss: the losses of both, see `jaxgan.losses.LOSSES`; the paper's is `non_saturating`.
      g_tx: the generator's optimizer.
      d_tx: the discriminator's optimizer.
      direction: whether `a` is the source and `b` the target, or the reverse.
      l1_weight: weight of the L1 loss, at least 0.
      penalty: a function of `jaxgan.penalties`, or a `weighted_sum` of some. Its critic is the discriminator of the
        target image, with source image, key and model state fixed.
      penalty_weight: weight of the penalty in the discriminator's loss, at least 0; a schedule counts the
        discriminator's own updates. At 0 the penalty is not computed.
      ema_decay: decay, in [0, 1), of the EMA of the generator's weights, which `sample` then uses; None for no EMA. A
        schedule counts generator updates.
      microbatches: number of parts of a batch in which the networks are computed, to save memory for activations: see
        `jaxgan.algorithms.microbatches`.
      remat: whether to compute activations again in the backward pass, to save memory for them: see there.

    Returns:
      The `GAN`; a batch has the fields `a` and `b`, whose rows are pairs. Metrics: `g_loss`, the sum of `adversarial`
      and `l1_weight` times `l1`; `d_loss`; `real_score`, `fake_score` (means of the raw scores); `penalty` if there is
      one, the loss's own estimate if it has one; `d_grad_norm`, `g_grad_norm`, `d_learning_rate`, `g_learning_rate`.
      `sample` takes the source images, such as `a`, and returns them and their translation, `a_to_b`. With the target
      images it also returns those and `difference`, |b - a_to_b| - 1: -1 (black) where they agree.

      With `noise`, a seed for each image `[B]`, `sample` translates as the paper does: with dropout, and batch norm
      with the statistics of the single image. Without it there is no dropout, and batch norm has its running
      statistics.

    Raises:
      ValueError: another direction, a weight or a decay out of range; a penalty on a discriminator that mixes its
        batch. In `init`, generated and target images of different shapes. In `sample`, no source images.
    """
    if direction not in get_args(Direction):
        raise ValueError(f"direction={direction!r}: there are {', '.join(get_args(Direction))}")
    source, target = direction.split("_to_")
    if not l1_weight >= 0:
        raise ValueError(f"l1_weight={l1_weight}: 0 or more expected")
    check_decay(ema_decay)
    penalty = check_penalty(penalty, penalty_weight, discriminator)
    whole = generator  # in sampling
    generator, discriminator = (in_microbatches(one, microbatches, remat=remat) for one in (generator, discriminator))

    def beside(batch: Batch, images: Array) -> Array:
        return jnp.concatenate([batch[source], images], axis=-1)

    def init(key: Array, batch: Batch) -> GANState:
        g_key, d_key, state_key = jax.random.split(key, 3)
        g = create_player(generator, g_tx, g_key, batch[source])
        check_samples(generator, g, batch[target], batch[source])
        d = create_player(discriminator, d_tx, d_key, beside(batch, batch[target]))
        check_unmixed(penalty, d.model_state)
        return start_ema(GANState(state_key, g, d), (g.params, g.model_state), ema_decay)

    def draw(state: GANState, batch: Batch, d_update: Array | None = None) -> Drawn:
        """Translations for one update of the discriminator, by default its next one."""
        d_update = state.discriminator.step if d_update is None else d_update
        key = jax.random.fold_in(jax.random.fold_in(state.key, 2), d_update)
        return draw_with(generator, state.generator, key, batch[source])

    def d_step(state: GANState, batch: Batch, drawn: Drawn | None = None) -> tuple[GANState, Metrics]:
        keys = step_keys(state.key, 0, state.discriminator, 3)
        fake = (drawn or draw(state, batch)).fake
        start = discriminator.refresh(state.discriminator.params, state.discriminator.model_state)

        def loss_fn(params):
            def score(images: Array, model_state: ModelState, key: Array) -> tuple[Array, ModelState]:
                return discriminator.apply(params, model_state, beside(batch, images), train=True, key=key)

            return halved_discriminator_loss(
                score,
                batch[target],
                fake,
                start,
                keys,
                loss=loss,
                penalty=penalty,
                penalty_weight=value_at(penalty_weight, state.discriminator.step),
            )

        d, metrics = gradient_step(state.discriminator, loss_fn, d_tx)
        return state.replace(discriminator=d), named_metrics("d", d, metrics)

    def g_step(state: GANState, batch: Batch, drawn: Drawn | None = None) -> tuple[GANState, Metrics]:
        real_key, fake_key = step_keys(state.key, 1, state.generator, 2)
        d = state.discriminator
        drawn = drawn or draw(state, batch, d.step - 1)

        def score(images: Array, model_state: ModelState, key: Array) -> tuple[Array, ModelState]:
            return discriminator.apply(d.params, model_state, beside(batch, images), train=True, key=key)

        # Most generator losses ignore the real scores; the compiler then drops this pass.
        real_scores, d_model_state = score(batch[target], d.model_state, real_key)

        def loss_fn(fake: Array) -> tuple[Array, Metrics]:
            adversarial = loss.generator(real_scores, score(fake, d_model_state, fake_key)[0])
            error = l1_loss(batch[target], fake)
            return adversarial + l1_weight * error, {"adversarial": adversarial, "l1": error}

        (value, terms), fake_gradient = jax.value_and_grad(loss_fn, has_aux=True)(drawn.fake)
        (gradient,) = drawn.vjp(fake_gradient)
        g, norm = gradient_update(state.generator, gradient, drawn.model_state, g_tx)
        state = update_ema(state, (g.params, g.model_state), ema_decay).replace(generator=g)
        return state, named_metrics("g", g, {"loss": value, **terms, **norm})

    def preview(key: Array, batch: Batch) -> dict[str, Array]:
        del key
        return {domain: batch[domain][:PREVIEWED] for domain in DOMAINS}

    @jax.jit
    def outputs_of(state: GANState, inputs: Mapping[str, Array]) -> dict[str, Array]:
        params, model_state = sampling_weights(state, (state.generator.params, state.generator.model_state))

        def noisy(image: Array, seed: Array) -> Array:
            key = jax.random.key(seed)
            return whole.apply(params, model_state, image[None], train=True, key=key)[0][0]

        if "noise" in inputs:
            translated = jax.vmap(noisy)(inputs[source], inputs["noise"])
        else:
            translated, _ = whole.apply(params, model_state, inputs[source], train=False)
        outputs = {source: inputs[source], direction: translated}
        if target in inputs:
            outputs |= {target: inputs[target], "difference": jnp.abs(inputs[target] - translated) - 1.0}
        return outputs

    def sample(state: GANState, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if source not in inputs or not inputs.keys() <= {*DOMAINS, "noise"}:
            given = ", ".join(inputs) or "nothing"
            raise ValueError(
                f"sample was given {given}, but it takes the images to translate under {source!r}, and optionally "
                f"{target!r} and noise with them"
            )
        outputs = outputs_of(state, dict(inputs))
        # jit returns them sorted by name
        return {name: outputs[name] for name in (source, direction, target, "difference") if name in outputs}

    return GAN(
        init=jax.jit(init),
        d_step=jax.jit(d_step),
        g_step=jax.jit(g_step),
        train_step=jax.jit(alternating(d_step, g_step, 1, draw=draw)),
        preview=preview,
        sample=sample,
    )
