"""Signals and alarms: what a stop saves, and that the run that goes on shows no trace of it."""

import contextlib
import os
import signal

import jax
import numpy as np
import pytest
import small
from test_loop import lines, quick

from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.runs.interruption import Stopped
from jaxgan.training.step import TrainStep


def untimed(folder):
    return [{n: x for n, x in line.items() if not n.endswith("per_second")} for line in lines(folder)]


def scored(state):
    return {"score": float(jax.tree.leaves(state.generator.params)[0].sum())}


def pictured(outputs):
    return np.asarray(np.clip(outputs["samples"][:8] * 100 + 128, 0, 255), np.uint8)


def run_with_all(folder):
    config = small.config(folder, evaluate_every=10, sample_every=4, best="score", keep=1)
    return small.run(config, draw=pictured, evaluate=scored)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, *run_with_all(folder)


@pytest.mark.parametrize(
    ("number", "step", "owed"),
    [
        pytest.param(signal.SIGUSR1, 7, set(), marks=pytest.mark.slow),
        (signal.SIGINT, 10, {"scores"}),
        (signal.SIGHUP, 20, {"scores"}),
    ],
)
def test_a_signal_saves_and_a_restart_leaves_no_trace_of_it(tmp_path, number, step, owed, capsys, unbroken):
    """Nor of one at a step where an image and scores are due, as the last: facebookincubator/submitit#1701."""

    def update(self, state, *batches, original=TrainStep.update):
        state = original(self, state, *batches)
        if int(state.step) == step:
            os.kill(os.getpid(), number)
        return state

    handler = signal.getsignal(number)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped) as stop:
        patch.setattr(TrainStep, "update", update)
        run_with_all(tmp_path)
    assert (stop.value.signal, stop.value.step) == (number, step)
    assert f"stopped at step {step}" in capsys.readouterr().err
    assert signal.getsignal(number) == handler
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert {name.removeprefix("unfinished/") for name in checkpoints.metrics(step)} & {"scores"} == owed
    resumed, metrics = run_with_all(tmp_path)
    folder, state, expected = unbroken
    small.assert_same(resumed, state)
    assert metrics.keys() == expected.keys()
    assert metrics["score"] == expected["score"]
    assert untimed(tmp_path) == untimed(folder)
    pictures = [{path.name: path.read_bytes() for path in (f / "samples").iterdir()} for f in (tmp_path, folder)]
    assert pictures[0] == pictures[1]
    found = []
    for name in (tmp_path, folder):
        with Checkpoints(name / "checkpoints", best="score", best_mode="max") as checkpoints:
            steps = [checkpoints.resolve(which) for which in ("best", "last")]
            found.append([(step, checkpoints.metrics(step)) for step in steps])
    assert found[0] == found[1]
    assert run_with_all(tmp_path)[1] == metrics
    assert "a num_steps above" in capsys.readouterr().out


@pytest.mark.parametrize("on_alarm", ["note", "stop"])
def test_an_alarm_is_said_and_stops_a_run_that_should_stop(on_alarm, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "jaxgan.training.watch.Alarm.update", lambda self, step, metrics: ["too alike"] if step == 10 else []
    )
    config = small.config(tmp_path, on_alarm=on_alarm, checkpoint_every=20)
    if on_alarm == "stop":
        with pytest.raises(Stopped):
            small.run(config)
    else:
        small.run(config)
    assert "alarm: too alike" in "".join(capsys.readouterr())
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == (10 if on_alarm == "stop" else 20)


@pytest.fixture
def stopped_at(monkeypatch):
    """`stopped_at(step, number)` has a signal come in that step of a quick run."""

    def stop(step, number=signal.SIGTERM, original=TrainStep.update):
        def update(self, state, *batches):
            state = original(self, state, *batches)
            if int(state.generator.step) == step:
                os.kill(os.getpid(), number)
            return state

        monkeypatch.setattr(TrainStep, "update", update)

    return stop


def test_what_a_stop_saves_besides_pushes_out_no_checkpoint(tmp_path, stopped_at):
    for step, ends, kept in ((3, pytest.raises(Stopped), [2, 3]), (0, contextlib.nullcontext(), [2, 4])):
        stopped_at(step)
        with ends:
            quick(small.config(tmp_path, num_steps=4, checkpoint_every=2, keep=2))
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            assert checkpoints.steps() == kept


def test_a_resumed_run_says_which_lines_are_lost_and_else_nothing(tmp_path, stopped_at, capsys):
    for step in (3, 7, 11, 16):
        stopped_at(step)
        with pytest.raises(Stopped):
            quick(small.config(tmp_path, num_steps=20))
        if step == 11:
            assert "no lines" not in capsys.readouterr().err
            os.truncate(tmp_path / "metrics.jsonl", (tmp_path / "metrics.jsonl").stat().st_size - 5)
    assert capsys.readouterr().err.count("metrics.jsonl has no lines of the steps 6 to 10: ") == 1


def test_ctrl_c_at_a_prompt_gives_the_state_so_far_and_the_same_call_goes_on(tmp_path, monkeypatch, stopped_at):
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)
    stopped_at(3, signal.SIGINT)
    state, metrics = quick(small.config(tmp_path, num_steps=4))
    assert int(state.step) == 3 and "g_loss" in metrics
    stopped_at(0)
    assert int(quick(small.config(tmp_path, num_steps=4))[0].step) == 4


def test_a_signal_before_the_first_step_is_heeded(tmp_path, capsys):
    files = {"words.json": lambda path: os.kill(os.getpid(), signal.SIGTERM)}
    with pytest.raises(Stopped) as stop:
        quick(small.config(tmp_path), files=files)
    assert stop.value.signal == signal.SIGTERM
    assert "stopped at step 1 and saved" in capsys.readouterr().err
