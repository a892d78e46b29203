"""Writes a finished run's generator to one file, for programs that know neither jaxgan nor Flax.

    python -m experiments.export --run runs/gan
    python -m experiments.export --run runs/gan --to safetensors
    python -m experiments.export --run runs/cyclegan --to torch --inputs a

`stablehlo` is the complete sampling function with its weights as a program, for any batch size, on CPU, CUDA and TPU.
Where convolutions have a faster form for CPUs, the file contains both forms, and compilation selects one by platform.
It needs only JAX:

    import jax
    from jax import export

    with open("generator-3500.stablehlo", "rb") as file:
        program = export.deserialize(bytearray(file.read()))
    (latents,) = program.in_avals                                   # float32[batch, 6]
    inputs = {"latents": jax.random.normal(jax.random.key(0), (16, latents.shape[1]))}
    images = jax.jit(program.call)(inputs)["samples"]               # float32[16, 32, 32, 1] in [-1, 1]
    assert jax.numpy.isfinite(images).all()                         # a cast would hide NaN
    pixels = ((images + 1) * 127.5).round().astype("uint8")

`safetensors` contains only the weights, by their path in the state, and the run's configuration:

    import json, safetensors

    with safetensors.safe_open("generator-3500.safetensors", framework="numpy") as file:
        run = json.loads(file.metadata()["run"])                    # run["config"]["latent_dim"] is 6
        kernel = file.get_tensor("ema_params/layer_0/kernel")

`torch` is the weights of one generator of a CycleGAN or a pix2pix as junyanz/pytorch-CycleGAN-and-pix2pix reads them
(`latest_net_G.pth`). Its test.py needs the flags --netG, --ngf and --norm of these networks, which are printed.

A text-to-image program takes token ids, defined by `vocabulary.json` in the run folder; texts may have any length up to
the run's `max_words`.

Earlier output of `export` is replaced; any other existing --output is refused.
"""

import importlib.util
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from experiments import gaussians_2d, sample, translate
from jaxgan import files
from jaxgan.algorithms.steps import sampling_weights
from jaxgan.checkpoints.leaves import leaves
from jaxgan.networks.published_generators import published_weights, read_published_generator
from jaxgan.networks.torch_weights import torch_weights_bytes
from jaxgan.runs import cli
from jaxgan.runs.config import load_config
from jaxgan.runs.flags import Flags, PathName
from jaxgan.runs.open_run import Run, open_run
from jaxgan.runs.outputs import check_file, mark

EXPERIMENTS = {**sample.EXPERIMENTS, **translate.EXPERIMENTS, gaussians_2d.Config.experiment: gaussians_2d}
PLATFORMS = ("cpu", "cuda", "tpu")
COMMAND = "export"
NEEDS = {"stablehlo": "flatbuffers", "safetensors": "safetensors"}


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    run: PathName  # run folder
    checkpoint: str = "last"  # checkpoint to load: best, last or a step
    # format: a program with its weights, or only the weights, those of torch for pytorch-CycleGAN-and-pix2pix
    to: Literal["stablehlo", "safetensors", "torch"] = "stablehlo"
    # inputs of the exported program, by default all, of a pix2pix only the images to translate; for a CycleGAN, a or b
    # exports only one of the two translations
    inputs: tuple[str, ...] = ()
    output: PathName | None = None  # file to write; by default in the subfolder `exported` of the run folder


def program(run: Run, inputs: tuple[str, ...] = ()) -> export.Exported:
    """Exports `gan.sample` of one state as StableHLO, for every platform and any batch size.

    Args:
      run: the run.
      inputs: names of the inputs; by default all inputs of the run, of a pix2pix only the images to translate.

    Returns:
      A function of a dict of inputs to a dict of outputs, all with a leading axis `batch`.

    Raises:
      ValueError: an unknown input.
    """
    used = drawn_with(run, inputs)
    check_weights(run, used)
    arrays, structure = jax.tree.flatten(run.state)
    # Unused arrays stay arguments of the program: as zeros they take no space.
    arrays = [array if index in used else jnp.zeros_like(array) for index, array in enumerate(arrays)]
    state = jax.tree.unflatten(structure, arrays)
    inputs_of_run = _inputs(run, inputs)
    ids = lambda field: jnp.issubdtype(field.dtype, jnp.integer)  # not embeddings, which have one length
    texts = {name: field.shape[1] for name, field in inputs_of_run.items() if name == "text" and ids(field)}
    limits = [f"tokens <= {length}" for length in texts.values()]
    runs = getattr(run.config, "num_seeds", 1)  # the batch is split among them
    batch, tokens = export.symbolic_shape(f"{runs}*batch, tokens", constraints=limits)
    shapes = {
        name: jax.ShapeDtypeStruct((batch, *((tokens,) if name in texts else field.shape[1:])), field.dtype)
        for name, field in inputs_of_run.items()
    }

    def sample(inputs: dict[str, Any]) -> dict[str, Any]:
        # The networks take texts of one length, padded with zeros.
        whole = {name: jnp.zeros((batch, length), inputs[name].dtype) for name, length in texts.items()}
        padded = {name: jax.lax.dynamic_update_slice(zeros, inputs[name], (0, 0)) for name, zeros in whole.items()}
        return run.gan.sample(state, {**inputs, **padded})

    sample.__name__ = mark(COMMAND)
    return export.export(jax.jit(sample), platforms=PLATFORMS)(shapes)


def weights(run: Run, inputs: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays of the state that `gan.sample` uses, by their path in it: `ema_params/layer_0/kernel`."""
    used = drawn_with(run, inputs)
    check_weights(run, used)
    return {path: np.asarray(leaf) for path, leaf in _used(run, used).items()}


def torch_weights(run: Run, inputs: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The tensors of one generator of a CycleGAN or a pix2pix, see `published_weights`.

    Raises:
      ValueError: another experiment; a CycleGAN and not one input; a generator that pytorch-CycleGAN-and-pix2pix does
        not have.
    """
    name = run.config.experiment
    if name not in translate.EXPERIMENTS:
        raise ValueError(
            f"--to torch is for {' and '.join(translate.EXPERIMENTS)}, but {run.folder} is a run of {name}"
        )
    check_weights(run, drawn_with(run, inputs))
    generator = run.state.generator
    params, model_state = sampling_weights(run.state, (generator.params, generator.model_state))
    if name == "cyclegan":
        if inputs not in (("a",), ("b",)):
            raise ValueError("--to torch writes one generator: give --inputs a for a_to_b, or --inputs b for b_to_a")
        direction = {"a": "a_to_b", "b": "b_to_a"}[inputs[0]]
        params, model_state = params[direction], model_state[direction]
    return published_weights(params, model_state)


def check_weights(run: Run, used: set[int]) -> None:
    """Refuses a state whose weights contain NaN or infinity.

    Raises:
      ValueError: some of the used arrays are not finite; the message has the checkpoint, their number and the first.
    """
    arrays = {path: leaf for path, leaf in _used(run, used).items() if jnp.issubdtype(leaf.dtype, jnp.inexact)}
    if bad := [path for path, leaf in arrays.items() if not np.isfinite(np.asarray(leaf, np.float32)).all()]:
        raise ValueError(
            f"{run.folder} at step {run.step}: {len(bad)} of {len(arrays)} arrays of the generator are not finite "
            f"(NaN or infinity), the first of them {bad[0]}"
        )


def _used(run: Run, used: set[int]) -> dict[str, Any]:
    return {path: leaf for index, (path, leaf) in enumerate(leaves(run.state).items()) if index in used}


def drawn_with(run: Run, inputs: tuple[str, ...] = ()) -> set[int]:
    """The indices of the state's leaves that sampling uses: without the discriminator and the optimizers."""
    # JAX determines the used arguments. That needs concrete shapes, so the batch size is that of the run.
    state = jax.eval_shape(lambda: run.state)
    kept = export.export(jax.jit(run.gan.sample))(state, _inputs(run, inputs)).module_kept_var_idx
    return set(kept) & set(range(len(jax.tree.leaves(state))))


def _inputs(run: Run, names: tuple[str, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    known = jax.eval_shape(run.gan.preview, jax.random.key(0), run.batch)
    if unknown := sorted(set(names) - known.keys()):
        raise ValueError(f"no input {', '.join(unknown)}: {run.folder} has the inputs {', '.join(known)}")
    direction = getattr(run.config, "direction", None)  # of a pix2pix, which needs no true images to translate
    return {name: known[name] for name in names or (direction[:1] if direction else known)}


def main(config: Config) -> Path:
    needed = NEEDS.get(config.to)
    if needed and importlib.util.find_spec(needed) is None:
        raise ModuleNotFoundError(f"{needed} is missing: pip install -e '.[experiments]'")
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    ending = {"torch": "pth"}.get(config.to, config.to)
    output = Path(config.output or run.folder / "exported" / f"generator-{run.step}.{ending}")
    check_file(output, COMMAND)
    if config.to == "stablehlo":
        exported = program(run, config.inputs)
        content = exported.serialize()
        (inputs,), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
        outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
        summary = f"{_described(inputs)} to {_described(outputs)}, for {', '.join(exported.platforms)}"
    elif config.to == "torch":
        tensors = torch_weights(run, config.inputs)
        content = torch_weights_bytes(tensors, software=mark(COMMAND))
        summary = read_published_generator(io.BytesIO(content)).description  # as a reader of the file finds it
    else:
        from safetensors.numpy import save

        arrays = weights(run, config.inputs)
        # The format allows only strings: the content of config.json, and the step.
        about = {"run": json.dumps(load_config(run.folder)), "step": str(run.step), "software": mark(COMMAND)}
        content = save(arrays, about)
        summary = f"{len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} numbers"
    files.write(output, bytes(content), inside=None if config.output else run.folder)
    print(f"step {run.step}: {summary}, {len(content) / 1e6:.1f} MB: {output}")
    return output


def _described(avals: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {aval.str_short()}" for name, aval in avals.items())


if __name__ == "__main__":
    cli.run(Config, main)
