import numpy as np
import pytest

from jaxgan.config import DomainsConfig
from jaxgan.evaluation import translation
from jaxgan.evaluation.translation import translation_evaluation


@pytest.mark.parametrize("paired", [True, False])
def test_translations_are_scored(paired):
    config = DomainsConfig(dataset="noise", dataset_b="noise", image_size=16, load_size=None)
    scored = translation_evaluation(config, paired=paired, most=20)
    identity = lambda inputs: {
        name: images
        for domain, images in inputs.items()
        for name in ((f"{domain}_to_{'ba'['ab'.index(domain)]}"), f"{domain}_to_{'ba'['ab'.index(domain)]}_to_{domain}")
    }
    scores = scored.scores(identity)
    # Both domains are the same pictures here, so leaving them as they are is right.
    assert scores["a_to_b_cycle_l1"] == scores["b_to_a_cycle_l1"] == 0.0
    # The same pictures twice: what the estimate without the pairs of a sample with itself makes of it is below 0.
    assert scores["a_to_b_pixel_kernel"] == scores["a_to_b_unchanged_pixel_kernel"] <= 0.0
    assert ("a_to_b_l1" in scores) == paired
    if paired:
        assert scores["a_to_b_l1"] == 0.0 and scores["b_to_a_wrong_pair_l1"] > 0.1
    assert scored.protocol["features"] == "pixels" and scored.protocol["subset_size"] == 20
    with pytest.raises(ValueError, match=r"split test has 256 pictures and train 1024, where .* since they are pairs"):
        translation_evaluation(config, split_a="test", split_b="train", paired=True)


def test_pairs_stay_pairs_and_the_first_pictures_are_not_all(monkeypatch):
    """Pictures in two classes, one after another: those translated are of both, each with its partner."""
    number = np.arange(200, dtype=np.uint8)
    pictures = np.broadcast_to(number[:, None, None, None], (200, 16, 16, 3))
    monkeypatch.setattr(translation, "images", lambda name, split, **options: {"image": pictures})
    given = []

    def sample(inputs):
        given.append(np.concatenate(list(inputs.values())))
        ((domain, images),) = inputs.items()
        name = {"a": "a_to_b", "b": "b_to_a"}[domain]
        return {name: images, f"{name}_to_{domain}": images}

    config = DomainsConfig(dataset="noise", dataset_b="noise", image_size=16, load_size=None)
    paired, unpaired = (
        translation_evaluation(config, paired=paired, most=40).scores(sample) for paired in (True, False)
    )
    assert paired["a_to_b_l1"] == 0.0 and "a_to_b_l1" not in unpaired
    seen = [set(np.round((images[:, 0, 0, 0] + 1) * 127.5).astype(int)) for images in given]
    assert len(seen[0]) == 40 and 10 < sum(value < 100 for value in seen[0]) < 30
    assert seen[0] == seen[1] and seen[2] != seen[3]


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
        monkeypatch.setattr(translation, "images", read)
        config = DomainsConfig(dataset="x", image_size=16, load_size=None)
        scored = translation_evaluation(config, paired=paired, most=12)
        found.append((scored.scores(darker), scored.protocol))
    assert found[0] == found[1]
