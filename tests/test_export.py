"""What experiments.export writes is read back and draws the same images."""

import dataclasses
import io
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import small
from jax import export as jax_export
from safetensors.numpy import load

from experiments import export, gan
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.networks.published_generators import read_published_generator
from jaxgan.networks.torch_weights import torch_weights_bytes
from jaxgan.pixels import to_uint8
from jaxgan.runs.config import save_config
from jaxgan.runs.open_run import Run, open_run

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A generator with convolutions and batch statistics, and a state whose arrays are all different."""
    folder = tmp_path_factory.mktemp("run")
    config = gan.Config(workdir=str(folder), dataset="noise", channels=3, width=8, g_norm="batch", batch_size=4)
    batch = gan.batches(config)(0)[0]
    state = gan.build(config).init(jax.random.key(0), batch)
    random = np.random.default_rng(0)
    changed = lambda leaf: leaf + random.uniform(0.01, 0.1, leaf.shape).astype(leaf.dtype) if leaf.ndim else leaf
    state = state.replace(**{name: jax.tree.map(changed, getattr(state, name)) for name in PARTS})
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(3, state)
    save_config(config, folder, batch, size=1024)
    return open_run(folder, export.EXPERIMENTS)


PARTS = ("generator", "discriminator", "ema_params", "ema_model_state")


def latents(rows):
    return {"latents": np.random.default_rng(rows).normal(size=(rows, 6)).astype(np.float32)}


def test_stablehlo_draws_what_the_run_draws(run, capsys):
    path = export.main(export.Config(run=str(run.folder)))
    assert path == run.folder / "exported" / "generator-3.stablehlo"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    printed = capsys.readouterr().out
    assert "latents float32[batch,6] to samples float32[batch,32,32,3], for cpu, cuda, tpu" in printed
    program = jax_export.deserialize(bytearray(path.read_bytes()))
    for rows in (1, 5):
        samples = program.call(latents(rows))["samples"]
        np.testing.assert_allclose(samples, run.outputs(latents(rows))["samples"], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="batch"):
        program.call({"latents": np.zeros((2, 7), np.float32)})


def test_what_is_written_is_what_is_drawn_with_and_nothing_else(run):
    expected = {"ema_params": run.state.ema_params, "ema_model_state": run.state.ema_model_state}
    arrays = export.weights(run)
    small.assert_same(flax.traverse_util.unflatten_dict(arrays, sep="/"), expected)
    tensors = re.findall(r'constant dense<["\[].*?tensor<([0-9x]+)xf32>', export.program(run).mlir_module())
    assert sorted(tensors) == sorted("x".join(map(str, array.shape)) for array in arrays.values())


def test_without_ema_the_raw_weights_are_exported(run):
    arrays = export.weights(run._replace(state=run.state.replace(ema_params=None, ema_model_state=None)))
    params = {name for name in arrays if name.startswith("generator/params/")}
    assert arrays.keys() - params == {name for name in arrays if name.startswith("generator/model_state/batch_stats/")}
    np.testing.assert_array_equal(
        arrays["generator/params/layer_0/kernel"], run.state.generator.params["layer_0"]["kernel"]
    )


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_branches_of_other_platforms(run, platform, monkeypatch):
    """A program for one of them alone has no branches and only native convolutions; run here, it draws the same."""
    assert "stablehlo.case" in export.program(run).mlir_module()
    monkeypatch.setattr(export, "PLATFORMS", (platform,))
    program = export.program(run)
    text = program.mlir_module()
    assert "stablehlo.case" not in text
    assert text.count("stablehlo.convolution") == len([name for name in export.weights(run) if "kernel" in name])
    program = dataclasses.replace(program, disabled_safety_checks=(jax_export.DisabledSafetyCheck.platform(),))
    samples = program.call(latents(3))["samples"]
    np.testing.assert_allclose(samples, run.outputs(latents(3))["samples"], rtol=1e-4, atol=1e-5)


def test_inputs_are_chosen_by_name(run):
    assert export.program(run, ("latents",)).in_avals[0].str_short() == "float32[batch,6]"
    with pytest.raises(ValueError, match=r"no input a: .* has the inputs latents"):
        export.program(run, ("a",))


def test_safetensors_hold_the_ema_weights_and_the_config(run, tmp_path):
    path = export.main(export.Config(run=str(run.folder), to="safetensors", output=str(tmp_path / "a/b.safetensors")))
    assert path == tmp_path / "a/b.safetensors"
    arrays = flax.traverse_util.unflatten_dict(load(path.read_bytes()), sep="/")
    state = run.state.replace(**arrays)
    np.testing.assert_array_equal(run.gan.sample(state, latents(4))["samples"], run.outputs(latents(4))["samples"])
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["step"] == "3"
    assert json.loads(metadata["run"]) == json.loads((run.folder / "config.json").read_text())


def test_the_examples_of_use_run_without_flax_and_jaxgan(run):
    for to in ("stablehlo", "safetensors"):
        export.main(export.Config(run=str(run.folder), to=to))
    paragraphs = (export.__doc__ or "").split("\n\n")
    examples = [textwrap.dedent(text) for text in paragraphs if text.startswith("    ") and "python -m" not in text]
    assert len(examples) == 4  # the imports stand apart
    code = "\n".join(examples).replace("generator-3500", f"{run.folder}/exported/generator-3")
    code = "import sys\nfor name in ('flax', 'jaxgan', 'orbax'):\n    sys.modules[name] = None\n" + code
    code += "\nprint(pixels.shape, pixels.dtype, run['config']['latent_dim'], kernel.shape)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "(16, 32, 32, 3) uint8 6 (4, 4, 32, 6)\n"


@pytest.mark.slow
def test_the_example_of_the_documents_runs_as_written(run, tmp_path):
    """In a process that has neither flax nor jaxgan."""
    for to in ("stablehlo", "safetensors"):
        export.main(
            export.Config(run=str(run.folder), to=to, output=f"{tmp_path}/runs/gan/exported/generator-3500.{to}")
        )
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), flags=re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 15
    code = "import sys\nfor name in ('flax', 'jaxgan', 'orbax'):\n    sys.modules[name] = None\n" + example
    code += "\nprint(images.shape, float(abs(images).max()) <= 1, run['config']['latent_dim'], sorted(weights)[-1])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"(16, 32, 32, 3) True 6 {sorted(export.weights(run))[-1]}\n"


SMALL = {
    "class_conditional": {"num_classes": 3},
    "cyclegan": {"width": 4, "d_width": 4, "blocks": 1},
    "gaussians_2d": {"num_seeds": 2},
    "pix2pix": {"width": 4, "d_width": 4, "levels": 2, "direction": "b_to_a"},
    "relativistic": {"widths": (16, 16, 16, 16)},
    "sngan": {"g_width": 8, "d_width": 8},
    "text_to_image": {"max_words": 6},
}


# These have the generator of `gan`.
SAME = ("wgan", "wgan_gp")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SAME)) for name in export.EXPERIMENTS]
)
def test_every_experiment_is_exported_for_both_uses(name):
    """As a program for any number of rows, of texts up to the longest, and as the weights that it draws with."""
    experiment = export.EXPERIMENTS[name]
    config = experiment.Config(
        **{"batch_size": 4, **({"width": 8} if name not in SMALL else {}), **SMALL.get(name, {})}
    )
    image = np.zeros((4, 2) if name == "gaussians_2d" else (4, 32, 32, getattr(config, "channels", 3)), np.float32)
    batch = {"a": image, "b": image} if name in ("cyclegan", "pix2pix") else {"image": image}
    batch |= {"condition": np.zeros(4, np.int32)} if name == "class_conditional" else {}
    batch |= {"text": np.ones((4, 6), np.int32)} if name == "text_to_image" else {}
    if name == "gaussians_2d":
        batch = {"image": image.repeat(config.num_seeds, axis=0)}
    network = experiment.build(config)
    shapes = jax.eval_shape(lambda batch: batch, batch)
    random = np.random.default_rng(0)  # where to compile the start of some networks takes half a minute
    state = jax.tree.map(
        lambda leaf: (
            jnp.asarray(random.uniform(0.01, 0.1, leaf.shape), leaf.dtype)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else jnp.zeros(leaf.shape, leaf.dtype)
        ),
        jax.eval_shape(network.init, jax.random.key(0), batch).replace(key=None),
    )
    run = Run(Path("run"), experiment, config, network, shapes, state, 1)

    used = {"cyclegan": ("a",), "pix2pix": ("b",)}.get(name, ())  # of a pix2pix the only one by default
    program = jax_export.deserialize(export.program(run, () if name == "pix2pix" else used).serialize())
    inputs = jax.eval_shape(network.preview, jax.random.key(0), batch)
    drawn = {key: random.normal(size=(6, *inputs[key].shape[1:])).astype(np.float32) for key in used or inputs}
    drawn |= {
        key: random.integers(1, 3, size=(6, *inputs[key].shape[1:]), dtype=np.int32)
        for key in ("condition", "text")
        if key in drawn
    }
    sample = jax.jit(network.sample)
    found, expected = program.call(drawn), sample(state, drawn)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=2e-6)
        assert abs(to_uint8(found[key]).astype(int) - to_uint8(value)).max() <= 1
    if name == "text_to_image":
        short = drawn | {"text": drawn["text"][:, :2]}
        padded = drawn | {"text": np.pad(drawn["text"][:, :2], ((0, 0), (0, 4)))}
        expected = sample(state, padded)["samples"]
        np.testing.assert_allclose(program.call(short)["samples"], expected, rtol=1e-5, atol=2e-6)
        with pytest.raises(ValueError, match="shapes"):
            program.call(drawn | {"text": np.ones((6, 7), np.int32)})

    arrays = flax.traverse_util.unflatten_dict(export.weights(run, used), sep="/")
    assert {key.partition("_")[0] for key in arrays} <= {"ema", "generator", "encoder"}, arrays.keys()

    if name in ("cyclegan", "pix2pix"):
        file = io.BytesIO(torch_weights_bytes(export.torch_weights(run, used)))
        found, (direction,) = read_published_generator(file), expected.keys() & {"a_to_b", "b_to_a"}
        output, _ = found.network.apply(found.params, found.model_state, drawn[direction[0]], train=False)
        np.testing.assert_allclose(output, expected[direction], rtol=1e-5, atol=2e-6)
        with pytest.raises(ValueError, match="give --inputs a for a_to_b" if name == "cyclegan" else "no input x"):
            export.torch_weights(run, () if name == "cyclegan" else ("x",))
    else:
        with pytest.raises(ValueError, match=f"--to torch is for cyclegan and pix2pix, but run is a run of {name}"):
            export.torch_weights(run)


def test_weights_that_are_not_finite_are_not_written(run, tmp_path, monkeypatch):
    """Those of the discriminator may be: they have no part in what is drawn."""
    nan = lambda tree: jax.tree.map(lambda leaf: leaf.at[..., 0].set(np.nan), tree)
    whole = run.state.replace(discriminator=run.state.discriminator.replace(params=nan(run.state.discriminator.params)))
    used = export.drawn_with(run)
    monkeypatch.setattr(export, "drawn_with", lambda *arguments: used)
    assert export.weights(run._replace(state=whole)).keys() == export.weights(run).keys()
    broken = run._replace(state=run.state.replace(ema_params=nan(run.state.ema_params)))
    monkeypatch.setattr(export, "open_run", lambda *arguments, **options: broken)
    for form in ("stablehlo", "safetensors"):
        with pytest.raises(ValueError, match=r"at step 3: \d+ of \d+ arrays .* not finite .* ema_params/layer_0/"):
            export.main(export.Config(run="r", to=form, output=str(tmp_path / "x")))
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_said(run, monkeypatch):
    monkeypatch.setitem(export.NEEDS, "safetensors", "no_such_package")
    with pytest.raises(ModuleNotFoundError, match=r"no_such_package is missing: pip install -e '\.\[experiments\]'"):
        export.main(export.Config(run=str(run.folder), to="safetensors"))
    with pytest.raises(RuntimeError, match="there are steps 3"):
        export.main(export.Config(run=str(run.folder), checkpoint="7"))
