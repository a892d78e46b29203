"""Small classifiers, trained once on the labelled data set, whose features and predictions images are scored by."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util
from jax import Array

from jaxgan import files
from jaxgan.devices.compilation_cache import cache_folder
from jaxgan.messages import note
from jaxgan.metrics.extract import extract
from jaxgan.metrics.protocol import weights_hash
from jaxgan.networks.convolutions import Conv
from jaxgan.pixels import from_uint8

MOST_VALUES = 100_000
"""Largest number of classes; a classifier has one output for each."""


class TrainedClassifier(NamedTuple):
    """A trained classifier of A attributes (one, the label, for `train_classifier`): functions of uint8 `[N, H, W, C]`.

    Attributes:
      probabilities: images to the class probabilities of each attribute, A arrays `[N, K_a]`.
      features: images to the features before the last layer, `[N, D]`.
      weights: SHA-256 of the parameters.
    """

    probabilities: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    features: Callable[[np.ndarray], np.ndarray]
    weights: str


class Classifier(nn.Module):
    """Images `[B, H, W, C]` to logits `[B, num_classes]` and features `[B, 128]`, with three strided convolutions.

    Attributes:
      num_classes: number of classes.
      width: channels of the first convolution.
    """

    num_classes: int
    width: int = 16

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        hidden = images
        for width in (self.width, 2 * self.width, 4 * self.width):
            hidden = nn.relu(nn.GroupNorm(num_groups=8)(Conv(width, 4, 2, padding=1)(hidden)))
        hidden = nn.relu(nn.Dense(128)(hidden.reshape(len(hidden), -1)))
        return nn.Dense(self.num_classes)(hidden), hidden


def train_classifier(
    images: np.ndarray, labels: np.ndarray, *, epochs: int = 12, batch_size: int = 64, seed: int = 0
) -> TrainedClassifier:
    """Trains a `Classifier`; deterministic on the same machine.

    Trains with Adam, a learning rate that decays to zero, and random shifts of the images by up to two pixels.

    Args:
      images: uint8 `[N, H, W, C]`.
      labels: integers `[N]` in 0..K-1, of at least two classes.
      epochs: passes over the images.
      batch_size: images in an update.
      seed: seed of weights, order and shifts.

    Returns:
      The `TrainedClassifier`, with one attribute.
    """
    return train_attribute_classifier(images, labels[:, None], epochs=epochs, batch_size=batch_size, shift=2, seed=seed)


def train_attribute_classifier(
    images: np.ndarray,
    attributes: np.ndarray,
    *,
    epochs: int = 12,
    batch_size: int = 64,
    network: Callable[[int], nn.Module] = Classifier,
    shift: int = 0,
    seed: int = 0,
) -> TrainedClassifier:
    """Trains one network to classify several attributes at once, by the sum of their cross-entropies.

    The weights are cached in `JAXGAN_CACHE` or `~/.cache/jaxgan`; a second call with the same arguments reads them.

    Args:
      images: uint8 `[N, H, W, C]`.
      attributes: integers `[N, A]`; column a is in 0..K_a-1 and has at least two values.
      epochs, batch_size, seed: as for `train_classifier`.
      network: a function of the number of all values to a module from images `[B, H, W, C]` to logits `[B, K_0 + K_1 +
        ...]` and the features before the last layer.
      shift: largest random shift of the training images, in pixels.

    Returns:
      The `TrainedClassifier`.

    Raises:
      ValueError: fewer images than a batch, an attribute with one value, or values out of range.
    """
    if len(images) < batch_size:
        raise ValueError(f"{len(images)} labelled images are too few to train a classifier: it needs {batch_size}")
    low, high = attributes.min(axis=0), attributes.max(axis=0)
    if low.min() < 0 or high.max() >= MOST_VALUES:
        raise ValueError(f"labels must be in 0..{MOST_VALUES - 1}, not in {low.min()}..{high.max()}")
    if (low == high).any():
        raise ValueError(f"every image has the label {low[low == high][0]}, and a classifier needs two classes")
    sizes = high + 1
    module = network(int(sizes.sum()))
    ends = np.cumsum(sizes)[:-1].tolist()

    def logits(params: Any, images: Array) -> list[Array]:
        together: Any = module.apply(params, images)
        return jnp.split(together[0], ends, axis=1)

    def train() -> Any:
        params = module.init(jax.random.key(seed), from_uint8(images[:1]))
        tx = optax.adam(optax.cosine_decay_schedule(2e-3, epochs * (len(images) // batch_size)))

        @jax.jit
        def update(params, opt_state, images, attributes):
            def loss_fn(params):
                losses = [
                    optax.softmax_cross_entropy_with_integer_labels(scores, attributes[:, column]).mean()
                    for column, scores in enumerate(logits(params, images))
                ]
                return sum(losses)

            updates, opt_state = tx.update(jax.grad(loss_fn)(params), opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        opt_state = tx.init(params)
        random = np.random.default_rng(seed)
        for _ in range(epochs):
            order = random.permutation(len(images))[: len(images) // batch_size * batch_size]
            for rows in order.reshape(-1, batch_size):
                shifted = np.roll(images[rows], random.integers(-shift, shift + 1, size=2), axis=(1, 2))
                params, opt_state = update(params, opt_state, from_uint8(shifted), jnp.asarray(attributes[rows]))
        return params

    settings = f"{module} {epochs} {batch_size} {shift} {seed} {images.shape} {attributes.shape}"
    like = jax.eval_shape(module.init, jax.random.key(seed), jax.ShapeDtypeStruct((1, *images.shape[1:]), jnp.float32))
    params = _kept(settings, (images, attributes), like, train)
    probabilities = jax.jit(lambda images: [jax.nn.softmax(one) for one in logits(params, from_uint8(images))])

    @jax.jit
    def features(images: Array) -> Array:
        both: Any = module.apply(params, from_uint8(images))
        return both[1]

    def read(images: np.ndarray) -> tuple[np.ndarray, ...]:
        parts = [probabilities(images[i : i + 500]) for i in range(0, len(images), 500)]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    return TrainedClassifier(read, lambda images: extract(images, features, batch_size=250), weights_hash(params))


def _kept(settings: str, arrays: tuple[np.ndarray, ...], like: Any, train: Callable[[], Any]) -> Any:
    """Parameters (dicts of arrays) from the cache, where their file is named by a digest of all inputs; else trained.

    A damaged file is replaced, and an unreadable or unwritable cache is not used; a note says so.
    """
    digest = hashlib.sha256(settings.encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    cache = cache_folder()
    if cache is None:
        note("there is no home folder to cache a trained classifier in: set JAXGAN_CACHE")
        return train()
    file = cache / "readers" / f"{digest.hexdigest()[:32]}.npz"
    try:
        return _read(file, like)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        note(f"{file} cannot be used ({error}): the classifier is trained again")
    params = train()
    try:
        with files.draft(file) as stream:
            by_path: Any = traverse_util.flatten_dict(jax.device_get(params), sep="/")
            np.savez(stream, **by_path)
    except OSError as error:
        note(f"the trained classifier is not cached in {file.parent} ({error.strerror or error})")
    return params


def _read(file: Path, like: Any) -> Any:
    """Parameters from a file; refused unless they are finite and have the paths, shapes and types of `like`."""
    with np.lib.npyio.NpzFile(io.BytesIO(files.read(file))) as stored:
        by_path = {name: stored[name] for name in stored}
    shapes = lambda tree: {path: (leaf.shape, np.dtype(leaf.dtype)) for path, leaf in tree.items()}
    if shapes(by_path) != shapes(traverse_util.flatten_dict(like, sep="/")):
        raise ValueError("it holds other arrays")
    if not all(np.isfinite(array).all() for array in by_path.values()):
        raise ValueError("it holds NaN or infinity")
    return traverse_util.unflatten_dict(by_path, sep="/")
