"""Known bugs of other projects in conditional generation, each as a small case under its number."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from experiments import class_conditional
from jaxgan.algorithms.gan import make_gan
from jaxgan.algorithms.text_gan import make_text_gan, mismatched_pairs
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.data.vocabulary import UNKNOWN, Vocabulary, tokenize
from jaxgan.losses import LOSSES
from jaxgan.networks.conditional import as_vectors, check_labels
from jaxgan.networks.linen import from_linen
from jaxgan.networks.mlp import MLP
from jaxgan.networks.text_to_image import attentive_encoder, recurrent_encoder, slot_encoder
from jaxgan.types import TextDiscriminator


class Joined(nn.Module):
    """A perceptron of all its inputs side by side; integers become unit vectors of three numbers."""

    features: int | None

    @nn.compact
    def __call__(self, *inputs, train):
        vectors = [as_vectors(x, 3 if jnp.issubdtype(x.dtype, jnp.integer) else None) for x in inputs]
        return MLP((4,), self.features)(jnp.concatenate(vectors, axis=1), train=train)


SGD = {"g_tx": optax.sgd(0.01), "d_tx": optax.sgd(0.01), "latent_dim": 2}


@functools.cache
def told_labels(loss):
    return make_gan(from_linen(Joined(2)), from_linen(Joined(None)), loss=LOSSES[loss], **SGD)


@functools.cache
def told_texts(loss, **changes):
    return make_text_gan(
        from_linen(Joined(2)), TextDiscriminator(from_linen(MLP((), 3)), from_linen(Joined(None))),
        encoder=slot_encoder(5, features=3, word_features=2), loss=LOSSES[loss], **SGD, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("make", [told_labels, told_texts])
@pytest.mark.parametrize("loss", ["non_saturating", "relativistic_average"])
def test_case_15_the_short_last_batch_of_a_conditional_model(make, loss):
    """10 examples, batch 4, 3 epochs: noise, labels and texts have the batch's size, and nothing compiles anew."""
    random = np.random.default_rng(0)
    fields = {"image": random.normal(size=(10, 2)), "condition": np.arange(10) % 3, "meaning": np.arange(10)}
    data = DeviceBatches(fields | {"text": random.integers(2, 5, (10, 2))}, batch_size=4)
    gan, compiled = make(loss), []
    state, _ = gan.train_step(gan.init(jax.random.key(0), data(0)[0]), data(0))
    seen = [data(0)[0]["meaning"].tolist()]
    listen = lambda event, duration, **_: compiled.append(event) if "backend_compile" in event else None
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for step in range(1, 6):
            state, metrics = gan.train_step(state, data(step))
            seen.append(data(step)[0]["meaning"].tolist())
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled
    assert all(jnp.isfinite(value) for value in metrics.values())
    epochs = [set(seen[first] + seen[first + 1]) for first in (0, 2, 4)]
    assert [len(epoch) for epoch in epochs] == [8, 8, 8]


def pairs(captions, meaning=None, draws=1000):
    """All pairs of rows that 1,000 draws give, and the share of rows that have a partner."""
    batch = {"text": jnp.asarray(Vocabulary.of(captions).encode(captions, max_len=4))}
    if meaning is not None:
        batch["meaning"] = jnp.asarray(meaning)
    keys = jax.random.split(jax.random.key(0), draws)
    rows, partners, share = jax.jit(jax.vmap(lambda key: mismatched_pairs(key, batch)))(keys)
    return np.asarray(rows).ravel(), np.asarray(partners).ravel(), float(share[0])


def test_case_35_two_images_never_clash():
    rows, partners, share = pairs(["red flower", "blue flower"])
    assert (rows != partners).all() and share == 1


def test_case_35_equal_captions_are_never_wrong_for_each_other():
    captions = np.array(["red flower", "red flower", "blue flower"])
    rows, partners, share = pairs(captions.tolist())
    assert (captions[rows] != captions[partners]).all() and share == 1
    # Other words, other case: the same text.
    rows, partners, _ = pairs(["Red flower!", "red  flower", "blue flower"])
    assert (captions[rows] != captions[partners]).all()
    # Two words that the vocabulary does not hold look alike to the networks, whatever they mean.
    unknown = jnp.array([[UNKNOWN], [UNKNOWN], [5]])
    keys = jax.random.split(jax.random.key(0), 100)
    rows, partners, _ = jax.vmap(lambda key: mismatched_pairs(key, {"text": unknown, "meaning": jnp.arange(3)}))(keys)
    assert (unknown[rows, 0] != unknown[partners, 0]).all()


def test_case_35_another_caption_of_the_same_image_is_never_wrong():
    meaning = np.array([4, 4, 6, 6])
    rows, partners, share = pairs(["a rose", "a red flower", "a sky", "blue above"], meaning)
    assert (meaning[rows] != meaning[partners]).all() and share == 1


@pytest.mark.parametrize("texts", [[[2, 3]] * 4, [[2, 3]]], ids=["all captions equal", "one image"])
def test_case_35_where_nothing_is_wrong_the_term_is_left_out(texts):
    """No endless search, no NaN: the loss is that of the two remaining terms, and the metrics say so."""
    batch = {"image": jnp.ones((len(texts), 2)), "text": jnp.array(texts)}
    gan, plain = told_texts("non_saturating"), told_texts("non_saturating", mismatch_weight=0.0)
    state = plain.init(jax.random.key(0), batch)
    moved, metrics = gan.d_step(state, batch)
    expected, plain_metrics = plain.d_step(state, batch)
    assert float(metrics["mismatched_share"]) == 0
    assert float(metrics["d_loss"]) == pytest.approx(float(plain_metrics["d_loss"]))
    for one, other in zip(jax.tree.leaves(moved.discriminator), jax.tree.leaves(expected.discriminator), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


ENCODERS = [functools.partial(attentive_encoder, heads=1), recurrent_encoder, slot_encoder]


@functools.partial(jax.jit, static_argnums=0)
def embeddings(encoder, tokens):
    params, _ = encoder.init(jax.random.key(0), tokens)
    return encoder.apply(params, {}, tokens, train=True)[0]


@pytest.mark.parametrize("label", [10, -1, 57, 3.7])
def test_case_36_labels_outside_the_table(label, tmp_path):
    """Indexing took the last row, one-hot was all zeros: now an error that holds the value."""
    with pytest.raises(ValueError, match=f"0\\.\\.9, not .*{label}"):
        check_labels([3, label], 10)
    np.savez(tmp_path / "set.npz", image=np.zeros((8, 32, 32, 1), np.uint8), label=np.array([label] + [0] * 7))
    config = class_conditional.Config(dataset=str(tmp_path / "set.npz"), batch_size=4, workdir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match=f"label {label}," if isinstance(label, int) else "integers"):
        class_conditional.batches(config)
    assert not (tmp_path / "run").exists()
    if isinstance(label, int):
        assert bool(jnp.isnan(as_vectors(jnp.array([label]), 10)).all())


def test_case_36_words_and_tokens_outside_the_vocabulary():
    vocabulary = Vocabulary([f"word{n}" for n in range(48)])
    assert vocabulary.size == 50
    tokens = vocabulary.encode(["word3 unheard word47"], max_len=4)
    np.testing.assert_array_equal(tokens, [[5, UNKNOWN, 49, 0]])
    assert vocabulary.read(["word3 unheard word47"], max_len=4).unknown == {"unheard": 1}
    with pytest.raises(ValueError, match=r"token id 50 is outside the vocabulary: 0\.\.49"):
        vocabulary.check([[50]])
    texts = jnp.array([tokens[0], [5, 50, 49, 0], [5, -1, 49, 0]])
    for make in ENCODERS:
        encoder = make(50, features=2, word_features=2)
        np.testing.assert_array_equal(np.isnan(embeddings(encoder, texts)).all(axis=1), [False, True, True])


@pytest.mark.parametrize("text", ["", "   ", "!!!", "\U0001f600", "\ufeff"])
def test_case_37_a_text_without_words_is_refused(text):
    with pytest.raises(ValueError, match=r"text 1, .* has no words"):
        Vocabulary(["red"]).encode(["red", text], max_len=20)


def test_case_37_scripts_accents_and_line_ends():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    vocabulary = Vocabulary.of([composed, "жёлтый круг"])
    ids = vocabulary.encode([composed, decomposed, composed.upper(), "cafe"], max_len=2)
    assert (ids[0] == ids[1]).all() and (ids[0] == ids[2]).all() and ids[3, 0] == UNKNOWN
    assert vocabulary.decode(vocabulary.encode(["Жёлтый круг"], max_len=2)) == ["жёлтый круг"]
    assert tokenize("\ufeffa red\r\ncircle\r\n") == ["a", "red", "circle"]


def test_case_37_a_long_text_keeps_its_first_words_and_the_cut_is_reported():
    words = [f"w{n}" for n in range(199)] + ["yellow"]
    vocabulary = Vocabulary(words)
    texts = [" ".join(words), "w1 yellow"]
    tokens = vocabulary.encode(texts, max_len=20)
    assert tokens.shape == (2, 20)
    np.testing.assert_array_equal(tokens[0], np.arange(20) + 2)
    np.testing.assert_array_equal(tokens, vocabulary.encode(texts, max_len=20))
    assert vocabulary.read(texts, max_len=20).truncated == 1
    assert vocabulary.read(texts, max_len=20).notice == "truncated texts: 1"


@pytest.mark.parametrize("make", ENCODERS)
def test_case_37_no_nan_from_texts_of_any_length(make):
    """An unmasked mean over no tokens is 0 / 0."""
    encoder = make(5, features=2, word_features=2)
    assert np.isfinite(embeddings(encoder, jnp.array([[0, 0, 0], [2, 0, 0], [2, 3, 4]]))).all()
