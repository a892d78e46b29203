"""Panels of a run's page: which latents and labels are drawn, and which training images are found."""

import json
import types

import numpy as np
import small
from scipy.spatial.distance import cdist

from jaxgan.data.base import read_all
from jaxgan.data.sources import images, open_images
from jaxgan.evaluation import panels
from jaxgan.evaluation.panels import image_panels
from jaxgan.pixels import from_uint8
from jaxgan.runs.image_config import ImageConfig
from jaxgan.runs.images import image_grid, labelled_rows


class Unconditional(ImageConfig):
    latent_dim = 6


class Labelled(Unconditional):
    num_classes = 3


def noisy(inputs):
    """Images of 8 x 8 pixels that depend on the latents."""
    first = np.asarray(inputs["latents"])[:, :1, None, None]
    return {"samples": np.broadcast_to(np.tanh(first), (len(first), 8, 8, 1)).astype(np.float32)}


def test_rows_go_from_one_latent_to_another(tmp_path):
    given = []
    gan = types.SimpleNamespace(sample=lambda state, inputs: given.append(inputs) or noisy(inputs))
    drawn = image_panels(gan, Unconditional(dataset="noise", image_size=8, workdir=str(tmp_path)))
    first, second = drawn("state"), drawn("state")
    assert given[0].keys() == {"latents"}
    latents = np.asarray(given[0]["latents"]).reshape(8, 8, 6)
    np.testing.assert_array_equal(given[0]["latents"], given[1]["latents"])
    assert len(np.unique(latents[:, [0, -1]].reshape(16, 6), axis=0)) == 16
    for row in latents:  # equal angles on the way, and the length of the ends evenly in between
        unit = row / np.linalg.norm(row, axis=1, keepdims=True)
        angles = np.arccos(np.sum(unit[1:] * unit[:-1], axis=1))
        np.testing.assert_allclose(angles, angles.mean(), rtol=1e-3)
        lengths = np.linalg.norm(row, axis=1)
        np.testing.assert_allclose(lengths, np.linspace(lengths[0], lengths[-1], 8), rtol=1e-4)
    table = noisy(given[0])["samples"].reshape(8, 8, 8, 8, 1)
    expected = image_grid({str(column): table[:, column] for column in range(8)})
    np.testing.assert_array_equal(first["interpolation"], expected)
    np.testing.assert_array_equal(second["nearest"], first["nearest"])


def test_the_nearest_training_images_stand_beside_each_sample(tmp_path, monkeypatch):
    """Samples are training images, a little brighter: each is found first, then what SciPy says."""
    train = images("noise", image_size=8, channels=1)["image"][:30]
    np.save(tmp_path / "train.npy", train)
    bright = np.clip(train.astype(int) + 9, 0, 255).astype(np.uint8)
    reads = []
    monkeypatch.setattr(
        panels, "open_images", lambda *args, **options: reads.append(args) or open_images(*args, **options)
    )
    gan = types.SimpleNamespace(
        sample=lambda state, inputs: {"samples": np.asarray(from_uint8(bright[np.arange(64) // 4]))}
    )
    drawn = image_panels(gan, Unconditional(dataset=str(tmp_path / "train.npy"), image_size=8, workdir=str(tmp_path)))
    assert not reads
    nearest = drawn("state")["nearest"]
    left = bright[:16:2]  # every eighth of the 64
    order = cdist(left.reshape(8, -1).astype(float), train.reshape(30, -1).astype(float)).argsort(axis=1)
    assert order[:, 0].tolist() == list(range(0, 16, 2))
    expected = image_grid({"sample": left} | {str(k): train[order[:, k]] for k in range(5)})
    np.testing.assert_array_equal(nearest, expected)
    drawn("state")
    assert reads == [(str(tmp_path / "train.npy"), "train")]
    labels = json.loads((tmp_path / "nearest" / "labels.json").read_text())
    assert labels["columns"] == ["sample", "nearest", "2nd", "3rd", "4th", "5th"]


def test_of_a_large_data_set_some_images_are_searched(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(panels, "MOST_BYTES", 20 * 64)
    monkeypatch.setattr(panels, "read_all", lambda source: asked.append(source.size) or read_all(source))
    gan = types.SimpleNamespace(sample=lambda state, inputs: noisy(inputs))
    image_panels(gan, Unconditional(dataset="noise", image_size=8, workdir=str(tmp_path)))("state")
    assert asked == [20]


def test_of_samples_that_are_not_finite_there_are_none(tmp_path, capsys):
    gan = types.SimpleNamespace(sample=lambda state, inputs: {"samples": np.full((64, 8, 8, 1), np.nan, np.float32)})
    drawn = image_panels(gan, Unconditional(dataset="noise", image_size=8, workdir=str(tmp_path)))
    assert drawn("state") == {}
    assert "note: panels: 64 of 64 samples are not finite" in capsys.readouterr().err


def test_a_row_has_one_label(tmp_path):
    given = []
    gan = types.SimpleNamespace(sample=lambda state, inputs: given.append(inputs) or noisy(inputs))
    drawn = image_panels(gan, Labelled(dataset="noise", image_size=8, workdir=str(tmp_path)))("state")
    assert given[0]["condition"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    expected = labelled_rows(noisy(given[0])["samples"], ["0", "1", "2"])
    np.testing.assert_array_equal(drawn["interpolation"], expected)


def test_fit_draws_them_with_the_samples(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    config = small.config(tmp_path / "run", sample_every=10)
    calls = []
    two = lambda state: calls.append(int(state.step)) or {"interpolation": picture, "mine": picture}
    small.run(config, draw=lambda outputs: picture, panels=two)
    assert calls == [10, 20]
    for name in ("samples", "interpolation", "mine"):
        assert sorted(path.name for path in (tmp_path / "run" / name).iterdir()) == ["00000010.png", "00000020.png"]
    html = (tmp_path / "run" / "report.html").read_text()
    assert "Interpolation at step 20" in html and "Mine at step 20" in html
    small.run(small.config(tmp_path / "none"), draw=None, panels=two)
    assert calls == [10, 20]
