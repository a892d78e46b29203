"""Dry runs: what they say, against what NumPy says of the same data, and what they leave behind."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import test_step
from PIL import Image

from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.devices.sharding import data_mesh
from jaxgan.runs.config import RunConfig, save_config
from jaxgan.runs.lock import Lock
from jaxgan.training.dry_run import _duration, dry_run
from jaxgan.training.step import NonFiniteError

PICTURES = jnp.linspace(-1, 1, 4 * 8 * 8 * 3).reshape(4, 8, 8, 3)


class Batches:
    """What the GAN of test_step reads, and pictures."""

    size, batch_size, notice = 10, 4, "ten of them"

    def __init__(self, **changes):
        self.batch = test_step.batch(**changes)[0] | {"image": PICTURES}

    def __call__(self, step):
        return (self.batch,)


def check(folder, batches, gan=test_step.GAN_OF_NUMBERS, **options):
    state = gan.init(jax.random.key(0), {})
    return dry_run(gan, RunConfig(**options), folder, mesh=data_mesh(1), state=state, batches=batches, start=0)


def test_a_run_is_checked_by_flag(tmp_path, capsys):
    _, metrics = small.run(small.config(tmp_path / "run", check=True, num_steps=4))
    assert "d_loss" in metrics
    assert [path.name for path in tmp_path.iterdir()] == ["run-check.png"]
    printed = capsys.readouterr().out
    points = np.stack([batch["image"] for batch in small.batches(small.config(tmp_path))(0)])
    low, high, mean = (f"{value:.4g}" for value in (points.min(), points.max(), points.mean()))
    for expected in (
        r"generator 42, discriminator 33\n",
        r"40 examples, batch 8\n",
        r"GFLOP, [\d.]+ MiB, compiled in",
        rf"image +float32\[8x2\], from {low} to {high}, mean {mean}\n",
        r"metrics +over 4 steps: d_loss ",
        r"time +[\d,.]+ ms per step, 1 s in total",
        r"preview .*run-check\.png\n",
    ):
        assert re.search(expected, printed), (expected, printed)
    with Image.open(tmp_path / "run-check.png") as picture:
        assert picture.size == (400, 400)  # points


def test_of_a_run_that_is_there_nothing_changes(tmp_path, capsys):
    config = small.config(tmp_path / "run", num_steps=4)
    batch = small.batches(config)(0)[0]
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        checkpoints.save(3, small.build(config).init(jax.random.key(0), batch))
    save_config(config, tmp_path / "run", batch, size=40)
    times = lambda: {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    before = times()
    small.run(small.config(tmp_path / "run", check=True, num_steps=4))
    assert times() == before
    assert "steps       3 to 4" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"learning_rate was 0\.01, is 0\.02"):  # as the run itself would say
        small.run(small.config(tmp_path / "run", check=True, learning_rate=0.02))


def test_pictures_and_numbers_of_a_step(tmp_path, capsys):
    check(tmp_path / "run", Batches(), num_steps=7200)
    with Image.open(tmp_path / "run-check.png") as picture:
        assert np.asarray(picture)[0, 0].tolist() == [0, 0, 1]  # of the first: -1, -0.997 and -0.995 are 0, 0.33, 0.67
    printed = capsys.readouterr().out
    assert "parameters  generator 6, discriminator 6" in printed
    assert "image       float32[4x8x8x3], from -1 to 1, mean" in printed
    assert "            ten of them" in printed
    assert "keys        no random key is used twice" in printed
    assert re.search(r"over (3|20) steps: g_loss 0, a_score 2, g_grad_norm 1, moment 1\ntime .* s in total", printed)


def test_a_picture_of_somebody_else_is_left_alone(tmp_path, capsys):
    picture = tmp_path / "run-check.png"
    picture.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"run-check\.png exists and was not written .*or give another --workdir"):
        check(tmp_path / "run", Batches())
    assert picture.read_bytes() == b"mine"
    assert capsys.readouterr().out == ""  # refused before anything is compiled
    picture.unlink()
    for _ in range(2):  # its own is replaced
        check(tmp_path / "run", Batches())
    assert "nothing else was written: without --check the same command creates" in capsys.readouterr().out


def test_of_a_folder_in_use_it_is_said_whose_it_is(tmp_path, capsys):
    with Lock(tmp_path / "run"):
        check(tmp_path / "run", Batches())
    assert re.search(r"without --check the same command is refused: .* in use by process \d+", capsys.readouterr().out)


def test_a_step_that_gives_no_numbers(tmp_path):
    with pytest.raises(NonFiniteError, match="step 1: g_loss is not finite"):
        check(tmp_path / "run", Batches(loss=-1.0))
    assert not list(tmp_path.iterdir())


def test_a_key_that_is_used_twice(tmp_path, capsys):
    def train_step(state, batches):
        moved, metrics = test_step.train_step(state, batches)
        noise = jax.random.normal(state.key) - jax.random.normal(state.key)
        return moved, metrics | {"noise": noise}

    check(tmp_path / "run", Batches(), test_step.GAN_OF_NUMBERS._replace(train_step=train_step))
    assert re.search(r"keys +JAX finds a key that is used twice .*consumed", capsys.readouterr().out)


def test_where_no_run_could_be_written_none_is_promised(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        check(tmp_path / "file/run", Batches())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (59.2, "1 min 0 s"), (150, "2 min 30 s"), (7300, "2 h 1 min"), (4e5, "111 h 6 min")],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text
