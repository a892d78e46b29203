"""benchmarks.large_folder on a few files, against a stand-in for PyTorch."""

import re

import pytest

from benchmarks import large_folder

STAND_IN = """
import sys, time
print('{"torch": "none"}', flush=True)
for line in sys.stdin:
    time.sleep(0.01)
    print(100.0, flush=True)
"""


def test_a_small_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "pytorch.py").write_text(STAND_IN)
    monkeypatch.setattr(large_folder, "PYTORCH", tmp_path / "pytorch.py")
    monkeypatch.setattr(large_folder, "BATCHES", 2)
    sizes = ["--num-images", "8", "--batch-size", "4", "--epochs", "2", "--num-workers", "1", "--turns", "2"]
    large_folder.main(["--folder", str(tmp_path / "files"), *sizes, "--compare", "torch"])
    assert len(list((tmp_path / "files/000").glob("*.jpg"))) == 8
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["first", "second", "{'torch':", "jaxgan", "epoch", "epoch"]
    rate = float(re.search(r"jaxgan: ([\d,]+)", lines[2])[1].replace(",", ""))
    ratio = float(re.search(r": ([\d.]+) by median", lines[3])[1])
    assert ratio == pytest.approx(rate / 100, abs=0.015)  # of the stand-in's 100 images/s, both rounded
    assert 100 < large_folder.resident_mib() < 10_000
