"""benchmarks.seeds: its table, what it runs, and what it does not run again."""

import json
import subprocess
import sys

import pytest

from benchmarks import seeds


def finished(folder, **scores):
    folder.mkdir(parents=True)
    (folder / "scores.jsonl").write_text(json.dumps({"scores": scores, "stamp": {}}) + "\n")
    (folder / "seconds.log").write_text("10.0\n")


def test_mean_standard_deviation_and_worst():
    """Of 10 and 14: mean 12, standard deviation sqrt(((10 - 12)^2 + (14 - 12)^2) / 1) = 2.828."""
    found = [{"fid": 10.0, "coverage": 0.5, "seconds": 3.0}, {"fid": 14.0, "coverage": 0.7, "seconds": 2.0}]
    assert seeds.table(found)[2:] == [
        "| fid | 12 | 2.828 | 14 |",
        "| coverage | 0.6 | 0.1414 | 0.5 |",
        "| seconds | 2.5 | 0.7071 | 3 |",
    ]
    assert seeds.table(found[:1])[2] == "| fid | 10 | 0 | 10 |"


def test_only_missing_seeds_are_trained(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "gan-split=train[:9]"
    finished(folder / "seed-0", coverage=0.5)
    started = []

    def run(command, **_):
        started.append(command[1:])
        if "experiments.evaluate" in command:
            (folder / "seed-1").mkdir(exist_ok=True)
            (folder / "seed-1/scores.jsonl").write_text('{"scores": {"coverage": 0.7}, "stamp": {}}\n')
        else:
            (folder / "seed-1").mkdir()

    monkeypatch.setattr(subprocess, "run", run)
    seeds.main(["gan", "--split=train[:9]", "--num-seeds", "2", "--runs", str(tmp_path)])
    place = str(folder / "seed-1")
    assert started == [
        ["-m", "experiments.gan", "--split=train[:9]", "--seed", "1", "--workdir", place],
        ["-m", "experiments.evaluate", "--run", place],
    ]
    assert "| coverage | 0.6 | 0.1414 | 0.5 |" in capsys.readouterr().out


def test_points_have_the_scores_of_their_last_metrics(tmp_path, capsys):
    flags = ["gaussians_2d", "--num-steps", "4", "--width", "8", "--num-seeds", "1", "--runs", str(tmp_path)]
    seeds.main(flags)
    (run,) = tmp_path.glob("*/seed-0")
    before = capsys.readouterr().out
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"| high_quality | {last['high_quality']:.4g} | 0 |" in before and "d_loss" not in before
    seeds.main(flags)
    assert capsys.readouterr().out == before


def test_a_run_that_fails_ends_it_with_its_status(tmp_path, monkeypatch):
    def run(*_, **__):
        raise subprocess.CalledProcessError(2, [sys.executable])

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit) as stop:
        seeds.main(["gan", "--runs", str(tmp_path)])
    assert stop.value.code == 2
    with pytest.raises(SystemExit) as stop:
        seeds.main(["gan", "--num-seeds", "0"])
    assert stop.value.code == 2
