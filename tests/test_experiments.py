"""Each experiment in this process: width 8, three steps, its own build, data and main; and what becomes of the run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import evaluate, gan, gaussians_2d, wgan_gp

TINY = {"num_steps": 3, "batch_size": 4, "num_devices": 1}


@pytest.mark.parametrize("data", ["ring", "grid", "swiss_roll"])
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


@pytest.mark.parametrize("experiment", [gan, wgan_gp])
def test_image_experiments_on_noise(experiment, tmp_path, capsys):
    config = experiment.Config(workdir=str(tmp_path), dataset="noise", channels=3, width=8, **TINY)
    metrics = experiment.main(config)
    assert np.isfinite(metrics["d_loss"])
    assert metrics["penalty"] > 0
    assert ("wasserstein_estimate" in metrics) == (experiment is wgan_gp)
    assert f"samples: {tmp_path / 'samples' / '00000003.png'}" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["experiment"] == config.experiment


@pytest.mark.parametrize("experiment", [gan, wgan_gp])
def test_every_preset_is_a_configuration(experiment):
    for preset in experiment.Config.presets:
        config = experiment.Config.from_preset(preset)
        assert config.preset == preset
        experiment.build(config)


def test_papers_settings():
    """Read off the authors' code: soumith/dcgan.torch main.lua and igul222/improved_wgan_training gan_mnist.py."""
    dcgan = gan.Config.from_preset("paper")
    assert (dcgan.g_learning_rate, dcgan.b1, dcgan.latent_dim, dcgan.batch_size) == (2e-4, 0.5, 100, 64)
    critic = wgan_gp.Config.from_preset("paper")
    assert (critic.learning_rate, critic.b1, critic.b2, critic.n_critic, critic.penalty_weight) == (
        1e-4,
        0.5,
        0.9,
        5,
        10,
    )
    assert (critic.width, critic.batch_size, critic.num_steps) == (64, 50, 200_000)


def test_from_the_command_line_to_a_score(tmp_path):
    """The one test that starts processes, as a person does: train, then evaluate the run."""
    data_dir, run = str(tmp_path / "data"), str(tmp_path / "run")
    start = lambda *command: subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False
    )
    small = ["--width", "8", "--num-steps", "2", "--batch-size", "8", "--data-dir", data_dir]
    trained = start("experiments.gan", *small, "--workdir", run)
    assert trained.returncode == 0, trained.stderr
    assert f"samples: {run}/samples/00000002.png" in trained.stdout
    refused = start("experiments.gan", *small, "--workdir", run, "--loss", "hinge")
    assert refused.returncode == 2
    assert "loss was 'non_saturating', is 'hinge'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_evaluate(tmp_path, capsys, monkeypatch):
    gan.main(gan.Config(workdir=str(tmp_path / "run"), width=8, data_dir=str(tmp_path / "data"), **TINY))
    # The classifier has its own test; here anything that gives probabilities will do.
    predict = lambda images: np.eye(10)[images[:, 0, 0, 0] % 10]
    monkeypatch.setattr(evaluate, "train_classifier", lambda images, labels: predict)
    scores = evaluate.main(evaluate.Config(run=str(tmp_path / "run"), num_samples=30))
    assert scores["confident"] == 1.0
    assert sum(share for name, share in scores.items() if name.startswith("class_")) == pytest.approx(1.0)
    assert "at step 3" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="there are steps 3"):
        evaluate.main(evaluate.Config(run=str(tmp_path / "run"), checkpoint="100"))
    with pytest.raises(ValueError, match="num_samples=0"):
        evaluate.main(evaluate.Config(run=str(tmp_path / "run"), num_samples=0))
