import numpy as np
import pytest

from jaxgan.data.builders.scene_captions import describe, parse
from jaxgan.data.builders.scenes import NUM_MEANINGS, attributes_of, draw, meaning_of, place
from jaxgan.data.captions import CLOTHES, TINTS, tinted
from jaxgan.evaluation import caption_scores
from jaxgan.metrics.features import TrainedClassifier
from jaxgan.pixels import from_uint8
from jaxgan.runs.image_config import ImageConfig


class Captioned(ImageConfig):
    latent_dim = 2


def test_scenes_of_captions_are_scored(monkeypatch):
    random = np.random.RandomState(0)

    def captioned(name, split, **options):
        attributes = attributes_of(random.randint(NUM_MEANINGS, size=70))
        return {
            "image": draw(place(attributes, random), 32),
            "captions": describe(attributes, random),
            "meaning": meaning_of(attributes),
        }

    known = {}  # the attributes behind each image that was drawn

    def read(images):
        rows = np.stack([known.get(image.tobytes(), np.zeros(7, int)) for image in images])
        return tuple(np.eye(size)[rows[:, column]] for column, size in enumerate((2, 3, 4, 2, 3, 4, 2)))

    def drawn(texts):
        attributes = np.stack([parse(text) for text in texts])
        pictures = draw(place(attributes, random), 32)
        known.update((picture.tobytes(), row) for picture, row in zip(pictures, attributes, strict=True))
        return pictures

    monkeypatch.setattr(caption_scores, "captioned_images", captioned)
    monkeypatch.setattr(caption_scores, "scene_classifier", lambda **options: TrainedClassifier(read, np.ravel, "w"))
    scored = caption_scores.caption_evaluation(Captioned(dataset="shapes"), np.array, num_samples=70)
    scores = scored.scores(lambda inputs: {"samples": np.asarray(from_uint8(drawn(inputs["text"])))})
    for name in ("attributes", "exact", "relation", "r_precision"):
        assert scores[name] == scores[f"heldout_{name}"] == 1.0
    assert scores["diversity"] == pytest.approx(1.0, abs=0.1)
    assert (scored.protocol["real_count"], scored.protocol["fake_count"], scored.protocol["subset_size"]) == (
        70,
        70,
        70,
    )
    blank = scored.scores(lambda inputs: {"samples": np.ones((len(inputs["text"]), 32, 32, 3), np.float32)})
    assert blank["diversity"] == 0.0 and blank["exact"] < 0.1
    with pytest.raises(ValueError, match="for the data sets shapes and fashion_mnist, not for emoji"):
        caption_scores.caption_evaluation(Captioned(dataset="emoji"), np.array)


def test_clothes_of_captions_are_scored(monkeypatch):
    """Images that are of the class and in the colour asked for; and such that are always red, and all alike."""
    random = np.random.RandomState(0)
    grey = np.zeros((60, 32, 32, 1), np.uint8)
    label = np.arange(60) % 10
    for row, one in enumerate(label):
        grey[row, 3 * one + 2 : 3 * one + 5] = 255
        grey[row, :2] = random.randint(255, size=(2, 32, 1))
    colour = (label + 1 + np.arange(60) // 10 % 5) % 6  # none of the pairs held out

    def captioned(name, split, **options):
        texts = [[f"{list(TINTS)[tint]} {CLOTHES[one][1]}"] for one, tint in zip(label, colour, strict=True)]
        return {"image": tinted(grey, colour), "captions": texts, "meaning": (label * 6 + colour).astype(np.int32)}

    def classifier(images, attributes, **options):
        assert images.shape == (60, 32, 32, 3) and set(attributes[:, 0]) == set(range(10))

        def read(images):
            classes = np.eye(10)[images[:, 3::3].max(axis=(2, 3)).argmax(axis=1)]
            tints = np.array(list(TINTS.values()))
            brightest = images.reshape(len(images), -1, 3).max(axis=1).astype(int)
            return classes, np.eye(6)[np.abs(brightest[:, None] - tints).sum(axis=2).argmin(axis=1)]

        return TrainedClassifier(read, np.ravel, "w")

    monkeypatch.setattr(caption_scores, "captioned_images", captioned)
    monkeypatch.setattr(caption_scores, "images", lambda *_, **options: {"image": grey, "label": label})
    monkeypatch.setattr(caption_scores, "train_attribute_classifier", classifier)
    scored = caption_scores.caption_evaluation(Captioned(dataset="fashion_mnist"), np.array, num_samples=60)
    wanted = {caption[0]: row for row, caption in enumerate(captioned("", "")["captions"])}

    def sample(inputs):
        rows = [wanted[text] for text in inputs["text"]]
        return {"samples": np.asarray(from_uint8(tinted(grey[rows], colour[rows])))}

    def all_red(inputs):
        rows = [wanted[text] for text in inputs["text"]]
        return {"samples": np.asarray(from_uint8(tinted(grey[rows], 0 * colour[rows])))}

    right, red = scored.scores(sample), scored.scores(all_red)
    names = ("clothes", "colour", "attributes", "exact", "real_attributes", "heldout_exact", "r_precision")
    assert {name: right[name] for name in names} == dict.fromkeys(names, 1.0)
    share = (colour == 0).mean()
    assert (red["clothes"], red["colour"], red["exact"]) == (1.0, share, share)
    assert red["attributes"] == pytest.approx((1 + share) / 2)
    assert right["diversity"] == 0.0  # one image a caption


def test_no_score_depends_on_the_order_of_files(monkeypatch):
    random = np.random.RandomState(0)
    attributes = attributes_of(random.randint(NUM_MEANINGS, size=40))
    whole = {
        "image": draw(place(attributes, random), 32),
        "captions": describe(attributes, random),
        "meaning": meaning_of(attributes),
    }
    read = lambda images: tuple(np.eye(n)[images[:, 3, 3, 0] % n] for n in (2, 3, 4, 2, 3, 4, 2))
    monkeypatch.setattr(caption_scores, "scene_classifier", lambda **options: TrainedClassifier(read, np.ravel, "w"))
    found = []
    for order in (np.arange(40), random.permutation(40)):
        examples = {name: [rows[row] for row in order] for name, rows in whole.items()}
        examples |= {name: np.array(examples[name]) for name in ("image", "meaning")}
        monkeypatch.setattr(caption_scores, "captioned_images", lambda *_, examples=examples, **options: examples)
        scored = caption_scores.caption_evaluation(Captioned(dataset="shapes"), np.array, num_samples=20)
        given = []
        scored.scores(
            lambda inputs, given=given: given.append(inputs) or {"samples": np.zeros((len(inputs["text"]), 32, 32, 3))}
        )
        found.append([(rows["text"].tolist(), rows["latents"].tolist()) for rows in given] + [scored.protocol])
    assert found[0] == found[1]
