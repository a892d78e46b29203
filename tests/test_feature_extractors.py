"""Feature extractors: the names of scores, their numbers of images, and the classifier of stacked channels."""

import numpy as np
import pytest

from jaxgan.evaluation import evaluation, feature_extractors
from jaxgan.metrics.features import TrainedClassifier
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.precision_recall import density_coverage, precision_recall
from jaxgan.runs.image_config import ImageConfig

RANDOM = np.random.default_rng(0)


def test_feature_scores_and_how_many_images_they_are_of(monkeypatch):
    real, fake = RANDOM.normal(size=(50, 3)), RANDOM.normal(size=(60, 3)) + 0.5
    scores = feature_extractors.feature_scores("inception", real, fake)
    expected = precision_recall(real, fake) | density_coverage(real, fake)
    kernel = kernel_distance(real, fake, subset_size=50)
    assert (scores.pop("kid"), scores.pop("kid_std")) == kernel and (kernel.std or 0.0) > 0.0
    assert scores == {f"inception_{name}": value for name, value in expected.items()}
    assert {"classifier_kernel", "classifier_kernel_std"} <= feature_extractors.feature_scores(
        "classifier", real, fake
    ).keys()

    monkeypatch.setattr(feature_extractors, "NEIGHBOURS", 12)
    scores = feature_extractors.feature_scores("x", real, fake)
    real, fake = evaluation.some(real, 12, "real"), evaluation.some(fake, 12, "fake")
    expected = precision_recall(real, fake) | density_coverage(real, fake)
    assert {name: scores[f"x_{name}"] for name in expected} == expected


def test_coverage_is_of_as_many_real_examples_as_samples(monkeypatch):
    """Samples of the data's own distribution cover 1 - 2^-5 of it, however many real examples there are."""
    monkeypatch.setattr(feature_extractors, "SUBSET", 20)
    real, fake = RANDOM.normal(size=(1500, 2)), RANDOM.normal(size=(250, 2))
    scores = feature_extractors.feature_scores("x", real, fake)
    assert scores["x_coverage"] == pytest.approx(1 - 2**-5, abs=0.03)
    assert density_coverage(real, fake)["coverage"] < 0.6
    assert scores["x_density"] == density_coverage(real, fake)["density"]


def test_a_score_does_not_depend_on_the_order_of_the_images(monkeypatch):
    """Of files in class folders the first images are of one class (openai/guided-diffusion#153, #165).

    Two classes, all of both in order and shuffled; samples of both, in the order of their labels and shuffled.
    """
    classes = lambda count: RANDOM.normal(size=(2 * count, 4)) + 5.0 * np.repeat([[0.0], [1.0]], count, axis=0)
    real, fake = classes(900), classes(300)
    shuffled = RANDOM.permutation(real), RANDOM.permutation(fake)
    monkeypatch.setattr(feature_extractors, "SUBSET", 20)
    for most in (feature_extractors.NEIGHBOURS, 1500):
        monkeypatch.setattr(feature_extractors, "NEIGHBOURS", most)
        scores, others = (feature_extractors.feature_scores("x", a, b) for a, b in ((real, fake), shuffled))
        for name in ("x_precision", "x_recall", "x_density", "x_coverage"):
            assert scores[name] == pytest.approx(
                others[name], rel=0.02 if most == feature_extractors.NEIGHBOURS else 0.05
            ), name
    assert scores["x_precision"] > 0.8


def test_a_classifier_of_grey_images_is_applied_to_each_channel_of_stacked_ones(monkeypatch):
    """In place of the classifier: the first pixel is the class, the second the feature."""

    def train(images, labels):
        assert images.shape == (1024, 8, 8, 1) and labels.shape == (1024,)
        return TrainedClassifier(
            lambda grey: (np.eye(10, dtype=np.float32)[grey[:, 0, 0, 0]],),
            lambda grey: grey[:, 0, 1].astype(float),
            "w",
        )

    monkeypatch.setattr(feature_extractors, "train_classifier", train)
    config = ImageConfig(dataset="stacked:noise", channels=3, image_size=8)
    extractor = feature_extractors.classifier_extractor(config, split="train", threshold=0.5)
    pictures = np.zeros((4, 8, 8, 3), np.uint8)
    pictures[:, 0, 0] = [[1, 2, 3], [1, 2, 3], [0, 0, 4], [9, 9, 9]]
    pictures[:, 0, 1] = [[10, 20, 30], [1, 2, 3], [4, 5, 6], [7, 8, 9]]
    features = extractor.features(pictures)
    np.testing.assert_array_equal(features, pictures[:, 0, 1])
    found = extractor.scores(pictures, features, np.array([123, 124, 4, 999]))
    assert (found["modes"], found["confident"], found["agreement"]) == (3.0, 1.0, 0.75)
    assert "agreement" not in extractor.scores(pictures, features, None)
    # Of the most even distribution, three of 1,000 modes have a divergence of about log 333.
    assert found["mode_kl"] == pytest.approx(np.log(1000) - 1.04, abs=0.5)
