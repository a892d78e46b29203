import types

import numpy as np
import pytest

from jaxgan import evaluation
from jaxgan.config import DomainsConfig, ImageConfig
from jaxgan.data.builders.scene_captions import describe, parse
from jaxgan.data.builders.scenes import NUM_MEANINGS, attributes_of, draw, place
from jaxgan.metrics.features import Reader
from jaxgan.pixels import from_uint8


def test_while_training_there_are_scores_only_where_they_are_asked_for():
    gan = types.SimpleNamespace(sample=lambda state, inputs: {"samples": inputs["x"] + state})
    make = lambda config: evaluation.Evaluation(
        lambda sample: {"mean": float(sample({"x": np.zeros((3, 1))})["samples"].mean())}, {}
    )
    assert evaluation.while_training(make, gan, ImageConfig()) is None
    for asked in ({"evaluate_every": 5}, {"best": "mean"}):
        assert evaluation.while_training(make, gan, ImageConfig(**asked))(2.0) == {"mean": 2.0}


class Labelled(ImageConfig):
    latent_dim = 2
    num_classes = 10


def test_images_of_labels_are_scored(monkeypatch, tmp_path):
    """A classifier that reads the first pixel: samples that carry their label there agree with it."""
    one_hot = lambda images: np.eye(10, dtype=np.float32)[images[:, 0, 0, 0] % 10]
    reader = Reader(lambda images: (one_hot(images),), lambda images: images[:, 0, 0].astype(np.float64), "w")
    monkeypatch.setattr(evaluation, "train_classifier", lambda images, labels: reader)
    scored = evaluation.image_evaluation(Labelled(dataset="noise", channels=3), num_samples=40)
    random = np.random.default_rng(0)

    def sample(inputs):
        images = random.integers(0, 25, size=(len(inputs["latents"]), 32, 32, 3), dtype=np.uint8) * 10
        images[:, 0, 0, 0] += inputs["condition"].astype(np.uint8)
        return {"samples": np.asarray(from_uint8(images))}

    scores = scored.scores(sample)
    assert scores["agreement"] == 1.0 and scores["confident"] == 1.0
    assert {scores[f"class_{label}"] for label in range(10)} == {0.1}
    assert scores["diversity"] == pytest.approx(1.0, abs=0.1)
    assert 0.5 < scores["nearest"] < 2
    assert scored.protocol["fake_count"] == 40 and scored.protocol["real_count"] == 256

    def copies(inputs):
        return {"samples": np.asarray(from_uint8(shown[: len(inputs["latents"])]))}

    shown = evaluation.images("noise", "train", image_size=32, channels=3)["image"]
    assert scored.scores(copies)["nearest"] == 0.0

    def collapsed(inputs):
        return {"samples": np.zeros((len(inputs["latents"]), 32, 32, 3), np.float32)}

    assert scored.scores(collapsed)["diversity"] == 0.0
    np.save(tmp_path / "bare.npy", shown[:4])
    with pytest.raises(ValueError, match="no labels"):
        bare = Labelled(dataset=str(tmp_path / "bare.npy"), channels=3)
        evaluation.image_evaluation(bare, train_split="train", test_split="train")


@pytest.mark.parametrize("paired", [True, False])
def test_translations_are_scored(paired):
    config = DomainsConfig(dataset="noise", dataset_b="noise", image_size=16, load_size=None)
    scored = evaluation.translation_evaluation(config, split_a="test", split_b="test", paired=paired, most=20)
    identity = lambda inputs: {
        name: images
        for domain, images in inputs.items()
        for name in ((f"{domain}_to_{'ba'['ab'.index(domain)]}"), f"{domain}_to_{'ba'['ab'.index(domain)]}_to_{domain}")
    }
    scores = scored.scores(identity)
    # Both domains are the same pictures here, so leaving them as they are is right.
    assert scores["a_to_b_cycle_l1"] == scores["b_to_a_cycle_l1"] == 0.0
    # The same pictures twice: what the estimate without the pairs of a sample with itself makes of it is below 0.
    assert scores["a_to_b_pixel_kernel"] <= 0.0
    assert ("a_to_b_l1" in scores) == paired
    if paired:
        assert scores["a_to_b_l1"] == 0.0 and scores["b_to_a_wrong_pair_l1"] > 0.1
    assert scored.protocol["features"] == "pixels"


class Captioned(ImageConfig):
    latent_dim = 2


def test_scenes_of_captions_are_scored(monkeypatch):
    random = np.random.RandomState(0)

    def captioned(name, split, **options):
        attributes = attributes_of(random.randint(NUM_MEANINGS, size=70))
        return {
            "image": draw(place(attributes, random), 32),
            "captions": describe(attributes, random),
            "meaning": np.zeros(70),
        }

    known = {}  # the attributes behind each picture that was drawn

    def read(images):
        rows = np.stack([known.get(image.tobytes(), np.zeros(7, int)) for image in images])
        return tuple(np.eye(size)[rows[:, column]] for column, size in enumerate((2, 3, 4, 2, 3, 4, 2)))

    def drawn(texts):
        attributes = np.stack([parse(text) for text in texts])
        pictures = draw(place(attributes, random), 32)
        known.update((picture.tobytes(), row) for picture, row in zip(pictures, attributes, strict=True))
        return pictures

    monkeypatch.setattr(evaluation, "captioned_images", captioned)
    monkeypatch.setattr(evaluation, "scene_reader", lambda **options: Reader(read, np.ravel, "w"))
    scored = evaluation.caption_evaluation(Captioned(dataset="shapes"), np.array, num_samples=70)
    scores = scored.scores(lambda inputs: {"samples": np.asarray(from_uint8(drawn(inputs["text"])))})
    for name in ("attributes", "exact", "relation", "r_precision"):
        assert scores[name] == scores[f"heldout_{name}"] == 1.0
    assert scores["diversity"] == pytest.approx(1.0, abs=0.1)
    blank = scored.scores(lambda inputs: {"samples": np.ones((len(inputs["text"]), 32, 32, 3), np.float32)})
    assert blank["diversity"] == 0.0 and blank["exact"] < 0.1
    with pytest.raises(ValueError, match="on the data set shapes, not emoji"):
        evaluation.caption_evaluation(Captioned(dataset="emoji"), np.array)
