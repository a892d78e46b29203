"""CycleGAN: translation between two unpaired datasets (Zhu et al. 2017, arXiv:1703.10593)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxgan.algorithms.image_pool import create_pool, query_pool
from jaxgan.algorithms.microbatches import in_microbatches
from jaxgan.algorithms.state import CycleGANState, TrainState, gradient_step
from jaxgan.algorithms.steps import (
    check_penalty,
    check_unmixed,
    halved_discriminator_loss,
    named_metrics,
    sampling_weights,
    start_ema,
    step_keys,
    update_ema,
    value_at,
)
from jaxgan.losses import cycle_consistency_loss, identity_loss
from jaxgan.optim import check_decay
from jaxgan.types import GAN, AdversarialLoss, Batch, Metrics, ModelState, Network, Params, PenaltyFn

DOMAINS: tuple[str, ...] = ("a", "b")
GENERATORS: tuple[str, ...] = ("a_to_b", "b_to_a")
# By domain: the other one, the generator that leaves it and the one that leads to it.
_OTHER: dict[str, str] = {"a": "b", "b": "a"}
_FROM: dict[str, str] = {"a": "a_to_b", "b": "b_to_a"}
_INTO: dict[str, str] = {"a": "b_to_a", "b": "a_to_b"}
PREVIEWED = 10  # images of each domain in a preview; more do not fit a grid of eight columns
_OUTPUTS = ("a", "a_to_b", "a_to_b_to_a", "a_identity", "b", "b_to_a", "b_to_a_to_b", "b_identity")


def make_cyclegan(
    generators: Mapping[str, Network],
    discriminators: Mapping[str, Network],
    *,
    loss: AdversarialLoss,
    g_tx: optax.GradientTransformation,
    d_tx: optax.GradientTransformation,
    penalty: PenaltyFn | None = None,
    penalty_weight: float | optax.Schedule = 1.0,
    cycle_weight: float | Mapping[str, float] = 10.0,
    identity_weight: float = 0.5,
    pool_size: int = 50,
    ema_decay: float | optax.Schedule | None = None,
    microbatches: int = 1,
    remat: bool = False,
) -> GAN:
    """A CycleGAN as pure, jitted functions over one immutable `CycleGANState`.

    With `G = a_to_b`, `F = b_to_a` and `w` the cycle weight of each domain, the generators minimise together

        loss.generator(D_b(b), D_b(G(a))) + w_a E|F(G(a)) - a| + identity_weight w_a E|F(a) - a|

    and the same with a and b exchanged. The discriminators minimise together, for each domain and divided by 2,

        loss.discriminator(D_b(b), D_b(pool(G(a)))) + penalty_weight penalty

    `train_step` updates the generators, then the discriminators. The discriminators see the images that the generators
    made in this step, before their update. `g_step` and `d_step` are the two halves; `d_step` generates its own images.
    All networks run with `train=True` in both; only the model states of the networks being updated are kept. A term
    whose weight is 0 is not computed.

    Args:
      generators: by `a_to_b` and `b_to_a`: images `[B, H, W, C]` of one domain to images `[B, H, W, C']` of the other.
      discriminators: by the domain of the images they score, `a` and `b`: images to raw scores, `[B]` or `[B, ...]`.
      loss: the losses of both, see `jaxgan.losses.LOSSES`; the paper's is `least_squares`.
      g_tx: one optimizer for both generators.
      d_tx: one optimizer for both discriminators.
      penalty: a function of `jaxgan.penalties`, or a `weighted_sum` of some. Its critic is each discriminator with key
        and model state fixed; its generated images are those from the pool.
      penalty_weight: weight of the penalty in each discriminator's loss, at least 0; a schedule counts the
        discriminators' own updates. At 0 the penalty is not computed.
      cycle_weight: weight of the cycle loss: one number, or one for each reconstructed domain.
      identity_weight: weight of the identity loss, as a multiple of the cycle weight of the same domain.
      pool_size: how many earlier generated images of each domain are kept for the discriminators, see `query_pool`; 0
        for none.
      ema_decay: decay, in [0, 1), of the EMA of the generators' weights, which `sample` then uses; None for no EMA. A
        schedule counts generator updates.
      microbatches: number of parts of a batch in which the networks are computed, to save memory for activations: see
        `jaxgan.algorithms.microbatches`.
      remat: whether to compute activations again in the backward pass, to save memory for them: see there.

    Returns:
      The `GAN`; a batch has the fields `a` and `b`. Metrics: `g_loss`, the sum of `adversarial_a_to_b`,
      `adversarial_b_to_a`, `cycle_loss` and `identity_loss`; the errors by domain without their weights (`cycle_a`,
      `cycle_b`, `identity_a`, `identity_b`); `d_loss`, the sum of `d_loss_a` and `d_loss_b`; `real_score_a`,
      `fake_score_a` (means of the raw scores), `penalty_a` if there is one, the loss's own estimate if it has one, and
      the same of b; `d_grad_norm`, `g_grad_norm`, `d_learning_rate`, `g_learning_rate`. `sample` takes `a`, `b` or both
      and returns `a`, `a_to_b`, `a_to_b_to_a` and, if a and b have equally many channels, `a_identity` (`b_to_a`
      applied to a); likewise of b. Inside a `jax.jit` that returns one of these the others are not computed.

    Raises:
      ValueError: networks under other names; a weight, a pool size or a decay out of range; a penalty on a
        discriminator that mixes its batch, since a penalty is a function of single samples. From `init`: generated and
        real images of different shapes.
    """
    _check_names("generators", generators, GENERATORS)
    _check_names("discriminators", discriminators, DOMAINS)
    if isinstance(cycle_weight, Mapping):
        _check_names("cycle_weight", cycle_weight, DOMAINS)
    weights = dict(cycle_weight) if isinstance(cycle_weight, Mapping) else dict.fromkeys(DOMAINS, cycle_weight)
    if not all(weight >= 0 for weight in (*weights.values(), identity_weight, pool_size)):
        raise ValueError(
            f"cycle_weight={cycle_weight}, identity_weight={identity_weight}, pool_size={pool_size}: 0 or more expected"
        )
    check_decay(ema_decay)
    penalty = check_penalty(penalty, penalty_weight, *discriminators.values())
    generators, discriminators = (
        {name: in_microbatches(network, microbatches, remat=remat) for name, network in networks.items()}
        for networks in (generators, discriminators)
    )
    identity_weights = {domain: identity_weight * weight for domain, weight in weights.items()}

    def init(key: Array, batch: Batch) -> CycleGANState:
        g_key, d_key, state_key = jax.random.split(key, 3)
        channels = {domain: batch[domain].shape[-1] for domain in DOMAINS}
        if any(identity_weights.values()) and channels["a"] != channels["b"]:
            raise ValueError(
                "for the identity loss each generator takes images of both domains, but a has "
                f"{channels['a']} channels and b has {channels['b']}: give identity_weight=0"
            )
        g = _create_players(generators, g_tx, g_key, {_FROM[domain]: batch[domain] for domain in DOMAINS})
        d = _create_players(discriminators, d_tx, d_key, {domain: batch[domain] for domain in DOMAINS})
        check_unmixed(penalty, d.model_state)
        pools = {}
        for domain, other in _OTHER.items():
            into = _INTO[domain]
            translate = partial(generators[into].apply, train=False)
            fake, _ = jax.eval_shape(translate, g.params[into], g.model_state[into], batch[other])
            if fake.shape != batch[domain].shape:
                raise ValueError(
                    f"{into} makes {fake.shape} of {other}'s {batch[other].shape}, but {domain} is "
                    f"{batch[domain].shape}: number, height, width and channels must agree"
                )
            pools[domain] = create_pool(pool_size, fake)
        state = CycleGANState(state_key, g, d, pools=pools)
        return start_ema(state, (g.params, g.model_state), ema_decay)

    def update_generators(state: CycleGANState, batch: Batch) -> tuple[CycleGANState, Metrics, dict[str, Array]]:
        keys = _keys(state.key, 0, state.generator)
        start = _refreshed(generators, state.generator)
        d = state.discriminator

        def score(domain: str, images: Array, model_state: ModelState, key: Array) -> tuple[Array, ModelState]:
            return discriminators[domain].apply(d.params[domain], model_state, images, train=True, key=key)

        # Most generator losses ignore the real scores; the compiler then drops these passes.
        real = {domain: score(domain, batch[domain], d.model_state[domain], keys[domain][0]) for domain in DOMAINS}

        def loss_fn(params: Params) -> tuple[Array, tuple[ModelState, Metrics]]:
            model_state = dict(start)

            def translate(name: str, images: Array, key: Array) -> Array:
                apply = generators[name].apply
                images, model_state[name] = apply(params[name], model_state[name], images, train=True, key=key)
                return images

            fakes = {domain: translate(_INTO[domain], batch[_OTHER[domain]], keys[domain][1]) for domain in DOMAINS}
            terms: Metrics = {"cycle_loss": jnp.float32(0), "identity_loss": jnp.float32(0)}
            errors: Metrics = {}
            for domain, (real_scores, d_model_state) in real.items():
                images, into, key = batch[domain], _INTO[domain], keys[domain]
                fake_scores, _ = score(domain, fakes[domain], d_model_state, key[2])
                terms[f"adversarial_{into}"] = loss.generator(real_scores, fake_scores)
                if weights[domain]:
                    error = cycle_consistency_loss(images, translate(into, fakes[_OTHER[domain]], key[3]))
                    terms["cycle_loss"] += weights[domain] * error
                    errors[f"cycle_{domain}"] = error
                if identity_weights[domain]:
                    error = identity_loss(images, translate(into, images, key[4]))
                    terms["identity_loss"] += identity_weights[domain] * error
                    errors[f"identity_{domain}"] = error
            return sum(terms.values(), jnp.float32(0)), (model_state, terms | errors | fakes)

        g, metrics = gradient_step(state.generator, loss_fn, g_tx)
        fakes = {domain: metrics.pop(domain) for domain in DOMAINS}  # the images, returned beside the scalars
        state = update_ema(state, (g.params, g.model_state), ema_decay)
        return state.replace(generator=g), named_metrics("g", g, metrics), fakes

    def update_discriminators(
        state: CycleGANState, batch: Batch, fakes: Mapping[str, Array]
    ) -> tuple[CycleGANState, Metrics]:
        keys = _keys(state.key, 1, state.discriminator)
        start = _refreshed(discriminators, state.discriminator)
        shown = {domain: query_pool(state.pools[domain], fakes[domain], keys[domain][0]) for domain in DOMAINS}

        def domain_loss(domain: str, params: Params) -> tuple[Array, ModelState, Metrics]:
            def score(images: Array, model_state: ModelState, key: Array) -> tuple[Array, ModelState]:
                return discriminators[domain].apply(params, model_state, images, train=True, key=key)

            value, (model_state, metrics) = halved_discriminator_loss(
                score,
                batch[domain],
                shown[domain][0],
                start[domain],
                keys[domain][1:4],
                loss=loss,
                penalty=penalty,
                penalty_weight=value_at(penalty_weight, state.discriminator.step),
            )
            metrics["d_loss"] = value
            return value, model_state, {f"{name}_{domain}": metric for name, metric in metrics.items()}

        def loss_fn(params: Params) -> tuple[Array, tuple[ModelState, Metrics]]:
            a, b = (domain_loss(domain, params[domain]) for domain in DOMAINS)
            return a[0] + b[0], ({"a": a[1], "b": b[1]}, a[2] | b[2])

        d, metrics = gradient_step(state.discriminator, loss_fn, d_tx)
        pools = {domain: pool for domain, (_, pool) in shown.items()}
        return state.replace(discriminator=d, pools=pools), named_metrics("d", d, metrics)

    def g_step(state: CycleGANState, batch: Batch) -> tuple[CycleGANState, Metrics]:
        return update_generators(state, batch)[:2]

    def d_step(state: CycleGANState, batch: Batch) -> tuple[CycleGANState, Metrics]:
        keys = _keys(state.key, 1, state.discriminator)
        g, start, fakes = state.generator, _refreshed(generators, state.generator), {}
        for domain, other in _OTHER.items():
            into, key = _INTO[domain], keys[domain][4]
            fakes[domain], _ = generators[into].apply(g.params[into], start[into], batch[other], train=True, key=key)
        return update_discriminators(state, batch, fakes)

    def train_step(state: CycleGANState, batches: tuple[Batch, ...]) -> tuple[CycleGANState, Metrics]:
        if len(batches) != 1:
            raise ValueError(f"train_step takes 1 batch, not {len(batches)}")
        state, g_metrics, fakes = update_generators(state, batches[0])
        state, d_metrics = update_discriminators(state, batches[0], fakes)
        return state, g_metrics | d_metrics

    def preview(key: Array, batch: Batch) -> dict[str, Array]:
        del key
        return {domain: batch[domain][:PREVIEWED] for domain in DOMAINS}

    @jax.jit
    def translations(state: CycleGANState, inputs: Mapping[str, Array]) -> dict[str, Array]:
        g = state.generator
        weights = sampling_weights(state, (g.params, g.model_state))

        def translate(name: str, images: Array) -> Array:
            params, model_state = (both[name] for both in weights)
            return generators[name].apply(params, model_state, images, train=False)[0]

        outputs = {}
        for domain, images in inputs.items():
            there, back = _FROM[domain], _INTO[domain]
            outputs |= {domain: images, there: translate(there, images)}
            outputs[f"{there}_to_{domain}"] = translate(back, outputs[there])
            if outputs[there].shape == images.shape:
                outputs[f"{domain}_identity"] = translate(back, images)
        return outputs

    def sample(state: CycleGANState, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if not inputs or not inputs.keys() <= set(DOMAINS):
            raise ValueError(f"sample takes images under 'a', 'b' or both, not {', '.join(inputs) or 'nothing'}")
        outputs = translations(state, dict(inputs))
        return {name: outputs[name] for name in _OUTPUTS if name in outputs}  # jit returns them sorted by name

    return GAN(
        init=jax.jit(init),
        d_step=jax.jit(d_step),
        g_step=jax.jit(g_step),
        train_step=jax.jit(train_step),
        preview=preview,
        sample=sample,
    )


def _check_names(argument: str, given: Iterable[str], expected: Iterable[str]) -> None:
    if set(given) != set(expected):
        raise ValueError(f"{argument} has {', '.join(given) or 'nothing'}, but needs {' and '.join(expected)}")


def _create_players(
    networks: Mapping[str, Network], tx: optax.GradientTransformation, key: Array, images: Mapping[str, Array]
) -> TrainState:
    """Several networks that are updated together: one optimizer over the dict of their parameters."""
    keys = dict(zip(sorted(networks), jax.random.split(key, len(networks)), strict=True))
    created = {name: network.init(keys[name], images[name]) for name, network in networks.items()}
    params = {name: both[0] for name, both in created.items()}
    model_state = {name: both[1] for name, both in created.items()}
    return TrainState(step=jnp.int32(0), params=params, model_state=model_state, opt_state=tx.init(params))


def _refreshed(networks: Mapping[str, Network], player: TrainState) -> dict[str, ModelState]:
    return {name: net.refresh(player.params[name], player.model_state[name]) for name, net in networks.items()}


def _keys(key: Array, player: int, state: TrainState) -> dict[str, tuple[Array, ...]]:
    """Five keys for each domain."""
    keys = step_keys(key, player, state, 10)
    return {"a": keys[:5], "b": keys[5:]}
