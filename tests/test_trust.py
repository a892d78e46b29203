"""docs/trust.md, attacked."""

import dataclasses
import json

import pytest

from experiments import gan
from jaxgan.checkpoints.checkpoint import CheckpointError
from jaxgan.data.trust import check_trusted_paths
from jaxgan.runs.open_run import open_run


@dataclasses.dataclass
class Config:
    dataset: str = "mnist_5k"
    dataset_b: str | None = None
    data_dir: str | None = None


@pytest.mark.parametrize(
    "fields",
    [
        {"data_dir": "{run}/data"},
        {"data_dir": "{run}"},
        {"data_dir": "{run}/../run/data"},
        {"dataset": "folder:{run}/data"},
        {"dataset": "folder:{link}/data"},
        {"dataset": "folder:{out}/back"},
        {"dataset": "stacked:folder:{run}/data"},
        {"dataset": "pairs:{run}/data"},
        {"dataset": "{run}/data/a.npy"},
        {"dataset": "stacked:{run}/a.npz"},
        {"dataset": "folder:{run}/leads out"},
        {"dataset_b": "folder:{run}/data"},
        {"dataset": "folder:{run}/.."},
        {"dataset": "folder:/"},
        {"dataset": "run/data", "data_dir": "{run}/.."},
        {"dataset": "run/data:1.*.*", "data_dir": "{run}/.."},
        {"dataset": "stacked:stacked:run/data", "data_dir": "{run}/.."},
        {"dataset": "run", "data_dir": "{link}/.."},
        {"dataset": "back", "data_dir": "{out}"},
        {"dataset": "mine", "data_dir": "{out}"},
        {"dataset": "run/data"},
        {"dataset": "emoji", "data_dir": "{out}"},
        {"dataset_b": "run/data", "data_dir": "."},
    ],
)
def test_a_run_s_data_do_not_lie_inside_of_it(tmp_path, monkeypatch, fields):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    run, out, link = tmp_path / "run", tmp_path / "out", tmp_path / "link"
    (run / "data").mkdir(parents=True)
    (run / "data/features.json").touch()
    (out / "mine").mkdir(parents=True)
    (out / "mine/1.0.0").symlink_to(run / "data")
    (out / "emoji-datasource-google").symlink_to(run)
    link.symlink_to(run)
    (out / "back").symlink_to(run / "data")
    (run / "leads out").symlink_to(out)
    given = {name: value.format(run=run, out=out, link=link) for name, value in fields.items()}
    for folder in (run, link):
        with pytest.raises(ValueError, match=r"reads its data from inside itself .*move the data out of it"):
            check_trusted_paths(Config(**given), folder)


def test_a_user_s_own_data_are_read_without_a_flag(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for fields in (
        {},
        {"data_dir": str(tmp_path / "data")},
        {"data_dir": ".."},
        {"dataset": "folder:data", "dataset_b": f"folder:{tmp_path}/data"},
        {"dataset": "stacked:mnist", "data_dir": "."},
        {"dataset": "running.npy"},
    ):
        check_trusted_paths(Config(**fields), "run")
    check_trusted_paths(object(), "run")


def test_a_received_run_is_not_opened_where_it_brings_its_data(tmp_path):
    config = gan.Config(dataset="noise", channels=3, width=2, data_dir=str(tmp_path / "tfds"))
    record = {"experiment": "gan", "config": dataclasses.asdict(config)}
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="reads its data from inside itself"):
        open_run(tmp_path, {"gan": gan})
    # What the run names is not followed in a folder of the user's own either.
    inside = {"data_dir": str(tmp_path.parent)}
    config = dataclasses.replace(config, dataset=f"{tmp_path.name}/tfds", data_dir=None)
    (tmp_path / "config.json").write_text(json.dumps(record | {"config": dataclasses.asdict(config)}))
    with pytest.raises(ValueError, match="reads its data from inside itself"):
        open_run(tmp_path, {"gan": gan}, data=inside)
    (tmp_path / "config.json").write_text(json.dumps(record))
    # The user's own word for where the data are goes before the run's; then there is no checkpoint.
    with pytest.raises(CheckpointError, match="no checkpoint"):
        open_run(tmp_path, {"gan": gan}, data={"data_dir": str(tmp_path / "tfds"), "dataset": None})
    with pytest.raises(ValueError, match="a run of gan, which has no dataset_b"):
        open_run(tmp_path, {"gan": gan}, data={"dataset_b": "noise"})
