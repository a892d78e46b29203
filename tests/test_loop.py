import contextlib
import dataclasses
import json
import os
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import test_dry_run
import test_step

from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.losses import LOSSES
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.runs.images import scatter
from jaxgan.training.loop import fit
from jaxgan.training.step import NonFiniteError, TrainStep


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_folder_holds_what_it_should(tmp_path, capsys):
    draw = lambda outputs: np.zeros((4, 4, 3), np.uint8)
    state, metrics = small.run(
        small.config(tmp_path / "run", sample_every=7), draw=draw, evaluate=lambda s: {"score": 0.5}
    )
    assert int(state.step) == 20
    assert [line["step"] for line in lines(tmp_path / "run")] == [5, 7, 10, 14, 15, 20]
    assert metrics["score"] == 0.5
    assert {"d_loss", "g_loss", "wasserstein_estimate", "steps_per_second", "images_per_second"} <= metrics.keys()
    assert sorted(p.name for p in (tmp_path / "run/samples").iterdir()) == [
        "00000007.png",
        "00000014.png",
        "00000020.png",
    ]
    record = json.loads((tmp_path / "run/config.json").read_text())
    assert record["experiment"] == "small"
    assert record["config"]["learning_rate"] == 0.01
    assert {"jax", "python"} <= record["versions"].keys()
    printed = capsys.readouterr().out
    for word in ("device", "generator 42, discriminator 33", "40 examples, batch 8", "GFLOP", "compiled in"):
        assert word in printed


def test_logged_values_are_means_over_the_interval(tmp_path):
    """Against the metrics of the same steps taken one by one."""
    config = small.config(tmp_path, num_steps=4, log_every=2)
    gan, batches = small.build(config), small.batches(config)
    state = gan.init(jax.random.key(config.seed), batches(0)[0])
    single = []
    for step in range(4):
        state, metrics = gan.train_step(state, batches(step))
        single.append(float(metrics["g_loss"]))
    small.run(config)
    np.testing.assert_allclose(
        [line["g_loss"] for line in lines(tmp_path)], [np.mean(single[:2]), np.mean(single[2:])], rtol=1e-4, atol=1e-6
    )


def test_evaluation_is_saved_and_the_best_step_kept(tmp_path):
    scores = iter([0.0, 3.0, 1.0, float("nan"), 2.0])  # the first is of no step
    config = small.config(tmp_path, evaluate_every=5, best="score_l1", keep=1)
    small.run(config, evaluate=lambda state: {"score_l1": next(scores)})
    with Checkpoints(tmp_path / "checkpoints", best="score_l1") as checkpoints:
        assert checkpoints.steps() == [10, 20]
        assert checkpoints.best_step() == 10


def broken_after(step, gan):
    def train_step(state, batches):
        new, metrics = gan.train_step(state, batches)
        return new, metrics | {"g_loss": jnp.where(new.step == step, jnp.nan, metrics["g_loss"])}

    return gan._replace(train_step=train_step)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    config = small.config(tmp_path)
    with pytest.raises(NonFiniteError, match=r"step 13: g_loss is not finite.*checkpoints/10"):
        fit(broken_after(13, small.build(config)), small.batches(config), config, draw=None)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [10]


def test_or_the_update_is_skipped(tmp_path):
    config = small.config(tmp_path, num_steps=3, log_every=1, on_nonfinite="skip")
    state, _ = fit(broken_after(2, small.build(config)), small.batches(config), config, draw=None)
    assert [line["skipped"] for line in lines(tmp_path)] == [0, 1, 0]
    assert ["g_loss" in line for line in lines(tmp_path)] == [True, False, True]
    assert int(state.step) == 3
    assert int(state.discriminator.step) == 15
    assert int(state.generator.opt_state.count) == 2


def test_one_train_step_is_compiled_in_a_run_and_none_while_it_goes(tmp_path):
    compiled = []

    def listen(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(kwargs.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        seen = []
        config = small.config(tmp_path, num_steps=15, evaluate_every=5)
        small.run(config, evaluate=lambda state: seen.append(len(compiled)) or {})
        assert compiled.count("jit(step)") + compiled.count("step") == 1, compiled
        assert seen[1] == seen[2], compiled[seen[1] :]
        before = len(compiled)
        small.run(small.config(tmp_path, num_steps=20))  # restored: its own train step, in this process, once more
        names = compiled[before:]
        assert names.count("jit(step)") + names.count("step") == 1, names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_resume_modes(tmp_path, capsys):
    with pytest.raises(ValueError, match="nothing to resume"):
        small.run(small.config(tmp_path / "new", resume="must"))
    assert not (tmp_path / "new").exists()
    small.run(small.config(tmp_path / "run", num_steps=10))
    with pytest.raises(ValueError, match="already holds a run, at step 10"):
        small.run(small.config(tmp_path / "run", resume="never"))
    with pytest.raises(ValueError, match=r"learning_rate was 0.01, is 0.02"):
        small.run(small.config(tmp_path / "run", learning_rate=0.02))
    small.run(small.config(tmp_path / "run", resume="must", num_steps=12))
    assert "num_steps was 10, is 12" in capsys.readouterr().out
    config = small.config(tmp_path / "run", num_steps=14)
    fewer = DeviceBatches(np.zeros((39, 2)), batch_size=8, d_steps=5)  # in another order, and that without a word
    with pytest.raises(ValueError, match=r"the data set had 40 examples, has 39\. Give the same flags and data"):
        fit(small.build(config), fewer, config, draw=None)


def test_init_from_takes_the_weights_alone(tmp_path, capsys):
    before, _ = small.run(small.config(tmp_path / "first", num_steps=10))
    seen = []
    config = small.config(tmp_path / "second", num_steps=1, init_from=str(tmp_path / "first"), learning_rate=1e-9)
    after, _ = small.run(config, evaluate=lambda state: seen.append(state) or {})
    assert f"init_from   the weights of step 10 of {tmp_path / 'first'}\n" in capsys.readouterr().out
    assert int(after.step) == 1
    assert int(after.discriminator.step) == 5
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.generator.params, before.generator.params
    )
    # One update at decay 0.9, and live weights that have not moved.
    expected = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, before.ema_params, before.generator.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.ema_params, expected)


def test_a_batch_the_devices_cannot_share_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match="batch_size=6 does not divide among 4 devices; 4 or 8 would"):
        small.run(small.config(tmp_path / "run", batch_size=6, num_devices=4))
    assert not (tmp_path / "run").exists()


def test_drawing_in_the_loop_sees_the_same_latents(tmp_path):
    seen = []
    config = small.config(tmp_path, num_steps=2, sample_every=1)
    gan = small.build(config)
    spied = gan._replace(sample=lambda state, inputs: seen.append(inputs["latents"]) or gan.sample(state, inputs))
    fit(
        spied,
        small.batches(config),
        config,
        draw=lambda outputs: scatter(outputs["samples"], outputs["samples"]),
    )
    np.testing.assert_array_equal(seen[0], seen[1])


def test_a_best_score_must_exist(tmp_path):
    with pytest.raises(ValueError, match="no evaluation"):
        small.run(small.config(tmp_path, best="score"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="'fid' is no score of this run; its scores are score"):
        small.run(small.config(tmp_path, best="fid", evaluate_every=5), evaluate=lambda state: {"score": 0.5})
    with pytest.raises(ValueError, match="best='fid': 25% of the samples at step 0 are not finite"):
        config = small.config(tmp_path, best="fid", evaluate_every=5, on_nonfinite="skip")
        small.run(config, evaluate=lambda state: {"nonfinite_samples": 0.25})


def test_several_steps_in_one_call(tmp_path, monkeypatch):
    """With one small update of each player: compiling is what takes time."""
    adam = optim.adam(1e-2)
    networks = mlp_generator((4,), features=2), mlp_discriminator((4,))
    gan = make_gan(*networks, loss=LOSSES["hinge"], g_tx=adam, d_tx=adam, latent_dim=2)

    def run(name, **options):
        config = small.config(tmp_path / name, **options)
        return fit(gan, DeviceBatches(np.ones((40, 2)), batch_size=8), config, draw=None)[0]

    with pytest.raises(ValueError, match="steps_per_call=5: on a CPU it must be 1"):
        run("refused", steps_per_call=5)
    assert not (tmp_path / "refused").exists()
    monkeypatch.setattr("jaxgan.training.opening._refuse_scan_on_cpu", lambda config, mesh: None)
    one_by_one, state = run("one_by_one"), run("together", steps_per_call=5)
    for a, b in zip(jax.tree.leaves(state.generator.params), jax.tree.leaves(one_by_one.generator.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert [line["step"] for line in lines(tmp_path / "together")] == [5, 10, 15, 20]
    for a, b in zip(lines(tmp_path / "together"), lines(tmp_path / "one_by_one"), strict=True):
        assert a["d_loss"] == pytest.approx(b["d_loss"], rel=1e-4, abs=1e-5)


def quick(config, batches=test_dry_run.Batches(), **options):  # noqa: B008 (it holds no state)
    """A run that takes no time to compile."""
    config = dataclasses.replace(config, batch_size=4)  # of the batches of test_dry_run
    gan = test_step.GAN_OF_NUMBERS._replace(preview=lambda key, batch: {}, sample=lambda state, inputs: {})
    return fit(gan, batches, config, **{"draw": None} | options)


def black(outputs):
    return np.zeros((4, 4, 3), np.uint8)


def test_a_folder_in_use_is_refused_before_anything_is_read(tmp_path):
    """Two runs in one folder: meta-pytorch/torchtune#481. In one process too, and only while the first goes on."""
    refused = []

    def second(state):
        for config in (small.config(tmp_path / "run"), small.config(tmp_path / "run", seed=1, resume="never")):
            with pytest.raises(ValueError, match=f"run is in use by process {os.getpid()} on .* since") as error:
                quick(config, batches=None)
            refused.append(error)
        return {}

    quick(small.config(tmp_path / "run", num_steps=2), evaluate=second)
    assert len(refused) == 2
    assert [line["step"] for line in lines(tmp_path / "run")] == [2]
    quick(small.config(tmp_path / "run", num_steps=3))


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path, resume):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds thesis\.txt, but no run"):
        quick(small.config(tmp_path, resume=resume))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_start_that_saved_nothing_leaves_nothing_in_the_next(tmp_path, capsys):
    options = {"num_steps": 4, "sample_every": 1, "log_every": 1}

    def killed(self, step, state, metrics=None):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", killed)
        quick(small.config(tmp_path, **options), draw=black)
    (tmp_path / "notes.txt").write_text("mine")
    for changed in ({"resume": "never"}, {"resume": "must"}, {"seed": 5}):
        with pytest.raises(ValueError, match=r"already holds a run, before|nothing to resume|another configuration"):
            quick(small.config(tmp_path, **options | changed), draw=black)
    quick(small.config(tmp_path, **options | {"sample_every": 4}), draw=black)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["00000004.png"]
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert len(lines(tmp_path / "earlier-1")) == 4
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert "earlier-1" in capsys.readouterr().out


def test_a_folder_that_is_gone_stops_its_run(tmp_path):
    def moved(state):
        (tmp_path / "run").rename(tmp_path / "moved")
        (tmp_path / "run").mkdir()
        return {}

    with pytest.raises(ValueError, match="run was moved, deleted or replaced during the run"):
        quick(small.config(tmp_path / "run", evaluate_every=10), evaluate=moved)
    assert [*(tmp_path / "run").iterdir()] == []


def test_what_only_shows_a_run_does_not_end_it(tmp_path, monkeypatch, capsys):
    class Broken:
        def write(self, text):
            raise BrokenPipeError

        flush = isatty = lambda self: self.write("")

    def fails(*_, **__):
        raise RuntimeError("no bokeh")

    monkeypatch.setattr("jaxgan.runs.report._page", fails)
    monkeypatch.setattr("tensorboardX.event_file_writer.EventsWriter.__init__", fails)
    quick(small.config(tmp_path / "a", num_steps=4, log_every=1, checkpoint_every=1))
    said = capsys.readouterr().err
    assert (said.count("writer TensorBoard is left out from now on"), said.count("report.html is not written")) == (
        1,
        1,
    )
    for stream in (Broken(), None):
        monkeypatch.setattr("sys.stdout", stream)
        monkeypatch.setattr("sys.stderr", stream)
        quick(small.config(tmp_path / str(stream is None), num_steps=4))
    monkeypatch.undo()
    assert len(lines(tmp_path / "True")) == len(lines(tmp_path / "False")) == 1


def test_what_is_removed_while_a_run_goes_on_is_made_again_or_said(tmp_path, capsys):
    def removes(state):
        for path in tmp_path.iterdir() if int(state.generator.step) == 4 else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return {}

    options = {"num_steps": 6, "log_every": 1, "sample_every": 2, "evaluate_every": 4, "checkpoint_every": 10}
    quick(small.config(tmp_path, **options), draw=black, evaluate=removes)
    assert [line["step"] for line in lines(tmp_path)] == [4, 5, 6]
    assert "no lines of the steps 1 to 3" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {"00000004.png", "00000006.png"}
    _, metrics = quick(small.config(tmp_path, **options | {"num_steps": 4}), draw=black)
    assert "is at step 6 already: a num_steps above 6 continues it" in capsys.readouterr().out
    assert {"step": 6} | metrics == lines(tmp_path)[-1]


def test_the_speed_includes_the_wait_for_the_device(tmp_path, monkeypatch):
    """A device may be many steps behind when the metrics are read; here each read waits 0.1 s for 2 steps."""

    def read(self, original=TrainStep.read):
        time.sleep(0.1)
        return original(self)

    monkeypatch.setattr(TrainStep, "read", read)
    quick(small.config(tmp_path, num_steps=6, log_every=2, checkpoint_every=10))
    assert all(0 < line["steps_per_second"] <= 20 for line in lines(tmp_path))


def test_batches_of_another_size_are_refused(tmp_path):
    batches = DeviceBatches(np.ones((40, 2)), batch_size=4)
    with pytest.raises(ValueError, match="batch_size=8 asks for 8 rows, but a batch has 4"):
        fit(small.build(small.config(tmp_path)), batches, small.config(tmp_path))


def test_of_checkpoints_none_of_which_can_be_read_the_cure_is_named(tmp_path):
    quick(small.config(tmp_path, num_steps=2))
    (tmp_path / "checkpoints/2").rename(tmp_path / "checkpoints/7")
    with pytest.raises(CheckpointError, match=r"(?s)step 7 .*rename it back.* or remove .*checkpoints to start again"):
        quick(small.config(tmp_path, num_steps=9))


def test_a_link_to_nowhere_is_no_run_folder(tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "absent")
    for folder in (tmp_path / "run", tmp_path / "run/deeper"):
        with pytest.raises(OSError, match=r"is a broken link \(.*absent\)"):
            quick(small.config(folder))


@pytest.mark.parametrize("name", ["samples", "tensorboard", "checkpoints", "metrics.jsonl", "starts.jsonl"])
def test_nothing_is_written_through_links_in_a_run_folder(tmp_path, name):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/a").write_text("theirs")
    quick(small.config(tmp_path / "run", num_steps=1), draw=black)
    target = "theirs/a" if name.endswith("l") else "theirs"
    path = tmp_path / "run" / name
    path.rename(tmp_path / "aside")
    path.symlink_to(tmp_path / target)
    with contextlib.suppress(OSError, ValueError):
        quick(small.config(tmp_path / "run", num_steps=2), draw=black)
    assert [p.name for p in (tmp_path / "theirs").iterdir()] == ["a"]
    assert (tmp_path / "theirs/a").read_text() == "theirs"
