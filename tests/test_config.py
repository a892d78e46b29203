import dataclasses
import json
import os
from typing import ClassVar, Literal

import jax.numpy as jnp
import pytest

from jaxgan.runs.config import (
    RunConfig,
    class_names,
    differences,
    load_config,
    result_fields,
    run_folder,
    runtime,
    save_config,
)
from jaxgan.runs.image_config import ImageConfig

BATCH = {"image": jnp.zeros((4, 8, 8, 3)), "label": jnp.zeros(4, jnp.int32)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    experiment: ClassVar[str] = "toy"
    presets: ClassVar = {"default": {}, "paper": {"rate": 0.5, "num_steps": 9}}

    preset: Literal["default", "paper"] = runtime("default")
    rate: float = 0.1
    widths: tuple[int, ...] = (1, 2)
    note: str = runtime("")


def test_a_folder_is_named_by_what_changes_the_result():
    assert str(run_folder(Config())) == "runs/toy"
    assert str(run_folder(Config(note="x", log_every=3, num_steps=7))) == "runs/toy"
    assert str(run_folder(Config(rate=0.2, seed=3))) == "runs/toy-seed=3-rate=0.2"
    assert str(run_folder(Config.from_preset("paper"))) == "runs/toy-preset=paper"
    assert str(run_folder(Config.from_preset("paper", rate=0.1))) == "runs/toy-preset=paper-rate=0.1"
    assert run_folder(Config(init_from="runs/a")).parent.name == "runs"
    assert str(run_folder(Config(workdir="elsewhere"))) == "elsewhere"


def test_the_name_of_a_folder_is_a_name():
    long = [run_folder(Config(rate=0.2, init_from="ä" * size)) for size in (300, 301)]
    assert long[0] != long[1] == run_folder(Config(rate=0.2, init_from="ä" * 301))
    assert long[0].name.startswith("toy-") and len(os.fsencode(long[0].name)) <= 200
    assert "-rate=0.2" not in long[0].name  # cut at a field
    assert run_folder(Config(init_from="../a\nb")).name == "toy-init_from=.._a_b"


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


def test_what_the_data_are_decides_and_not_where_they_lie(tmp_path):
    data = {"size": 9, "identity": {"file names": "1", "labels": "2"}}
    save_config(ImageConfig(dataset="folder:a", data_dir="x"), tmp_path, BATCH, **data)
    record = load_config(tmp_path)
    moved = ImageConfig(dataset="folder:/b/", data_dir="y")
    assert differences(moved, record, **data) == []
    other = {"size": 9, "identity": {"file names": "1", "labels": "3", "captions": "4"}}
    same_name = differences(ImageConfig(dataset="folder:a"), record, **other)
    assert same_name == ["the data set has changed: labels, captions differ"]
    assert differences(moved, record, **other)[0] == "dataset was 'folder:a', is 'folder:/b/'"
    assert differences(moved, record, size=8, identity={"file names": "5"})[1:] == [
        "the data set had 9 examples, has 8"
    ]
    # Where either knows nothing of its data, the name decides, as it did before.
    assert differences(moved, record, size=9) == ["dataset was 'folder:a', is 'folder:/b/'"]
    save_config(ImageConfig(dataset="folder:a"), tmp_path, BATCH, size=9)
    assert differences(moved, load_config(tmp_path), **data) == ["dataset was 'folder:a', is 'folder:/b/'"]


def test_the_names_of_classes_are_compared_in_one_unicode_form(tmp_path):
    """macOS gives \u00e9 as e and an accent."""
    save_config(Config(), tmp_path, BATCH, size=9, classes=("ant", "b\u00e9e", "cow", "dog", "emu"))
    record = load_config(tmp_path)
    found = lambda *classes: differences(Config(), record, size=9, classes=classes)
    assert found("ant", "be\u0301e", "cow", "dog", "emu") == []
    assert found("ant", "b\u00e9e", "dog", "dog", "emu") == ["class 2 was 'cow', is 'dog'"]
    assert found("emu", "dog", "cat", "b", "a")[-2:] == ["class 2 was 'cow', is 'cat'", "and 2 more classes"]
    assert found("ant") == ["the data set had 5 classes, has 1"]
    assert differences(Config(), record, size=9) == []  # data whose labels have no names
    assert class_names(record)[1] == "b\u00e9e" and class_names({}) is None


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "it is not valid JSON"),
        ("[]", "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        ('{"config": 3}', "config=3: expected an object"),
        ('{"config": null}', "config=None: expected an object"),
        ('{"size": ' + "9" * 5000 + "}", "an integer of 5,000 digits is too long"),
        ("\x00", "it is not valid JSON"),
    ],
)
def test_a_broken_record_is_named(tmp_path, content, reason):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=rf"config\.json cannot be read: {reason}"):
        load_config(tmp_path)
    with pytest.raises(ValueError, match="not a run folder"):
        load_config(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("field", "value"), [("num_steps", 0), ("num_steps", -1), ("batch_size", 0), ("keep", 0), ("evaluate_every", -1)]
)
def test_numbers_that_cannot_be_meant(field, value):
    with pytest.raises(ValueError, match=f"{field}={value}"):
        RunConfig(**{field: value})


@pytest.mark.parametrize(
    "known",
    [
        {"classes": ["cat", "caf\udce9"]},
        {"identity": {"file names": "\ud800"}},
        {"size": 0},
        {"classes": ["x" * 2**16] * 2**9},
    ],
)
def test_nothing_is_written_that_is_not_read_again(tmp_path, known):
    with pytest.raises(ValueError, match=r"config\.json is not written, since it could not be read"):
        save_config(Config(), tmp_path, BATCH, **{"size": 9, **known})
    assert not list(tmp_path.iterdir())


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


def test_older_records_know_nothing_of_floating_point_values(tmp_path):
    config = RunConfig(workdir=str(tmp_path))
    record = {"experiment": "run", "config": dataclasses.asdict(config), "data": {"shape of image": "float32 [2]"}}
    now = {"shape of image": "float32 [2]", "values of image": "1 2 3"}
    assert differences(config, record, size=4, identity=now) == []
    record["data"] = now | {"values of image": "1 2 4"}
    assert differences(config, record, size=4, identity=now) != []
