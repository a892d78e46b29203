"""Runs that were never trained, with the kinds that experiments.explore shows, and its page in another process."""

import base64
import contextlib
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import class_conditional, cyclegan, gan, gaussians_2d, pix2pix, sample, text_to_image
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.data.vocabulary import Vocabulary
from jaxgan.runs import cli
from jaxgan.runs.config import save_config

NASTY = "<img src=x onerror=alert(1)>"


def saved(folder, module, config, batch, steps=(2, 5), **known):
    """A run folder whose checkpoints have random weights, of a seed each; none are 0, as those of a label at first."""

    def moved(leaf):
        if leaf.dtype != jnp.float32:
            return leaf
        noise = 0.1 * np.random.default_rng(0).standard_normal(leaf.shape)
        return jnp.asarray(leaf + noise.astype(np.float32))

    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step in steps:
            state = module.build(config).init(jax.random.key(step), batch)
            checkpoints.save(step, jax.tree.map(moved, state))
    save_config(config, folder, batch, size=9, **known)
    return folder


def image_run(folder):
    config = gan.Config(workdir=str(folder), dataset="noise", width=4, batch_size=2)
    return saved(folder, gan, config, {"image": jnp.zeros((2, 32, 32, 1))})


def class_run(folder):
    config = class_conditional.Config(workdir=str(folder), num_classes=3, width=4, latent_dim=20, batch_size=2)
    batch = {"image": jnp.zeros((2, 32, 32, 1)), "condition": jnp.zeros(2, jnp.int32)}
    return saved(folder, class_conditional, config, batch, classes=("ant", NASTY, "--cow"))


def text_run(folder):
    config = text_to_image.Config(workdir=str(folder), width=4, batch_size=2, max_words=4)
    batch = {"image": jnp.zeros((2, 32, 32, 3)), "text": jnp.full((2, 4), 2), "meaning": jnp.arange(2)}
    Vocabulary(["a", "red", "circle"]).save(folder / "vocabulary.json")
    return saved(folder, text_to_image, config, batch)


def translation_run(folder):
    sizes = {"width": 4, "d_width": 4, "blocks": 1, "image_size": 32, "batch_size": 1}
    config = cyclegan.Config(workdir=str(folder), dataset="noise", dataset_b="noise", split_b="test", **sizes)
    return saved(folder, cyclegan, config, {name: jnp.zeros((1, 32, 32, 3)) for name in "ab"}, steps=(1,))


def pairs_run(folder):
    sizes = {"width": 2, "d_width": 2, "levels": 2, "patch_layers": 1, "image_size": 32, "batch_size": 1}
    config = pix2pix.Config(workdir=str(folder), dataset="noise", dataset_b="noise", direction="b_to_a", **sizes)
    return saved(folder, pix2pix, config, {name: jnp.zeros((1, 32, 32, 3)) for name in "ab"}, steps=(1,))


def points_run(folder):
    config = gaussians_2d.Config(workdir=str(folder), width=8, batch_size=8)
    return saved(folder, gaussians_2d, config, {"image": jnp.zeros((8, 2))}, steps=(1,))


@contextlib.contextmanager
def served(*arguments, ended_by=signal.SIGINT, **environment):
    """The address of the page of a command, in a process of its own, which a signal ends without a traceback."""
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "experiments.explore", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "JAX_NUM_CPU_DEVICES": "1"} | environment
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment}
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent, **options) as process:
        said = iter(process.stdout.readline, "")
        lines = list(itertools.takewhile(lambda line: "Ctrl-C ends it" not in line, said))
        (address,) = re.findall(r"page        (http://127\.0\.0\.1:\d+)/", "".join(lines)) or [None]
        assert address, lines
        try:
            yield address
        finally:
            process.send_signal(ended_by)
            rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and rest.strip() == "interrupted", rest


def pictures_of(html):
    """The bytes of the pictures, and the printed commands."""
    encoded = re.findall(r'<img src="data:image/\w+;base64,([^"]*)"', html)
    return [base64.b64decode(one) for one in encoded], list(
        map(unescape, re.findall("<pre>(.*?)</pre>", html, re.DOTALL))
    )


def written_by(command, folder):
    """What a printed command writes, and its configuration."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "experiments.sample"]
    ending = "gif" if "walk" in words else "png"
    config = cli.parse(sample.Config, [*words[3:], "--output", str(folder / f"out.{ending}")])
    return config, sample.main(config).read_bytes()
