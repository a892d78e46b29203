"""Types that all modules share: `Network`, `AdversarialLoss`, `PenaltyFn`, `GAN`, `Batches`.

Most are NamedTuples of plain functions, like optax's `GradientTransformation`. Nothing here imports another jaxgan
module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from jax import Array

Batch = Mapping[str, Array]
"""One batch: arrays by field, each with a leading batch axis.

`image`: the samples that the discriminator scores, float32 in [-1, 1], `[B, H, W, C]` (or points `[B, D]`).
`condition`: optional input of both networks. `label`, `text`, `a`, `b`: only for algorithms that read them.
"""

Metrics = dict[str, Array]
"""Scalars by name: `d_loss`, `g_loss`, `real_score`, `fake_score`, `penalty`, ..."""

Params = Any
ModelState = Any
"""State of a network besides its parameters (batch statistics, power-iteration vectors): a pytree, `{}` if none."""

CriticFn = Callable[[Array], Array]
"""Inputs `[B, ...]` to raw scores, `[B]` or `[B, ...]`. The score of a sample must not depend on the others."""


class AugmentedCritic(NamedTuple):
    """The critic that `make_gan` and `make_text_gan` pass to a penalty: augments samples, then scores them.

    A call uses the augmentation drawn for the real samples; `r2_penalty` calls `of_fake` instead.

    Attributes:
      of_real: scores after the augmentation that the loss drew for the real samples.
      of_fake: scores after the augmentation that the loss drew for the generated samples.
      of_pair: `(real, text)` to scores, as `of_real`, for any text embeddings; None without a text.
      text: embeddings `[B, E]` of the real samples' texts; None without a text.
    """

    of_real: CriticFn
    of_fake: CriticFn
    of_pair: Callable[[Array, Array], Array] | None = None
    text: Array | None = None

    def __call__(self, samples: Array) -> Array:
        return self.of_real(samples)


class PenaltyFn(Protocol):
    """A term of the discriminator's loss, before its weight: a function of `jaxgan.penalties` or a `weighted_sum`."""

    def __call__(self, critic: CriticFn, real: Array, fake: Array, key: Array, /) -> Array: ...


def _unchanged(params: Params, model_state: ModelState) -> ModelState:
    del params
    return model_state


class Network(NamedTuple):
    """A network as pure functions.

    Attributes:
      init: `init(key, *inputs) -> (params, model_state)`.
      apply: `apply(params, model_state, *inputs, train, key=None) -> (output, model_state)`.
      mixes_batch: whether one sample's output depends on the others in its batch (batch norm, minibatch statistics).
      refresh: `refresh(params, model_state) -> model_state`, called once at the start of each of this network's own
        updates, before its first pass: recomputes state that depends on the weights (spectral norm's power step).
      stages: for `jaxgan.networks.freezing`: from the input on, the names of each stage's parameters, or of the modules
        they are in, such as `(("layer_0",), ("layer_1", "norm_1"))`; `a/b` is `b` inside `a`.
    """

    init: Callable[..., tuple[Params, ModelState]]
    apply: Callable[..., tuple[Array, ModelState]]
    mixes_batch: bool = False
    refresh: Callable[[Params, ModelState], ModelState] = _unchanged
    stages: tuple[tuple[str, ...], ...] = ()


class TextDiscriminator(NamedTuple):
    """A discriminator in two parts, so that the features of an image are computed once for several texts.

    Attributes:
      features: images `[B, ...]` to features `[B, ...]`; computes all that does not depend on the text.
      head: `(features, embeddings [B, E])` to raw scores, `[B]` or `[B, ...]`.
    """

    features: Network
    head: Network


class Augment(NamedTuple):
    """A random, differentiable augmentation of the discriminator's input, which may adapt to the discriminator.

    Attributes:
      init: initial state: scalars by name, which are logged; `{}` if it does not adapt.
      apply: `(state, samples, key) -> samples`.
      update: `(state, real_scores) -> state`, called in each discriminator update if there is a state. The scores are
        shifted by the loss's decision score: positive means classified as real.
    """

    init: Metrics
    apply: Callable[[Metrics, Array, Array], Array]
    update: Callable[[Metrics, Array], Metrics]


def no_estimate(real_scores: Array, fake_scores: Array) -> Metrics:
    del real_scores, fake_scores
    return {}


class AdversarialLoss(NamedTuple):
    """The losses of discriminator and generator as functions of raw scores, real before fake; both are minimised.

    Attributes:
      discriminator: `(real_scores, fake_scores) -> scalar`.
      generator: `(real_scores, fake_scores) -> scalar`; most ignore the real scores.
      estimate: `(real_scores, fake_scores) -> metrics`: the distance between data and generator that the scores
        estimate, by name, for the log; `{}` if there is none.
    """

    discriminator: Callable[[Array, Array], Array]
    generator: Callable[[Array, Array], Array]
    estimate: Callable[[Array, Array], Metrics] = no_estimate


class GAN(NamedTuple):
    """A GAN algorithm: pure functions over one immutable state.

    Attributes:
      init: `(key, batch) -> state`; only the batch's shapes and dtypes matter.
      d_step: `(state, batch) -> (state, metrics)`; changes only the discriminator.
      g_step: `(state, batch) -> (state, metrics)`; changes only the generator and its EMA.
      train_step: `(state, batches) -> (state, metrics)`: one generator update with its `d_steps` discriminator
        updates, in the algorithm's own order; `batches` is a tuple of `d_steps` batches.
      preview: `(key, batch) -> inputs`: fixed inputs for the sample images of a run, one row for each row of the batch.
      sample: `(state, inputs) -> {name: array}`: with EMA weights if there are any, in inference mode, deterministic.
      d_steps: number of batches that `train_step` takes.
      num_seeds: number of runs that train at once, each on its share of a batch's rows: `jaxgan.algorithms.seeds`.
    """

    init: Callable[[Array, Batch], Any]
    d_step: Callable[[Any, Batch], tuple[Any, Metrics]]
    g_step: Callable[[Any, Batch], tuple[Any, Metrics]]
    train_step: Callable[[Any, tuple[Batch, ...]], tuple[Any, Metrics]]
    preview: Callable[[Array, Batch], dict[str, Array]]
    sample: Callable[[Any, Mapping[str, Any]], dict[str, Array]]
    d_steps: int = 1
    num_seeds: int = 1


class Batches(Protocol):
    """Training data with random access: `batches(step)` returns the batches of generator update `step`.

    They are the same at every call, so a checkpoint needs only the step to resume the data.
    """

    @property
    def size(self) -> int:
        """Number of examples in one epoch."""
        ...

    @property
    def batch_size(self) -> int:
        """Number of examples in a batch, over all devices."""
        ...

    def __call__(self, step: int, /) -> tuple[Batch, ...]: ...
