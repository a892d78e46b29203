"""The command line of every experiment and command, in this process."""

import importlib
import io
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import test_dry_run
import test_step

from experiments import gan, gaussians_2d
from jaxgan import messages
from jaxgan.runs import cli
from jaxgan.runs.config import RunConfig, check_writable
from jaxgan.training.loop import fit

ROOT = Path(__file__).parent.parent
NAMES = [
    ".".join(path.relative_to(ROOT / "experiments").with_suffix("").parts)
    for path in sorted((ROOT / "experiments").rglob("*.py"))
    if path.stem not in ("__init__", "__main__", "figures") and path.parent.name != "explorer"  # which are no commands
]
MODULES = {name: importlib.import_module(f"experiments.{name}") for name in NAMES}
COMMANDS = ("sample", "evaluate", "export", "translate", "explore")  # on a finished run
NEEDED = {name: ["--run", "nothing"] for name in COMMANDS}
NEEDED["gallery"] = ["--runs", "nothing"]
NEEDED["translate"] += ["--input", "pictures", "--output", "translated"]


def test_all_commands_are_listed(capsys):
    importlib.import_module("experiments.__main__").main()
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == sorted(NAMES)
    assert all(line.endswith(".") and len(line.split()) > 5 for line in lines)


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

    ends = []
    monkeypatch.setattr(cli, "_end_with_main_thread", ends.append)
    toy = types.SimpleNamespace(Config=gaussians_2d.Config, main=interrupted)
    assert ended(toy, [], capsys, monkeypatch) == (130, "interrupted\n")
    assert ends == [130]


def test_ctrl_c_does_not_wait_for_a_thread_that_hangs():
    program = """
import threading, time
from jaxgan.runs import cli
threading.Thread(target=time.sleep, args=(60,)).start()
print("printed")
cli._end_with_main_thread(130)
raise SystemExit(1)
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "printed\n", "")
    assert time.monotonic() - began < 40


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
