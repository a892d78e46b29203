"""Data sets that the batch size does not divide, and those smaller than a batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan.algorithms.gan import make_gan
from jaxgan.algorithms.text_gan import make_text_gan
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.losses import (
    LOSSES,
)
from jaxgan.networks.conditional import as_vectors
from jaxgan.networks.linen import from_linen
from jaxgan.networks.mlp import MLP, mlp_discriminator, mlp_generator
from jaxgan.networks.text_to_image import slot_encoder
from jaxgan.types import TextDiscriminator


def ids(batches, steps):
    """Which examples each step sees, from a field that numbers them."""
    return [np.concatenate([batch["label"] for batch in batches(step)]).tolist() for step in steps]


@pytest.mark.parametrize(("count", "found"), [(3, "3 examples"), (0, "0 examples")])
def test_fewer_examples_than_a_batch_are_refused(count, found):
    """sdv-dev/CTGAN#135: a data set shorter than a batch trained for no step, without a word."""
    with pytest.raises(ValueError, match=f"{found}, fewer than one batch of 8$"):
        DeviceBatches(np.zeros((count, 8, 8, 3), np.uint8), batch_size=8)


def test_the_incomplete_last_batch_is_dropped():
    """sdv-dev/CTGAN#137: nearly half the data was never used, without a word."""
    pictures = np.zeros((10, 4, 4, 1), np.uint8)
    batches = DeviceBatches({"image": pictures, "label": np.arange(10)}, batch_size=4)
    epochs = np.reshape(ids(batches, range(6)), (3, 8)).tolist()  # two batches each
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({frozenset(epoch) for epoch in epochs}) == 3  # a different 8 each epoch
    assert {batch["image"].shape for step in range(6) for batch in batches(step)} == {(4, 4, 4, 1)}

    wasteful = DeviceBatches(np.zeros((999, 2)), batch_size=500)
    assert wasteful.notice is not None and "499 of 999" in wasteful.notice


def test_the_incomplete_last_batch_compiles_nothing_anew(tmp_path):
    """aelnouby/Text-to-Image-Synthesis#37: the last batch did not fit the noise. 10 points, batch 4, 3 epochs."""
    points = np.random.default_rng(0).normal(size=(10, 2))
    compiled = []
    listen = lambda event, duration, **_: compiled.append(event) if "backend_compile" in event else None
    for loss in ("non_saturating", "relativistic_average"):
        gan = make_gan(
            mlp_generator((4,), features=2),
            mlp_discriminator((4,)),
            loss=LOSSES[loss],
            g_tx=optax.sgd(0.01),
            d_tx=optax.sgd(0.01),
            latent_dim=2,
        )
        data = DeviceBatches(points, batch_size=4)
        state, _ = gan.train_step(gan.init(jax.random.key(0), data(0)[0]), data(0))
        jax.monitoring.register_event_duration_secs_listener(listen)
        for step in range(1, 6):
            state, metrics = gan.train_step(state, data(step))
        jax.monitoring.unregister_event_duration_listener(listen)
        assert np.isfinite(metrics["d_loss"])
    assert not compiled


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


@pytest.mark.parametrize(("make", "loss"), [(told_labels, "relativistic_average"), (told_texts, "non_saturating")])
def test_the_incomplete_last_batch_of_a_conditional_model(make, loss):
    """aelnouby/Text-to-Image-Synthesis#37: the last batch did not fit the noise, nor its labels and texts."""
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
