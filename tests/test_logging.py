import io
import json
import math
import os
import shutil
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.runs import logging, writers
from jaxgan.runs.images import image_grid, save_image, scatter


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.slow
def test_importing_is_light():
    code = (
        "import sys, jaxgan.runs.logging\n"
        "heavy = {'matplotlib', 'tensorflow', 'orbax', 'tqdm', 'PIL', 'tensorboardX'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_metrics_come_back_as_written(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    written = {"d_loss": jnp.float32(0.1), "fid": math.nan, "g_loss": -math.inf, "penalty": np.inf, "count": 3}
    with logging.MetricsFile(path) as metrics:
        metrics.write_scalars(jnp.int32(100), written)
        assert path.read_text().endswith("\n")  # without waiting for the end
        metrics.write_scalars(200, {})
    line, second = path.read_text().splitlines()
    assert line.startswith('{"step": 100, "d_loss": 0.1')
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert second == '{"step": 200}'
    entry = logging.read_metrics(path)[0]
    assert entry["step"] == 100
    assert entry.keys() == {"step", *written}
    for name, value in written.items():
        np.testing.assert_equal(entry[name], float(value))


def test_metrics_after_the_restored_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with logging.MetricsFile(path) as metrics:
        for step in (10, 20, 20, 30):
            metrics.write_scalars(step, {"d_loss": step / 10})
    with path.open("a") as file:
        file.write('{"step": 40, "d_l')  # a kill cut the line short
    assert [entry["step"] for entry in logging.read_metrics(path)] == [10, 20, 20, 30]
    with logging.MetricsFile(path, last_step=20) as metrics:
        metrics.write_scalars(25, {"d_loss": 2.5})
    assert [(entry["step"], entry["d_loss"]) for entry in logging.read_metrics(path)] == [
        (10, 1.0),
        (20, 2.0),
        (20, 2.0),
        (25, 2.5),
    ]
    with logging.MetricsFile(path):
        assert logging.read_metrics(path) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]


def cut(path):
    os.truncate(path, path.stat().st_size - 10)


def edited(path):
    path.rename(path.with_name("before"))
    path.write_text('{"step": 1}\n')


@pytest.mark.parametrize(
    ("change", "lost", "left"),
    [(os.remove, "1 to 2", [3]), (cut, "2 to 2", [1, 3]), (edited, "2 to 2", [1, 3]), (os.fspath, None, [1, 2, 3])],
)
def test_a_file_that_somebody_changes_is_opened_anew_and_what_it_lacks_is_said_once(tmp_path, change, lost, left):
    path, said = tmp_path / "metrics.jsonl", []
    with logging.MetricsFile(path, note=said.append) as metrics:
        for step in (1, 2):
            metrics.write_scalars(step, {"d_loss": 1})
        change(path)
        for step in (3, 4):
            metrics.write_scalars(step, {"d_loss": 1})
    assert [entry["step"] for entry in logging.read_metrics(path)] == [*left, 4]
    expected = f"warning: {path} has no lines of the steps {lost}: it was removed, replaced or truncated"
    assert said == ([expected] if lost else [])


def test_lines_that_were_lost_between_two_starts_are_said(tmp_path):
    path, said = tmp_path / "metrics.jsonl", []
    for step in (15, 20):
        with logging.MetricsFile(
            path, last_step=20, last_line=step - 5 if step == 20 else 0, note=said.append
        ) as metrics:
            metrics.write_scalars(step, {})
    assert said == []  # of steps 16 to 20 no line was due where the sums were carried on
    cut(path)
    with logging.MetricsFile(path, last_step=21, last_line=20, note=said.append):
        assert "no lines of the steps 16 to 20" in said.pop()
    path.unlink()
    with logging.MetricsFile(path, last_step=21, last_line=20, note=said.append):
        assert "no lines of the steps 1 to 20" in said.pop()


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '{"d_loss": 1}',
        '{"step": "x"}',
        '{"step": "1"}',
        '{"step": -1}',
        '{"step": true}',
        '{"step": 1.0}',
        '{"step": 1e400}',
        '{"step": 1, "step": 2}',
        '{"step": 1, "d_loss": "high"}',
        '{"step": 1, "d_loss": null}',
        '{"step": 1, "d_loss": [1]}',
        '{"step": 1, "d_loss": 1e400}',
        '{"step": 1, "d_loss": 1' + "0" * 400 + "}",
        '{"step": 1, "\\ud800": 1}',
        "[" * 100_000,
        "3",
    ],
)
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: expected an object with a \"step\""):
        logging.read_metrics(path)


def test_metrics_that_are_no_text(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\xfe\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl is not valid UTF-8"):
        logging.read_metrics(path)
    path.write_text('{"step": 1, "time": "now"}\n')  # as in starts.jsonl
    assert logging.read_metrics(path, values=float | str) == [{"step": 1, "time": "now"}]


def test_progress_is_one_line_for_each_metrics_without_a_terminal():
    stream = io.StringIO()
    with writers.Progress(100, last_step=10, stream=stream) as progress:
        for step in range(11, 21):
            progress.advance(step)
        assert stream.getvalue() == ""
        progress.write_scalars(20, {"steps_per_second": 12.345, "d_loss": jnp.float32(1.23456), "fid": math.nan})
        progress.write_scalars(20, {"fid": 12.5})
        progress.note("saved")
    first, second, third = stream.getvalue().splitlines()
    assert first == "step 20/100  12.35 steps/s  d_loss 1.235  fid nan"
    assert second == "step 20/100  fid 12.5"
    assert third == "saved"


def test_progress_is_a_bar_on_a_terminal():
    stream = Terminal()
    with writers.Progress(100, last_step=10, stream=stream) as progress:
        for step in range(11, 101):
            progress.advance(step)
        progress.write_scalars(100, {"d_loss": 0.5})
        progress.note("saved")
    text = stream.getvalue()
    assert "10/100" in text
    assert "100/100" in text
    assert "d_loss 0.5" in text
    assert "saved\n" in text
    assert "step/s" in text


def test_tensorboard_writes_and_does_without(tmp_path, monkeypatch):
    with writers.TensorBoard(tmp_path / "a", last_step=3) as events:
        events.write_scalars(4, {"d_loss": jnp.float32(1.0), "fid": math.nan})
        events.write_images(4, {"samples": np.zeros((1, 8, 8, 3), np.uint8)})
        written = lambda: sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
        deadline = time.monotonic() + 10  # a thread of tensorboardX writes
        while written() <= 100 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert written() > 100  # before the end
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # as if it were not installed
    with writers.TensorBoard(tmp_path / "b") as events:
        events.write_scalars(4, {"d_loss": 1.0})
        events.write_images(4, {"samples": np.zeros((1, 8, 8, 3), np.uint8)})
    assert not (tmp_path / "b").exists()


def test_a_missing_extra_is_one_line(tmp_path, monkeypatch):
    for name in ("PIL.Image", "PIL", "tqdm", "matplotlib.figure", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    for use in (
        lambda: save_image(tmp_path / "a.png", np.zeros((4, 4), np.uint8)),
        lambda: writers.Progress(10, stream=Terminal()),
        lambda: scatter(np.zeros((3, 2)), np.zeros((3, 2))),
    ):
        with pytest.raises(ModuleNotFoundError, match=r"is missing: pip install -e '\.\[experiments\]'"):
            use()


def test_the_whole_report_of_a_resumed_run(tmp_path, capsys):
    with logging.Report(tmp_path, num_steps=4) as run:
        for step in (1, 2, 3):
            run.advance(step)
            run.metrics(step, {"d_loss": step})
        run.image(3, image_grid({"samples": np.zeros((4, 8, 8, 1), np.float32)}))
        run.note("saved")
    with logging.Report(tmp_path, num_steps=4, last_step=2) as run:
        run.metrics(4, {"d_loss": 4})
    assert [entry["step"] for entry in logging.read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 4]
    assert (tmp_path / "samples" / "00000003.png").exists()
    assert any((tmp_path / "tensorboard").iterdir())
    out, err = capsys.readouterr()
    assert out == ""
    assert "saved" in err
    assert "step 4/4" in err


def test_events_that_somebody_removes_are_left_out(tmp_path, capsys):
    with logging.Report(tmp_path, num_steps=4) as run:
        run.metrics(1, {"d_loss": 1})
        shutil.rmtree(tmp_path / "tensorboard")
        for step in (2, 3):
            run.metrics(step, {"d_loss": 1})
    assert capsys.readouterr().err.count("writer TensorBoard is left out from now on: ") == 1


def test_only_the_first_process_reports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logging.jax, "process_index", lambda: 1)
    with logging.Report(tmp_path / "run", num_steps=4) as run:
        run.advance(1)
        run.metrics(1, {"d_loss": 1})
        run.image(1, np.zeros((4, 4), np.uint8))
        run.note("saved")
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr() == ("", "")
