"""Images from sentences: the GAN whose discriminator is also shown real images with a wrong text.

So it must read, and not only judge: Reed et al. 2016 (arXiv:1605.05396), GAN-CLS and GAN-INT.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxgan.algorithms.state import GANState, TrainState, create_player, gradient_step
from jaxgan.algorithms.steps import (
    alternating,
    as_augment,
    check_penalty,
    check_unmixed,
    decided,
    latents_of,
    mean_score,
    named_metrics,
    sampling_weights,
    start_ema,
    step_keys,
    update_ema,
    value_at,
)
from jaxgan.losses import matching_aware_discriminator_loss, mode_seeking_loss
from jaxgan.optim import check_decay
from jaxgan.types import (
    GAN,
    AdversarialLoss,
    Augment,
    AugmentedCritic,
    Batch,
    Metrics,
    ModelState,
    Network,
    Params,
    PenaltyFn,
    TextDiscriminator,
)


def make_text_gan(
    generator: Network,
    discriminator: TextDiscriminator,
    *,
    encoder: Network | None,
    loss: AdversarialLoss,
    g_tx: optax.GradientTransformation,
    d_tx: optax.GradientTransformation,
    latent_dim: int,
    mismatch_weight: float = 0.5,
    swap: Literal["image", "text"] = "image",
    interpolation_weight: float = 0.0,
    mode_seeking_weight: float = 0.0,
    condition_noise: float = 0.0,
    penalty: PenaltyFn | None = None,
    penalty_weight: float | optax.Schedule = 1.0,
    augment: Augment | Callable[[Array, Array], Array] | None = None,
    d_steps: int = 1,
    ema_decay: float | optax.Schedule | None = None,
) -> GAN:
    """A text GAN as pure, jitted functions over one immutable `GANState`.

    With x an image, t the embedding of its text and (x', t') an image and a text of different meaning, `d_step`
    minimises `(1 - w) loss.discriminator(D(x, t), D(G(z, t), t)) + w loss.discriminator(D(x, t), D(x', t'))`
    plus `penalty_weight penalty` over discriminator and encoder, `w = mismatch_weight`; zero logits with cross-entropy
    give 2 log 2. `g_step` minimises `loss.generator(D(x, t), D(G(z, t), t))` and what is added below over G alone. No
    gradient of it reaches the encoder, which is trained in `d_step` only.

    A batch has the fields `image`; `text`, tokens `[B, L]` for the encoder or embeddings `[B, E]` without one; and,
    where different words may say the same, `meaning`, int32 `[B]`. A wrong pair differs in meaning and in text, whoever
    else is in the batch; it is drawn anew in every update, uniformly. Where the whole batch says one thing there is no
    wrong pair: w is 0 in that update, and the metric `mismatched_share` says so.

    Args:
      generator: `(latents [B, latent_dim], embeddings [B, E]) -> images`, shaped like `batch["image"]`.
      discriminator: its two parts, see `TextDiscriminator`. Right and wrong pairs of real images share the first.
      encoder: `(text) -> embeddings [B, E]`; its parameters stand beside the discriminator's. None: the texts are
        embeddings already, those of any model that one likes.
      loss: the two players' losses, see `jaxgan.losses.LOSSES`.
      g_tx: the generator's optimizer.
      d_tx: that of discriminator and encoder; it counts its own updates, `d_steps` to each of the generator's.
      latent_dim: size of a latent vector.
      mismatch_weight: w in [0, 1], the authors' 0.5; 0 for a conditional GAN without wrong pairs.
      swap: whether each text gets another image, as the authors have it, or each image another text.
      interpolation_weight: of the generator's loss on embeddings halfway between two texts of the batch (GAN-INT, the
        authors' is 1), which half as many images are drawn for.
      mode_seeking_weight: of `mode_seeking_loss`, for which the generator's step draws two images of each of the first
        half of the texts. Without it the latents may come to be ignored; 0.01 is a good start.
      condition_noise: deviation of the noise on the embeddings that the generator is told in training, as a share of
        their root mean square: StackGAN's conditioning augmentation (Zhang et al. 2016, arXiv:1612.03242) with a fixed
        deviation.
      penalty: a function of `jaxgan.penalties`, or a `weighted_sum` of some. Its critic is the discriminator with text,
        key and model state fixed, after the augmentation, as for `make_gan`.
      penalty_weight: weight of the penalty in the discriminator's loss, at least 0; a schedule counts the
        discriminator's own updates. At 0 the penalty is not computed.
      augment: `(samples, key) -> samples`, or an `Augment`, as for `make_gan`.
      d_steps: discriminator updates to one generator update.
      ema_decay: decay of the moving average of generator and encoder, which `sample` then uses; None for none. A
        schedule counts generator updates. A number lies in [0, 1).

    Returns:
      The `GAN`. Metrics: those of `make_gan`, `mismatched_score` and `mismatched_share` (the share of rows that have a
      wrong partner), and where it applies `mode_seeking`, before its weight. `sample` takes `latents` and `text`.

    Raises:
      ValueError: weights or counts out of range; a penalty, which is a function of single samples, on a discriminator
        that mixes its batch. From `init`: texts that are no embeddings without an encoder.
    """
    if not 0 <= mismatch_weight <= 1:
        raise ValueError(f"mismatch_weight={mismatch_weight} must lie in 0..1")
    if swap not in ("image", "text"):
        raise ValueError(f"swap={swap!r}: there are 'image', 'text'")
    if not all(weight >= 0 for weight in (interpolation_weight, mode_seeking_weight, condition_noise)):
        raise ValueError(
            f"interpolation_weight={interpolation_weight}, mode_seeking_weight={mode_seeking_weight}, "
            f"condition_noise={condition_noise}: 0 or more expected"
        )
    if d_steps < 1:
        raise ValueError(f"d_steps={d_steps} must be at least 1")
    check_decay(ema_decay)
    penalty = check_penalty(penalty, penalty_weight, *discriminator)
    augment = as_augment(augment)
    networks = {"encoder": _GIVEN if encoder is None else encoder, **discriminator._asdict()}

    def init(key: Array, batch: Batch) -> GANState:
        if encoder is None and not (batch["text"].ndim == 2 and jnp.issubdtype(batch["text"].dtype, jnp.floating)):
            given = f"{batch['text'].dtype} {list(batch['text'].shape)}"
            raise ValueError(f"without an encoder, texts are embeddings, floats [B, E]: given {given}")
        g_key, features_key, head_key, encoder_key, state_key = jax.random.split(key, 5)
        latents = jnp.zeros((len(batch["image"]), latent_dim))
        made = {
            "encoder": networks["encoder"].init(encoder_key, batch["text"]),
            "features": discriminator.features.init(features_key, batch["image"]),
        }
        embedding, maps = (
            networks[part].apply(*made[part], batch[field], train=False)[0]
            for part, field in (("encoder", "text"), ("features", "image"))
        )
        made["head"] = discriminator.head.init(head_key, maps, embedding)
        params, model_state = ({part: pair[index] for part, pair in made.items()} for index in range(2))
        d = TrainState(step=jnp.int32(0), params=params, model_state=model_state, opt_state=d_tx.init(params))
        g = create_player(generator, g_tx, g_key, latents, embedding)
        check_unmixed(penalty, {part: d.model_state[part] for part in discriminator._fields})
        state = GANState(state_key, g, d, augment_state=jax.tree.map(jnp.asarray, augment.init))
        return start_ema(state, raw_weights(state), ema_decay)

    def apply(part: str, params: Params, model_state: ModelState, *inputs: Array, key: Array | None):
        output, moved = networks[part].apply(params[part], model_state[part], *inputs, train=True, key=key)
        return output, {**model_state, part: moved}

    def raw_weights(state: GANState) -> tuple[Params, ModelState]:
        """Parameters and model states of generator and encoder, which draw an image together."""
        g, d = state.generator, state.discriminator
        return (
            {"generator": g.params, "encoder": d.params["encoder"]},
            {"generator": g.model_state, "encoder": d.model_state["encoder"]},
        )

    def noisy(embedding: Array, key: Array) -> Array:
        if not condition_noise:
            return embedding
        size = jnp.sqrt(jnp.mean(jnp.square(embedding), axis=1, keepdims=True))
        return embedding + condition_noise * size * jax.random.normal(key, embedding.shape, embedding.dtype)

    def d_step(state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
        keys = step_keys(state.key, 0, state.discriminator, 13)
        d, g, augment_state = state.discriminator, state.generator, state.augment_state
        real, text = batch["image"], batch["text"]
        start = {part: networks[part].refresh(d.params[part], d.model_state[part]) for part in networks}
        latents = latents_of(keys[0], batch, latent_dim)
        given = noisy(apply("encoder", d.params, start, text, key=keys[1])[0], keys[2])
        fake, _ = generator.apply(g.params, g.model_state, latents, given, train=True, key=keys[3])
        fake = jax.lax.stop_gradient(fake)
        rows, partners, share = wrong_pairs(keys[4], batch)

        def loss_fn(params):
            embedding, model_state = apply("encoder", params, start, text, key=keys[1])

            def look(samples, model_state, key):
                return apply("features", params, model_state, samples, key=key)

            def score(maps, embedding, model_state, key):
                return apply("head", params, model_state, maps, embedding, key=key)

            real_maps, model_state = look(augment.apply(augment_state, real, keys[5]), model_state, keys[6])
            fake_maps, model_state = look(augment.apply(augment_state, fake, keys[7]), model_state, keys[8])
            real_scores, model_state = score(real_maps, embedding, model_state, keys[9])
            fake_scores, model_state = score(fake_maps, embedding, model_state, keys[10])
            metrics = {"real_score": mean_score(real_scores), "fake_score": mean_score(fake_scores)}
            if mismatch_weight:
                of_image, of_text = (partners, rows) if swap == "image" else (rows, partners)
                mismatched_scores, model_state = score(real_maps[of_image], embedding[of_text], model_state, keys[11])
                metrics |= {"mismatched_score": mean_score(mismatched_scores), "mismatched_share": share}
                weight = jnp.where(share > 0, mismatch_weight, 0.0)
                value = matching_aware_discriminator_loss(
                    real_scores, fake_scores, mismatched_scores, loss=loss, mismatch_weight=weight
                )
            else:
                value = loss.discriminator(real_scores, fake_scores)
            metrics |= loss.estimate(real_scores, fake_scores)
            if augment_state:
                metrics |= augment.update(augment_state, decided(loss, real_scores, fake_scores))
            if penalty is not None:

                def critic(samples, augment_key):
                    features, _ = look(augment.apply(augment_state, samples, augment_key), start, keys[6])
                    return score(features, embedding, start, keys[9])[0]

                critics = AugmentedCritic(lambda x: critic(x, keys[5]), lambda x: critic(x, keys[7]))
                # Computed in every update: inside lax.cond it costs more on a CPU than it saves.
                metrics["penalty"] = penalty(critics, real, fake, keys[12])
                value += value_at(penalty_weight, d.step) * metrics["penalty"]
            return value, (model_state, metrics)

        d, metrics = gradient_step(d, loss_fn, d_tx)
        adapted = {name: metrics[name] for name in augment_state}
        return state.replace(discriminator=d, augment_state=adapted), named_metrics("d", d, metrics)

    def g_step(state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
        keys = step_keys(state.key, 1, state.generator, 13)
        d, augment_state = state.discriminator, state.augment_state
        start = generator.refresh(state.generator.params, state.generator.model_state)
        count = len(batch["image"])
        half = count // 2
        if half < 1 and (mode_seeking_weight or interpolation_weight):
            raise ValueError("mode_seeking_weight and interpolation_weight need a batch of at least 2")
        embedding, d_model_state = apply("encoder", d.params, d.model_state, batch["text"], key=keys[1])
        wanted = embedding
        if mode_seeking_weight:
            # Each of the first half twice; an odd batch has its middle row once.
            wanted = embedding[jnp.arange(count) % (count - half)]
        if interpolation_weight:
            wanted = jnp.concatenate([wanted, (embedding[:half] + embedding[half : 2 * half]) / 2])
        given = noisy(wanted, keys[2])
        latents = jax.random.normal(keys[0], (len(given), latent_dim))

        def score(samples, embedding, model_state, keys):
            maps, model_state = apply("features", d.params, model_state, samples, key=keys[0])
            return apply("head", d.params, model_state, maps, embedding, key=keys[1])

        # The generator's gradient of most losses does not see the real scores; the compiler then drops this pass.
        real = augment.apply(augment_state, batch["image"], keys[3])
        real_scores, d_model_state = score(real, embedding, d_model_state, keys[4:6])

        def loss_fn(params):
            fake, model_state = generator.apply(params, start, latents, given, train=True, key=keys[6])
            scores, _ = score(augment.apply(augment_state, fake, keys[7]), wanted, d_model_state, keys[8:10])
            value = loss.generator(real_scores, scores[:count])
            metrics = {}
            if interpolation_weight:
                value += interpolation_weight * loss.generator(real_scores[:half], scores[count:])
            if mode_seeking_weight:
                pairs = fake[:half], fake[count - half : count], latents[:half], latents[count - half : count]
                metrics["mode_seeking"] = mode_seeking_loss(*pairs)
                value += mode_seeking_weight * metrics["mode_seeking"]
            return value, (model_state, metrics)

        g, metrics = gradient_step(state.generator, loss_fn, g_tx)
        state = update_ema(state, raw_weights(state.replace(generator=g)), ema_decay).replace(generator=g)
        return state, named_metrics("g", g, metrics)

    def preview(key: Array, batch: Batch) -> dict[str, Array]:
        # A square: the same latents for each text, so that one sees what the text changes, and what it leaves.
        side = math.isqrt(len(batch["image"]))
        latents = jnp.tile(jax.random.normal(key, (side, latent_dim)), (side, 1))
        return {"latents": latents, "text": jnp.repeat(batch["text"][:side], side, axis=0)}

    def sample(state: GANState, inputs) -> dict[str, Array]:
        params, model_state = sampling_weights(state, raw_weights(state))
        embedding, _ = networks["encoder"].apply(params["encoder"], model_state["encoder"], inputs["text"], train=False)
        samples, _ = generator.apply(
            params["generator"], model_state["generator"], inputs["latents"], embedding, train=False
        )
        return {"samples": samples}

    return GAN(
        init=jax.jit(init),
        d_step=jax.jit(d_step),
        g_step=jax.jit(g_step),
        train_step=jax.jit(alternating(d_step, g_step, d_steps)),
        preview=jax.jit(preview),
        sample=jax.jit(sample),
        d_steps=d_steps,
    )


def wrong_pairs(key: Array, batch: Batch) -> tuple[Array, Array, Array]:
    """Pairs of rows of a batch that do not mean the same, so that one's image is wrong for the other's text.

    Args:
      key: random key.
      batch: with `text` `[B, ...]`, and `meaning` `[B]` where different words may say the same.

    Returns:
      Rows `[B]`: 0, 1, ... B - 1, but for those without a partner, which others stand in for. Partners `[B]`, each
      drawn uniformly among the rows that differ from its row in meaning and in text. And the share of rows that have a
      partner; where it is 0, the pairs are of no use.

    >>> rows, partners, share = wrong_pairs(jax.random.key(0), {"text": jnp.array([[5], [5], [6]])})
    >>> rows.tolist(), partners.tolist()[:2], float(share)
    ([0, 1, 2], [2, 2], 1.0)
    """
    text = batch["text"].reshape(len(batch["text"]), -1)
    differ = jnp.any(text[:, None] != text[None], axis=2)
    if "meaning" in batch:
        differ &= batch["meaning"][:, None] != batch["meaning"][None]
    found = differ.any(axis=1)
    draws = jax.random.uniform(key, (2, *differ.shape))
    # Each row stands for itself if it can: 1 is more than every draw.
    rows = jnp.argmax(jnp.where(found[None], draws[0] + jnp.eye(len(found)), -1.0), axis=1)
    partners = jnp.argmax(jnp.where(differ[rows], draws[1], -1.0), axis=1)
    return rows, partners, jnp.mean(found, dtype=jnp.float32)


_GIVEN = Network(
    init=lambda key, text: ({}, {}), apply=lambda params, model_state, text, *, train, key=None: (text, model_state)
)
"""In place of an encoder, where texts are embeddings."""
