"""The command line of every experiment and command, in this process."""

import dataclasses
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import test_dry_run
import test_step
from PIL import Image

from experiments import cyclegan, gan, gaussians_2d
from jaxgan import messages
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.runs import cli
from jaxgan.runs.config import RunConfig, check_writable, save_config
from jaxgan.runs.flag_help import GROUPS
from jaxgan.runs.images import image_grid, save_image
from jaxgan.training.loop import fit

ROOT = Path(__file__).parent.parent
NAMES = [
    ".".join(path.relative_to(ROOT / "experiments").with_suffix("").parts)
    for path in sorted((ROOT / "experiments").rglob("*.py"))
    if path.stem not in ("__init__", "figures")  # which is no command
]
MODULES = {name: importlib.import_module(f"experiments.{name}") for name in NAMES}
COMMANDS = ("sample", "evaluate", "export", "translate")  # on a finished run
NEEDED = {name: ["--run", "nothing"] for name in COMMANDS}
NEEDED["translate"] += ["--input", "pictures", "--output", "translated"]


def refused(arguments, capsys, config: type = gaussians_2d.Config):
    with pytest.raises(SystemExit) as stop:
        cli.parse(config, arguments)
    printed = "".join(capsys.readouterr())
    assert stop.value.code == 2
    assert "Traceback" not in printed
    return printed


def test_flags_become_fields():
    config = cli.parse(gaussians_2d.Config, ["--data", "grid", "--num-steps", "3", "--r1", "0.5"])
    assert config == gaussians_2d.Config(data="grid", num_steps=3, r1=0.5)


def test_a_preset_sets_defaults_and_flags_change_them():
    config = cli.parse(gan.Config, ["--width", "8", "--preset", "paper"])
    assert config == gan.Config.from_preset("paper", width=8)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--num-stepz", "3"], "--num-steps"),
        (["--loss", "wgangp"], "wasserstein"),
        (["--r1", "abc"], "abc"),
        (["--num-steps", "0"], "error: num_steps=0: expected an integer from 1 to 1,000,000,000"),
        (["--batch-size", "-1"], "batch_size=-1"),
        (["--data", "rings"], "ring"),
        (["--seed"], "--seed"),
    ],
)
def test_case_51_a_mistyped_setting_is_named_with_the_valid_ones(arguments, expected, capsys):
    assert expected in refused(arguments, capsys)


@pytest.mark.parametrize("preset", ["papper", ""])
def test_case_51_an_unknown_preset(preset, capsys):
    assert "paper" in refused(["--preset", preset], capsys, gan.Config)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--num-steps", "1e3"], "num_steps='1e3': expected an integer from 1 to 1,000,000,000"),
        (["--seed", "nan"], "seed='nan': expected an integer from 0 to"),
        (["--seed", ""], "seed='': expected an integer"),
        (["--seed", "1.5"], "seed='1.5': expected an integer"),
        (["--seed", "9" * 5000], "seed='999"),
        (["--r1", "a"], "r1='a': expected a number from 0 to"),
        (["--num-devices", "two"], "num_devices='two': expected an integer from 1 to 65,536 or nothing"),
    ],
)
def test_a_word_for_a_number_is_refused_as_a_number_out_of_range_is(arguments, expected, capsys):
    said = refused(arguments, capsys)
    assert said.startswith(f"error: {expected}") and said.count("\n") == 1 and len(said) < 200


def test_lists_and_nothing_are_still_parsed():
    relativistic = MODULES["relativistic"].Config
    assert cli.parse(relativistic, ["--widths", "8", "4", "8", "8"]).widths == (8, 4, 8, 8)
    assert cli.parse(gaussians_2d.Config, ["--num-devices", "None"]).num_devices is None
    translate = ["--run", "r", "--input", "i", "--output", "o", "--size"]
    assert [cli.parse(MODULES["translate"].Config, [*translate, size]).size for size in ("native", "8")] == [
        "native",
        8,
    ]


def test_a_program_is_named_as_it_is_started(capsys):
    """By a path of this machine, before."""
    assert "python -m experiments.gaussians_2d --help" in " ".join(refused(["--seed"], capsys).split())
    with pytest.raises(SystemExit):
        cli.parse(MODULES["sample"].Config, ["--help"])
    printed = capsys.readouterr().out
    assert "usage: python -m experiments.sample" in printed
    assert printed.count("\n    python -m experiments.sample --run") >= 4  # a line each


OUT_OF_MEMORY = "Out of memory allocating 68719476736 bytes."


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (jax.errors.JaxRuntimeError(f"INTERNAL: {OUT_OF_MEMORY}"), " (an allocation of 68719476736 bytes failed)"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: allocate 64.00GiB"), " (an allocation of 64.00 GiB failed)"),
        (MemoryError("Unable to allocate 64.0 GiB for an array"), " (an allocation of 64.0 GiB failed)"),
        (MemoryError(), ""),
    ],
)
def test_what_does_not_fit_into_memory_is_one_line(error, amount, capsys, monkeypatch):
    def main(config):
        raise error

    for config, flags in ((gan.Config, "--batch-size, --width or --image-size"), (gaussians_2d.Config, "")):
        status, said = ended(types.SimpleNamespace(Config=config, main=main), [], capsys, monkeypatch)
        assert status == 2
        assert said.startswith(f"error: the networks and the batch do not fit into memory{amount}: lower --batch-size")
        assert flags in said and said.count("\n") == 1


def test_other_errors_of_a_device_keep_their_traceback(monkeypatch):
    def main(config):
        jax.pure_callback(lambda: 1 / 0, jax.ShapeDtypeStruct((), np.float32)).block_until_ready()

    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(jax.errors.JaxRuntimeError):
        cli.run(gaussians_2d.Config, main)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("options", [{}, {"write_through": True}])
@pytest.mark.parametrize("flush", [True, False])
def test_a_full_standard_output_is_named(flush, options, capsys, monkeypatch):
    sample = MODULES["sample"]
    toy = types.SimpleNamespace(Config=sample.Config, main=lambda config: print("x", flush=flush))
    for arguments in (["--run", "r"], ["--help"]):
        with io.TextIOWrapper(open("/dev/full", "wb", buffering=0), **options) as full:
            monkeypatch.setattr(sys, "stdout", full)
            status, said = ended(toy, arguments, capsys, monkeypatch)
            assert (status, said) == (2, "error: standard output: No space left on device\n")


def test_help_lists_every_field_and_choice(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(gan.Config, ["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for word in ("--loss", "relativistic_average", "--preset", "paper", "--resume", "goodfellow", "--num-steps"):
        assert word in printed.lower()


def test_what_a_user_got_wrong_is_one_line_and_leaves_no_trace(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", "--num-devices", "9"])
    with pytest.raises(SystemExit) as stop:
        cli.run(gaussians_2d.Config, gaussians_2d.main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: num_devices=9, but there are 4 (cpu)\n"
    assert not list(tmp_path.iterdir())


HOSTILE = "\x1b]0;owned\x07\nerror: all is lost\r\u202e\u2028\u200f\x85\udcff\x00"


@pytest.mark.parametrize(
    "raised",
    [
        ValueError(f"all pictures lie in {HOSTILE}, Z\u00fcrich \u6771\u4eac \U0001f600"),
        OSError(2, "No such file", f"{HOSTILE} Z\u00fcrich \u6771\u4eac \U0001f600"),
        ValueError(f"folder x\n  error: y {HOSTILE} Z\u00fcrich \u6771\u4eac \U0001f600"),
        ValueError("x" * 100_000 + HOSTILE + "Z\u00fcrich \u6771\u4eac \U0001f600"),
    ],
)
def test_a_message_is_one_line_whatever_it_quotes(raised, capsys, monkeypatch):
    def main(config):
        raise raised

    monkeypatch.setitem(main.__globals__, "__name__", "__main__")  # as our own code raises it
    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(SystemExit) as stop:
        cli.run(gaussians_2d.Config, main)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith("error: ") and said.endswith("\n") and len(said) < 5000
    assert "\\nerror: all is lost\\r\\u202e\\u2028\\u200f\\x85\\udcff\\x00" in said and "\n" not in said[:-1]
    assert all(messages.is_shown(letter) for letter in said[:-1]) and "Z\u00fcrich \u6771\u4eac \U0001f600" in said


def test_what_a_message_lists_keeps_its_lines(capsys):
    with pytest.raises(SystemExit):
        cli.leave("2 pictures were not translated:\n  a.png: broken\x1b[31m\n  b.png: broken" + "\n  c" * 1000)
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["error: 2 pictures were not translated:", "  a.png: broken\\x1b[31m"] and len(said) < 50


def test_what_went_wrong_underneath_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(json.JSONDecodeError):
        cli.run(gaussians_2d.Config, lambda config: json.loads("{"))


def ended(module, arguments, capsys, monkeypatch):
    """The status with which a command ends, and what it says on stderr."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(module.Config, module.main)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return stop.value.code, said


@pytest.mark.parametrize("name", MODULES)
def test_case_51_flags_of_every_command(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    needed = NEEDED.get(name, [])
    numbers = {"translate": "--batch-size", "export": "--to", "sample": "--count", "evaluate": "--num-samples"}
    number = (numbers | {"divergence.plans": "--num-points"}).get(name, "--num-steps")
    for wrong in (["--no-such-flag", "1"], [number, "abc"], [number]):
        status, said = ended(MODULES[name], [*needed, *wrong], capsys, monkeypatch)
        assert status == 2
        assert wrong[0] in said or wrong[-1] in said
    if needed:
        status, said = ended(MODULES[name], [], capsys, monkeypatch)
        assert (status, "--run" in said) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("gan", ["--loss", "wasserstein"], "use experiments.wgan_gp"),
        ("gan", ["--image-size", "33"], "33"),
        ("gan", ["--d-norm", "batch"], "mixes its batch"),
        ("gan", ["--augment", "colour"], "unknown augmentation 'colour'"),
        ("gan", ["--load-size", "16"], "load_size=16 is smaller than image_size=32"),
        ("gan", ["--batch-size", "2000"], "fewer than one batch of 2000"),
        ("gan", ["--split", "validation"], "there are train (1024 examples), test"),
        ("gan", ["--init-from", "nothing"], "no checkpoint"),
        ("wgan", ["--debug-nans", "--on-nonfinite", "skip"], "give only one of them"),
        ("wgan_gp", ["--resume", "must"], "nothing to resume"),
        ("sngan", ["--num-devices", "3"], "does not divide among 3 devices"),
        ("cyclegan", ["--loss", "wasserstein"], "needs"),
        ("cyclegan", ["--dataset-b", "no_such_set"], "unknown data set 'no_such_set'"),
        ("cyclegan", ["--channels-b", "1", "--dataset-b", "noise"], "identity"),
        ("text_to_image", ["--flip"], "captions wrong"),
        ("class_conditional", ["--num-classes", "5"], "outside 0..num_classes-1=4"),
        ("gaussians_2d", ["--best", "fid"], "'fid' is no score of this run"),
    ],
)
def test_case_51_settings_that_contradict_each_other(name, arguments, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data = ["--dataset", "noise"] if name != "gaussians_2d" and "--dataset" not in arguments else []
    status, said = ended(MODULES[name], [*data, *arguments], capsys, monkeypatch)
    assert status == 2
    assert expected in said
    assert said.count("\n") < 12
    assert not list(tmp_path.iterdir()), "a folder was made for nothing"


@pytest.mark.parametrize("name", COMMANDS)
def test_case_51_a_run_that_is_not_there(name, capsys, monkeypatch, tmp_path):
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
        ("evaluate", ["--checkpoint", "best"], "has no metric for it"),
        ("export", ["--checkpoint", "first"], "expected 'best', 'last' or a step"),
        ("sample", ["--count", "0"], "count=0"),
        ("sample", ["--label", "3"], "it has no --label"),
        (
            "evaluate",
            ["--num-samples", "1"],
            "error: num_samples=1: expected an integer from 2 to 1,000,000 or nothing",
        ),
        ("translate", ["--output", "o"], "is a run of 'gan'; known here: cyclegan"),
        ("export", ["--inputs", "a"], "has the inputs latents"),
        ("sample", ["--count", "2", "--output", "file/x.png"], "file: "),
        ("sample", ["--count", "2", "--kind", "images", "--output", "file"], "file: "),
        ("sample", ["--count", "2", "--output", "folder"], "output folder is a folder, where a file was expected"),
        ("export", ["--to", "safetensors", "--output", "file/x"], "file: "),
        ("export", ["--output", "folder"], "output folder is a folder, where a file was expected"),
    ],
)
def test_case_51_what_a_command_cannot_do(name, arguments, expected, run, capsys, monkeypatch, tmp_path):
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


@pytest.mark.parametrize("workdir", ["file", "file/run"])
def test_a_run_folder_that_cannot_be_made(workdir, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    main = lambda config: fit(test_step.GAN_OF_NUMBERS, test_dry_run.Batches(), config, draw=None)
    toy = types.SimpleNamespace(Config=RunConfig, main=main)
    arguments = ["--workdir", workdir, "--num-steps", "2", "--batch-size", "4", "--num-devices", "1"]
    status, said = ended(toy, arguments, capsys, monkeypatch)
    assert (status, said.partition(": ")[0]) == (2, "error")
    assert workdir in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_folder_that_may_not_be_written_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(PermissionError, match="a/run"):
        check_writable(tmp_path / "a/run")
    (tmp_path / "a").mkdir()
    check_writable(tmp_path / "a/run")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("gan", ["--num-steps", "3000000000"], "num_steps=3000000000: expected an integer from 1 to 1,000,000,000"),
        ("gan", ["--width", "0"], "width=0: expected an integer from 1 to 4096"),
        ("gan", ["--latent-dim", "0"], "latent_dim=0: expected an integer from 1"),
        ("gan", ["--seed", str(2**64)], f"seed={2**64}: expected an integer from 0"),
        ("gan", ["--n-critic", "0"], "n_critic=0: expected an integer from 1 to 1000"),
        ("wgan", ["--num-steps", "1000000000"], "updates of one network"),
        ("gan", ["--ema-decay", "nan"], "ema_decay=nan: expected a number from 0 to 0.999999"),
        ("gan", ["--ema-decay", "2"], "ema_decay=2.0: expected"),
        ("gan", ["--g-learning-rate", "-1"], "g_learning_rate=-1.0: expected a number from 0 to 10"),
        ("gan", ["--b1", "1"], "b1=1.0: expected"),
        ("gan", ["--r1", "inf"], "r1=inf: expected"),
        ("class_conditional", ["--num-classes", str(10**10)], "num_classes=10000000000: expected"),
        ("relativistic", ["--widths", "8", "0"], "widths=(8, 0): expected a list, each an integer from 1 to 4096"),
        ("sample", ["--run", "r", "--count", str(10**12)], "count=1000000000000: expected"),
        ("sample", ["--run", ""], "run='': expected a path"),
        ("sample", ["--run", "~no_such_user/r"], "there is no home folder for ~no_such_user"),
        ("sample", ["--run", b"caf\xe9".decode(errors="surrogateescape")], "the path is not valid UTF-8"),
        (
            "translate",
            ["--run", "r", "--input", "i", "--output", "o", "--size", str(10**9)],
            "size=1000000000: expected",
        ),
        ("translate", ["--run", "r", "--input", "", "--output", "o"], "input='': expected a path"),
        ("evaluate", ["--pictures", "", "--reference", "x"], "pictures='': expected a path"),
        ("gan", ["--workdir", ""], "workdir='': expected a path"),
        ("divergence.plans", ["--num-points", "171"], "num_points=171: expected"),
    ],
)
def test_a_number_or_a_path_that_cannot_be_is_one_line(name, arguments, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, said = ended(MODULES[name], arguments, capsys, monkeypatch)
    assert (status, said.count("\n"), said[:7]) == (2, 1, "error: ")
    assert expected in said
    assert not list(tmp_path.iterdir())


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


def test_every_flag_of_an_experiment_has_a_group():
    """And the groups come in the order in which a newcomer needs them."""
    listed = [name for names in GROUPS.values() for name in names.split()]
    assert len(set(listed)) == len(listed)
    configs = [module.Config for module in MODULES.values() if issubclass(module.Config, RunConfig)]
    fields = {field.name for config in configs for field in dataclasses.fields(config)}
    assert len(configs) == 9 and fields <= set(listed), fields - set(listed)
    assert list(GROUPS) == ["run", "data", "network", "optimization", "device", "debugging"]


def test_ranges_are_in_the_help(capsys):
    with pytest.raises(SystemExit):
        cli.parse(gan.Config, ["--help"])
    printed = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert "doubled at each halving of the resolution (from 1 to 4096, default: 32)" in printed
    assert "0 for no EMA (from 0 to 0.999999, default: 0.998)" in printed


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize backend 'cuda'")])
def test_devices_that_are_not_there_are_one_line(error, monkeypatch):
    """JAX raises the one where CUDA's plugin is not installed, the other for a name it does not know."""
    config = types.SimpleNamespace(jax_platforms="cuda", update=lambda name, value: setattr(config, name, value))

    def devices():
        if config.jax_platforms == "cuda":
            raise error
        return [types.SimpleNamespace(platform="cpu")] * 2

    monkeypatch.setattr(cli, "jax", types.SimpleNamespace(devices=devices, config=config))
    with pytest.raises(ValueError, match="JAX_PLATFORMS=cuda, but this JAX finds no such device, only cpu"):
        cli._find_devices()


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "no_such"])
def test_devices_that_are_not_there_end_a_command(platform, tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": platform, "JAXGAN_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "experiments.divergence.plans", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: JAX_PLATFORMS={platform}, but this JAX finds no such device, only ")


def test_what_a_terminal_cannot_write_does_not_end_a_program(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["program"])
    cli.run(gaussians_2d.Config, lambda config: print("caf\udce9 \u03bb", flush=True))
    assert written.getvalue() == b"caf\\udce9 \\u03bb\n"


def test_ctrl_c_is_one_line(capsys, monkeypatch, tmp_path):
    def interrupted(config):
        raise KeyboardInterrupt

    toy = types.SimpleNamespace(Config=gaussians_2d.Config, main=interrupted)
    assert ended(toy, [], capsys, monkeypatch) == (130, "interrupted\n")


def test_help_and_mistakes_start_no_device_and_load_nothing_heavy():
    """In a process of its own: here all of it is loaded."""
    program = f"""
import contextlib, importlib, io, sys
from jaxgan.runs import cli

for name in {NAMES}:
    module = importlib.import_module(f"experiments.{{name}}")
    for arguments in (["--help"], ["--no-such-flag"]):
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            with contextlib.redirect_stderr(io.StringIO()):
                cli.parse(module.Config, arguments)
from jax._src import xla_bridge

heavy = "tensorflow tensorflow_datasets orbax grain matplotlib tensorboardX bokeh safetensors".split()
print(*(name for name in heavy if name in sys.modules), xla_bridge.backends_are_initialized())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr
