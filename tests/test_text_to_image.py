"""Text encoders against formulas in NumPy, and the discriminator in two parts."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.data.vocabulary import UNKNOWN, Vocabulary
from jaxgan.networks.conditional import conditional_dcgan_generator
from jaxgan.networks.text_to_image import attentive_encoder, recurrent_encoder, slot_encoder, text_discriminator

TOKENS = np.array([[2, 5, 3, 0], [4, 0, 0, 0], [3, 5, 2, 0]], np.int32)
ENCODERS = {
    "attentive": attentive_encoder(6, features=4, word_features=3, heads=2),
    "recurrent": recurrent_encoder(6, features=4, word_features=3),
    "slots": slot_encoder(6, features=4, word_features=3),
}
every_encoder = pytest.mark.parametrize("name", ENCODERS)


def drawn(init, *inputs):
    """Random parameters in the shapes of what `init` makes; nothing is compiled for it."""
    random = np.random.default_rng(3)
    draw = lambda leaf: (0.5 * random.normal(size=leaf.shape)).astype(leaf.dtype)
    return jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0), *inputs)[0])


def encoded(name, tokens, params=None):
    network = ENCODERS[name]
    params = drawn(network.init, TOKENS) if params is None else params
    return np.asarray(jax.jit(lambda p, t: network.apply(p, {}, t, train=True)[0])(params, tokens))


def relu(values):
    return np.maximum(values, 0)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def dense(params, values):
    return values @ params["kernel"] + params.get("bias", 0)


def test_slots():
    params = drawn(ENCODERS["slots"].init, TOKENS)
    words = params["words"]["embedding"][TOKENS] * (TOKENS != 0)[..., None]
    hidden = relu(dense(params["layer_0"], words.reshape(3, -1)))
    np.testing.assert_allclose(encoded("slots", TOKENS), relu(dense(params["layer_1"], hidden)), rtol=1e-4, atol=1e-6)


def gru(cell, words):
    """Cho et al. 2014 as cuDNN has it: reset gate on the hidden side of the candidate. States after every word."""
    state, states = np.zeros(cell["hr"]["kernel"].shape[0]), []
    for word in words:
        reset, update = (sigmoid(dense(cell[f"i{gate}"], word) + dense(cell[f"h{gate}"], state)) for gate in "rz")
        candidate = np.tanh(dense(cell["in"], word) + reset * dense(cell["hn"], state))
        state = (1 - update) * candidate + update * state
        states.append(state)
    return np.array(states)


def read_words(params, tokens):
    """Vectors of the words of one text, and what is read of them from either end."""
    words = params["words"]["embedding"][tokens[tokens != 0]]
    return words, np.concatenate([gru(params["forward"], words), gru(params["backward"], words[::-1])[::-1]], axis=1)


def test_recurrent():
    params = drawn(ENCODERS["recurrent"].init, TOKENS)
    expected = []
    for tokens in TOKENS:
        _, read = read_words(params, tokens)
        expected.append(relu(dense(params["layer"], read.mean(axis=0))))
    np.testing.assert_allclose(encoded("recurrent", TOKENS), expected, rtol=1e-4, atol=1e-6)


def test_attentive():
    params = drawn(ENCODERS["attentive"].init, TOKENS)
    expected = []
    for tokens in TOKENS:
        words, read = read_words(params, tokens)
        weights = np.exp(dense(params["queries"], read))
        weights /= weights.sum(axis=0)
        expected.append(np.concatenate([weights[:, head] @ dense(params["values"], words) for head in range(2)]))
    np.testing.assert_allclose(encoded("attentive", TOKENS), expected, rtol=1e-4, atol=1e-6)


def test_attention_finds_the_word_alone():
    """Two words of equal vectors cannot be told apart by what is found, wherever it looks."""
    params = drawn(ENCODERS["attentive"].init, TOKENS)
    params["values"]["kernel"] = np.eye(3, 2, dtype=np.float32)
    params["words"]["embedding"][:, :2] = [3.0, -1.0]
    np.testing.assert_allclose(encoded("attentive", TOKENS, params), [[3.0, -1.0] * 2] * 3, rtol=1e-5)


def test_heads_share_the_features():
    with pytest.raises(ValueError, match="features=10 must be a multiple of heads=4"):
        attentive_encoder(6, features=10, heads=4)


@every_encoder
def test_the_order_of_words_counts(name):
    forth, _, back = encoded(name, TOKENS)
    assert np.abs(forth - back).max() > 1e-2


@every_encoder
def test_padding_changes_nothing(name):
    params = drawn(ENCODERS[name].init, TOKENS)
    shorter = encoded(name, TOKENS[:, :3], params)
    np.testing.assert_allclose(shorter, encoded(name, TOKENS, params), rtol=1e-5, atol=1e-7)
    longer = np.pad(TOKENS, ((0, 0), (0, 3)))
    if name == "slots":
        with pytest.raises(ValueError, match="texts of 7 tokens, but this encoder takes at most 4"):
            encoded(name, longer, params)
    else:
        np.testing.assert_allclose(encoded(name, longer, params), shorter, rtol=1e-5, atol=1e-7)


@every_encoder
def test_an_exported_encoder_takes_any_number_of_texts_and_of_tokens(name):
    network, params = ENCODERS[name], drawn(ENCODERS[name].init, TOKENS)
    shape = jax.export.symbolic_shape("batch, tokens", constraints=["tokens <= 4"])
    function = jax.jit(lambda tokens: network.apply(params, {}, tokens, train=False)[0])
    program = jax.export.export(function, platforms=("cpu", "cuda", "tpu"))(jax.ShapeDtypeStruct(shape, jnp.int32))
    for tokens in (TOKENS, TOKENS[:1, :3], np.tile(TOKENS, (2, 1))):
        np.testing.assert_allclose(program.call(tokens), encoded(name, tokens, params), rtol=1e-5, atol=1e-6)


@every_encoder
def test_padding_has_no_row_of_its_own(name):
    params = drawn(ENCODERS[name].init, TOKENS)
    before = encoded(name, TOKENS, params)
    params["words"]["embedding"][0] = 7.0
    np.testing.assert_array_equal(encoded(name, TOKENS, params), before)


@every_encoder
def test_a_text_without_words_is_finite_and_so_is_its_gradient(name):
    network, nothing = ENCODERS[name], np.zeros((2, 4), np.int32)
    params = drawn(network.init, nothing)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: jnp.sum(network.apply(p, {}, nothing, train=True)[0])))(
        params
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradient)))


@every_encoder
def test_a_token_outside_the_table_gives_nan(name):
    wrong = encoded(name, np.array([[2, 6, 0, 0], [2, -1, 0, 0], [2, 5, 0, 0]], np.int32))
    np.testing.assert_array_equal(np.isnan(wrong).any(axis=1), [True, True, False])


@every_encoder
def test_only_tokens_are_encoded(name):
    with pytest.raises(ValueError, match=r"takes token ids, integers \[B, L\], not float32 \[3, 4\]"):
        jax.eval_shape(ENCODERS[name].init, jax.random.key(0), jnp.zeros((3, 4)))


@pytest.mark.parametrize(("size", "conditioning"), [(32, "projection"), (64, "concatenate")])
def test_shapes_from_text_to_score(size, conditioning):
    generator = conditional_dcgan_generator(size, channels=3, num_classes=None, width=2)
    discriminator = text_discriminator(size, width=2, conditioning=conditioning)

    def run():
        latents, embedding = jnp.zeros((3, 5)), jnp.zeros((3, 4))
        params, _ = generator.init(jax.random.key(0), latents, embedding)
        images, _ = generator.apply(params, {}, latents, embedding, train=True)
        params, _ = discriminator.features.init(jax.random.key(1), images)
        maps, _ = discriminator.features.apply(params, {}, images, train=True)
        params, _ = discriminator.head.init(jax.random.key(2), maps, embedding)
        return images, maps, discriminator.head.apply(params, {}, maps, embedding, train=True)[0]

    images, maps, scores = jax.eval_shape(run)
    assert images.shape == (3, size, size, 3)
    assert maps.shape == (3, 4, 4, size // 4)
    assert scores.shape == (3,)


def test_the_text_reaches_every_norm_of_the_generator():
    generator = conditional_dcgan_generator(32, channels=1, num_classes=None, width=2)
    params = drawn(generator.init, jnp.zeros((3, 5)), jnp.zeros((3, 4)))
    norms = [layer["affine"]["kernel"].shape[0] for name, layer in params.items() if name.startswith("norm")]
    assert norms == [5 + 4] * 3


def test_refusals():
    with pytest.raises(ValueError, match="48 pixels"):
        text_discriminator(48)
    with pytest.raises(ValueError, match="unknown conditioning 'sum'"):
        text_discriminator(32, conditioning="sum")
    with pytest.raises(ValueError, match="unknown norm 'group'"):
        text_discriminator(32, norm="group")


MAKERS = [functools.partial(attentive_encoder, heads=1), recurrent_encoder, slot_encoder]


@functools.partial(jax.jit, static_argnums=0)
def embeddings(encoder, tokens):
    params, _ = encoder.init(jax.random.key(0), tokens)
    return encoder.apply(params, {}, tokens, train=True)[0]


def test_words_and_tokens_outside_the_vocabulary():
    """TimoBolkart/voca#19: an index beyond the table was accepted, as a vector of zeros."""
    vocabulary = Vocabulary([f"word{n}" for n in range(48)])
    assert vocabulary.size == 50
    tokens = vocabulary.encode(["word3 unheard word47"], max_len=4)
    np.testing.assert_array_equal(tokens, [[5, UNKNOWN, 49, 0]])
    assert vocabulary.read(["word3 unheard word47"], max_len=4).unknown == {"unheard": 1}
    with pytest.raises(ValueError, match=r"token id 50 is outside the vocabulary: 0\.\.49"):
        vocabulary.check([[50]])
    texts = jnp.array([tokens[0], [5, 50, 49, 0], [5, -1, 49, 0]])
    for make in MAKERS:
        encoder = make(50, features=2, word_features=2)
        np.testing.assert_array_equal(np.isnan(embeddings(encoder, texts)).all(axis=1), [False, True, True])


@pytest.mark.parametrize("make", MAKERS)
def test_no_nan_from_texts_of_any_length(make):
    """lichengunc/MAttNet#5: a text of no words; the mean over its words would be 0 / 0."""
    encoder = make(5, features=2, word_features=2)
    assert np.isfinite(embeddings(encoder, jnp.array([[0, 0, 0], [2, 0, 0], [2, 3, 4]]))).all()
