import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.config import ImageConfig
from jaxgan.evaluation import images, judges
from jaxgan.metrics.features import Reader
from jaxgan.metrics.inception import Inception
from jaxgan.metrics.protocol import Stamp
from jaxgan.pixels import from_uint8


def pixel_reader(images, labels):
    """In place of `train_classifier`: the digit is the last one of the first pixel."""
    one_hot = lambda images: np.eye(10, dtype=np.float32)[images[:, 0, 0, 0] % 10]
    return Reader(lambda images: (one_hot(images),), lambda images: images[:, 0, 0].astype(np.float64), "w")


class Labelled(ImageConfig):
    latent_dim = 2
    num_classes = 10


def test_images_of_labels_are_scored(monkeypatch):
    """A classifier that reads the first pixel: samples that carry their label there agree with it."""
    monkeypatch.setattr(judges, "train_classifier", pixel_reader)
    scored = images.image_evaluation(Labelled(dataset="noise", channels=3), num_samples=40)
    random = np.random.default_rng(0)

    def sample(inputs):
        drawn = random.integers(0, 25, size=(len(inputs["latents"]), 32, 32, 3), dtype=np.uint8) * 10
        drawn[:, 0, 0, 0] += inputs["condition"].astype(np.uint8)
        return {"samples": np.asarray(from_uint8(drawn))}

    scores = scored.scores(sample)
    assert scores["agreement"] == 1.0 and scores["confident"] == 1.0
    assert {scores[f"class_{label}"] for label in range(10)} == {0.1}
    assert scores["diversity"] == pytest.approx(1.0, abs=0.1)
    assert 0.5 < scores["nearest"] < 2
    assert scored.protocol["fake_count"] == 40 and scored.protocol["real_count"] == 256

    def copies(inputs):
        return {"samples": np.asarray(from_uint8(shown[: len(inputs["latents"])]))}

    shown = images.images("noise", "train", image_size=32, channels=3)["image"]
    assert scored.scores(copies)["nearest"] == 0.0

    def collapsed(inputs):
        return {"samples": np.zeros((len(inputs["latents"]), 32, 32, 3), np.float32)}

    assert scored.scores(collapsed)["diversity"] == 0.0


class Unconditional(ImageConfig):
    latent_dim = 2


def test_modes_of_stacked_images_are_counted(monkeypatch):
    monkeypatch.setattr(judges, "train_classifier", pixel_reader)
    monkeypatch.setattr(images, "AT_ONCE", 30)
    config = Unconditional(dataset="stacked:noise", channels=3, image_size=8)
    scored = images.image_evaluation(config, num_samples=100, test_split="test[:200]")
    modes = [0, 7, 123, 999, 500]
    calls = []

    def sample(inputs):
        """Five modes in turn, by the number of the latents given before."""
        count = len(inputs["latents"])
        drawn = np.random.default_rng(0).integers(25, size=(count, 8, 8, 3), dtype=np.uint8) * 10
        numbers = np.arange(sum(calls), sum(calls) + count) % 5
        calls.append(count)
        drawn[:, 0, 0] += np.array([[int(digit) for digit in f"{modes[number]:03}"] for number in numbers], np.uint8)
        return {"samples": np.asarray(from_uint8(drawn))}

    scores = scored.scores(sample)
    assert calls == [30, 30, 30, 10]
    assert scores["modes"] == 5.0 and scores["confident"] == 1.0 and "class_0" not in scores
    shares = np.bincount(images.images("noise", "train", image_size=8, channels=1)["label"], minlength=10) / 1024
    law = [np.prod([shares[int(digit)] for digit in f"{mode:03}"]) for mode in modes]
    assert scores["mode_kl"] == pytest.approx(np.mean(np.log(0.2 / np.array(law))), rel=1e-9)
    assert scored.num_features == 3 and scored.protocol["fake_count"] == 100
    assert scored.protocol["dataset"] == "stacked:noise" and scored.protocol["real_count"] == 200


def brightness(file, *, resizer):
    """In place of `load_inception`: the mean of the pixels and 0; sure of one of two classes by the mean."""
    return Inception(
        lambda pictures: jnp.stack([pictures.mean(axis=(1, 2, 3)), jnp.zeros(len(pictures))], axis=1),
        lambda features: np.eye(2)[(np.asarray(features)[:, 0] > 127).astype(int)],
        "w",
        resizer,
    )


def test_inception_scores_images_without_labels(monkeypatch, tmp_path):
    monkeypatch.setattr(judges, "load_inception", brightness)
    bare = np.random.default_rng(0).integers(256, size=(40, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "bare.npy", bare)
    config = Unconditional(dataset=str(tmp_path / "bare.npy"), image_size=8)
    splits = {"train_split": "train", "test_split": "train"}
    scored = images.image_evaluation(config, num_samples=20, features="inception", resizer="legacy", **splits)
    drawn = np.full((20, 8, 8, 1), -1.0, np.float32)
    drawn[::2] = 1.0
    scores = scored.scores(lambda inputs: {"samples": drawn})
    # Of one feature: (m - m')^2 + (s - s')^2.
    real, fake = bare.mean(axis=(1, 2)), np.tile([0.0, 255.0], 10)
    distance = (real.mean() - fake.mean()) ** 2 + (real.std(ddof=1) - fake.std(ddof=1)) ** 2
    assert scores["fid"] == pytest.approx(distance, rel=1e-5)
    assert scores["inception_score"] == pytest.approx(2.0)
    assert 1.0 <= scores["real_inception_score"] <= 2.0
    assert {
        "kid",
        "inception_precision",
        "inception_recall",
        "inception_density",
        "inception_coverage",
    } <= scores.keys()
    assert {"coverage", "diversity"} <= scores.keys() and scores["nearest"] == np.inf
    assert not {"confident", "class_0", "classifier_accuracy"} & scores.keys()
    stamp = Stamp(**scored.protocol, averaged=True, step=1)
    assert (stamp.features, stamp.feature_weights, stamp.resizer) == ("inception", "w", "legacy")
    with pytest.raises(ValueError, match=r"no labels to train a classifier with: .*--features inception needs none"):
        images.image_evaluation(config, **splits)
    with pytest.raises(ValueError, match="unknown features 'vgg': there are classifier, inception"):
        images.image_evaluation(config, features="vgg", **splits)
