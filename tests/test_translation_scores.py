import numpy as np
import pytest

from jaxgan.data import prepared
from jaxgan.data.builders.scenes import NUM_MEANINGS, attributes_of
from jaxgan.evaluation import translation_scores
from jaxgan.evaluation.translation_scores import translation_evaluation
from jaxgan.metrics.features import TrainedClassifier
from jaxgan.runs.image_config import DomainsConfig


def unchanged(inputs):
    """A sampler that leaves the images of a domain as they are."""
    ((_, images),) = inputs.items()
    return dict.fromkeys(("a_to_b", "a_to_b_to_a", "b_to_a", "b_to_a_to_b"), images)


@pytest.mark.parametrize("paired", [True, False])
def test_translations_are_scored(paired):
    config = DomainsConfig(dataset="noise", dataset_b="noise", image_size=16, load_size=None)
    scored = translation_evaluation(config, paired=paired, most=20)
    scores = scored.scores(unchanged)
    # Both domains are the same images here, so leaving them as they are is right.
    assert scores["a_to_b_cycle_l1"] == scores["b_to_a_cycle_l1"] == 0.0
    # The same images twice: what the estimate without the pairs of a sample with itself makes of it is below 0.
    assert scores["a_to_b_pixel_kernel"] == scores["a_to_b_unchanged_pixel_kernel"] <= 0.0
    assert ("a_to_b_l1" in scores) == paired
    if paired:
        assert scores["a_to_b_l1"] == 0.0 and scores["b_to_a_mismatched_l1"] > 0.1
    assert scored.protocol["features"] == "pixels" and scored.protocol["subset_size"] == 20
    with pytest.raises(ValueError, match=r"split test has 256 images and train 1024, but .* equal numbers of pairs"):
        translation_evaluation(config, split_a="test", split_b="train", paired=True)


def test_pairs_stay_pairs_and_the_first_images_are_not_all(monkeypatch):
    """Images in two classes, one after another: those translated are of both, each with its partner."""
    number = np.arange(200, dtype=np.uint8)
    pictures = np.broadcast_to(number[:, None, None, None], (200, 16, 16, 3))
    monkeypatch.setattr(translation_scores, "images", lambda name, split, **options: {"image": pictures})
    given = []

    def sample(inputs):
        given.append(np.concatenate(list(inputs.values())))
        return unchanged(inputs)

    config = DomainsConfig(dataset="noise", dataset_b="noise", image_size=16, load_size=None)
    paired, unpaired = (
        translation_evaluation(config, paired=paired, most=40).scores(sample) for paired in (True, False)
    )
    assert paired["a_to_b_l1"] == 0.0 and "a_to_b_l1" not in unpaired
    seen = [set(np.round((images[:, 0, 0, 0] + 1) * 127.5).astype(int)) for images in given]
    assert len(seen[0]) == 40 and 10 < sum(value < 100 for value in seen[0]) < 30
    assert seen[0] == seen[1] and seen[2] != seen[3]


@pytest.mark.parametrize("paired", [True, False])
def test_a_translated_scene_shows_what_its_own_source_shows(monkeypatch, paired):
    """Images hold their attributes as pixels, so that leaving them as they are is right; unpaired, b has others."""
    random = np.random.default_rng(0)
    a, b = (attributes_of(random.integers(NUM_MEANINGS, size=size)) for size in (40, 40 if paired else 30))
    shown = {"testA": a, "testB": a if paired else b, "trainA": a, "trainB": b}

    def read(name, split, **options):
        pictures = np.zeros((len(shown[split]), 16, 16, 3), np.uint8)
        pictures[:, 0, :7, 0] = shown[split]
        return {"image": pictures}

    features = lambda name, split, **options: {
        "attributes": shown[split],
        "mask": np.ones((len(shown[split]), 16, 16, 1), np.uint8),
    }
    seen = lambda pictures: tuple(np.eye(256)[pictures[:, 0, :7, 0].T])
    monkeypatch.setattr(translation_scores, "images", read)
    monkeypatch.setattr(prepared, "read_features", features)
    monkeypatch.setattr(
        translation_scores, "scene_classifier", lambda *args, **options: TrainedClassifier(seen, seen, "ab")
    )
    config = DomainsConfig(dataset="shapes_styles", image_size=16, load_size=None)
    scores = translation_evaluation(config, paired=paired, most=20).scores(unchanged)
    assert scores["a_to_b_exact"] == scores["b_to_a_exact"] == 1.0
    assert ("a_to_b_foreground_l1" in scores) == ("b_to_a_l1" in scores) == paired


@pytest.mark.parametrize("paired", [True, False])
def test_no_score_depends_on_the_order_of_files(monkeypatch, paired):
    random = np.random.default_rng(0)
    drawn = lambda: random.integers(256, size=(30, 16, 16, 3), dtype=np.uint8)
    splits = {"testA": drawn(), "testB": drawn(), "trainA": drawn(), "trainB": drawn()}
    orders = {split: random.permutation(30) for split in splits}
    if paired:
        orders["testB"] = orders["testA"]

    def darker(inputs):
        ((domain, images),) = inputs.items()
        name = {"a": "a_to_b", "b": "b_to_a"}[domain]
        return {name: images * 0.5, f"{name}_to_{domain}": images * 0.9}

    found = []
    for renamed in (False, True):
        read = lambda name, split, renamed=renamed, **_: {
            "image": splits[split][orders[split]] if renamed else splits[split]
        }
        monkeypatch.setattr(translation_scores, "images", read)
        config = DomainsConfig(dataset="x", image_size=16, load_size=None)
        scored = translation_evaluation(config, paired=paired, most=12)
        found.append((scored.scores(darker), scored.protocol))
    assert found[0] == found[1]
