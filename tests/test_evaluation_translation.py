import pytest

from jaxgan.config import DomainsConfig
from jaxgan.evaluation.translation import translation_evaluation


@pytest.mark.parametrize("paired", [True, False])
def test_translations_are_scored(paired):
    config = DomainsConfig(dataset="noise", dataset_b="noise", image_size=16, load_size=None)
    scored = translation_evaluation(config, split_a="test", split_b="test", paired=paired, most=20)
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
    assert scored.protocol["features"] == "pixels"
