import dataclasses
import json
from typing import ClassVar, Literal

import jax.numpy as jnp
import pytest

from jaxgan.config import RunConfig, differences, free, load_config, result_fields, run_folder, save_config

BATCH = {"image": jnp.zeros((4, 8, 8, 3)), "label": jnp.zeros(4, jnp.int32)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    experiment: ClassVar[str] = "toy"
    presets: ClassVar = {"default": {}, "paper": {"rate": 0.5, "num_steps": 9}}

    preset: Literal["default", "paper"] = free("default")
    rate: float = 0.1
    widths: tuple[int, ...] = (1, 2)
    note: str = free("")


def test_a_folder_is_named_by_what_changes_the_result():
    assert str(run_folder(Config())) == "runs/toy"
    assert str(run_folder(Config(note="x", log_every=3, num_steps=7))) == "runs/toy"
    assert str(run_folder(Config(rate=0.2, seed=3))) == "runs/toy-seed=3-rate=0.2"
    assert str(run_folder(Config.from_preset("paper"))) == "runs/toy-preset=paper"
    assert str(run_folder(Config.from_preset("paper", rate=0.1))) == "runs/toy-preset=paper-rate=0.1"
    assert run_folder(Config(init_from="runs/a")).parent.name == "runs"
    assert str(run_folder(Config(workdir="elsewhere"))) == "elsewhere"


def test_presets():
    assert Config.from_preset("paper").rate == 0.5
    assert Config.from_preset("paper", rate=0.7).rate == 0.7
    with pytest.raises(ValueError, match="unknown preset 'papper'; toy has default, paper"):
        Config.from_preset("papper")


def test_the_record_comes_back_and_names_what_differs(tmp_path):
    save_config(Config(note="a"), tmp_path / "run", BATCH, size=1000)
    record = load_config(tmp_path / "run")
    assert record["config"]["widths"] == [1, 2]
    assert record["batch"] == {
        "image": {"shape": [4, 8, 8, 3], "dtype": "float32"},
        "label": {"shape": [4], "dtype": "int32"},
    }
    assert differences(Config(note="b", num_steps=99), record, size=1000) == []
    changed = Config(rate=0.2, widths=(1,))
    assert differences(changed, record, size=1000) == ["rate was 0.1, is 0.2", "widths was [1, 2], is [1]"]
    assert "experiment was 'toy', is 'run'" in differences(RunConfig(), record, size=1000)
    assert differences(Config(), record, size=1001) == ["the data set had 1,000 examples, has 1,001"]
    del record["size"]  # a run of before it was written down
    assert differences(Config(), record, size=1001) == []
    assert {"num_steps", "note", "workdir"}.isdisjoint(result_fields(Config()))


def test_how_the_path_of_a_first_run_is_written_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to("runs")
    save_config(Config(init_from="runs/a"), tmp_path, BATCH, size=1000)
    record = load_config(tmp_path)
    for same in ("runs/a", "./runs/a/", "~/runs/a", str(tmp_path / "runs/b/../a"), "link/a"):
        assert differences(Config(init_from=same), record, size=1000) == []
    for other in ("runs/b", None):
        assert "init_from was 'runs/a'" in differences(Config(init_from=other), record, size=1000)[0]


@pytest.mark.parametrize("content", ["{", "[]", '{"config": 3}', "\x00"])
def test_a_broken_record_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_config(tmp_path)
    with pytest.raises(ValueError, match="not a run folder"):
        load_config(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("field", "value"), [("num_steps", 0), ("num_steps", -1), ("batch_size", 0), ("keep", 0), ("evaluate_every", -1)]
)
def test_numbers_that_cannot_be_meant(field, value):
    with pytest.raises(ValueError, match=f"{field}={value}"):
        RunConfig(**{field: value})


def test_config_json_is_whole_json(tmp_path):
    save_config(Config(), tmp_path, BATCH, size=1000)
    record = json.loads((tmp_path / "config.json").read_text())
    assert set(record) == {"experiment", "config", "batch", "size", "versions", "git_revision"}
    assert set(record["config"]) == {field.name for field in dataclasses.fields(Config)}
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("best, mode", [("classifier_frechet", "min"), ("a_to_b_l1", "min"), ("coverage", "max")])
def test_whether_a_score_is_better_small_is_known_by_its_name(best, mode):
    assert RunConfig(best=best).best_mode == mode


def test_numbers_of_steps_are_multiples_of_those_of_a_call():
    RunConfig(steps_per_call=50)
    with pytest.raises(ValueError, match="log_every=50 is no multiple of steps_per_call=20"):
        RunConfig(steps_per_call=20)
    with pytest.raises(ValueError, match="steps_per_call=0: expected"):
        RunConfig(steps_per_call=0)


def test_a_field_that_came_later_had_its_default(tmp_path):
    save_config(Config(), tmp_path, BATCH, size=1000)
    record = load_config(tmp_path)
    del record["config"]["rate"]
    assert differences(Config(), record, size=1000) == []
    assert differences(Config(rate=0.2), record, size=1000) == ["rate was 0.1, is 0.2"]
