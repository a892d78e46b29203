"""Writes a finished run's generator to one file, for programs that know neither jaxgan nor Flax.

    python -m experiments.export --run runs/gan
    python -m experiments.export --run runs/gan --to safetensors

`stablehlo` is the whole of sampling as a program, weights included: what a run's pictures are drawn with, for any
number of rows, on CPU, CUDA and TPU. Where a convolution runs faster written otherwise on a CPU, the file holds both
ways and the platform picks its own when the program is compiled. It is run with JAX alone:

    import jax
    from jax import export

    with open("generator-3500.stablehlo", "rb") as file:
        program = export.deserialize(bytearray(file.read()))
    (latents,) = program.in_avals                                   # float32[batch, 6]
    inputs = {"latents": jax.random.normal(jax.random.key(0), (16, latents.shape[1]))}
    images = jax.jit(program.call)(inputs)["samples"]               # float32[16, 32, 32, 1] in [-1, 1]
    assert jax.numpy.isfinite(images).all()                         # NaN has no byte, and would become one
    pixels = ((images + 1) * 127.5).round().astype("uint8")

`safetensors` is the weights alone, by their path in the state, and the run's configuration:

    import json, safetensors

    with safetensors.safe_open("generator-3500.safetensors", framework="numpy") as file:
        run = json.loads(file.metadata()["run"])                    # run["config"]["latent_dim"] is 6
        kernel = file.get_tensor("ema_params/layer_0/kernel")

A run told by texts takes tokens, `vocabulary.json` in its folder has their words: any number, up to the run's own.

A file that `export` wrote before is replaced; an --output that is there and is something else is refused.
"""

import importlib.util
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
from jaxgan.checkpoints.leaves import leaves
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
    checkpoint: str = "last"  # best, last or a step
    to: Literal["stablehlo", "safetensors"] = "stablehlo"  # a program with its weights, or the weights alone
    inputs: tuple[str, ...] = ()  # what to draw from, where some will do, as a CycleGAN needs a or b; by default all
    output: PathName | None = None  # file; by default in the run folder, under `exported`


def program(run: Run, inputs: tuple[str, ...] = ()) -> export.Exported:
    """`gan.sample` of one state as StableHLO for every platform, for any number of rows.

    Args:
      run: the run.
      inputs: names of the inputs, by default all that the run draws with.

    Returns:
      From a dict of inputs to a dict of outputs, all with a leading axis `batch`.

    Raises:
      ValueError: an input that this run does not have.
    """
    used = drawn_with(run, inputs)
    check_weights(run, used)
    arrays, structure = jax.tree.flatten(run.state)
    # The others are arguments of the program too, though it does not look at them: zeros take no room.
    arrays = [array if index in used else jnp.zeros_like(array) for index, array in enumerate(arrays)]
    state = jax.tree.unflatten(structure, arrays)
    inputs_of_run = _inputs(run, inputs)
    texts = {name: field.shape[1] for name, field in inputs_of_run.items() if name == "text" and field.ndim == 2}
    limits = [f"tokens <= {length}" for length in texts.values()]
    runs = getattr(run.config, "num_seeds", 1)  # which share the rows
    batch, tokens = export.symbolic_shape(f"{runs}*batch, tokens", constraints=limits)
    shapes = {
        name: jax.ShapeDtypeStruct((batch, *((tokens,) if name in texts else field.shape[1:])), field.dtype)
        for name, field in inputs_of_run.items()
    }

    def sample(inputs: dict[str, Any]) -> dict[str, Any]:
        # Padding is zeros, and the run's networks were made for texts of one length.
        whole = {name: jnp.zeros((batch, length), inputs[name].dtype) for name, length in texts.items()}
        padded = {name: jax.lax.dynamic_update_slice(zeros, inputs[name], (0, 0)) for name, zeros in whole.items()}
        return run.gan.sample(state, {**inputs, **padded})

    sample.__name__ = mark(COMMAND)
    return export.export(jax.jit(sample), platforms=PLATFORMS)(shapes)


def weights(run: Run, inputs: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays of the state that `gan.sample` draws with, by their path in it: `ema_params/layer_0/kernel`."""
    used = drawn_with(run, inputs)
    check_weights(run, used)
    return {path: np.asarray(leaf) for path, leaf in _used(run, used).items()}


def check_weights(run: Run, used: set[int]) -> None:
    """Refuses a state with which nothing could be drawn.

    Raises:
      ValueError: arrays among those used are not finite; names the checkpoint, their number and the first.
    """
    arrays = {path: leaf for path, leaf in _used(run, used).items() if jnp.issubdtype(leaf.dtype, jnp.inexact)}
    if bad := [path for path, leaf in arrays.items() if not np.isfinite(np.asarray(leaf, np.float32)).all()]:
        raise ValueError(
            f"{run.folder} at step {run.step}: {len(bad)} of {len(arrays)} arrays that it draws with are not finite "
            f"(NaN or infinity), the first of them {bad[0]}"
        )


def _used(run: Run, used: set[int]) -> dict[str, Any]:
    return {path: leaf for index, (path, leaf) in enumerate(leaves(run.state).items()) if index in used}


def drawn_with(run: Run, inputs: tuple[str, ...] = ()) -> set[int]:
    """Which leaves of the state have a part in what is drawn: neither the discriminator nor the optimizers."""
    # The compiler's own answer. It gives one where all shapes are numbers, so the batch here is the run's own.
    state = jax.eval_shape(lambda: run.state)
    kept = export.export(jax.jit(run.gan.sample))(state, _inputs(run, inputs)).module_kept_var_idx
    return set(kept) & set(range(len(jax.tree.leaves(state))))


def _inputs(run: Run, names: tuple[str, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    known = jax.eval_shape(run.gan.preview, jax.random.key(0), run.batch)
    if unknown := sorted(set(names) - known.keys()):
        raise ValueError(f"no input {', '.join(unknown)}: {run.folder} is drawn with {', '.join(known)}")
    return {name: known[name] for name in names or known}


def main(config: Config) -> Path:
    if importlib.util.find_spec(NEEDS[config.to]) is None:
        raise ModuleNotFoundError(f"{NEEDS[config.to]} is missing: pip install -e '.[experiments]'")
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    output = Path(config.output or run.folder / "exported" / f"generator-{run.step}.{config.to}")
    check_file(output, COMMAND)
    if config.to == "stablehlo":
        exported = program(run, config.inputs)
        content = exported.serialize()
        (inputs,), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
        outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
        summary = f"{_described(inputs)} to {_described(outputs)}, for {', '.join(exported.platforms)}"
    else:
        from safetensors.numpy import save

        arrays = weights(run, config.inputs)
        # Text, as the format wants it: what config.json says, and the step.
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
