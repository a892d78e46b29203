"""What looks at images: the names of scores, how many images they are of, and what a channel's reader sees."""

import numpy as np
import pytest

from jaxgan.config import ImageConfig
from jaxgan.evaluation import judges
from jaxgan.metrics.features import Reader
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.precision_recall import density_coverage, precision_recall

RANDOM = np.random.default_rng(0)


def test_feature_scores_and_how_many_images_they_are_of(monkeypatch):
    real, fake = RANDOM.normal(size=(50, 3)), RANDOM.normal(size=(40, 3)) + 0.5
    for most, few in ((judges.NEIGHBOURS, 40), (12, 12)):
        monkeypatch.setattr(judges, "NEIGHBOURS", most)
        scores = judges.feature_scores("inception", real, fake)
        expected = precision_recall(real[:few], fake[:few]) | density_coverage(real[:few], fake[:few])
        assert scores.pop("kid") == kernel_distance(real, fake, subset_size=40).mean
        assert scores == {f"inception_{name}": value for name, value in expected.items()}
    assert "classifier_kernel" in judges.feature_scores("classifier", real, fake)


def test_a_reader_of_grey_images_looks_at_each_channel_of_stacked_ones(monkeypatch):
    """In place of the classifier: the first pixel is the class, the second the feature."""

    def train(images, labels):
        assert images.shape == (1024, 8, 8, 1) and labels.shape == (1024,)
        return Reader(
            lambda grey: (np.eye(10, dtype=np.float32)[grey[:, 0, 0, 0]],),
            lambda grey: grey[:, 0, 1].astype(float),
            "w",
        )

    monkeypatch.setattr(judges, "train_classifier", train)
    config = ImageConfig(dataset="stacked:noise", channels=3, image_size=8)
    judge = judges.classifier_judge(config, split="train", threshold=0.5)
    pictures = np.zeros((4, 8, 8, 3), np.uint8)
    pictures[:, 0, 0] = [[1, 2, 3], [1, 2, 3], [0, 0, 4], [9, 9, 9]]
    pictures[:, 0, 1] = [[10, 20, 30], [1, 2, 3], [4, 5, 6], [7, 8, 9]]
    features = judge.features(pictures)
    np.testing.assert_array_equal(features, pictures[:, 0, 1])
    found = judge.opinion(pictures, features, np.array([123, 124, 4, 999]))
    assert (found["modes"], found["confident"], found["agreement"]) == (3.0, 1.0, 0.75)
    assert "agreement" not in judge.opinion(pictures, features, None)
    # Of the most even law, three of 1,000 modes have a divergence of about log 333.
    assert found["mode_kl"] == pytest.approx(np.log(1000) - 1.04, abs=0.5)
