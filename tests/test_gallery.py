"""experiments.gallery: the page of several runs, what is ranked together, and what strings of a run can do to it."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest

from experiments import gallery
from jaxgan.metrics.protocol import Stamp
from jaxgan.runs.config import RunConfig, save_config
from jaxgan.runs.images import save_image

STAMP = Stamp(
    dataset="mnist", split="test", real_count=9, fake_count=9, image_size=8, features="classifier",
    feature_weights="a", resizer="none", quantized=True, averaged=True, step=3,
)  # fmt: skip


def made(folder, score=None, *, name="classifier_frechet", seed=0, picture=True, **changed):
    save_config(RunConfig(seed=seed), folder, {"image": np.zeros((1, 2))}, size=3)
    lines = [{"step": step, "d_loss": 1.0 / step, "g_loss": 2.0, "steps_per_second": 0.5} for step in (1, 2, 30)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if score is not None:
        stamp = asdict(STAMP) | changed
        (folder / "scores.jsonl").write_text(json.dumps({"scores": {name: score}, "stamp": stamp}) + "\n")
    if picture:
        (folder / "samples").mkdir()
        save_image(folder / "samples/00000030.png", np.full((4, 4, 1), seed, np.uint8))
    return str(folder)


def written(tmp_path, *runs, **options):
    return gallery.main(gallery.Config(runs=runs, output=str(tmp_path / "out.html"), **options)).read_text()


def test_runs_are_sorted_within_one_way_of_scoring(tmp_path):
    runs = [
        made(tmp_path / "worse", 5.0, seed=1),
        made(tmp_path / "better", 3.0, seed=2),
        made(tmp_path / "later", 1.0, seed=3, step=9),  # another step is the same way of scoring
        made(tmp_path / "other", 0.5, seed=4, real_count=10),
        made(tmp_path / "unscored", seed=5, picture=False),
    ]
    text = written(tmp_path, *runs, str(tmp_path), sort="classifier_frechet")
    sections = text.split("<section>")[1:]
    titles = lambda section: [part.partition("<")[0] for part in section.split("<h3>")[1:]]
    assert list(map(titles, sections)) == [["later", "better", "worse"], ["other"], ["unscored"]]
    assert "real count 9," in sections[0] and "real count 10," in sections[1] and "Not scored" in sections[2]
    assert text.count("data:image/png;base64,") == 4
    assert "<td>seed</td><td>5</td>" in sections[2]  # settings that differ, and only those
    assert "<td>batch_size</td>" not in text and "<td>steps</td><td>30</td>" in text
    assert "<td>minutes</td><td>1.0</td>" in text  # 30 steps at 0.5 a second


def test_a_large_score_may_be_the_better_one(tmp_path):
    runs = [made(tmp_path / name, score, name="coverage") for name, score in (("a", 0.2), ("b", 0.9), ("c", 0.5))]
    text = written(tmp_path, *runs)
    assert [part.partition("<")[0] for part in text.split("<h3>")[1:]] == ["b", "c", "a"]
    assert "3 runs by coverage" in text


def test_strings_of_a_run_are_text(tmp_path):
    nasty = "<script>alert(1)</script>"
    run = made(tmp_path / "run", 1.0, name=nasty, dataset=nasty)
    other = shutil.copytree(run, tmp_path / "<b>x")
    record = json.loads((other / "config.json").read_text())
    record["config"] |= {nasty: nasty}
    (other / "config.json").write_text(json.dumps(record))
    (other / "samples/00000030.png").write_bytes(b"no picture")
    text = written(tmp_path, run, str(other))
    assert "<script" not in text and "<b>x" not in text and "&lt;script&gt;" in text
    assert "script-src" not in text and "default-src 'none'" in text
    assert text.count("data:image/png;base64,") == 1


def test_what_cannot_be_shown_is_said_before_anything_is_written(tmp_path):
    run = made(tmp_path / "run", 1.0)
    (tmp_path / "mine.html").write_text("mine")
    for options, message in (
        ({"runs": (str(tmp_path),)}, "none of --runs is a run folder"),
        ({"runs": (run,), "sort": "fid"}, "no run has a score 'fid': there are classifier_frechet"),
        ({"runs": (run,), "output": str(tmp_path / "mine.html")}, "exists and was not written by this command"),
    ):
        with pytest.raises(ValueError, match=message):
            gallery.main(gallery.Config(**{"output": str(tmp_path / "out.html"), **options}))
    with (tmp_path / "run/scores.jsonl").open("a") as file:
        file.write('{"scores": [], "stamp": {}}\n')
    with pytest.raises(ValueError, match=r"scores\.jsonl, line 2: not a line of scores"):
        written(tmp_path, run)
    assert not (tmp_path / "out.html").exists()
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_an_earlier_page_is_replaced(tmp_path):
    run = made(tmp_path / "run", 1.0)
    assert written(tmp_path, run) == written(tmp_path, run)
