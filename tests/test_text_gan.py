"""make_text_gan with networks small enough to follow by hand, and every rule of its steps."""

import functools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from jaxgan import optim
from jaxgan.algorithms.text_gan import make_text_gan
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.losses import LOSSES
from jaxgan.networks.linen import from_linen
from jaxgan.networks.mlp import MLP
from jaxgan.networks.text_to_image import slot_encoder
from jaxgan.penalties import matching_aware_gradient_penalty, r1_penalty, r2_penalty, weighted_sum
from jaxgan.training.loop import fit
from jaxgan.types import Augment, Network, TextDiscriminator


def network(params, function):
    """A network of given first parameters: `function(params, *inputs)`."""
    return Network(
        init=lambda key, *inputs: ({name: jnp.asarray(value) for name, value in params.items()}, {}),
        apply=lambda params, model_state, *inputs, train, key=None: (function(params, *inputs), model_state),
    )


IDENTITY = network({}, lambda params, inputs: inputs)


def constant(value):
    """A generator whose images are its one weight."""
    return network({"b": value}, lambda p, z, e: jnp.broadcast_to(p["b"], (len(z), 2)))


def scoring(function, w=1.0):
    """A discriminator that scores `w * function(images, embeddings)`."""
    return TextDiscriminator(IDENTITY, network({"w": w}, lambda p, x, e: p["w"] * function(x, e)))


COPYING = network({"b": 1.0}, lambda p, z, e: p["b"] * e)  # a generator that draws its embedding
SCALING = network({"s": 1.0}, lambda p, text: p["s"] * text)  # an encoder


def agreement(x, e):
    return (x * e).sum(axis=1)


# Four sentences of two meanings as embeddings, each with its image: agreement is 1 for right pairs, 0 for wrong ones.
EYE = jnp.eye(2)[jnp.array([0, 1, 0, 1])]
BATCH = {"image": EYE, "text": EYE, "meaning": jnp.array([7, 9, 7, 9])}
TOKENS = {
    "image": jax.random.normal(jax.random.key(5), (6, 2)),
    "text": jnp.array([[2, 3], [3, 2], [2, 2], [3, 3], [2, 0], [3, 0]]),
}


def by_hand(loss="wasserstein", generator=None, discriminator=None, **changes):
    options = {"encoder": None, "g_tx": optax.sgd(0.1), "d_tx": optax.sgd(0.1), "latent_dim": 2, **changes}
    return make_text_gan(
        generator or constant([2.0, 2.0]), discriminator or scoring(agreement), loss=LOSSES[loss], **options
    )


class Joined(MLP):
    """A perceptron of all its inputs side by side."""

    def __call__(self, *inputs, train):
        return super().__call__(jnp.concatenate(inputs, axis=1), train=train)


@functools.cache
def learned(loss="non_saturating", **changes):
    """Perceptrons for all four parts; made and compiled once for all tests that ask for the same."""
    options = {"g_tx": optim.adam(1e-2), "d_tx": optim.adam(1e-2), "latent_dim": 3, "ema_decay": 0.9, **changes}
    return make_text_gan(
        from_linen(Joined((4,), 2)),
        TextDiscriminator(from_linen(MLP((4,), 3)), from_linen(Joined((4,)))),
        encoder=slot_encoder(5, features=3, word_features=2),
        loss=LOSSES[loss],
        **options,
    )


def start(gan, batch=BATCH):
    return gan.init(jax.random.key(0), batch)


def same(a, b):
    return all(jnp.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


ALL = {"mode_seeking_weight": 0.01, "interpolation_weight": 1.0, "condition_noise": 0.1}


@pytest.mark.parametrize("loss", ["non_saturating", "relativistic"])
def test_training_moves_every_part(loss):
    gan = learned(loss, **ALL)
    state = start(gan, TOKENS)
    moved, metrics = gan.train_step(state, (TOKENS,))
    assert not same(moved.generator.params, state.generator.params)
    for part in ("encoder", "features", "head"):
        assert not same(moved.discriminator.params[part], state.discriminator.params[part]), part
    assert metrics.keys() == {
        "d_loss", "d_grad_norm", "d_learning_rate", "g_loss", "g_grad_norm", "g_learning_rate", "real_score",
        "fake_score", "mismatched_score", "mismatched_share", "mode_seeking",
    }  # fmt: skip
    assert all(jnp.isfinite(value) and value.shape == () for value in metrics.values())


def test_each_step_touches_only_its_player_and_the_encoder_is_the_discriminators():
    gan = by_hand(generator=COPYING, encoder=SCALING, ema_decay=0.9)
    state = start(gan)
    after_d, _ = gan.d_step(state, BATCH)
    assert same((after_d.generator, after_d.ema_params, after_d.key), (state.generator, state.ema_params, state.key))
    assert not same(after_d.discriminator.params["encoder"], state.discriminator.params["encoder"])
    after_g, _ = gan.g_step(state, BATCH)
    assert same(after_g.discriminator, state.discriminator)
    assert not same(after_g.generator.params, state.generator.params)
    assert not same(after_g.ema_params, state.ema_params)


def test_train_step_is_its_parts_in_order():
    gan = by_hand("least_squares", generator=COPYING, encoder=SCALING, d_steps=2, ema_decay=0.9)
    state = start(gan)
    others = BATCH | {"image": BATCH["image"] + 1.0}
    whole, _ = gan.train_step(state, (BATCH, others))
    parts, _ = gan.d_step(state, BATCH)
    parts, _ = gan.d_step(parts, others)
    parts, _ = gan.g_step(parts, others)
    assert int(whole.discriminator.step) == 2
    compare = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(compare, (whole.generator, whole.ema_params), (parts.generator, parts.ema_params))
    jax.tree.map(compare, whole.discriminator, parts.discriminator)


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_zero_logits_cost_2_log_2_whatever_the_weight(weight):
    gan = by_hand("non_saturating", discriminator=scoring(agreement, 0.0), mismatch_weight=weight)
    _, metrics = gan.d_step(start(gan), BATCH)
    assert float(metrics["d_loss"]) == pytest.approx(2 * math.log(2), rel=1e-6)
    _, metrics = gan.g_step(start(gan), BATCH)
    assert float(metrics["g_loss"]) == pytest.approx(math.log(2), rel=1e-6)


def test_a_wasserstein_step_by_hand():
    # Real and matched 1, real and mismatched 0, generated (2, 2) with any text 2. With a quarter of the weight on
    # mismatched pairs d_loss = w (0.75 * 2 + 0.25 * 0 - 1) = 0.5 at w = 1, and w becomes 1 - 0.1 * 0.5 = 0.95. Then
    # g_loss = -0.95 * 2, its gradient in b is -0.95 * (1/2, 1/2), and b becomes 2 + 0.1 * 0.475 = 2.0475.
    gan = by_hand(mismatch_weight=0.25)
    state, metrics = gan.train_step(start(gan), (BATCH,))
    expected = {
        "real_score": 1.0, "fake_score": 2.0, "mismatched_score": 0.0, "mismatched_share": 1.0, "d_loss": 0.5,
        "wasserstein_estimate": -1.0, "d_grad_norm": 0.5, "g_loss": -1.9,
    }  # fmt: skip
    assert {name: float(metrics[name]) for name in expected} == pytest.approx(expected)
    assert float(state.discriminator.params["head"]["w"]) == pytest.approx(0.95)
    np.testing.assert_allclose(state.generator.params["b"], 2.0475, rtol=1e-5)


def test_without_mismatched_pairs_it_is_the_conditional_gan():
    gan = by_hand(mismatch_weight=0.0)
    _, metrics = gan.d_step(start(gan), BATCH)
    assert "mismatched_score" not in metrics
    assert float(metrics["d_loss"]) == pytest.approx(2.0 - 1.0)


@pytest.mark.parametrize(("swap", "kept"), [("image", 1), ("text", 0)])
def test_what_is_swapped(swap, kept):
    """Either every text or every image keeps its place: a score of that side alone has the mean of all of them."""
    batch = {
        "image": jnp.arange(10.0).reshape(5, 2) ** 2,
        "text": jnp.arange(5.0)[:, None] ** 3,
        "meaning": jnp.arange(5),
    }
    alone = lambda x, e: (x, e)[kept].sum(axis=1)
    gan = by_hand(discriminator=scoring(alone), swap=swap)
    _, metrics = gan.d_step(start(gan, batch), batch)
    assert float(metrics["mismatched_score"]) == pytest.approx(float(metrics["real_score"]))
    other = by_hand(discriminator=scoring(alone), swap="text" if swap == "image" else "image")
    _, metrics = other.d_step(start(other, batch), batch)
    assert float(metrics["mismatched_score"]) != pytest.approx(float(metrics["real_score"]))


def test_a_batch_of_one_meaning_leaves_the_term_out():
    batch = BATCH | {"meaning": jnp.full(4, 3)}
    gan, plain = by_hand("non_saturating"), by_hand("non_saturating", mismatch_weight=0.0)
    moved, metrics = gan.d_step(start(gan), batch)
    expected, plain_metrics = plain.d_step(start(plain), batch)
    assert float(metrics["mismatched_share"]) == 0.0
    assert float(metrics["d_loss"]) == pytest.approx(float(plain_metrics["d_loss"]))
    np.testing.assert_allclose(moved.discriminator.params["head"]["w"], expected.discriminator.params["head"]["w"])


def test_interpolated_texts():
    # A generator that draws its embedding and scores of the first number: right texts have mean 1/2; halfway between
    # rows (0, 2) and (1, 3), which agree, lie 1 and 0, halfway between (0, 1) and (1, 0) lies 1/2.
    first = lambda x, e: x[:, 0] ** 2
    for text, squares in ((EYE, (1.0 + 0.0) / 2), (EYE[jnp.array([0, 1, 1, 0])], 0.25)):
        batch = {"image": EYE, "text": text}
        gan = by_hand(generator=COPYING, discriminator=scoring(first), interpolation_weight=3.0)
        _, metrics = gan.g_step(start(gan, batch), batch)
        assert float(metrics["g_loss"]) == pytest.approx(-0.5 - 3.0 * squares)


@pytest.mark.parametrize("rows", [4, 5])
def test_mode_seeking_sees_one_text_twice(rows):
    """Images are 0.25 z + 9 e: only where both images of a pair have one text does e fall out of their difference."""
    batch = {"image": jnp.ones((rows, 2)), "text": 100.0 * jax.random.normal(jax.random.key(1), (rows, 2))}
    drawing = network({"s": 0.25}, lambda p, z, e: p["s"] * z + 9.0 * e)
    gan = by_hand(generator=drawing, discriminator=scoring(lambda x, e: x.sum(axis=1), 0.0), mode_seeking_weight=0.1)
    moved, metrics = gan.g_step(start(gan, batch), batch)
    assert float(metrics["mode_seeking"]) == pytest.approx(1 / 0.25, rel=1e-2)  # 900 e costs digits of z
    assert float(metrics["g_loss"]) == pytest.approx(0.1 / 0.25, rel=1e-2)
    assert float(moved.generator.params["s"]) == pytest.approx(0.25 + 0.1 * 0.1 / 0.25**2, rel=1e-2)


def test_noise_on_the_embeddings_reaches_the_generator_alone():
    batch = {"image": jnp.zeros((4000, 2)), "text": jnp.broadcast_to(jnp.array([3.0, 4.0]), (4000, 2))}
    gan = by_hand(
        generator=COPYING, discriminator=scoring(lambda x, e: jnp.square(x - e).sum(axis=1)), condition_noise=0.2,
        mismatch_weight=0.0,
    )  # fmt: skip
    state = start(gan, batch)
    # What is drawn lies N(0, 0.2^2 (9 + 16) / 2) from what is wanted, in each of two numbers: 1 in all on average.
    _, metrics = gan.d_step(state, batch)
    assert float(metrics["fake_score"]) == pytest.approx(1.0, rel=0.1)
    _, metrics = gan.g_step(state, batch)
    assert float(metrics["g_loss"]) == pytest.approx(-1.0, rel=0.1)
    inputs = {"latents": jnp.zeros((4000, 2)), "text": batch["text"]}
    np.testing.assert_array_equal(gan.sample(state, inputs)["samples"], batch["text"])


def test_the_penalty_sees_image_and_text_and_is_weighted():
    # The slope of w x . e in x is w e, of length 1: R1 is 1/2.
    gan = by_hand(penalty=r1_penalty, penalty_weight=lambda n: 3.0 + n)
    state = start(gan)
    for n in range(2):
        w = float(state.discriminator.params["head"]["w"])
        state, metrics = gan.d_step(state, BATCH)
        assert float(metrics["penalty"]) == pytest.approx(0.5 * w**2)
        assert float(metrics["d_loss"]) == pytest.approx(w * (0.5 * 2 - 1) + (3 + n) * 0.5 * w**2)


def test_a_sample_between_two_texts():
    gan = by_hand(generator=COPYING)
    fraction = jnp.array([0.0, 0.25, 1.0, 0.5])
    inputs = {"latents": jnp.zeros((4, 2)), "text": EYE, "to_text": 4.0 * EYE[::-1], "fraction": fraction}
    expected = (1 - fraction[:, None]) * EYE + fraction[:, None] * 4.0 * EYE[::-1]
    np.testing.assert_allclose(gan.sample(start(gan), inputs)["samples"], expected, rtol=1e-6)


def test_a_penalty_of_image_and_text_together():
    """The gradient of w x . e is w e in x and w x in e: |.|^2 = w^2 (|e|^2 + |x|^2) = 2 w^2, its sixth power 8 w^6."""
    gan = by_hand(penalty=matching_aware_gradient_penalty, penalty_weight=2.0)
    state = start(gan)
    w = float(state.discriminator.params["head"]["w"])
    expected = np.mean((w**2 * (np.sum(np.square(BATCH["image"]), axis=1) + 1.0)) ** 3)
    assert float(gan.d_step(state, BATCH)[1]["penalty"]) == pytest.approx(expected, rel=1e-5)


def test_a_penalty_and_an_adaptive_augmentation_see_what_the_loss_sees():
    """D(A(x), t) = x . t / 2 with unit embeddings: half the gradient of D. Scores 1/2 against (2, 2) . t / 2 = 1."""
    augment = Augment(
        {"mean": 0.0}, lambda state, x, key: 0.5 * x, lambda state, real_scores: {"mean": jnp.mean(real_scores)}
    )
    penalty = weighted_sum((1.0, r1_penalty), (10.0, r2_penalty))
    gan = by_hand(augment=augment, penalty=penalty)
    _, metrics = gan.d_step(start(gan), BATCH)
    assert float(metrics["penalty"]) == pytest.approx(11 * 0.5**2 / 2)
    assert float(metrics["mean"]) == pytest.approx(0.5 - 1.0)


def test_augmentation_is_on_real_wrong_and_fake():
    gan = by_hand(augment=lambda x, key: 0.5 * x)
    _, metrics = gan.d_step(start(gan), BATCH)
    assert [float(metrics[f"{name}_score"]) for name in ("real", "fake", "mismatched")] == [0.5, 1.0, 0.0]
    _, metrics = gan.g_step(start(gan), BATCH)
    assert float(metrics["g_loss"]) == -1.0


def test_passes_follow_on_each_other_and_a_refresh_comes_first():
    """Features see real and fake; the head real, fake and mismatched; the encoder one text."""

    def counting(inner):
        return inner._replace(
            init=lambda key, *inputs: (
                inner.init(key, *inputs)[0],
                {"passes": jnp.int32(0), "refreshed": jnp.int32(0)},
            ),
            apply=lambda params, model_state, *inputs, train, key=None: (
                inner.apply(params, {}, *inputs, train=train, key=key)[0],
                {**model_state, "passes": model_state["passes"] + train},
            ),
            refresh=lambda params, model_state: {**model_state, "refreshed": model_state["refreshed"] + 1},
        )

    gan = by_hand(
        generator=counting(constant([2.0, 2.0])),
        discriminator=TextDiscriminator(*map(counting, scoring(agreement))),
        encoder=counting(IDENTITY),
        penalty=r1_penalty,
    )
    state, _ = gan.train_step(start(gan), (BATCH,))
    count = lambda model_state: (int(model_state["passes"]), int(model_state["refreshed"]))
    found = {part: count(model_state) for part, model_state in state.discriminator.model_state.items()}
    assert found == {"encoder": (1, 1), "features": (2, 1), "head": (3, 1)}
    assert count(state.generator.model_state) == (1, 1)


def test_the_average_covers_generator_and_encoder_and_is_what_sample_uses():
    gan = by_hand(generator=COPYING, encoder=SCALING, ema_decay=0.75)
    state, _ = gan.train_step(start(gan), (BATCH,))
    s, b = state.discriminator.params["encoder"]["s"], state.generator.params["b"]
    assert s != 1 and b != 1
    average = (0.75 + 0.25 * s) * (0.75 + 0.25 * b)
    inputs = {"latents": jnp.zeros((4, 2)), "text": EYE}
    np.testing.assert_allclose(gan.sample(state, inputs)["samples"], average * EYE, rtol=1e-6)
    live = state.replace(ema_params=None, ema_model_state=None)
    np.testing.assert_allclose(gan.sample(live, inputs)["samples"], s * b * EYE, rtol=1e-6)


def test_one_text_and_one_latent_give_one_image():
    gan = learned(**ALL)
    inputs = gan.preview(jax.random.key(1), TOKENS)
    np.testing.assert_array_equal(inputs["text"], TOKENS["text"][jnp.array([0, 0, 1, 1])])
    np.testing.assert_array_equal(inputs["latents"][:2], inputs["latents"][2:])
    assert inputs["latents"].shape == (4, 3)
    assert not same(inputs["latents"][0], inputs["latents"][1])
    twice = {name: jnp.concatenate([rows, rows]) for name, rows in inputs.items()}
    samples = np.asarray(gan.sample(start(gan, TOKENS), twice)["samples"])
    assert samples[:4].tobytes() == samples[4:].tobytes()


def config(folder, **changes):
    return small.Config(
        workdir=str(folder), **{"num_steps": 4, "batch_size": 8, "log_every": 2, "num_devices": 1} | changes
    )


def captioned(config):
    random = np.random.default_rng(0)
    fields = {
        "image": random.normal(size=(24, 2)),
        "text": random.integers(2, 5, (24, 2)),
        "meaning": np.arange(24) % 3,
    }
    return DeviceBatches(fields, batch_size=config.batch_size, seed=config.seed)


def test_a_run_can_stop_and_be_shared_among_devices(tmp_path):
    """A stop changes nothing, and partners are drawn from the whole batch, not from the rows of one device."""

    def run(folder, **changes):
        options = config(tmp_path / folder, **changes)
        return fit(learned(**ALL), captioned(options), options, draw=None)[0]

    whole = run("whole")
    run("parts", num_steps=2)
    small.assert_same(whole, run("parts"))
    four = run("four", num_devices=4)
    for one, shared in zip(jax.tree.leaves(whole.generator), jax.tree.leaves(four.generator), strict=True):
        np.testing.assert_allclose(jax.device_get(one), jax.device_get(shared), rtol=1e-4, atol=1e-5)
    for one, shared in zip(jax.tree.leaves(whole.discriminator), jax.tree.leaves(four.discriminator), strict=True):
        np.testing.assert_allclose(jax.device_get(one), jax.device_get(shared), rtol=1e-4, atol=1e-5)


def test_refusals():
    for changes, message in (
        ({"mismatch_weight": 1.5}, "mismatch_weight=1.5"),
        ({"swap": "both"}, "swap='both': 'image' or 'text' expected"),
        ({"mode_seeking_weight": -1.0}, "mode_seeking_weight=-1"),
        ({"condition_noise": math.nan}, "condition_noise=nan"),
        ({"ema_decay": math.nan}, r"ema_decay=nan is not in \[0, 1\)"),
        ({"d_steps": 0}, "d_steps=0"),
    ):
        with pytest.raises(ValueError, match=message):
            by_hand(**changes)
    gan = by_hand()
    with pytest.raises(ValueError, match=r"text must be embeddings, floats \[B, E\], not int32 \[6, 2\]"):
        start(gan, TOKENS)
    with pytest.raises(ValueError, match="takes d_steps=1 batches, not 2"):
        gan.train_step(start(gan), (BATCH, BATCH))
    alone = {name: rows[:1] for name, rows in BATCH.items()}
    gan = by_hand(mode_seeking_weight=1.0)
    with pytest.raises(ValueError, match="a batch of at least 2"):
        gan.g_step(start(gan, alone), alone)
    penalty = r1_penalty
    mixing = scoring(agreement)._replace(features=IDENTITY._replace(mixes_batch=True))
    with pytest.raises(ValueError, match="norm='layer', or none"):
        by_hand(discriminator=mixing, penalty=penalty)
