"""`benchmarks.evaluation` at small counts: every row it should have, in the table and in JSON."""

import json

import pytest

from benchmarks import evaluation

SMALL = {"counts": (20, 30), "num_features": 4, "wide_features": 6, "images": 3, "inception_images": 0}


@pytest.mark.slow
def test_every_score_is_timed_at_every_count(tmp_path, capsys):
    rows = evaluation.main(evaluation.Config(**SMALL, output=str(tmp_path / "found.json")))
    network, *scores = rows
    assert network["name"] == "classifier" and network["images_per_second"] > 0
    assert all(row["seconds"] > 0 for row in scores)
    found = {(row["name"], row["features"], row["count"]) for row in scores}
    narrow = [name for name in evaluation.SCORES if name != "inception_score"]
    expected = {(name, 4, count) for name in narrow for count in (20, 30)}
    expected |= {(name, 6, count) for name in ("frechet", "kernel") for count in (20, 30)}
    assert found == expected | {("inception_score", 1008, count) for count in (20, 30)}
    record = json.loads((tmp_path / "found.json").read_text())
    assert record["rows"] == rows and record["cores"] >= 1
    assert record["command"].startswith("python -m benchmarks.evaluation")
    printed = capsys.readouterr().out
    assert "| score | features | 20 samples, s | 30 samples, s |" in printed
    assert printed.count("| frechet |") == 2


def test_only_what_is_asked_for():
    with pytest.raises(ValueError, match=r"counts=\(20, 5\) must be at least 6"):
        evaluation.main(evaluation.Config(**SMALL | {"counts": (20, 5)}))
    rows = evaluation.main(evaluation.Config(**SMALL | {"images": 0, "wide_features": 0}, scores=("nearest",)))
    assert [(row["name"], row["count"]) for row in rows] == [("nearest", 20), ("nearest", 30)]


@pytest.mark.slow
def test_the_inception_network():
    small = SMALL | {"images": 0, "inception_images": 2}
    (row,) = evaluation.main(evaluation.Config(**small, inception_size=75, scores=()))
    assert row["name"] == "inception" and row["images_per_second"] > 0
