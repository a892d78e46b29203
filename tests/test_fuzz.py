"""Fuzzing: tests/stress/fuzz.py with few files, and a check that it detects crashes."""

import os
import time
from functools import partial
from pathlib import Path

import pytest

from tests.stress import fuzz, fuzz_records


def test_every_kind_is_read_or_refused_by_name(capsys):
    table = fuzz.fuzz(36)
    assert {kind: row.images + row.refused for kind, row in table.items()} == dict.fromkeys(fuzz.CHANGES, 4)
    assert {kind: row.crashes for kind, row in table.items() if row.crashes} == {}, capsys.readouterr().out
    assert table["another ending"].images == 4  # what they hold is what they are
    assert table["disguised"].refused == 4
    assert max(row.peak for row in table.values()) < fuzz.MEBIBYTES


def test_a_number_is_always_the_same_file():
    files = [fuzz.mutated(number) for number in range(9)]
    assert files == [fuzz.mutated(number) for number in range(9)]
    assert [kind for kind, *_ in files] == list(fuzz.CHANGES)
    assert fuzz.mutated(0) != fuzz.mutated(0, seed=1)


def test_the_good_files_are_good():
    for name, content in fuzz.valid_images().items():
        assert fuzz.verdict(fuzz.read, name, content) == "image", name


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("{folder}/a.png is broken"), "refused"),
        (ValueError("something is wrong"), "a ValueError that names no file: ValueError('something is wrong')"),
        (KeyError("a.png"), "KeyError: 'a.png'"),
    ],
)
def test_an_error_must_name_the_file(error, expected):
    def reader(folder, name):
        raise type(error)(error.args[0].format(folder=folder))

    assert fuzz.verdict(reader, "a.png", b"") == expected


def misbehave(counter: Path, folder: Path, name: str) -> None:
    number = counter.stat().st_size
    counter.write_bytes(bytes(number + 1))  # on the disk, since it outlives a process
    if number == 0:
        os.abort()
    if number == 1:
        raise KeyError(name)
    if number == 2:
        raise ValueError("something is wrong")
    if number == 3:
        bytearray(2**33)
    time.sleep(60)


@pytest.mark.slow
def test_what_counts_as_a_crash(tmp_path, capsys):
    """Else the table would prove nothing."""
    (tmp_path / "counter").touch()
    table = fuzz.fuzz(5, reader=partial(misbehave, tmp_path / "counter"), seconds=0.5)
    assert sum(row.crashes for row in table.values()) == 5
    printed = capsys.readouterr().out
    for complaint in ("the process died", "KeyError", "names no file", "MemoryError", "takes too long"):
        assert complaint in printed


def test_records_are_changed_in_every_way_and_read_or_refused(tmp_path, monkeypatch):
    """Those of a run that are read at once; in this process, so that nothing is loaded anew."""
    few = {name: fuzz_records.READERS[name] for name in ("config.json", "metrics.jsonl", "starts.jsonl", "labels.json")}
    content = {"config.json": '{"experiment": "gan", "config": {"width": 8, "widths": [1]}, "size": 3}\n'}
    content |= dict.fromkeys(("metrics.jsonl", "starts.jsonl"), '{"step": 1, "d_loss": 0.5}\n{"step": 2}\n')
    content |= {"labels.json": '{"rows": ["a"], "columns": []}'}
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(fuzz_records, "READERS", few)
    monkeypatch.setattr(fuzz_records, "TURNS", list(few))
    monkeypatch.setattr(fuzz_records, "good", lambda: {name: text.encode() for name, text in content.items()})
    monkeypatch.setattr(fuzz_records, "_base", lambda: tmp_path)
    found = []
    for number in range(len(few) * len(fuzz_records.CHANGES) * 4):
        name, path, changed = fuzz_records.mutated(number)
        found.append((name, fuzz.verdict(fuzz_records.read, path, changed)))
    assert {what for _, what in found} == {"refused", "image"}, [one for one in found if len(one[1]) > 7]
    assert {name for name, what in found if what == "refused"} == few.keys()


@pytest.mark.slow
def test_a_thousand_records(capsys):
    options = {"reader": fuzz_records.read, "make": fuzz_records.mutated, "kinds": fuzz_records.TURNS}
    table = fuzz.fuzz(1001, seed=7, mebibytes=fuzz_records.MEBIBYTES, **options)
    assert not sum(row.crashes for row in table.values()), capsys.readouterr().out


@pytest.mark.slow
def test_a_thousand_files(capsys):
    table = fuzz.fuzz(1000, seed=7)
    assert not sum(row.crashes for row in table.values()), capsys.readouterr().out
