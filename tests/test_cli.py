"""The command line, in this process."""

import json
import sys

import pytest

from experiments import gan, gaussians_2d
from jaxgan import cli


def refused(arguments, capsys, config=gaussians_2d.Config):
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
        (["--num-steps", "0"], "num_steps=0 must be at least 1"),
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


def test_what_went_wrong_underneath_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(json.JSONDecodeError):
        cli.run(gaussians_2d.Config, lambda config: json.loads("{"))
