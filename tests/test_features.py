import numpy as np

from jaxgan.metrics.features import train_classifier


def stripes(count, seed):
    """Noise with a bright row or a bright column: what the two classes are, a small network sees at once."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 100, size=(count, 16, 16, 1), dtype=np.uint8)
    labels = random.integers(2, size=count)
    for image, label, place in zip(images, labels, random.integers(3, 13, size=count), strict=True):
        image[(place, slice(None)) if label else (slice(None), place)] = 255
    return images, labels


def test_it_learns_and_always_the_same():
    images, labels = stripes(256, seed=0)
    unseen, truth = stripes(600, seed=1)
    first, second = (train_classifier(images, labels, epochs=4)(unseen) for _ in range(2))
    assert first.shape == (600, 2)  # more than one batch of 500, and a short last one
    np.testing.assert_allclose(first.sum(axis=1), 1.0, rtol=1e-5)
    assert (first.argmax(axis=1) == truth).mean() > 0.95
    np.testing.assert_array_equal(first, second)
