import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest
import small

from jaxgan.checkpoints.checkpoint import CheckpointError
from jaxgan.networks.mlp import mlp_generator
from jaxgan.runs.config import RunConfig
from jaxgan.runs.open_run import Run, open_run, restore


def test_a_run_is_opened_as_it_was_left(tmp_path):
    state, _ = small.run(small.config(tmp_path, num_steps=12, keep=9))
    run = open_run(tmp_path, {"small": small})
    assert run.step == 12
    assert run.config == small.config(tmp_path, num_steps=12, keep=9)
    small.assert_same(run.state, state)
    assert open_run(tmp_path, {"small": small}, checkpoint="10").step == 10


def test_a_state_comes_back_for_a_gan_of_ones_own(tmp_path):
    config = small.config(tmp_path, num_steps=12, keep=9, best="score")
    state, _ = small.run(config, evaluate=lambda state: {"score": float(state.step)})
    gan = small.build(config)
    run = restore(tmp_path, gan)
    small.assert_same(run.state, state)
    names = [field.name for field in dataclasses.fields(RunConfig)]
    assert run.config == RunConfig(**{name: getattr(config, name) for name in names})
    assert restore(tmp_path, gan, checkpoint=10).step == 10
    assert restore(tmp_path, gan, {"image": np.zeros((8, 2), np.float32)}, checkpoint="best").step == 12
    points = run.sample(3, count=5)
    latents = jax.random.normal(jax.random.key(3), (5, 2))
    np.testing.assert_array_equal(points, run.sample(latents))
    np.testing.assert_allclose(points, gan.sample(state, {"latents": latents})["samples"], rtol=1e-5)
    assert run.sample().shape == (16, 2)
    np.testing.assert_array_equal(run.sample(np.int64(3), count=5), points)
    assert not np.allclose(run.sample(3, count=5, raw=True), points)
    for options, message in (
        ({"label": 3}, "not trained on labels"),
        ({"prompt": "red"}, "not trained on prompts"),
        ({"seed": np.zeros((4, 3))}, r"latents \[4, 3\]: the generator of .* takes \[N, 2\]"),
        ({"seed": np.zeros((0, 2))}, r"latents \[0, 2\]"),
        ({"seed": np.zeros((4, 2)), "count": 4}, "give latents or count"),
        ({"count": -1}, "count=-1: expected an integer from 1"),
        ({"count": 10**13}, "count=10000000000000: expected an integer from 1"),
        ({"count": "3"}, "count='3': expected an integer"),
        ({"count": True}, "count=True: expected an integer"),
        ({"seed": jax.random.key(0)}, "seed is a key of jax.random: give an integer, or latents"),
        ({"seed": np.zeros((4, 2), complex)}, "the latents are complex numbers"),
        ({"label": []}, "not trained on labels"),
        ({"seed": 1.5}, "seed=1.5: expected an integer"),
    ):
        with pytest.raises(ValueError, match=message):
            run.sample(**options)
    with pytest.raises(ValueError, match="a run of 'small', not of an experiment of jaxgan: give restore its GAN"):
        restore(tmp_path)
    with pytest.raises(CheckpointError, match=r"generator/params/.* in the checkpoint"):
        restore(tmp_path, small.small_gan())
    with pytest.raises(ValueError, match="is not a run folder"):
        restore(tmp_path / "none", gan)


def test_a_number_is_a_label_and_a_text_the_name_of_a_class(tmp_path):
    record = {"experiment": "small", "config": {}, "classes": ["1", "0", "ant"]}
    (tmp_path / "config.json").write_text(json.dumps(record))
    run = Run(tmp_path, None, None, small.small_gan(), {}, None, 0)
    np.testing.assert_array_equal(run._labels([1, "1", np.int64(0), "0", "ant"], 5), [1, 0, 0, 1, 2])
    np.testing.assert_array_equal(run._labels([], 4), [0, 1, 2])
    with pytest.raises(ValueError, match=r"0\.\.2"):
        run._labels([3], 1)
    (tmp_path / "config.json").write_text(json.dumps({"experiment": "small", "config": {}}))
    np.testing.assert_array_equal(run._labels([7], 1), [7])
    for given in ([], ["ant"]):
        with pytest.raises(ValueError, match="are not recorded: give label a number"):
            run._labels(given, 1)


def without_data(config):
    raise FileNotFoundError("the data set has been deleted")


def test_the_training_data_need_not_be_there(tmp_path, monkeypatch):
    state, _ = small.run(small.config(tmp_path, num_steps=1))
    with monkeypatch.context() as patch:
        patch.setattr(small, "batches", without_data)
        run = open_run(tmp_path, {"small": small})
    small.assert_same(run.state, state)
    assert run.batch == {"image": jax.ShapeDtypeStruct((8, 2), np.float32)}

    # A run of a version that did not write a batch's shapes down.
    record = json.loads((tmp_path / "config.json").read_text())
    del record["batch"]
    (tmp_path / "config.json").write_text(json.dumps(record))
    earlier = open_run(tmp_path, {"small": small})
    small.assert_same(earlier.state, state)
    assert earlier.batch == run.batch


def test_sampling_in_parts_with_ema_or_raw_weights(tmp_path):
    state, _ = small.run(small.config(tmp_path, num_steps=3))
    run = open_run(tmp_path, {"small": small})
    latents = jax.random.normal(jax.random.key(0), (5, 2))
    averaged = run.outputs({"latents": latents}, at_once=2)["samples"]
    np.testing.assert_allclose(averaged, run.gan.sample(state, {"latents": latents})["samples"], rtol=1e-5)
    generator = mlp_generator((8,), features=2)
    raw, _ = generator.apply(state.generator.params, {}, latents, train=False)
    np.testing.assert_allclose(run.outputs({"latents": latents}, raw=True)["samples"], raw, rtol=1e-5)
    assert not np.allclose(averaged, raw)


def test_a_record_is_data_and_names_no_code(tmp_path):
    small.run(small.config(tmp_path, num_steps=1))
    record = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"experiment": "os"}, "a run of 'os'; known here: small"),
        ({"config": record["config"] | {"n_critc": 5}}, "does not know: n_critc"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(record | change))
        with pytest.raises(ValueError, match=message):
            open_run(tmp_path, {"small": small})


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("config", "num_steps"), "3", "num_steps='3': expected an integer from 1"),
        (("config", "num_steps"), 2.0, "num_steps=2.0: expected"),
        (("config", "batch_size"), True, "batch_size=True: expected"),
        (("config", "batch_size"), 0, "batch_size=0: expected"),
        (("config", "seed"), -1, "seed=-1: expected"),
        (("config", "seed"), [1], r"seed=\[1\]: expected"),
        (("config", "learning_rate"), "1e-2", "learning_rate='1e-2': expected a number"),
        (("config", "learning_rate"), None, "learning_rate=None: expected"),
        (("config", "resume"), "maybe", "resume='maybe': expected 'auto', 'must' or 'never'"),
        (("config", "dtype"), 32, "dtype=32: expected"),
        (("config", "workdir"), 3, "workdir=3: expected a path or nothing"),
        (("config", "workdir"), "", "workdir='': expected a path"),
        (("config", "debug_nans"), 1, "debug_nans=1: expected true or false"),
        (("config", "best"), {}, r"best=\{\}: expected text or nothing"),
        (("config", "best"), "\ud800", "best="),
        (("config",), [], r"config=\[\]: expected an object"),
        (("batch",), 3, "batch=3: expected an object"),
        (("batch", "image"), 3, "batch="),
        (("batch", "image"), {}, "shape of image=None: expected a list"),
        (("batch", "image", "shape"), [8, -2], r"shape of image=\[8, -2\]: expected"),
        (("batch", "image", "shape"), "82", "shape of image='82': expected"),
        (("batch", "image", "dtype"), "object", "dtype of image='object': expected"),
        (("batch",), {}, "does not fit its networks"),
        (("size",), "40", "size='40': expected an integer"),
        (("versions",), [], r"versions=\[\]: expected an object"),
        (("git_revision",), 3, "git_revision=3: expected text or nothing"),
        (("experiment",), ["small"], r"experiment=\['small'\]: expected text"),
    ],
)
def test_a_record_with_a_value_of_another_type_names_file_and_field(trained, tmp_path, place, value, expected):
    shutil.copytree(trained, tmp_path / "run")
    file = tmp_path / "run/config.json"
    record = json.loads(file.read_text())
    inner = record
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    file.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=expected) as refused:
        open_run(tmp_path / "run", {"small": small})
    assert str(file) in str(refused.value)


def test_a_value_that_only_the_networks_refuse_names_the_file(trained, monkeypatch):
    """DCGAN has no networks for 4096 pixels, though config.json may say 4096."""

    def build(config):
        raise ValueError("no networks for 4096 pixels")

    monkeypatch.setattr(small, "build", build)
    with pytest.raises(ValueError, match=r"config\.json: no networks for 4096 pixels"):
        open_run(trained, {"small": small})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    small.run(small.config(folder, num_steps=1))
    return folder


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{\0}\0", b"[" * 10**5, b'{"size": 1, "size": 2}', b"9" * 5000, bytes(9), b""]
)
def test_what_is_no_record_is_one_sentence(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config.json cannot be read: .+"):
        open_run(tmp_path, {"small": small})


def test_a_pipe_or_a_giant_in_place_of_a_record(tmp_path):
    os.mkfifo(tmp_path / "config.json")  # which nobody writes to
    with pytest.raises(ValueError, match=r"config.json is not a regular file"):
        open_run(tmp_path, {"small": small})
    (tmp_path / "config.json").unlink()
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="is larger than 16,777,216 bytes"):
        open_run(tmp_path, {"small": small})


def test_no_run_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="not a run folder"):
        open_run(tmp_path / "none", {"small": small})
