import numpy as np

from jaxgan.cache import cache_folder
from jaxgan.metrics.features import train_classifier


def stripes(count, seed):
    """Noise with a bright row or a bright column: what the two classes are, a small network sees at once."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 100, size=(count, 16, 16, 1), dtype=np.uint8)
    labels = random.integers(2, size=count)
    for image, label, place in zip(images, labels, random.integers(3, 13, size=count), strict=True):
        image[(place, slice(None)) if label else (slice(None), place)] = 255
    return images, labels


def test_it_learns_and_always_the_same(tmp_path, monkeypatch):
    images, labels = stripes(256, seed=0)
    unseen, truth = stripes(600, seed=1)
    readers = []
    for folder in ("one", "two", "two"):  # the third is found where the second was kept
        monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / folder))
        readers.append(train_classifier(images, labels, epochs=4))
    (first,), (second,), (third,) = (reader.probabilities(unseen) for reader in readers)
    assert first.shape == (600, 2)  # more than one batch of 500, and a short last one
    np.testing.assert_allclose(first.sum(axis=1), 1.0, rtol=1e-5)
    assert (first.argmax(axis=1) == truth).mean() > 0.95
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(second, third)
    assert len({reader.weights for reader in readers}) == 1
    assert len(list((tmp_path / "two" / "readers").iterdir())) == 1

    features = readers[0].features(unseen)
    assert features.shape == (600, 128) and features.min() >= 0
    # The log odds of two classes are linear in the features, and the fit is exact.
    odds = np.log(first[:, 1]) - np.log(first[:, 0])
    design = np.concatenate([features, np.ones((600, 1))], axis=1)
    known = np.abs(odds) < 10  # float32 probabilities round away beyond
    solution, *_ = np.linalg.lstsq(design[known], odds[known], rcond=None)
    np.testing.assert_allclose(design[known] @ solution, odds[known], atol=2e-2)


def test_other_images_are_learned_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    images, labels = stripes(64, seed=0)
    one, other = (train_classifier(some, labels, epochs=1) for some in (images, images ^ 1))
    assert one.weights != other.weights


def test_a_cache_that_cannot_be_written_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "file"))
    assert train_classifier(*stripes(64, seed=0), epochs=1).weights


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("JAXGAN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "jaxgan"
