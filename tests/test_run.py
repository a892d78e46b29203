import json

import jax
import numpy as np
import pytest
import small

from jaxgan.networks.mlp import mlp_generator
from jaxgan.run import open_run


def test_a_run_is_opened_as_it_was_left(tmp_path):
    state, _ = small.run(small.config(tmp_path, num_steps=12, keep=9))
    run = open_run(tmp_path, {"small": small})
    assert run.step == 12
    assert run.config == small.config(tmp_path, num_steps=12, keep=9)
    small.assert_same(run.state, state)
    assert open_run(tmp_path, {"small": small}, checkpoint="10").step == 10


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


def test_sampling_in_parts_with_averaged_or_live_weights(tmp_path):
    state, _ = small.run(small.config(tmp_path, num_steps=3))
    run = open_run(tmp_path, {"small": small})
    latents = jax.random.normal(jax.random.key(0), (5, 2))
    averaged = run.sample({"latents": latents}, at_once=2)["samples"]
    np.testing.assert_allclose(averaged, run.gan.sample(state, {"latents": latents})["samples"], rtol=1e-5)
    generator = mlp_generator((8,), features=2)
    live, _ = generator.apply(state.generator.params, {}, latents, train=False)
    np.testing.assert_allclose(run.sample({"latents": latents}, live=True)["samples"], live, rtol=1e-5)
    assert not np.allclose(averaged, live)


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


def test_no_run_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="not a run folder"):
        open_run(tmp_path / "none", {"small": small})
