"""Settings that are mistyped, unknown or contradict each other: one line, status 2 and nothing on the disk."""

import sys

import pytest
from test_cli import MODULES, NEEDED, ended, refused

from experiments import gan
from jaxgan.runs import cli


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--num-stepz", "3"], "--num-steps"),
        (["--loss", "wgangp"], "wasserstein"),
        (["--r1", "abc"], "abc"),
        (["--num-steps", "0"], "error: num_steps=0: expected an integer from 1 to 1e9"),
        (["--batch-size", "-1"], "batch_size=-1"),
        (["--data", "rings"], "ring"),
        (["--seed"], "--seed"),
    ],
)
def test_a_mistyped_setting_is_named_with_the_valid_ones(arguments, expected, capsys):
    """LabeliaLabs/distributed-learning-contributivity#184: a mistyped setting was ignored."""
    assert expected in refused(arguments, capsys)


@pytest.mark.parametrize("preset", ["papper", ""])
def test_an_unknown_preset(preset, capsys):
    assert "paper" in refused(["--preset", preset], capsys, gan.Config)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--num-steps", "1e3"], "num_steps='1e3': expected an integer from 1 to 1e9"),
        (["--seed", "nan"], "seed='nan': expected an integer from 0 to"),
        (["--seed", ""], "seed='': expected an integer"),
        (["--seed", "1.5"], "seed='1.5': expected an integer"),
        (["--seed", "9" * 5000], "seed='999"),
        (["--r1", "a"], "r1='a': expected a number from 0 to"),
        (["--num-devices", "two"], "num_devices='two': expected an integer from 1 to 65536 or nothing"),
    ],
)
def test_a_word_for_a_number_is_refused_as_a_number_out_of_range_is(arguments, expected, capsys):
    said = refused(arguments, capsys)
    assert said.startswith(f"error: {expected}") and said.count("\n") == 1 and len(said) < 200


@pytest.mark.parametrize("name", MODULES)
def test_flags_of_every_command(name, capsys, monkeypatch, tmp_path):
    """LabeliaLabs/distributed-learning-contributivity#184: a mistyped setting was ignored."""
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
        assert (status, needed[-2] in said) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("gan", ["--loss", "wasserstein"], "use experiments.wgan_gp"),
        ("gan", ["--image-size", "33"], "33"),
        ("gan", ["--d-norm", "batch"], "batch norm mixes a batch"),
        ("gan", ["--augment", "colour"], "unknown augmentation 'colour'"),
        ("gan", ["--load-size", "16"], "load_size=16 is smaller than image_size=32"),
        ("gan", ["--batch-size", "2000"], "fewer than one batch of 2000"),
        ("gan", ["--split", "validation"], "there are train (1024 examples), test"),
        ("gan", ["--init-from", "nothing"], "no such folder"),
        ("wgan", ["--debug-nans", "--on-nonfinite", "skip"], "give only one of them"),
        ("wgan_gp", ["--resume", "must"], "nothing to resume"),
        ("sngan", ["--num-devices", "3"], "does not divide among 3 devices"),
        ("cyclegan", ["--loss", "wasserstein"], "needs"),
        ("cyclegan", ["--dataset-b", "no_such_set"], "unknown data set 'no_such_set'"),
        ("cyclegan", ["--channels-b", "1", "--dataset-b", "noise"], "identity"),
        ("pix2pix", ["--dataset-b", "noise", "--split-b", "test"], "equal numbers of images, not 1024 of a and 256"),
        ("pix2pix", ["--dataset", "shapes_styles"], "not in pairs: give shapes_styles/paired_32"),
        ("pix2pix", ["--dataset-b", "noise", "--freeze-d", "1"], "give --init-from"),
        ("text_to_image", ["--flip"], "captions wrong"),
        ("class_conditional", ["--num-classes", "5"], "outside 0..num_classes-1=4"),
        ("gaussians_2d", ["--best", "fid"], "'fid' is no score of this run"),
    ],
)
def test_settings_that_contradict_each_other(name, arguments, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data = ["--dataset", "noise"] if name != "gaussians_2d" and "--dataset" not in arguments else []
    status, said = ended(MODULES[name], [*data, *arguments], capsys, monkeypatch)
    assert status == 2
    assert expected in said
    assert said.count("\n") < 12
    assert not list(tmp_path.iterdir()), "a folder was made for nothing"


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("gan", ["--dataset", "noise", "--batch-size", "2048"], "1024 examples, fewer than one batch of 2048"),
        ("gan", ["--dataset", "noise", "--channels", "3", "--image-size", "40"], "32, 64, 128"),
        ("gan", ["--d-norm", "batch"], "--d-norm layer"),
        ("gan", ["--loss", "wasserstein"], "experiments.wgan_gp"),
        ("gan", ["--dataset", "noise", "--width", "2", "--init-from", "nowhere"], "nowhere"),
        ("gaussians_2d", ["--best", "fid"], "best='fid' is no score"),
    ],
)
def test_settings_that_do_not_fit_the_data(name, arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(MODULES[name].Config, MODULES[name].main)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    *notes, error = message.splitlines()
    assert expected in error and all(note.startswith("note: ") for note in notes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dataset", ["mnist_5", "no/such/folder"])
def test_an_unknown_data_set_ends_before_anything_is_made(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gan", "--dataset", dataset])
    with pytest.raises(SystemExit) as stop:
        cli.run(gan.Config, gan.main)
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert dataset in message and "mnist_5k" in message and message.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("gan", ["--num-steps", "3000000000"], "num_steps=3000000000: expected an integer from 1 to 1e9"),
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
