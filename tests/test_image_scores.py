import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.evaluation import feature_extractors, image_scores
from jaxgan.metrics.features import TrainedClassifier
from jaxgan.metrics.inception import Inception
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.protocol import Stamp
from jaxgan.pixels import from_uint8
from jaxgan.runs.image_config import ImageConfig


def pixel_classifier(images, labels):
    """In place of `train_classifier`: the digit is the last one of the first pixel."""
    one_hot = lambda images: np.eye(10, dtype=np.float32)[images[:, 0, 0, 0] % 10]
    return TrainedClassifier(lambda images: (one_hot(images),), lambda images: images[:, 0, 0].astype(np.float64), "w")


class Labelled(ImageConfig):
    latent_dim = 2
    num_classes = 10


def test_images_of_labels_are_scored(monkeypatch):
    """A classifier that reads the first pixel: samples that carry their label there agree with it."""
    monkeypatch.setattr(feature_extractors, "train_classifier", pixel_classifier)
    scored = image_scores.image_evaluation(Labelled(dataset="noise", channels=3), num_samples=40)
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

    shown = image_scores.images("noise", "train", image_size=32, channels=3)["image"]
    assert scored.scores(copies)["nearest"] == 0.0

    def collapsed(inputs):
        return {"samples": np.zeros((len(inputs["latents"]), 32, 32, 3), np.float32)}

    assert scored.scores(collapsed)["diversity"] == 0.0


def test_too_few_images_and_labels_that_train_nothing(monkeypatch, tmp_path):
    config = Labelled(dataset="noise", channels=1, image_size=8)
    with pytest.raises(ValueError, match="num_samples=5 must be at least 6"):
        image_scores.image_evaluation(config, num_samples=5)
    np.savez(tmp_path / "few.npz", image=np.zeros((63, 8, 8), np.uint8), label=np.arange(63) % 10)
    few = Labelled(dataset=str(tmp_path / "few.npz"), channels=1, image_size=8)
    with pytest.raises(
        ValueError, match=r"no classifier can be trained on split train of .*few.npz: 63 labelled .* 64"
    ):
        image_scores.image_evaluation(few, test_split="train")
    np.savez(tmp_path / "one.npz", image=np.zeros((70, 8, 8), np.uint8), label=np.full(70, 2))
    one = Labelled(dataset=str(tmp_path / "one.npz"), channels=1, image_size=8)
    with pytest.raises(ValueError, match=r"one.npz: every image has the label 2, .* --features inception needs none"):
        image_scores.image_evaluation(one, test_split="train")
    monkeypatch.setattr(feature_extractors, "train_classifier", pixel_classifier)
    with pytest.raises(ValueError, match=r"split train\[:5\] of .*few.npz has 5 images: scores need at least 6"):
        image_scores.image_evaluation(few, test_split="train[:5]")


def test_scores_do_not_depend_on_the_order_of_files_or_labels(monkeypatch):
    """A test split in class folders against the same shuffled; samples in the order of their labels."""
    random = np.random.default_rng(0)
    label = np.repeat([0, 1], 300)
    drawn = lambda count: random.integers(100, size=(count, 8, 8, 1), dtype=np.uint8)
    test = drawn(600) + (label * 155).astype(np.uint8)[:, None, None, None]
    shuffle = random.permutation(600)
    fake = drawn(200) + np.repeat([0, 155], 100).astype(np.uint8)[:, None, None, None]
    sample = lambda inputs: {"samples": np.asarray(from_uint8(fake))}
    monkeypatch.setattr(feature_extractors, "train_classifier", pixel_classifier)
    monkeypatch.setattr(image_scores, "FEW", 150)
    found = []
    for rows in (np.arange(600), shuffle):
        splits = {"train": {"image": fake, "label": label[:200]}, "test": {"image": test[rows], "label": label[rows]}}
        for module in (image_scores, feature_extractors):
            monkeypatch.setattr(module, "images", lambda name, split, splits=splits, **options: splits[split])
        scored = image_scores.image_evaluation(Unconditional(dataset="x", channels=1, image_size=8), num_samples=200)
        found.append(scored.scores(sample))
    assert found[0] == found[1]
    assert found[0]["coverage"] > 0.8 and found[0]["diversity"] == pytest.approx(1.0, abs=0.05)
    sizes = {"subset_seed": 0, "subset_size": 10_000, "pixel_subset_size": 150, "kernel_subset_size": 200}
    assert sizes.items() <= scored.protocol.items()


class Unconditional(ImageConfig):
    latent_dim = 2


def test_modes_of_stacked_images_are_counted(monkeypatch):
    monkeypatch.setattr(feature_extractors, "train_classifier", pixel_classifier)
    monkeypatch.setattr(image_scores, "AT_ONCE", 30)
    config = Unconditional(dataset="stacked:noise", channels=3, image_size=8)
    scored = image_scores.image_evaluation(config, num_samples=100, test_split="test[:200]")
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
    shares = np.bincount(image_scores.images("noise", "train", image_size=8, channels=1)["label"], minlength=10) / 1024
    expected = [np.prod([shares[int(digit)] for digit in f"{mode:03}"]) for mode in modes]
    assert scores["mode_kl"] == pytest.approx(np.mean(np.log(0.2 / np.array(expected))), rel=1e-9)
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
    monkeypatch.setattr(feature_extractors, "load_inception", brightness)
    bare = np.random.default_rng(0).integers(256, size=(40, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "bare.npy", bare)
    config = Unconditional(dataset=str(tmp_path / "bare.npy"), image_size=8)
    splits = {"train_split": "train", "test_split": "train"}
    scored = image_scores.image_evaluation(config, num_samples=20, features="inception", resizer="legacy", **splits)
    drawn = np.full((20, 8, 8, 1), -1.0, np.float32)
    drawn[::2] = 1.0
    scores = scored.scores(lambda inputs: {"samples": drawn})
    # Of one feature: (m - m')^2 + (s - s')^2.
    real, fake = bare.mean(axis=(1, 2)), np.tile([0.0, 255.0], 10)
    distance = (real.mean() - fake.mean()) ** 2 + (real.std(ddof=1) - fake.std(ddof=1)) ** 2
    assert scores["fid"] == pytest.approx(distance, rel=1e-5)
    expected = inception_score(np.eye(2)[np.arange(20) % 2], splits=10)
    assert (scores["inception_score"], scores["inception_score_std"]) == expected
    assert 1.0 <= scores["real_inception_score"] <= 2.0
    assert {
        "kid",
        "kid_std",
        "inception_score_std",
        "real_inception_score_std",
        "inception_precision",
        "inception_recall",
        "inception_density",
        "inception_coverage",
    } <= scores.keys()
    assert {"coverage", "diversity"} <= scores.keys() and scores["nearest"] == np.inf
    assert not {"confident", "class_0", "classifier_accuracy"} & scores.keys()
    stamp = Stamp(**scored.protocol, averaged=True, step=1)
    assert (stamp.features, stamp.feature_weights, stamp.resizer) == ("inception", "w", "legacy")
    with pytest.raises(ValueError, match=r"no labels to train a classifier on: .*--features inception needs none"):
        image_scores.image_evaluation(config, **splits)
    with pytest.raises(ValueError, match="unknown features 'vgg': there are classifier, inception"):
        image_scores.image_evaluation(config, features="vgg", **splits)
