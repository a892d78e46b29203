"""Networks for text-to-image GANs: text encoders, and a discriminator whose features do not depend on the text.

The generator is `conditional_dcgan_generator(..., num_classes=None)`, conditional on the text embedding.
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
    """A text-conditional discriminator: `DCGANFeatures` of the image, and `ConditionalScore` of features and embedding.

    Args:
      size: 32, 64 or 128 pixels.
      conditioning: `projection`, or `concatenate` as in GAN-CLS.
      width: channels after the first layer.
      norm: see `Norm`. Do not use `batch`: real and fake images are separate batches, whose statistics differ.
      dtype: dtype of the computation.

    Raises:
      ValueError: an unknown size, norm or conditioning.
    """
    check_size(size)
    return TextDiscriminator(
        features=from_linen(DCGANFeatures(size, width, check_norm(norm), dtype)),
        head=from_linen(ConditionalScore(check_conditioning(conditioning), dtype=dtype)),
    )


class SlotEncoder(nn.Module):
    """Token ids `[B, L]` to embeddings `[B, features]`: an MLP of the concatenated word vectors.

    The order of words matters, unlike in an average: "a red circle above a blue square" is not "a blue circle above a
    red square". Padding has zero vectors, so texts may be shorter than those at `init`, but not longer.

    Attributes:
      vocabulary_size: number of token ids, including padding and unknown words.
      features: size of both hidden layers and of the embedding.
      word_features: size of the word vectors.
      dtype: dtype of the computation.
    """

    vocabulary_size: int
    features: int = 256
    word_features: int = 16
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool) -> Array:
        del train
        words = _embedded(tokens, self.vocabulary_size, self.word_features, self.dtype)
        made = self.get_variable("params", "layer_0")  # None during init
        slots = tokens.shape[1] if made is None else made["kernel"].shape[0] // self.word_features
        if tokens.shape[1] > slots:
            raise ValueError(f"texts of {tokens.shape[1]} tokens, but this encoder takes at most {slots}")
        words = jnp.pad(words, ((0, 0), (0, slots - tokens.shape[1]), (0, 0)))
        hidden = words.reshape(tokens.shape[0], slots * self.word_features)
        for index in range(2):
            layer = nn.Dense(self.features, dtype=self.dtype, kernel_init=_he, name=f"layer_{index}")
            hidden = nn.relu(layer(hidden))
        return hidden


class RecurrentEncoder(nn.Module):
    """Token ids `[B, L]` to embeddings `[B, features]`: the mean state of a bidirectional GRU.

    Padding is masked; for a text of padding only, the mean is zero and not 0 / 0. Unlike in `SlotEncoder`, texts may
    have any length.

    Attributes:
      vocabulary_size: number of token ids, including padding and unknown words.
      features: size of the embedding; half of it in each direction.
      word_features: size of the word vectors.
      dtype: dtype of the computation.

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
    """Token ids `[B, L]` to embeddings `[B, features]`: multi-head attention over word vectors, heads concatenated.

    `e_k = sum_l a_kl V w_l` with `w_l` the vector of word l and `a_k = softmax_l(q_k . h_l)`, where `h_l` is the state
    of a bidirectional GRU. The attention weights depend on the whole sentence, but the values depend on single words
    only: "red" has the same value in "red circle" and in "red triangle". That helps to generate combinations that never
    occur in training. Padding has no weight; a text of padding only gives zeros.

    Attributes:
      vocabulary_size: number of token ids, including padding and unknown words.
      features: size of the embedding, a multiple of `heads`.
      word_features: size of the word vectors.
      heads: number of attention heads.
      dtype: dtype of the computation.

    Papers: attention heads over the recurrent states of a text: Lin et al. 2017, arXiv:1703.03130; gated recurrent
    units: Cho et al. 2014, arXiv:1406.1078.
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
    """The states of a bidirectional GRU over word vectors: `[B, L, 2 features]`."""
    forward, backward = (nn.RNN(nn.GRUCell(features, dtype=dtype, name=name)) for name in ("forward", "backward"))
    return jnp.asarray(nn.Bidirectional(forward, backward)(words, seq_lengths=lengths))


def _embedded(tokens: Array, vocabulary_size: int, features: int, dtype: DTypeLike) -> Array:
    """The word vector of each token id, zeros for padding, NaN for ids out of range."""
    if not jnp.issubdtype(tokens.dtype, jnp.integer) or tokens.ndim != 2:
        raise ValueError(f"a text encoder takes token ids, integers [B, L], not {tokens.dtype} {list(tokens.shape)}")
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
      ValueError: features that are not a multiple of the heads.
    """
    if features % heads:
        raise ValueError(f"features={features} must be a multiple of heads={heads}")
    return from_linen(AttentiveEncoder(vocabulary_size, features, word_features, heads, dtype))
