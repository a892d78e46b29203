import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.algorithms.state import GANState, TrainState
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.data.vocabulary import Vocabulary
from jaxgan.runs import cli
from jaxgan.runs.config import RunConfig, save_config
from jaxgan.runs.lock import Lock
from jaxgan.runs.start import refuse_foreign, refuse_unusable, set_aside, weights_from


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


def state_of(value=1.0, *, layers=1, size=2, ema=True, norm=False):
    params = {f"layer_{n}": {"kernel": jnp.full((size, size), value)} for n in range(layers)}
    player = TrainState(jnp.int32(0), params, {"batch_stats": {"mean": jnp.full(2, value)}} if norm else {}, ())
    average = jax.tree.map(lambda leaf: leaf + 1, (player.params, player.model_state)) if ema else (None, None)
    return GANState(jax.random.key(0), player, player, ema_params=average[0], ema_model_state=average[1])


def saved(folder, state):
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(7, state)
    return folder


@pytest.mark.parametrize(
    ("source", "target", "missing"),
    [
        ({"layers": 2}, {}, "generator/params/layer_1/kernel: in the checkpoint only"),
        ({}, {"layers": 2}, "generator/params/layer_1/kernel: missing in the checkpoint"),
        ({"norm": True}, {}, "discriminator/model_state/batch_stats/mean: in the checkpoint only"),
        ({}, {"norm": True}, "generator/model_state/batch_stats/mean: missing in the checkpoint"),
        ({"size": 3}, {}, r"float32\[3,3\] in the checkpoint, float32\[2,2\] expected"),
        ({"value": np.inf}, {}, "params/layer_0/kernel of step 7 is not finite"),
    ],
)
def test_every_leaf_of_a_source_is_used_or_named(tmp_path, source, target, missing):
    saved(tmp_path, state_of(**source))
    with pytest.raises(ValueError, match=rf"init_from='{tmp_path}': (.|\n)*{missing}"):
        weights_from(tmp_path, state_of(**target))


@pytest.mark.parametrize(
    ("source", "target", "average", "said"),
    [
        (True, True, 4.0, ""),
        (False, True, 3.0, "; it has no EMA weights, so the EMA starts at its raw weights"),
        (True, False, None, "; without its EMA weights, since this run has none"),
        (False, False, None, ""),
    ],
)
def test_averages_may_differ_and_this_is_said(tmp_path, source, target, average, said):
    saved(tmp_path, state_of(3.0, ema=source, norm=True))
    state, taken = weights_from(tmp_path, state_of(ema=target, norm=True))
    assert taken == f"the weights of step 7 of {tmp_path}{said}"
    for player in (state.generator, state.discriminator):
        assert {float(leaf.max()) for leaf in jax.tree.leaves((player.params, player.model_state))} == {3.0}
    found = jax.tree.leaves((state.ema_params, state.ema_model_state))
    assert [float(leaf.max()) for leaf in found] == ([average] * 2 if average else [])
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((state.generator.params, state.ema_params))]
    assert len(set(buffers)) == len(buffers)  # each is donated


def test_no_run_to_start_from(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    saved(tmp_path / "damaged", state_of())
    (tmp_path / "damaged/checkpoints/7/state/manifest.ocdbt").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for name, reason in {
        "file": "no checkpoint|cannot be read",
        "empty": "no checkpoint in",
        "absent": "no checkpoint in",
        "damaged": "step 7 in .* is damaged: state/manifest.ocdbt does not match",
    }.items():
        with pytest.raises(ValueError, match=f"init_from='{tmp_path}/{name}': .*({reason})"):
            weights_from(tmp_path / name, state_of())
    assert sorted(tmp_path.rglob("*")) == before


def test_numbers_of_words_must_mean_the_same_words(tmp_path):
    saved(tmp_path, state_of())
    words = {"words.json": Vocabulary(["red", "circle"]).save}
    with pytest.raises(ValueError, match=r"words\.json cannot be read"):
        weights_from(tmp_path, state_of(), words)
    for other, different in {
        ("red", "square"): "has 'square' where this run has 'circle'",
        ("red",): "the end",
    }.items():
        Vocabulary(other).save(tmp_path / "words.json")
        with pytest.raises(ValueError, match=different):
            weights_from(tmp_path, state_of(), words)
    (tmp_path / "words.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"words\.json cannot be read: it is nested too deeply"):
        weights_from(tmp_path, state_of(), words)
    (tmp_path / "words.json").write_text(json.dumps({"words": ["red", "circle"]}))
    weights_from(tmp_path, state_of(), words)


def test_labels_that_meant_something_else_are_said(tmp_path):
    saved(tmp_path, state_of())
    batch = {"image": np.zeros((1, 2))}
    save_config(RunConfig(), tmp_path, batch, size=3, classes=("cat", "dog"))
    _, taken = weights_from(tmp_path, state_of(), classes=("cat", "cow"))
    assert taken.endswith("; its labels differ: class 1 was 'dog', is 'cow'")
    for same in (("cat", "dog"), None):
        assert "; its labels differ" not in weights_from(tmp_path, state_of(), classes=same)[1]
