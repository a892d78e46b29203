"""The types every module speaks: what a network, a loss, a penalty, a GAN and a source of batches are.

All of them are plain functions held in NamedTuples, as an optax `GradientTransformation` is. Nothing here imports
another jaxgan module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from jax import Array

Batch = Mapping[str, Array]
"""One batch by field, every field with a leading batch axis.

`image`: what the discriminator judges, float32 in [-1, 1], `[B, H, W, C]` (or points `[B, D]`).
`condition`: optional side information handed to both networks. `label`, `text`, `a`, `b`: where an algorithm reads
them.
"""

Metrics = dict[str, Array]
"""Flat scalars by name: `d_loss`, `g_loss`, `real_score`, `fake_score`, `penalty`, ..."""

Params = Any
ModelState = Any
"""What a network carries besides its parameters (batch statistics, power-iteration vectors): a pytree, `{}` if none."""

CriticFn = Callable[[Array], Array]
"""Inputs `[B, ...]` to raw scores, `[B]` or `[B, ...]`. It must score each sample by itself."""


class AugmentedCritic(NamedTuple):
    """The critic that a penalty is given: it augments samples as the loss does, then scores them.

    Called, it scores with the augmentation drawn for the real samples; `r2_penalty` takes `of_fake` instead.

    Attributes:
      of_real: scores after the augmentation that the loss drew for the real samples.
      of_fake: scores after the augmentation that the loss drew for the generated samples.
    """

    of_real: CriticFn
    of_fake: CriticFn

    def __call__(self, samples: Array) -> Array:
        return self.of_real(samples)


class PenaltyFn(Protocol):
    """A term of the discriminator's loss, before its weight: a function of `jaxgan.penalties`, or a sum of some."""

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
        updates, however many passes follow: what it keeps of its weights (spectral norm's power step).
    """

    init: Callable[..., tuple[Params, ModelState]]
    apply: Callable[..., tuple[Array, ModelState]]
    mixes_batch: bool = False
    refresh: Callable[[Params, ModelState], ModelState] = _unchanged


class TextDiscriminator(NamedTuple):
    """A discriminator in two parts, so that one pass over an image serves several texts.

    Attributes:
      features: images `[B, ...]` to maps `[B, ...]`, all that is computed without the text.
      head: `(maps, embeddings [B, E])` to raw scores, `[B]` or `[B, ...]`.
    """

    features: Network
    head: Network


class Augment(NamedTuple):
    """A random change of samples that both players train through, and that may adapt to the discriminator.

    Attributes:
      init: what it starts with: scalars by name, which are logged; `{}` for one that does not adapt.
      apply: `(state, samples, key) -> samples`.
      update: `(state, real_scores) -> state`, after each pass of the discriminator over real samples. Their scores are
        counted from where the loss decides: positive for those it takes for real. Not called without a state.
    """

    init: Metrics
    apply: Callable[[Metrics, Array, Array], Array]
    update: Callable[[Metrics, Array], Metrics]


def no_estimate(real_scores: Array, fake_scores: Array) -> Metrics:
    del real_scores, fake_scores
    return {}


class AdversarialLoss(NamedTuple):
    """The two players' losses over raw scores, real before fake; both are minimised.

    Attributes:
      discriminator: `(real_scores, fake_scores) -> scalar`.
      generator: `(real_scores, fake_scores) -> scalar`; most ignore the real scores.
      estimate: `(real_scores, fake_scores) -> metrics`, the distance between data and generator that the scores
        estimate, under its name, for the log; `{}` where there is none.
    """

    discriminator: Callable[[Array, Array], Array]
    generator: Callable[[Array, Array], Array]
    estimate: Callable[[Array, Array], Metrics] = no_estimate


class GAN(NamedTuple):
    """A GAN algorithm: pure functions over one immutable state.

    Attributes:
      init: `(key, batch) -> state`; of the batch only shapes and types matter.
      d_step: `(state, batch) -> (state, metrics)`; touches only the discriminator.
      g_step: `(state, batch) -> (state, metrics)`; touches only the generator and its moving average.
      train_step: `(state, batches) -> (state, metrics)`: one generator update with its `d_steps` discriminator
        updates, in the algorithm's own order; `batches` is a tuple of `d_steps` batches.
      preview: `(key, batch) -> inputs`: what to draw each time, one row for each row of the batch.
      sample: `(state, inputs) -> {name: array}`: averaged weights, inference mode, nothing random inside.
      d_steps: how many batches `train_step` takes.
      num_seeds: how many runs train at once, each on its share of a batch's rows: see `jaxgan.algorithms.seeds`.
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
    """Training data at random access: `batches(step)` gives the batches of generator update `step`, always the same.

    Nothing about the data needs saving but the step.
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
