"""benchmarks.fine_tuning: which images each run is given, with which flags, and the table of distances."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import fine_tuning


@pytest.fixture
def started(monkeypatch):
    """The runs that were started, in place of training; samples and features are one number for each image."""
    labels = np.arange(40) % 10
    rows = {"image": np.arange(40.0)[:, None, None, None], "label": labels}
    commands = []
    monkeypatch.setattr(fine_tuning, "images", lambda *_, **__: rows)
    monkeypatch.setattr(fine_tuning, "trained", lambda run, *flags: commands.append((run.name, flags)))
    classifier = SimpleNamespace(features=lambda images: np.asarray(images).reshape(len(images), -1))
    monkeypatch.setattr(fine_tuning, "train_classifier", lambda *_: classifier)
    sample = lambda seed, count: np.full((count, 1, 1, 1), 20.0 + seed)
    monkeypatch.setattr(fine_tuning, "restore", lambda _: SimpleNamespace(sample=sample))
    monkeypatch.setattr(fine_tuning, "frechet_distance", lambda real, fake: abs(real.mean() - fake.mean()))
    return commands


def test_rows_flags_and_table(tmp_path, started, capsys):
    arguments = ["--num-images", "3", "--num-steps", "7", "--num-seeds", "2", "--freeze-d", "2"]
    fine_tuning.main([*arguments, "--runs", str(tmp_path)])
    with np.load(tmp_path / "eight.npz") as eight, np.load(tmp_path / "two.npz") as two:
        assert (eight["image"] % 10).max() == 7 and len(eight["image"]) == 32
        assert two["image"].ravel().tolist() == [8, 9, 18]  # the first three of classes 8 and 9

    first, *rest = started
    assert first == ("eight", ("--dataset", tmp_path / "eight.npz"))
    assert [flags[:6] for _, flags in rest] == 3 * [
        ("--dataset", tmp_path / "two.npz", "--num-steps", 7, "--seed", seed) for seed in (0, 1)
    ]
    extra = ("--init-from", tmp_path / "eight")
    assert [flags[6:] for _, flags in rest[::2]] == [(), extra, (*extra, "--freeze-d", 2)]
    # Real images of classes 8 and 9 have the mean 23.5, the samples 20 and 21.
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split("|")[2:] for line in lines] == 3 * [[" 3.00 ", " 0.71 ", " 3.50 ", ""]]


def test_a_run_that_fails_ends_it_with_its_status(tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=130))
    with pytest.raises(SystemExit) as stop:
        fine_tuning.trained(tmp_path / "run")
    assert stop.value.code == 130
