"""What `experiments.evaluate` is told of a run on images without labels."""

import json
import types
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from test_inception import tensors  # noqa: F401 (a fixture)

from experiments import evaluate, gan, text_to_image
from jaxgan.metrics import inception
from jaxgan.report import save_image


@pytest.fixture
def pictures(tmp_path):
    """A folder of 20 pictures that are in no classes."""
    for index, image in enumerate(np.random.default_rng(0).integers(256, size=(20, 32, 32), dtype=np.uint8)):
        save_image(tmp_path / "pictures" / f"{index:02}.png", image)
    return tmp_path / "pictures"


def test_without_labels_the_way_out_is_named(pictures, tmp_path, monkeypatch):
    run = types.SimpleNamespace(folder=tmp_path, experiment=gan, config=gan.Config(dataset=f"folder:{pictures}"))
    monkeypatch.setattr(evaluate, "open_run", lambda folder, experiments, checkpoint: run)
    config = evaluate.Config(run="RUN")
    with pytest.raises(ValueError, match=r"folder:.* has no labels to train a classifier with: .*--features inception"):
        evaluate.main(config)

    def refuse(url, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(OSError, match=r"the FID Inception weights are not in .* and cannot be downloaded"):
        evaluate.main(replace(config, features="inception"))
    with pytest.raises(ValueError, match=r"features='pixels' is not for .*, a run of gan"):
        evaluate.main(replace(config, features="pixels"))
    run.experiment, run.config = text_to_image, text_to_image.Config()
    with pytest.raises(ValueError, match=r"features='inception' is not for .*, a run of text_to_image"):
        evaluate.main(replace(config, features="inception"))


@pytest.mark.slow
def test_by_inception_with_random_weights(pictures, tmp_path, tensors, monkeypatch, capsys):  # noqa: F811
    """The whole network, on smaller images than its own; samples of a run that has seen one batch are no pictures."""
    run = str(tmp_path / "run")
    options = {"width": 8, "num_steps": 1, "batch_size": 4, "num_devices": 1}
    gan.main(gan.Config(dataset=f"folder:{pictures}", workdir=run, **options))
    monkeypatch.setattr(inception, "read_torch_weights", lambda file: tensors)
    monkeypatch.setattr(inception, "SIZE", 75)
    network = {"features": "inception", "inception_weights": "named.pth", "resizer": "legacy"}
    scores = evaluate.main(evaluate.Config(run=run, num_samples=10, test_split="train", **network))
    assert "10 samples of 2048 features have no full covariance" in capsys.readouterr().out
    assert scores["fid"] > 0.0 and 1.0 <= scores["inception_score"] <= 5.0
    assert scores["inception_recall"] == scores["inception_coverage"] == 0.0
    stamp = json.loads((tmp_path / "run" / "scores.jsonl").read_text())["stamp"]
    assert (stamp["features"], stamp["resizer"], len(stamp["feature_weights"])) == ("inception", "legacy", 64)
    # The pictures that the run was shown, against themselves.
    scores = evaluate.main(evaluate.Config(pictures=str(pictures), reference=str(pictures), **network))
    assert scores["fid"] == pytest.approx(0.0, abs=1e-3) and scores["inception_precision"] == 1.0
    assert 1.0 <= scores["inception_score"] <= 10.0
