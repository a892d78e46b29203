"""`experiments.evaluate`: what it refuses, and what it says and keeps."""

import errno
import json
import types
import urllib.error
import urllib.request
from dataclasses import replace

import jax
import numpy as np
import pytest
from test_inception import tensors  # noqa: F401 (a fixture)

from experiments import evaluate, gan, sample, text_to_image
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.evaluation import feature_extractors
from jaxgan.metrics import inception
from jaxgan.metrics.features import TrainedClassifier
from jaxgan.runs.config import save_config
from jaxgan.runs.images import save_image


@pytest.fixture
def pictures(tmp_path):
    """A folder of 20 images that are in no classes."""
    for index, image in enumerate(np.random.default_rng(0).integers(256, size=(20, 32, 32), dtype=np.uint8)):
        save_image(tmp_path / "pictures" / f"{index:02}.png", image)
    return tmp_path / "pictures"


def test_without_labels_the_way_out_is_named(pictures, tmp_path, monkeypatch):
    run = types.SimpleNamespace(folder=tmp_path, experiment=gan, config=gan.Config(dataset=f"folder:{pictures}"))
    monkeypatch.setattr(evaluate, "open_run", lambda folder, experiments, **options: run)
    config = evaluate.Config(run="RUN")
    with pytest.raises(ValueError, match=r"folder:.* has no labels to train a classifier on: .*--features inception"):
        evaluate.main(config)

    def refuse(url, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(OSError, match=r"the FID Inception weights are not in .* and cannot be downloaded"):
        evaluate.main(replace(config, features="inception"))
    with pytest.raises(ValueError, match=r"features='pixels' is not available for .*, a run of gan"):
        evaluate.main(replace(config, features="pixels"))
    run.experiment, run.config = text_to_image, text_to_image.Config()
    with pytest.raises(ValueError, match=r"features='inception' is not available for .*, a run of text_to_image"):
        evaluate.main(replace(config, features="inception"))


def quarters(images):
    return images.reshape(len(images), 4, -1).mean(axis=2)


def classifier(images, labels):
    shares = lambda images: (quarters(images) / quarters(images).sum(axis=1, keepdims=True),)
    return TrainedClassifier(shares, quarters, "w")


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A run at step 200 whose samples are noise, scored by the means of their quarters: nothing is trained."""
    (tmp_path / "run").mkdir()

    def sample(inputs):
        return {"samples": np.tanh(np.random.default_rng(3).normal(size=(len(inputs["latents"]), 8, 8, 1)))}

    run = types.SimpleNamespace(
        folder=tmp_path / "run",
        experiment=gan,
        config=gan.Config(dataset="noise", image_size=8, channels=1),
        state=types.SimpleNamespace(ema_params=None),
        step=200,
        outputs=sample,
    )
    monkeypatch.setattr(evaluate, "open_run", lambda folder, experiments, **options: run)
    monkeypatch.setattr(feature_extractors, "train_classifier", classifier)
    return run


CONFIG = evaluate.Config(run="run", num_samples=50)


def test_scores_are_kept_and_printed_with_their_spread(opened, tmp_path, capsys):
    scores = evaluate.main(CONFIG)
    record = json.loads((opened.folder / "scores.jsonl").read_text())
    assert record["scores"] == scores and scores["classifier_kernel_std"] > 0.0
    sizes = {"subset_seed": 0, "subset_size": 10_000, "pixel_subset_size": 1000, "kernel_subset_size": 50}
    assert sizes.items() <= record["stamp"].items()
    printed = capsys.readouterr().out
    assert "the kernel distance is of subsets of 50 samples, not 1,000" in printed
    assert evaluate._readable(3.21e-7).strip() == "3.21e-07" and evaluate._readable(0.0123456).strip() == "0.01235"
    evaluate.main(replace(CONFIG, against=str(opened.folder), output=str(tmp_path / "new" / "scores.jsonl")))
    assert capsys.readouterr().out.count(evaluate._readable(scores["nearest"])) == 2
    assert (tmp_path / "new" / "scores.jsonl").read_text().count("\n") == 1


def test_a_broken_model_has_no_scores(opened):
    """NaN became black images, of which the Frechet distance was .03 and the precision 1."""

    def sample(inputs):
        samples = np.zeros((len(inputs["latents"]), 8, 8, 1))
        samples[::3, 2, 2] = np.nan
        return {"samples": samples}

    opened.outputs = sample
    with pytest.raises(
        ValueError, match=r"^checkpoint 200 of .*run generated 17 of 50 samples that are not finite \(NaN or"
    ):
        evaluate.main(CONFIG)
    assert not list(opened.folder.iterdir())


def test_weights_that_are_not_finite_draw_nothing(tmp_path, monkeypatch):
    config = gan.Config(width=4, dataset="noise", batch_size=4)
    batch = {"image": np.zeros((4, 32, 32, 1), np.float32)}
    state = jax.eval_shape(gan.build(config).init, jax.random.key(0), batch).replace(key=jax.random.key(0))
    whole = lambda leaf: np.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
    broken = jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan, leaf.dtype), state.ema_params)
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        checkpoints.save(7, jax.tree.map(whole, state.replace(ema_params=broken)))
    save_config(config, tmp_path / "run", batch, size=1024)
    monkeypatch.setattr(feature_extractors, "train_classifier", classifier)
    run, output = str(tmp_path / "run"), str(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"run at step 7: 6 of 6 samples are not finite"):
        sample.main(sample.Config(run=run, count=6, output=output))
    with pytest.raises(ValueError, match=r"^checkpoint 7 of .*run generated 6 of 6 samples that are not finite"):
        evaluate.main(evaluate.Config(run=run, num_samples=6))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "config.json"]
    assert not (tmp_path / "x.png").exists()


def test_where_scores_cannot_be_added_nothing_is_computed(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "_evaluation", lambda run, config: pytest.fail("computed"))
    mine = tmp_path / "mine.txt"
    mine.write_text("")
    (opened.folder / "scores.jsonl").symlink_to(mine)
    for output, reason in (
        (None, "is a link or not a regular file"),
        (tmp_path, "Is a directory"),
        (mine / "x", "File ex"),
    ):
        with pytest.raises(ValueError, match=rf"scores cannot be appended to .* \({reason}.*give --output FILE"):
            evaluate.main(replace(CONFIG, output=output and str(output)))
    assert mine.read_text() == ""


def test_scores_are_added_to_nothing_but_scores(opened, tmp_path, monkeypatch):
    """A line went to the end of whatever file was named: a run's config.json, a note, an image."""
    evaluate.main(CONFIG)
    line = (opened.folder / "scores.jsonl").read_text()
    config = replace(CONFIG, output=str(tmp_path / "mine"))
    for content, lines in ((b"", 1), (line.encode(), 2), (line.strip().encode(), 2), (line.encode() * 2, 3)):
        (tmp_path / "mine").write_bytes(content)
        evaluate.main(config)
        assert (tmp_path / "mine").read_text() == line * lines
    monkeypatch.setattr(evaluate, "open_run", lambda *arguments, **options: pytest.fail("opened"))
    for content, reason in (
        (b"buy milk\n", "line 1 is not valid JSON"),
        (b'{"experiment": "gan"}', 'line 1 is not an object with "scores" and "stamp"'),
        (line.encode() + b"buy milk", "line 2 is not valid JSON"),
        (line.encode() + b"\n", "line 2 is not valid JSON"),
        (b"[" * 100_000, "line 1 is not valid JSON"),
        (b"\n", "line 1 is not valid JSON"),
        (b"3", "line 1 is not an object"),
        (b"9" * 5000, "digits"),
        (b"\x89PNG\r\n\x1a\n", "is not valid UTF-8"),
    ):
        (tmp_path / "mine").write_bytes(content)
        with pytest.raises(ValueError, match=rf"mine is not a file of scores \(.*{reason}.*another --output$"):
            evaluate.main(config)
        assert (tmp_path / "mine").read_bytes() == content


def test_scores_of_another_number_of_samples_are_refused_before_anything_is_computed(opened, pictures, monkeypatch):
    evaluate.main(CONFIG)
    monkeypatch.setattr(evaluate, "_evaluation", lambda run, config: pytest.fail("computed"))
    against = str(opened.folder)
    for number, other in ((20, 20), (None, 50), (60, 50)):
        with pytest.raises(ValueError, match=rf"fake_count {number or 1000} and 50: .* --num-samples {other}$"):
            evaluate.main(replace(CONFIG, num_samples=number, against=against))
    monkeypatch.setattr(evaluate, "compare_folders", lambda *arguments, **options: pytest.fail("computed"))
    for number in (None, 10):  # there are 20
        with pytest.raises(ValueError, match=rf"fake_count {number or 20} and 50: .* --num-samples {number or 20}$"):
            evaluate.main(
                evaluate.Config(pictures=str(pictures), reference=str(pictures), num_samples=number, against=against)
            )


def test_scores_are_printed_where_they_cannot_be_kept_after_all(opened, monkeypatch, capsys):
    def full(path, text, inside=None):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(evaluate.files, "append", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate.main(CONFIG)
    assert "classifier_precision" in capsys.readouterr().out


def test_other_scores_that_are_none(opened, tmp_path, monkeypatch):
    evaluate.main(CONFIG)
    whole = json.loads((opened.folder / "scores.jsonl").read_text())
    monkeypatch.setattr(evaluate, "_evaluation", lambda run, config: pytest.fail("computed"))
    older = {name: value for name, value in whole["stamp"].items() if "subset" not in name}
    file = tmp_path / "others.jsonl"
    for record, reason in (
        (whole | {"stamp": older}, "its stamp has no subset_seed, subset_size, .*: it is from an earlier version"),
        (whole | {"stamp": whole["stamp"] | {"step": "200"}}, "step is '200', not int"),
        (whole | {"stamp": None}, "a stamp is an object"),
        (
            whole | {"stamp": {n: v for n, v in whole["stamp"].items() if n != "real_digest"}},
            "its stamp has no real_digest",
        ),
        (whole | {"scores": [1.0]}, "not an object with"),
        (whole | {"scores": {"fid": "3"}}, "the score fid is '3', not a number"),
        (whole | {"scores": {"fid": float("nan")}}, "NaN is not a finite number"),
        (whole | {"scores": {"fid": [3.0]}}, r"the score fid is '\[3.0\]', not a number"),
        (whole | {"scores": {"fid": 10**400}}, "too large"),
        ([whole], "not an object with"),
        ("scores", "not an object with"),
    ):
        file.write_text(json.dumps(record) + "\n")
        with pytest.raises(ValueError, match=rf"others.jsonl has no scores to compare with \(.*{reason}.*evaluate it"):
            evaluate.main(replace(CONFIG, against=str(file)))
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"others.jsonl has no scores to compare with"):
            evaluate.main(replace(CONFIG, against=str(file)))


@pytest.mark.slow
def test_by_inception_with_random_weights(pictures, tmp_path, tensors, monkeypatch, capsys):  # noqa: F811
    """The whole network, on smaller images than its own; samples of a run that has seen one batch are no images."""
    run = str(tmp_path / "run")
    options = {"width": 8, "num_steps": 1, "batch_size": 4, "num_devices": 1}
    gan.main(gan.Config(dataset=f"folder:{pictures}", workdir=run, **options))
    monkeypatch.setattr(inception, "read_torch_weights", lambda file: tensors)
    monkeypatch.setattr(inception, "SIZE", 75)
    network = {"features": "inception", "inception_weights": "named.pth", "resizer": "legacy"}
    scores = evaluate.main(evaluate.Config(run=run, num_samples=10, test_split="train", **network))
    assert "with 10 samples and 2048 features" in capsys.readouterr().out
    assert scores["fid"] > 0.0 and 1.0 <= scores["inception_score"] <= 5.0
    assert scores["inception_recall"] == scores["inception_coverage"] == 0.0
    stamp = json.loads((tmp_path / "run" / "scores.jsonl").read_text())["stamp"]
    assert (stamp["features"], stamp["resizer"], len(stamp["feature_weights"])) == ("inception", "legacy", 64)
    # The images that the run was shown, against themselves.
    scores = evaluate.main(evaluate.Config(pictures=str(pictures), reference=str(pictures), **network))
    assert scores["fid"] == pytest.approx(0.0, abs=1e-3) and scores["inception_precision"] == 1.0
    assert 1.0 <= scores["inception_score"] <= 10.0
