"""Networks for images from sentences: text encoders, and a discriminator whose trunk need not be told the text.

The generator is `conditional_dcgan_generator(..., num_classes=None)`, told latents and embedding at every norm.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from jaxgan.networks.conditional import ConditionalScore, DCGANFeatures, check_conditioning
from jaxgan.networks.dcgan import check_size
from jaxgan.networks.layers import check_norm
from jaxgan.networks.linen import from_linen
from jaxgan.types import Network, TextDiscriminator


def text_discriminator(
    size: int,
    *,
    conditioning: str = "projection",
    width: int = 64,
    norm: str = "none",
    dtype: DTypeLike = jnp.float32,
) -> TextDiscriminator:
    """`DCGANFeatures` down to 4x4, and `ConditionalScore` of the embedding.

    Args:
      size: 32, 64 or 128 pixels.
      conditioning: `projection`, or `concatenate` as the authors had it.
      width: channels after the first layer.
      norm: see `Norm`. Not `batch`: where real and fake are normalized apart, the statistics give the answer away.
      dtype: what it computes in.

    Raises:
      ValueError: a size, norm or conditioning it does not have.
    """
    check_size(size)
    return TextDiscriminator(
        features=from_linen(DCGANFeatures(size, width, check_norm(norm), dtype)),
        head=from_linen(ConditionalScore(check_conditioning(conditioning), dtype=dtype)),
    )


class SlotEncoder(nn.Module):
    """Tokens `[B, L]` to embeddings `[B, features]`: a few numbers a word, side by side in order, and a perceptron.

    Words keep their places, which an average would lose: "a red circle above a blue square" is not "a blue circle above
    a red square". Padding is zeros, so that texts may be shorter than those it was made with, and not longer.

    Attributes:
      vocabulary_size: how many tokens there are, padding and unknown included.
      features: of both hidden layers and of the embedding.
      word_features: numbers a word.
      dtype: what it computes in.
    """

    vocabulary_size: int
    features: int = 256
    word_features: int = 16
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool) -> Array:
        del train
        words = _embedded(tokens, self.vocabulary_size, self.word_features, self.dtype)
        made = self.get_variable("params", "layer_0")  # none yet while the parameters are made
        slots = tokens.shape[1] if made is None else made["kernel"].shape[0] // self.word_features
        if tokens.shape[1] > slots:
            raise ValueError(f"texts of {tokens.shape[1]} tokens, but this encoder was made for at most {slots}")
        words = jnp.pad(words, ((0, 0), (0, slots - tokens.shape[1]), (0, 0)))
        hidden = words.reshape(tokens.shape[0], slots * self.word_features)
        for index in range(2):
            layer = nn.Dense(self.features, dtype=self.dtype, kernel_init=_he, name=f"layer_{index}")
            hidden = nn.relu(layer(hidden))
        return hidden


class RecurrentEncoder(nn.Module):
    """Tokens `[B, L]` to embeddings `[B, features]`: a recurrent network from either end, averaged over the words.

    Padding is not read and not averaged; a text of padding alone gives zeros, not 0 / 0, before the last layer. Longer
    texts need no further parameters, as they do in `SlotEncoder`.

    Attributes:
      vocabulary_size: how many tokens there are, padding and unknown included.
      features: of the embedding; half of them in either direction.
      word_features: numbers a word.
      dtype: what it computes in.

    Paper: gated recurrent units: Cho et al. 2014, arXiv:1406.1078.
    """

    vocabulary_size: int
    features: int = 256
    word_features: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool) -> Array:
        del train
        words = _embedded(tokens, self.vocabulary_size, self.word_features, self.dtype)
        mask = (tokens != 0)[..., None]
        lengths = mask.sum((1, 2))
        read = _read(words, lengths, self.features // 2, self.dtype)
        mean = jnp.where(mask, read, 0).sum(1) / jnp.maximum(lengths, 1)[:, None]
        return nn.relu(nn.Dense(self.features, dtype=self.dtype, kernel_init=_he, name="layer")(mean))


class AttentiveEncoder(nn.Module):
    """Tokens `[B, L]` to embeddings `[B, features]`: averages of word vectors, side by side, each with its own weights.

    `e_k = sum_l a_kl V w_l` with `w_l` the vector of word l and `a_k = softmax_l(q_k . h_l)`, where a recurrent network
    from either end makes `h_l` of all words. So the sentence decides where each part of the embedding looks, but what
    it finds there is the word alone: red is the same numbers in a red circle and in a red triangle, which lets
    combinations be drawn that were never in training. Padding has no weight; a text of padding alone gives zeros.

    Attributes:
      vocabulary_size: how many tokens there are, padding and unknown included.
      features: of the embedding, a multiple of `heads`.
      word_features: numbers a word.
      heads: how many averages.
      dtype: what it computes in.

    Papers: several weighted averages of a text: Lin et al. 2017, arXiv:1703.03130, there of the recurrent states; gated
    recurrent units: Cho et al. 2014, arXiv:1406.1078.
    """

    vocabulary_size: int
    features: int = 256
    word_features: int = 64
    heads: int = 8
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool) -> Array:
        del train
        words = _embedded(tokens, self.vocabulary_size, self.word_features, self.dtype)
        mask = (tokens != 0)[..., None]
        read = _read(words, mask.sum((1, 2)), self.word_features, self.dtype)
        logits = nn.Dense(self.heads, dtype=self.dtype, name="queries")(read).astype(jnp.float32)
        weights = jnp.where(mask, nn.softmax(jnp.where(mask, logits, -1e30), axis=1), 0)
        values = nn.Dense(self.features // self.heads, use_bias=False, dtype=self.dtype, name="values")(words)
        return jnp.einsum("blk,blf->bkf", weights, values).reshape(tokens.shape[0], self.features).astype(self.dtype)


def _read(words: Array, lengths: Array, features: int, dtype: DTypeLike) -> Array:
    """What gated recurrent units from either end make of words: `[B, L, 2 features]`."""
    forward, backward = (nn.RNN(nn.GRUCell(features, dtype=dtype, name=name)) for name in ("forward", "backward"))
    return jnp.asarray(nn.Bidirectional(forward, backward)(words, seq_lengths=lengths))


def _embedded(tokens: Array, vocabulary_size: int, features: int, dtype: DTypeLike) -> Array:
    """A row of a table for each token, zeros for padding, NaN for what is outside the table."""
    if not jnp.issubdtype(tokens.dtype, jnp.integer) or tokens.ndim != 2:
        raise ValueError(f"a text encoder takes tokens, integers [B, L], not {tokens.dtype} {list(tokens.shape)}")
    table = nn.Embed(vocabulary_size, features, embedding_init=nn.initializers.normal(1.0), dtype=dtype, name="words")
    # A negative index would count from the end of the table.
    return jnp.where((tokens != 0)[..., None], table(jnp.where(tokens < 0, vocabulary_size, tokens)), 0)


_he = nn.initializers.he_normal()


def slot_encoder(
    vocabulary_size: int, *, features: int = 256, word_features: int = 16, dtype: DTypeLike = jnp.float32
) -> Network:
    """A `SlotEncoder` as a `Network`."""
    return from_linen(SlotEncoder(vocabulary_size, features, word_features, dtype))


def recurrent_encoder(
    vocabulary_size: int, *, features: int = 256, word_features: int = 64, dtype: DTypeLike = jnp.float32
) -> Network:
    """A `RecurrentEncoder` as a `Network`."""
    return from_linen(RecurrentEncoder(vocabulary_size, features, word_features, dtype))


def attentive_encoder(
    vocabulary_size: int,
    *,
    features: int = 256,
    word_features: int = 64,
    heads: int = 8,
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """An `AttentiveEncoder` as a `Network`.

    Raises:
      ValueError: features that are no multiple of the heads.
    """
    if features % heads:
        raise ValueError(f"features={features} must be a multiple of heads={heads}")
    return from_linen(AttentiveEncoder(vocabulary_size, features, word_features, heads, dtype))
