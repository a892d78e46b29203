import jax
import numpy as np
import pytest

from jaxgan.devices import compilation_cache
from jaxgan.devices.compilation_cache import cache_folder
from jaxgan.metrics import features
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
    classifiers = []
    for folder in ("one", "two", "two"):  # the third is found where the second was kept
        monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / folder))
        classifiers.append(train_classifier(images, labels, epochs=4))
    (first,), (second,), (third,) = (classifier.probabilities(unseen) for classifier in classifiers)
    assert first.shape == (600, 2)  # more than one batch of 500, and a short last one
    np.testing.assert_allclose(first.sum(axis=1), 1.0, rtol=1e-5)
    assert (first.argmax(axis=1) == truth).mean() > 0.95
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(second, third)
    assert len({classifier.weights for classifier in classifiers}) == 1
    assert len(list((tmp_path / "two" / "readers").iterdir())) == 1

    found = classifiers[0].features(unseen)
    assert found.shape == (600, 128) and found.min() >= 0
    # The log odds of two classes are linear in the features, and the fit is exact.
    odds = np.log(first[:, 1]) - np.log(first[:, 0])
    design = np.concatenate([found, np.ones((600, 1))], axis=1)
    known = np.abs(odds) < 10  # float32 probabilities round away beyond
    solution, *_ = np.linalg.lstsq(design[known], odds[known], rcond=None)
    np.testing.assert_allclose(design[known] @ solution, odds[known], atol=2e-2)


def test_other_images_are_learned_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    images, labels = stripes(64, seed=0)
    one, other = (train_classifier(some, labels, epochs=1) for some in (images, images ^ 1))
    assert one.weights != other.weights


LIKE = {"params": {"a": {"bias": np.arange(3, dtype=np.float32), "kernel": np.ones((40, 3), np.float32)}}}


def kept(capsys):
    """What `_kept` returns and says, and whether it trained."""
    trained = []
    found = features._kept("settings", (np.zeros(3),), LIKE, lambda: trained.append(1) or LIKE)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, LIKE))
    return bool(trained), capsys.readouterr().err.splitlines()


def test_a_damaged_file_of_the_cache_is_replaced(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    assert kept(capsys) == (True, []) and kept(capsys) == (False, [])
    (file,) = (tmp_path / "readers").iterdir()
    whole = file.read_bytes()
    bias, kernel = LIKE["params"]["a"].values()
    for damage in (
        lambda: file.write_bytes(b""),
        lambda: file.write_bytes(b"no archive"),
        lambda: file.write_bytes(whole[: len(whole) // 2]),
        lambda: file.write_bytes(whole[:200] + bytes(60) + whole[260:]),
        lambda: np.savez(file, **{"params/a/bias": bias}),
        lambda: np.savez(file, **{"params/a/bias": bias, "params/a/kernel": kernel[:2]}),
        lambda: np.savez(file, **{"params/a/bias": bias, "params/a/kernel": kernel * np.float32(np.nan)}),
        lambda: np.savez(file, **{"params/a/bias": bias, "params/a/kernel": np.array([{}])}),
        lambda: (file.unlink(), file.mkdir(), (file / "x").mkdir()),
    ):
        damage()
        trained, (line, *more) = kept(capsys)
        assert trained and line.startswith(f"note: {file} cannot be used (") and line.endswith("is trained again")
        if file.is_file():
            assert not more and file.read_bytes() == whole
            assert kept(capsys) == (False, [])
    assert more[0].startswith("note: the trained classifier is not cached in")


def test_a_cache_that_is_not_there_is_done_without(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "file"))
    trained, (line,) = kept(capsys)
    assert (
        trained and line == f"note: the trained classifier is not cached in {tmp_path}/file/readers (Not a directory)"
    )
    monkeypatch.delenv("JAXGAN_CACHE")
    monkeypatch.setattr(compilation_cache.Path, "expanduser", no_home)
    trained, (line,) = kept(capsys)
    assert trained and line == "note: there is no home folder to cache a trained classifier in: set JAXGAN_CACHE"


def no_home(path):
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize(
    ("count", "labels", "message"),
    [
        (63, [0, 1], "63 labelled images are too few to train a classifier: it needs 64"),
        (64, [3], "every image has the label 3, and a classifier needs two classes"),
        (64, [-1, 2], r"labels must be in 0\.\.99999, not in -1\.\.2"),
        (64, [0, 10**9], r"not in 0\.\.1000000000"),
    ],
)
def test_labels_that_train_nothing(count, labels, message):
    with pytest.raises(ValueError, match=message):
        train_classifier(np.zeros((count, 16, 16, 1), np.uint8), np.resize(labels, count))


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("JAXGAN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "jaxgan"
