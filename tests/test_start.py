import os
import sys

import pytest

from jaxgan.runs import cli
from jaxgan.runs.config import RunConfig
from jaxgan.runs.lock import Lock
from jaxgan.runs.start import refuse_foreign, refuse_unusable, set_aside


@pytest.mark.parametrize("name", [".DS_Store", ".gitignore", ".lock", "slurm-12.out", "12.err", "nohup.out", "log.txt"])
def test_a_folder_of_hidden_files_and_logs_is_as_good_as_empty(tmp_path, name):
    (tmp_path / name).write_text("")
    refuse_foreign(tmp_path)
    refuse_foreign(tmp_path / "absent")


def test_so_is_one_with_what_this_process_prints(tmp_path, monkeypatch):
    with (tmp_path / "mine.txt").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        refuse_foreign(tmp_path)
    with pytest.raises(ValueError, match=r"mine\.txt"):
        refuse_foreign(tmp_path)


@pytest.mark.parametrize(
    "name", ["a.png", "metrics.jsonl", "catalog.txt", "samples/", ".git/", "x.log/", "checkpoints/"]
)
def test_anything_else_is_somebody_s(tmp_path, name):
    path = tmp_path / name
    path.mkdir() if name.endswith("/") else path.write_text("")
    with pytest.raises(ValueError, match=f"holds {path.name}, but no run"):
        refuse_foreign(tmp_path)


def test_checkpoints_without_their_configuration_are_named(tmp_path):
    (tmp_path / "checkpoints/20").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"its config\.json is missing: put it back to resume the run"):
        refuse_foreign(tmp_path)


@pytest.mark.parametrize("name", ["metrics.jsonl", "starts.jsonl"])
def test_records_that_cannot_be_read_are_refused_where_they_are_needed(tmp_path, name):
    (tmp_path / name).write_text('{"step": 1, "device": "NaN"}\n{"step": 2}\njunk\n{"step": 3}\n')
    refuse_unusable(tmp_path, resumes=False)
    with pytest.raises(ValueError, match=rf"{name}, line 3: .*'junk'.*: delete that line, or move the file away"):
        refuse_unusable(tmp_path, resumes=True)


def test_a_link_that_a_run_would_write_through_is_refused_whatever_it_leads_to(tmp_path):
    run = tmp_path / "run"
    refuse_unusable(run, resumes=False)
    for name in ("theirs", "drawn", "run/notes", "run/samples"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "drawn/00000010.png").write_text("")
    (run / "data").symlink_to(tmp_path / "theirs")
    refuse_unusable(run, resumes=True)
    (run / "samples").rmdir()
    for name in ("samples", "nearest", "tensorboard", "checkpoints", "mine", "metrics.jsonl", "starts.jsonl"):
        for target in ("drawn",) if name == "mine" else ("theirs", "absent"):
            (run / name).symlink_to(tmp_path / target)
            with pytest.raises(OSError, match=rf"^{run / name} is a link .*: replace it by its target"):
                refuse_unusable(run, resumes=True)
            (run / name).unlink()
    (run / "samples").write_text("")
    with pytest.raises(OSError, match=r"samples is a link or not a folder"):
        refuse_unusable(run, resumes=True)


def test_a_command_is_refused_before_it_reads_data(tmp_path, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(sys, "argv", ["program", "--workdir", str(tmp_path)])
    with Lock(tmp_path), pytest.raises(SystemExit) as stop:
        cli.run(RunConfig, called.append)
    assert (stop.value.code, called) == (2, [])
    assert f"{tmp_path} is in use by process {os.getpid()} on" in capsys.readouterr().err
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit):
        cli.run(RunConfig, called.append)
    assert called == []
    assert "holds thesis.txt, but no run" in capsys.readouterr().err


def test_only_what_a_run_writes_is_set_aside(tmp_path):
    assert set_aside(tmp_path) is None
    for number in (1, 2):
        for name in ("samples/00000010.png", "nearest/00000010.png", "mine/a.png", "metrics.jsonl", "config.json"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("")
        assert set_aside(tmp_path) == tmp_path / f"earlier-{number}"
        assert sorted(path.name for path in (tmp_path / f"earlier-{number}").iterdir()) == [
            "metrics.jsonl",
            "nearest",
            "samples",
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "earlier-1", "earlier-2", "mine"]
