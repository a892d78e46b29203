"""Writers of one's own beside those of a run, and what a notebook shows."""

import json
import sys
import types

import numpy as np
import pytest
import small
from PIL import Image
from stress.commands import ROOT, blocks

from jaxgan import Writer
from jaxgan.runs import writers
from jaxgan.runs.logging import read_metrics

EVERY = {"num_steps": 6, "log_every": 2, "sample_every": 3, "checkpoint_every": 4}


class Recorder:
    """No subclass of `Writer`: the methods are enough."""

    def __init__(self, fails_in=""):
        self.calls, self._fails_in = [], fails_in

    def __getattr__(self, name):
        if name not in writers.METHODS:
            raise AttributeError(name)

        def method(*arguments):
            self.calls.append((name, *arguments))
            if name == self._fails_in:
                raise ConnectionError("no server")

        return method

    def of(self, name):
        return [call[1:] for call in self.calls if call[0] == name]


def draw(outputs):
    return np.zeros((5, 7), np.uint8)


def test_a_writer_is_told_what_the_run_records(tmp_path):
    recorder = Recorder()
    small.run(small.config(tmp_path, **EVERY), draw=draw, writers=[recorder, Writer()])
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [{"step": step, **scalars} for step, scalars in recorder.of("write_scalars")] == lines
    assert [step for step, _ in recorder.of("write_images")] == [3, 6]
    for step, images in recorder.of("write_images"):
        image = images["samples"]
        assert (image.dtype, image.shape) == (np.uint8, (1, 5, 7, 1))
        with Image.open(tmp_path / f"samples/{step:08d}.png") as stored:
            np.testing.assert_array_equal(image[0, ..., 0], np.asarray(stored))
    ((hparams,),) = recorder.of("write_hparams")
    assert hparams == json.loads((tmp_path / "config.json").read_text())["config"]
    assert len(recorder.of("flush")) == 2  # after the checkpoints of the steps 4 and 6
    assert [name for name, *_ in recorder.calls].index("close") == len(recorder.calls) - 1
    again = Recorder()
    small.run(small.config(tmp_path, **EVERY), writers=[again])
    assert again.calls == [("close",)]  # the run was finished


def test_a_writer_that_fails_is_named_once_and_changes_nothing(tmp_path, capsys):
    failing, other = {name: Recorder(name) for name in writers.METHODS}, Recorder()
    options = {"draw": draw, "writers": [*failing.values(), other]}
    state, _ = small.run(small.config(tmp_path / "a", **EVERY), **options)
    said = capsys.readouterr().err
    assert said.count("writer Recorder") == said.count("no server") == len(failing)
    for method, writer in failing.items():
        assert len(writer.of(method)) == len(writer.of("close")) == 1
    assert len(other.of("write_scalars")) == 4
    expected, _ = small.run(small.config(tmp_path / "b", **EVERY), draw=draw)
    small.assert_same(state, expected)


def test_what_lacks_a_method_is_refused_before_anything_is_created(tmp_path):
    class Half:
        def write_scalars(self, step, scalars):
            pass

        flush = None

    with pytest.raises(ValueError, match="Half is no writer, it has no write_images, write_hparams, flush, close"):
        small.run(small.config(tmp_path / "run"), writers=[Half()])
    for given, message in (
        (Half(), r"writers is one Half: give a list, such as \[Half\(\)\]"),
        ([Writer], r"Writer is a class: give a writer, such as Writer\(\)"),
        (None, "writers is one NoneType"),
    ):
        with pytest.raises(ValueError, match=message):
            small.run(small.config(tmp_path / "run"), writers=given)
    assert not (tmp_path / "run").exists()


class Shown:
    """What IPython.display.display returns: a handle whose output can be replaced."""

    def __init__(self, image):
        self.images = [image]

    def update(self, image):
        self.images.append(image)


@pytest.fixture
def notebook(monkeypatch):
    """A kernel with ipywidgets, as far as jaxgan asks for it."""
    shown, bars = [], []

    def display(image, display_id):
        assert display_id is True
        shown.append(Shown(image))
        return shown[-1]

    class Bar:
        def __init__(self, **options):
            self.n, self.options, self.texts = options["initial"], options, []
            bars.append(self)

        def update(self, steps):
            self.n += steps

        def set_postfix_str(self, text, refresh):
            self.texts.append(text)

        def write(self, text, file):
            self.texts.append(text)

        def close(self):
            self.n = "closed"

    ipython = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=object()))
    image = lambda data, alt: (data, alt)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display, Image=image))
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Bar))
    return shown, bars


def test_a_notebook_has_its_own_bar_and_the_newest_image(notebook, tmp_path):
    shown, bars = notebook
    assert writers.in_notebook()
    small.run(small.config(tmp_path, **EVERY), draw=draw, writers=[writers.InlineImages()])
    (bar,) = bars
    assert bar.options["total"] == 6 and bar.n == "closed"
    assert any("d_loss" in text for text in bar.texts)
    (handle,) = shown
    assert [alt for _, alt in handle.images] == ["samples, step 3", "samples, step 6"]
    assert handle.images[1][0] == (tmp_path / "samples/00000006.png").read_bytes()


def test_elsewhere_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert not writers.in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not writers.in_notebook()


def logger(module, folder, monkeypatch):
    """The writer that the documents define for a package."""
    pytest.importorskip(module)
    monkeypatch.chdir(folder)
    programs = [text for kind, text in blocks((ROOT / "docs/loggers.md").read_text()) if kind == "python"]
    names: dict = {}
    exec(next(text for text in programs if f"import {module}" in text), names)
    return names


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_offline(tmp_path, monkeypatch, capsys):
    names = logger("wandb", tmp_path, monkeypatch)
    run, logged = names["writer"].run, []
    log = run.log
    monkeypatch.setattr(run, "log", lambda data, step: (logged.append((step, data)), log(data, step=step)))
    small.run(small.config(tmp_path / "run", **EVERY), draw=draw, writers=[names["writer"]])
    assert "left out" not in capsys.readouterr().err
    scalars = [{"step": step, **data} for step, data in logged if "d_loss" in data]
    assert scalars == read_metrics(tmp_path / "run/metrics.jsonl")
    assert run.config["learning_rate"] == 1e-2
    assert len([*tmp_path.glob("wandb/offline-run-*/files/media/images/samples_*.png")]) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_in_a_local_database(tmp_path, monkeypatch, capsys):
    names = logger("mlflow", tmp_path, monkeypatch)
    client, run_id = names["mlflow"].MlflowClient(), names["mlflow"].active_run().info.run_id
    small.run(small.config(tmp_path / "run", **EVERY), draw=draw, writers=[names["writer"]])
    assert "left out" not in capsys.readouterr().err
    history = [(point.step, point.value) for point in client.get_metric_history(run_id, "d_loss")]
    assert history == [(line["step"], line["d_loss"]) for line in read_metrics(tmp_path / "run/metrics.jsonl")]
    assert client.get_run(run_id).data.params["learning_rate"] == "0.01"
    assert len([*tmp_path.glob("mlruns/**/images/samples*.png")]) == 2
