"""Images from sentences: a GAN whose discriminator is also shown real images with a mismatched text.

So it has to read the text: Reed et al. 2016 (arXiv:1605.05396), GAN-CLS and GAN-INT.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxgan.algorithms.microbatches import in_microbatches
from jaxgan.algorithms.state import GANState, TrainState, create_player, gradient_step
from jaxgan.algorithms.steps import (
    alternating,
    as_augment,
    check_penalty,
    check_samples,
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
    microbatches: int = 1,
    remat: bool = False,
) -> GAN:
    """A text GAN as pure, jitted functions over one immutable `GANState`.

    With x an image, t the embedding of its text and (x', t') an image and a text of different meaning, `d_step`
    minimises `(1 - w) loss.discriminator(D(x, t), D(G(z, t), t)) + w loss.discriminator(D(x, t), D(x', t'))`
    plus `penalty_weight penalty` over discriminator and encoder, `w = mismatch_weight`; zero logits with cross-entropy
    give 2 log 2. `g_step` minimises `loss.generator(D(x, t), D(G(z, t), t))`, plus the optional terms below, over G
    alone. The encoder is trained in `d_step` only; no gradient of `g_step` reaches it.

    A batch has the fields `image`; `text`, token ids `[B, L]` for the encoder or embeddings `[B, E]` without one; and,
    if different texts may have the same meaning, `meaning`, int32 `[B]`. The image and the text of a mismatched pair
    come from rows that differ in meaning and in text. Pairs are drawn uniformly in every update. If all rows of a batch
    have the same meaning there are no mismatched pairs: w is 0 in that update, and the metric `mismatched_share` too.

    Args:
      generator: `(latents [B, latent_dim], embeddings [B, E]) -> images`, shaped like `batch["image"]`.
      discriminator: its two parts, see `TextDiscriminator`. Matched and mismatched pairs share the features of the real
        images.
      encoder: `(text) -> embeddings [B, E]`; its parameters are stored and trained with the discriminator's. None: the
        batch's texts are embeddings already, of any model.
      loss: the losses of both networks, see `jaxgan.losses.LOSSES`.
      g_tx: the generator's optimizer.
      d_tx: optimizer of discriminator and encoder; it counts its own updates, `d_steps` for each of the generator's.
      latent_dim: size of a latent vector.
      mismatch_weight: w in [0, 1], the authors' 0.5; 0 for a conditional GAN without mismatched pairs.
      swap: `image` replaces the image of each pair, as in the authors' code; `text` replaces the text.
      interpolation_weight: weight of the generator's loss on embeddings halfway between two texts of the batch
        (GAN-INT, 1 in the paper). There are half as many such images as rows in the batch.
      mode_seeking_weight: weight of `mode_seeking_loss`, for which `g_step` draws two images for each of the first half
        of the texts. Without it the generator may learn to ignore the latents; 0.01 is a good start.
      condition_noise: standard deviation of the noise added in training to the embeddings that the generator gets,
        relative to their root mean square: StackGAN's conditioning augmentation (Zhang et al. 2016, arXiv:1612.03242)
        with a fixed standard deviation.
      penalty: a function of `jaxgan.penalties`, or a `weighted_sum` of some. Its critic is the discriminator with text,
        key and model state fixed, after the augmentation, as for `make_gan`.
      penalty_weight: weight of the penalty in the discriminator's loss, at least 0; a schedule counts the
        discriminator's own updates. At 0 the penalty is not computed.
      augment: `(samples, key) -> samples`, or an `Augment`, as for `make_gan`.
      d_steps: discriminator updates per generator update.
      ema_decay: decay, in [0, 1), of the EMA of the weights of generator and encoder, which `sample` then uses; None
        for no EMA. A schedule counts generator updates.
      microbatches: number of parts of a batch in which generator and discriminator are computed, to save memory for
        activations: see `jaxgan.algorithms.microbatches`.
      remat: whether to compute activations again in the backward pass, to save memory for them: see there.

    Returns:
      The `GAN`. Metrics: those of `make_gan`, `mismatched_score` and `mismatched_share` (the share of rows with a
      mismatched partner), and `mode_seeking` (before its weight) if there is one. `sample` takes `latents` and `text`;
      with a second text `to_text` and `fraction`, `[B]` in [0, 1], it mixes the embeddings e of both:
      `(1 - fraction) e(text) + fraction e(to_text)`.

    Raises:
      ValueError: weights or counts out of range; a penalty on a discriminator that mixes its batch, since a penalty is
        a function of single samples. From `init`: no encoder, and texts that are not embeddings.
    """
    if not 0 <= mismatch_weight <= 1:
        raise ValueError(f"mismatch_weight={mismatch_weight} must lie in [0, 1]")
    if swap not in ("image", "text"):
        raise ValueError(f"swap={swap!r}: 'image' or 'text' expected")
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
    generator = in_microbatches(generator, microbatches, remat=remat)
    discriminator = TextDiscriminator(*(in_microbatches(part, microbatches, remat=remat) for part in discriminator))
    networks = {"encoder": _NO_ENCODER if encoder is None else encoder, **discriminator._asdict()}

    def init(key: Array, batch: Batch) -> GANState:
        if encoder is None and not (batch["text"].ndim == 2 and jnp.issubdtype(batch["text"].dtype, jnp.floating)):
            given = f"{batch['text'].dtype} {list(batch['text'].shape)}"
            raise ValueError(f"without an encoder, text must be embeddings, floats [B, E], not {given}")
        g_key, features_key, head_key, encoder_key, state_key = jax.random.split(key, 5)
        latents = jnp.zeros((len(batch["image"]), latent_dim))
        created = {
            "encoder": networks["encoder"].init(encoder_key, batch["text"]),
            "features": discriminator.features.init(features_key, batch["image"]),
        }
        embedding, features = (
            networks[part].apply(*created[part], batch[field], train=False)[0]
            for part, field in (("encoder", "text"), ("features", "image"))
        )
        created["head"] = discriminator.head.init(head_key, features, embedding)
        params, model_state = ({part: pair[index] for part, pair in created.items()} for index in range(2))
        d = TrainState(step=jnp.int32(0), params=params, model_state=model_state, opt_state=d_tx.init(params))
        g = create_player(generator, g_tx, g_key, latents, embedding)
        check_samples(generator, g, batch["image"], latents, embedding)
        check_unmixed(penalty, {part: d.model_state[part] for part in discriminator._fields})
        state = GANState(state_key, g, d, augment_state=jax.tree.map(jnp.asarray, augment.init))
        return start_ema(state, raw_weights(state), ema_decay)

    def apply(part: str, params: Params, model_state: ModelState, *inputs: Array, key: Array | None):
        output, new_state = networks[part].apply(params[part], model_state[part], *inputs, train=True, key=key)
        return output, {**model_state, part: new_state}

    def raw_weights(state: GANState) -> tuple[Params, ModelState]:
        """Parameters and model states of generator and encoder, which are both needed to sample."""
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
        rows, partners, share = mismatched_pairs(keys[4], batch)

        def loss_fn(params):
            embedding, model_state = apply("encoder", params, start, text, key=keys[1])

            def features(samples, model_state, key):
                return apply("features", params, model_state, samples, key=key)

            def score(features, embedding, model_state, key):
                return apply("head", params, model_state, features, embedding, key=key)

            real_features, model_state = features(augment.apply(augment_state, real, keys[5]), model_state, keys[6])
            fake_features, model_state = features(augment.apply(augment_state, fake, keys[7]), model_state, keys[8])
            real_scores, model_state = score(real_features, embedding, model_state, keys[9])
            fake_scores, model_state = score(fake_features, embedding, model_state, keys[10])
            metrics = {"real_score": mean_score(real_scores), "fake_score": mean_score(fake_scores)}
            if mismatch_weight:
                image_rows, text_rows = (partners, rows) if swap == "image" else (rows, partners)
                mismatched = real_features[image_rows], embedding[text_rows]
                mismatched_scores, model_state = score(*mismatched, model_state, keys[11])
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

                def critic(samples, embedding, augment_key):
                    seen, _ = features(augment.apply(augment_state, samples, augment_key), start, keys[6])
                    return score(seen, embedding, start, keys[9])[0]

                critics = AugmentedCritic(
                    of_real=lambda x: critic(x, embedding, keys[5]),
                    of_fake=lambda x: critic(x, embedding, keys[7]),
                    of_pair=lambda x, text: critic(x, text, keys[5]),
                    text=embedding,
                )
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
        requested = embedding
        if mode_seeking_weight:
            # Each of the first half twice; the middle row of an odd batch once.
            requested = embedding[jnp.arange(count) % (count - half)]
        if interpolation_weight:
            requested = jnp.concatenate([requested, (embedding[:half] + embedding[half : 2 * half]) / 2])
        given = noisy(requested, keys[2])
        latents = jax.random.normal(keys[0], (len(given), latent_dim))

        def score(samples, embedding, model_state, keys):
            features, model_state = apply("features", d.params, model_state, samples, key=keys[0])
            return apply("head", d.params, model_state, features, embedding, key=keys[1])

        # Most generator losses ignore the real scores; the compiler then drops this pass.
        real = augment.apply(augment_state, batch["image"], keys[3])
        real_scores, d_model_state = score(real, embedding, d_model_state, keys[4:6])

        def loss_fn(params):
            fake, model_state = generator.apply(params, start, latents, given, train=True, key=keys[6])
            scores, _ = score(augment.apply(augment_state, fake, keys[7]), requested, d_model_state, keys[8:10])
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
        # A square grid with the same latents for each text, which shows what the text changes and what it does not.
        side = math.isqrt(len(batch["image"]))
        latents = jnp.tile(jax.random.normal(key, (side, latent_dim)), (side, 1))
        return {"latents": latents, "text": jnp.repeat(batch["text"][:side], side, axis=0)}

    def sample(state: GANState, inputs) -> dict[str, Array]:
        params, model_state = sampling_weights(state, raw_weights(state))

        def embed(text: Array) -> Array:
            return networks["encoder"].apply(params["encoder"], model_state["encoder"], text, train=False)[0]

        embedding = embed(inputs["text"])
        if "to_text" in inputs:
            fraction = inputs["fraction"][:, None]
            embedding = (1 - fraction) * embedding + fraction * embed(inputs["to_text"])
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


def mismatched_pairs(key: Array, batch: Batch) -> tuple[Array, Array, Array]:
    """Pairs of rows of a batch with different meanings: the image of one does not match the text of the other.

    Args:
      key: random key.
      batch: with `text` `[B, ...]`, and `meaning` `[B]` if different texts may have the same meaning.

    Returns:
      Rows `[B]`: 0, 1, ... B - 1; a row that has no partner is replaced by a random one that has. Partners `[B]`, each
      drawn uniformly among the rows that differ from its row in meaning and in text. And the share of rows that have a
      partner; if it is 0 the pairs are meaningless.

    >>> rows, partners, share = mismatched_pairs(jax.random.key(0), {"text": jnp.array([[5], [5], [6]])})
    >>> rows.tolist(), partners.tolist()[:2], float(share)
    ([0, 1, 2], [2, 2], 1.0)
    """
    text = batch["text"].reshape(len(batch["text"]), -1)
    differ = jnp.any(text[:, None] != text[None], axis=2)
    if "meaning" in batch:
        differ &= batch["meaning"][:, None] != batch["meaning"][None]
    found = differ.any(axis=1)
    draws = jax.random.uniform(key, (2, *differ.shape))
    # A row with a partner keeps its place: 1 is more than every draw.
    rows = jnp.argmax(jnp.where(found[None], draws[0] + jnp.eye(len(found)), -1.0), axis=1)
    partners = jnp.argmax(jnp.where(differ[rows], draws[1], -1.0), axis=1)
    return rows, partners, jnp.mean(found, dtype=jnp.float32)


_NO_ENCODER = Network(
    init=lambda key, text: ({}, {}), apply=lambda params, model_state, text, *, train, key=None: (text, model_state)
)
"""Stands in for the encoder if the texts are embeddings."""
