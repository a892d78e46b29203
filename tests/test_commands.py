"""The commands on a finished run: sample, evaluate, export, translate."""

import io
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from test_cli import COMMANDS, MODULES, NEEDED, ended

from experiments import cyclegan, gan, gaussians_2d
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.runs import cli
from jaxgan.runs.config import save_config
from jaxgan.runs.images import image_grid, save_image


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_that_is_not_there(name, capsys, monkeypatch, tmp_path):
    """kwotsin/mimicry#43: without a checkpoint an evaluation ended as if it had been done."""
    monkeypatch.chdir(tmp_path)
    picture = image_grid({"samples": np.zeros((1, 8, 8, 1), np.uint8)})
    save_image(tmp_path / "pictures/a.png", picture)
    assert ended(MODULES[name], NEEDED[name], capsys, monkeypatch) == (
        2,
        "error: nothing is not a run folder: it has no config.json\n",
    )
    config = gaussians_2d.Config() if name == "export" else cyclegan.Config() if name == "translate" else gan.Config()
    save_config(config, tmp_path / "nothing", {}, size=1)
    status, said = ended(MODULES[name], NEEDED[name], capsys, monkeypatch)
    assert (status, said) == (2, f"error: no checkpoint in {tmp_path}/nothing/checkpoints\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nothing", "pictures"]
    assert [path.name for path in (tmp_path / "nothing").iterdir()] == ["config.json"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was never trained."""
    folder = tmp_path_factory.mktemp("run")
    config = gan.Config(width=8, dataset="noise", batch_size=4)
    batch = gan.batches(config)(0)[0]
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(200, gan.build(config).init(jax.random.key(0), batch))
    save_config(config, folder, batch, size=1024)
    return folder


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("sample", ["--checkpoint", "100"], "there are steps 200"),
        ("evaluate", ["--checkpoint", "best"], "there is no best checkpoint"),
        ("export", ["--checkpoint", "first"], "expected 'best', 'last' or a step"),
        ("sample", ["--count", "0"], "count=0"),
        ("sample", ["--label", "3"], "has no --label"),
        (
            "evaluate",
            ["--num-samples", "1"],
            "error: num_samples=1: expected an integer from 2 to 1e6 or nothing",
        ),
        ("translate", ["--output", "o"], "is a run of 'gan'; known here: cyclegan, pix2pix"),
        ("export", ["--inputs", "a"], "has the inputs latents"),
        ("sample", ["--count", "2", "--output", "file/x.png"], "file: "),
        ("sample", ["--count", "2", "--kind", "images", "--output", "file"], "file: "),
        ("sample", ["--count", "2", "--output", "folder"], "output folder is a folder, where a file was expected"),
        ("export", ["--to", "safetensors", "--output", "file/x"], "file: "),
        ("export", ["--output", "folder"], "output folder is a folder, where a file was expected"),
    ],
)
def test_what_a_command_cannot_do(name, arguments, expected, run, capsys, monkeypatch, tmp_path):
    """kwotsin/mimicry#43: without a checkpoint an evaluation ended as if it had been done."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    save_image(tmp_path / "folder/a.png", np.zeros((8, 8), np.uint8))
    needed = ["--input", "folder"] if name == "translate" else []
    before = {path for folder in (tmp_path, run) for path in folder.rglob("*")}
    status, said = ended(MODULES[name], ["--run", str(run), *needed, *arguments], capsys, monkeypatch)
    assert status == 2
    assert expected in said
    assert {path for folder in (tmp_path, run) for path in folder.rglob("*")} == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "file", "arguments"),
    [
        ("export", "x.safetensors", ["--to", "safetensors"]),
        ("export", "x.stablehlo", []),
        ("sample", "x.png", ["--count", "2"]),
        ("sample", "x.gif", ["--count", "1", "--kind", "walk"]),
    ],
)
def test_a_command_replaces_what_it_wrote_and_nothing_else(name, file, arguments, run, capsys, monkeypatch, tmp_path):
    command = [*arguments, "--run", str(run), "--output", f"{tmp_path}/a/{file}"]
    main = lambda: MODULES[name].main(cli.parse(MODULES[name].Config, command))
    output = main()
    written = output.read_bytes()
    output.write_bytes(written + b"older" * 10**5)
    assert main() == output
    assert abs(output.stat().st_size - len(written)) < 100  # a GIF may differ in a byte
    assert [path.name for path in output.parent.iterdir()] == [file]
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    for wrong in (lambda: output.write_bytes(b"mine"), lambda: output.touch(), lambda: output.symlink_to(mine)):
        output.unlink()
        wrong()
        before = output.read_bytes()
        status, said = ended(MODULES[name], command, capsys, monkeypatch)
        assert (status, "exists and was not written by this command" in said) == (2, True)
        assert output.read_bytes() == before and mine.read_bytes() == b"mine"


def test_images_of_an_earlier_command_do_not_stay_among_those_of_the_next(run, capsys, monkeypatch, tmp_path):
    """A score of the folder would mix both."""
    command = ["--run", str(run), "--kind", "images", "--output", str(tmp_path / "out")]
    sample = MODULES["sample"]
    for count in (8, 2, 3):
        folder = sample.main(cli.parse(sample.Config, [*command, "--count", str(count)]))
        assert sorted(path.name for path in folder.iterdir()) == [f"{index:05}.png" for index in range(count)]
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    others: dict = {"note.txt": b"mine", "00007.png": b"mine", "7.png": kept["00000.png"], "sub/00001.png": b"mine"}
    for name, content in others.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        status, said = ended(sample, [*command, "--count", "1"], capsys, monkeypatch)
        assert (status, f"out holds {name}, not written by this command" in said) == (2, True)
        (folder / name).unlink()
        assert {path.name: path.read_bytes() for path in folder.glob("*.png")} == kept
    monkeypatch.setattr(sample, "AT_ONCE", 2)  # drawn in parts, they are the same
    sample.main(cli.parse(sample.Config, [*command, "--count", "3"]))
    for name, content in kept.items():
        np.testing.assert_allclose(
            *(np.asarray(Image.open(io.BytesIO(x)), int) for x in (content, (folder / name).read_bytes())), atol=1
        )


def test_in_the_run_folder_nothing_is_written_through_a_link(run, tmp_path):
    sample, other = MODULES["sample"], tmp_path / "run"
    shutil.copytree(run, other)
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(other / "generated", ignore_errors=True)
    (other / "generated").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is a link"):
        sample.main(sample.Config(run=str(other), count=1))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_path_may_be_long_or_odd(run, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    sample = MODULES["sample"]
    shutil.copytree(run, tmp_path / "a run")
    command = ["--run", "~/a run", "--count", "1", "--output", "~/x [v2]\\ *.png"]
    written = sample.main(cli.parse(sample.Config, command))
    assert written == tmp_path / "x [v2]\\ *.png" and written.exists()
    long = "n" * 251
    for output in (f"~/{long}.png", f"~/{long}/x.png"):
        sample.main(cli.parse(sample.Config, [*command[:-1], output]))
        assert (tmp_path / output[2:]).exists()
    status, said = ended(sample, [*command[:-1], f"~/{long * 2}.png"], capsys, monkeypatch)
    assert (status, "File name too long" in said, said.count("\n")) == (2, True, 1)
