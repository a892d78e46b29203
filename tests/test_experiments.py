"""Each experiment in this process: width 8, three steps, its own build, data and main; and what becomes of the run."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_pairs
from PIL import Image

from experiments import (
    cyclegan,
    evaluate,
    gan,
    gaussians_2d,
    pix2pix,
    relativistic,
    sample,
    sngan,
    text_to_image,
    translate,
    wgan,
    wgan_gp,
)
from jaxgan.runs.config import save_config
from jaxgan.runs.open_run import open_run, restore

TINY = {"num_steps": 3, "batch_size": 4, "num_devices": 1}


@pytest.mark.parametrize("data", ["ring", "swiss_roll"])
def test_gaussians_2d(data, tmp_path, capsys):
    metrics = gaussians_2d.main(gaussians_2d.Config(workdir=str(tmp_path), data=data, width=8, **TINY))
    assert 0 <= metrics["high_quality"] <= 1
    assert (tmp_path / "samples/00000003.png").exists()
    printed = capsys.readouterr().out
    assert "within 3 standard deviations" in printed
    assert ("modes:" in printed) == (data != "swiss_roll")


def test_gaussians_2d_data_has_the_modes_it_says():
    for data, modes in (("ring", 8), ("grid", 25)):
        config = gaussians_2d.Config(data=data)
        scores = gaussians_2d.mode_coverage(gaussians_2d.points(config, 2500), *gaussians_2d.modes(data))
        assert scores["modes"] == modes
        assert scores["high_quality"] == pytest.approx(1 - np.exp(-4.5), abs=0.01)  # Rayleigh: 98.9% within 3 std


NARROW = {
    sngan: {"g_width": 4, "d_width": 4, "n_critic": 2},
    relativistic: {"image_size": 8, "widths": (8, 8), "group_size": 8},
}
NARROW |= {experiment: {"width": 4, "n_critic": 2} for experiment in (wgan, wgan_gp)}


def tiny(experiment, folder, **changes):
    width = NARROW.get(experiment, {"width": 8})
    return experiment.Config(workdir=str(folder), dataset="noise", channels=3, **width, **TINY, **changes)


@pytest.mark.parametrize(
    "experiment", [relativistic, wgan_gp, *(pytest.param(one, marks=pytest.mark.slow) for one in (sngan, wgan))]
)
def test_image_experiments_on_noise(experiment, tmp_path, capsys):
    config = tiny(experiment, tmp_path)
    metrics = experiment.main(config)
    assert np.isfinite(metrics["d_loss"])
    assert ("penalty" in metrics) == (experiment in (relativistic, wgan_gp))
    assert ("wasserstein_estimate" in metrics) == (experiment in (wgan, wgan_gp))
    assert f"samples: {tmp_path / 'samples' / '00000003.png'}" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["experiment"] == config.experiment


def test_cyclegan_on_noise(tmp_path):
    options = {"dataset": "noise", "dataset_b": "noise", "split_b": "test", "width": 4, "d_width": 4, "blocks": 1}
    metrics = cyclegan.main(cyclegan.Config(workdir=str(tmp_path), **options, **TINY))
    assert metrics["g_loss"] == pytest.approx(
        sum(metrics[f"{term}"] for term in ("adversarial_a_to_b", "adversarial_b_to_a", "cycle_loss", "identity_loss")),
        rel=1e-5,
    )
    columns = ["a", "a_to_b", "a_to_b_to_a", "a_identity", "b", "b_to_a", "b_to_a_to_b", "b_identity"]
    assert json.loads((tmp_path / "samples/labels.json").read_text())["columns"] == columns
    with pytest.raises(ValueError, match="loss=wasserstein needs"):
        cyclegan.Config(loss="wasserstein")
    cyclegan.build(cyclegan.Config(loss="wasserstein", gradient_penalty=10.0))


def test_pix2pix_from_files_side_by_side_to_translations(tmp_path, capsys):
    data, folder = tmp_path / "data", tmp_path / "run"
    for split, count in (("train", 4), ("val", 3)):
        for number in range(count):
            test_pairs.numbered(data / split / f"{number}.png", number, size=(20, 40))
    sizes = {"width": 4, "d_width": 4, "levels": 2, "patch_layers": 1, "image_size": 16, "load_size": 20, "flip": True}
    options = {"dataset": f"pairs:{data}", "direction": "b_to_a", "dropout": 0.5, **sizes, **TINY}
    metrics = pix2pix.main(pix2pix.Config(workdir=str(folder), **options))
    assert metrics["g_loss"] == pytest.approx(metrics["adversarial"] + 100.0 * metrics["l1"], rel=1e-5)
    assert json.loads((folder / "samples/labels.json").read_text())["columns"] == ["b", "b_to_a", "a", "difference"]
    assert "difference" in (folder / "report.html").read_text()
    restored = restore(folder)
    assert restored.step == 3 and "b" in restored.outputs({"b": np.zeros((1, 16, 16, 3), np.float32)})

    scores = evaluate.main(evaluate.Config(run=str(folder), test_split="val"))
    assert {"b_to_a_l1", "b_to_a_psnr", "b_to_a_ssim", "b_to_a_unchanged_l1"} <= scores.keys()
    assert not [name for name in scores if name.startswith("a_to_b") or "cycle" in name]
    outputs = []
    for noise in (None, 0, 1):
        config = translate.Config(run=str(folder), input=str(data / "val"), output=str(tmp_path / "out"), noise=noise)
        outputs.append(np.asarray(Image.open(translate.main(config) / "0.png")))
    assert outputs[0].shape == (20, 40, 3)
    assert len({output.tobytes() for output in outputs}) == 3
    assert "direction   b_to_a" in capsys.readouterr().out
    with pytest.raises(ValueError, match="translates b_to_a alone: leave --direction out"):
        translate.main(dataclasses.replace(config, direction="a_to_b"))


@pytest.fixture(scope="module")
def captioned_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioned")
    for row, colour in enumerate(["red", "green", "blue", "white"] * 2):
        Image.new("RGB", (32, 32), colour).save(folder / f"{row}.png")
        (folder / f"{row}.txt").write_text(f"a {colour} picture\n{colour} all over\n")
    return folder


def test_text_to_image_of_a_folder(captioned_folder, tmp_path, capsys):
    options = {"dataset": f"folder:{captioned_folder}", "width": 4, **TINY}
    metrics = text_to_image.main(text_to_image.Config(workdir=str(tmp_path), **options))
    assert np.isfinite([metrics[name] for name in ("d_loss", "g_loss", "mismatched_score", "mode_seeking")]).all()
    assert "red" in (tmp_path / "vocabulary.json").read_text()
    with Image.open(tmp_path / "samples/00000003.png") as picture:
        assert picture.width > 2 * 66 + 50  # prompts stand to the left of two columns
    # Two prompts, the same latents: what is drawn depends on the prompt alone, and twice the same.
    asked = sample.Config(run=str(tmp_path), prompt=("a red picture", "blue purple"), count=3, same_latents=True)
    first = sample.main(asked).read_bytes()
    assert "unknown words: purple" in capsys.readouterr().out
    assert sample.main(asked).read_bytes() == first
    restored = restore(tmp_path)
    with pytest.warns(UserWarning, match="unknown words: purple"):
        two = restored.sample(0, prompt=["a red picture", "blue purple"])
    assert (two.dtype, two.shape) == (np.uint8, (2, 32, 32, 3))
    latents = np.asarray(jax.random.normal(jax.random.key(0), (2, 32)))
    np.testing.assert_array_equal(restored.sample(latents[:1], prompt="a red picture"), two[:1])
    with pytest.raises(ValueError, match="give a prompt"):
        restored.sample()
    images = sample.main(dataclasses.replace(asked, kind="images", output=str(tmp_path / "out")))
    assert len(list(images.glob("*.png"))) == 6 and (images / "00003.txt").read_text() == "blue purple\n"
    with pytest.raises(ValueError, match="give --prompt"):
        sample.main(sample.Config(run=str(tmp_path)))
    with pytest.raises(ValueError, match="it has no --label"):
        sample.main(sample.Config(run=str(tmp_path), prompt=("red",), label=("1",)))

    with pytest.raises(ValueError, match=r"vocabulary_size=5 is too small for the words of .*: give 10 or more"):
        text_to_image.main(text_to_image.Config(workdir=str(tmp_path / "b"), **options, vocabulary_size=5))
    assert not (tmp_path / "b").exists()
    with pytest.raises(ValueError, match="captions wrong"):
        text_to_image.Config(flip=True)


def test_an_f_gan_and_augmentation_by_flag(tmp_path):
    options = {"loss": "f_gan", "divergence": "squared_hellinger", "r1": 0.0, "augment": "ada:color,translation,cutout"}
    metrics = gan.main(tiny(gan, tmp_path, **options))
    assert metrics["d_loss"] == pytest.approx(-metrics["divergence_estimate"], rel=1e-5)
    assert 0 <= metrics["augment_probability"] <= 3 * 4 / 500_000
    with pytest.raises(ValueError, match="unknown augmentation 'colour'"):
        gan.build(tiny(gan, tmp_path, augment="colour"))


def test_the_critic_of_wgan_has_its_head_start():
    config = tiny(wgan, "unused", head_start=2)
    run, data = wgan.build(config), wgan.batches(config)
    state = run.init(jax.random.key(0), data(0)[0])
    moved = []
    for step in range(4):
        after, _ = run.train_step(state, data(step))
        same = jax.tree.map(np.array_equal, after.generator.params, state.generator.params)
        moved.append(not all(jax.tree.leaves(same)))
        state = after
    assert moved == [False, False, True, True]


def test_the_schedules_of_r3gan():
    """Half a cosine from first to last value over the share `anneal`, then constant."""
    config = tiny(relativistic, "unused", anneal=0.5, gamma=1.0, last_gamma=0.5)
    config = dataclasses.replace(config, num_steps=8, image_size=8, widths=(8, 8))
    run, data = relativistic.build(config), relativistic.batches(config)
    plain = relativistic.build(dataclasses.replace(config, gamma=0.0, last_gamma=0.0))
    start = run.init(jax.random.key(0), data(0)[0])
    for step in (0, 2, 4, 7):
        share = 0.5 * (1 + np.cos(np.pi * min(step / 4, 1)))
        state = start.replace(discriminator=start.discriminator.replace(step=jnp.int32(step)))
        with_penalty, without = (gan.d_step(state, data(0)[0])[1] for gan in (run, plain))
        gamma = float((with_penalty["d_loss"] - without["d_loss"]) / with_penalty["penalty"])
        assert gamma == pytest.approx(0.5 + 0.5 * share, rel=1e-2)
    for step in range(6):
        start, metrics = run.train_step(start, data(step))
        share = 0.5 * (1 + np.cos(np.pi * min(step / 4, 1)))
        assert float(metrics["g_learning_rate"]) == pytest.approx(1e-4 + 19e-4 * share, rel=1e-4)
        assert float(metrics["d_learning_rate"]) == float(metrics["g_learning_rate"])


@pytest.mark.parametrize("kind", ["grid", "images", "interpolation", "walk"])
def test_sample(kind, tmp_path, capsys, finished_run):
    output = str(tmp_path / f"a{sample.ENDINGS[kind][0]}")
    output = sample.main(sample.Config(run=finished_run, kind=kind, count=2, truncation=0.5, output=output))
    assert "at step 3, EMA weights" in capsys.readouterr().out
    if kind == "images":
        assert sorted(path.name for path in output.iterdir()) == ["00000.png", "00001.png"]
        return
    with Image.open(output) as picture:
        assert getattr(picture, "n_frames", 1) == (2 * sample.FRAMES if kind == "walk" else 1)
        if kind == "interpolation":
            assert picture.width > 4 * picture.height


@pytest.mark.parametrize("kind", ["grid", "interpolation", "walk"])
def test_the_ending_of_a_picture_is_what_it_holds(kind, tmp_path, monkeypatch):
    """The bytes of a PNG went into x.jpg."""
    monkeypatch.setattr(sample, "open_run", lambda *arguments, **options: pytest.fail("opened"))
    for name in ("x.jpg", "x", ".png", "x.gif" if kind != "walk" else "x.png"):
        with pytest.raises(ValueError, match=r"with --kind \w+ it must end in (\.png|\.gif or \.webp)$"):
            sample.main(sample.Config(run="r", kind=kind, output=str(tmp_path / name)))
    assert not list(tmp_path.iterdir())


def test_rows_of_an_interpolation_for_each_label():
    """The count was ignored where there are labels."""
    config = sample.Config(run="r", kind="interpolation", count=3)
    assert (sample._count(config, 0), sample._count(config, 2), sample._count(config, 3)) == (3, 3, 3)
    assert [sample._count(dataclasses.replace(config, count=None), number) for number in (0, 2, 10)] == [10, 1, 1]
    with pytest.raises(ValueError, match="count=3: at most 2 per label or prompt with --kind interpolation"):
        sample._count(config, 4)
    rows = sample._latents(config, 5, 6, 3)  # two labels
    assert rows.shape == (6, sample.STEPS, 5) and len(np.unique(rows[:, 0], axis=0)) == 6
    same = sample._latents(dataclasses.replace(config, same_latents=True), 5, 6, 3)
    np.testing.assert_array_equal(same[:3], same[3:])
    np.testing.assert_array_equal(same[:3], sample._latents(config, 5, 0, 3))
    assert len(np.unique(same[:, 0], axis=0)) == 3


def test_a_run_that_draws_points_has_no_pictures(tmp_path):
    save_config(gaussians_2d.Config(), tmp_path, {}, size=1)
    with pytest.raises(ValueError, match="generates points, not images"):
        sample.main(sample.Config(run=str(tmp_path)))


def test_a_file_without_prompts(tmp_path):
    (tmp_path / "words.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match=r"words.txt has no prompts"):
        sample._conditions(None, sample.Config(run="r", prompts=str(tmp_path / "words.txt")))


def test_sample_refuses(finished_run):
    with pytest.raises(ValueError, match="count=101"):
        sample.main(sample.Config(run=finished_run, count=101))
    with pytest.raises(ValueError, match="truncation=0"):
        sample.main(sample.Config(run=finished_run, truncation=0.0))


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    gan.main(tiny(gan, folder))
    return str(folder)


def test_a_command_trains(tmp_path):
    """The one experiment that is started as a person does it, in a process of its own."""
    run = str(tmp_path / "run")
    small = ["--dataset", "noise", "--width", "4", "--num-steps", "2", "--batch-size", "4", "--num-devices", "1"]
    trained = subprocess.run(
        [sys.executable, "-m", "experiments.gan", *small, "--workdir", run],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert f"samples: {run}/samples/00000002.png" in trained.stdout


def test_evaluate(tmp_path, finished_run, capsys):
    for name in ("run", "other"):
        shutil.copytree(finished_run, tmp_path / name)
    scores = evaluate.main(evaluate.Config(run=str(tmp_path / "run"), num_samples=30))
    assert sum(share for name, share in scores.items() if name.startswith("class_")) == pytest.approx(1.0)
    assert "at step 3" in capsys.readouterr().out
    record = json.loads((tmp_path / "run" / "scores.jsonl").read_text())
    assert record["scores"] == scores
    assert len(record["stamp"].pop("real_digest")) == 32
    assert record["stamp"] | {"feature_weights": ""} == {
        "dataset": "noise",
        "split": "test",
        "real_count": 256,
        "fake_count": 30,
        "image_size": 32,
        "features": "classifier",
        "feature_weights": "",
        "resizer": "none",
        "quantized": True,
        "averaged": True,
        "step": 3,
        "subset_seed": 0,
        "subset_size": 10_000,
        "pixel_subset_size": 1000,
        "kernel_subset_size": 30,
    }
    evaluate.main(evaluate.Config(run=str(tmp_path / "other"), num_samples=30, against=str(tmp_path / "run")))
    with pytest.raises(ValueError, match="cannot be compared: fake_count 20 and 30"):
        evaluate.main(evaluate.Config(run=str(tmp_path / "other"), num_samples=20, against=str(tmp_path / "run")))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "scores.jsonl").write_text('{"scores": {}, "stamp": {"colour": 1}}\n')
    with pytest.raises(ValueError, match="has no scores"):
        evaluate.main(evaluate.Config(run=str(tmp_path / "run"), num_samples=20, against=str(tmp_path / "broken")))
    with pytest.raises(ValueError, match="no split 'dev'"):
        evaluate.main(evaluate.Config(run=str(tmp_path / "run"), num_samples=20, test_split="dev"))
    with pytest.raises(ValueError, match="has no scores"):
        evaluate.main(evaluate.Config(run=str(tmp_path / "run"), num_samples=20, against=str(tmp_path / "none")))
    with pytest.raises(RuntimeError, match="there are steps 3"):
        evaluate.main(evaluate.Config(run=str(tmp_path / "run"), checkpoint="100"))
    with pytest.raises(ValueError, match="num_samples=0: expected"):
        evaluate.main(evaluate.Config(run=str(tmp_path / "run"), num_samples=0))


@pytest.mark.slow
def test_the_largest_singular_values_are_1_after_a_run(tmp_path):
    sngan.main(dataclasses.replace(tiny(sngan, tmp_path), num_steps=300, batch_size=16))
    d = open_run(tmp_path, sample.EXPERIMENTS).state.discriminator
    kernels = {path[:-1]: leaf for path, leaf in jax.tree.leaves_with_path(d.params) if path[-1].key == "kernel"}
    vectors = {path[:-1]: leaf for path, leaf in jax.tree.leaves_with_path(d.model_state["spectral"])}
    assert len(vectors) == 11 and vectors.keys() <= kernels.keys()
    for path, u in vectors.items():
        matrix = np.asarray(kernels[path], np.float64).reshape(-1, u.shape[0])
        largest = np.linalg.svd(matrix / np.linalg.norm(matrix @ np.asarray(u)), compute_uv=False)[0]
        assert largest == pytest.approx(1.0, rel=0.05), path
