"""Memory of a training step with and without `--microbatches` and `--remat`, as the compiler counts it.

    python -m benchmarks.memory wgan_gp --preset paper --batch-size 64
    python -m benchmarks.memory cyclegan --preset paper --batch-size 4 --parts 1 --topology v5e:2x2

Prints arguments, results and temporaries of the compiled step, and the smallest card that holds them: 8, 12, 24 or 80
GB, of which a tenth is left for the libraries. Other flags are passed to the experiment. No step is run and no data are
read. `--topology` compiles for one TPU of that kind, which need not be there (`pip install libtpu`); compilers for CPUs
undo `--remat`.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgan.runs import cli

CARDS = (8, 12, 24, 80)


def batch_of(config: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch of images, or of two domains."""
    rows, size = config.batch_size, config.image_size
    if hasattr(config, "channels_a"):
        channels = {"a": config.channels_a, "b": config.channels_b}
    else:
        channels = {"image": config.channels}
    fields = {name: jax.ShapeDtypeStruct((rows, size, size, number), jnp.float32) for name, number in channels.items()}
    if hasattr(config, "num_classes"):
        fields["condition"] = jax.ShapeDtypeStruct((rows,), jnp.int32)
    if hasattr(config, "max_words"):
        fields["text"] = jax.ShapeDtypeStruct((rows, config.max_words), jnp.int32)
    return fields


def tpu(topology: str) -> Any:
    """A TPU to compile for, which need not be there."""
    # What libtpu otherwise asks the machine's cloud for.
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
    }
    try:
        return topologies.get_topology_desc(topology_name=topology, platform="tpu").devices[0]
    except (ImportError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"--topology {topology}: {reason}; expected a name such as v5e:2x2, and libtpu") from None


def step_bytes(module: Any, config: Any, device: Any = None) -> int:
    """Bytes of arguments, results and temporaries of one training step on `device`; the state is donated.

    Of temporaries alone, where these do not fit the device.
    """
    gan, batch = module.build(config), batch_of(config)
    state = jax.eval_shape(gan.init, jax.random.key(0), batch)
    arguments = state, (batch,) * gan.d_steps
    if device is not None:
        there = NamedSharding(Mesh(np.array([device]), "data"), PartitionSpec())
        arguments = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=there), arguments)
    lowered = jax.jit(gan.train_step, donate_argnums=0).lower(*arguments)
    try:
        step = lowered.compile()
    except jax.errors.JaxRuntimeError as error:  # a TPU's compiler gives up where the step does not fit
        needed = re.search(r"RESOURCE_EXHAUSTED.*temporaries \(([\d.]+)G\)", str(error))
        if not needed:
            raise
        return int(float(needed[1]) * 2**30)
    found: Any = step.memory_analysis()
    kept = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return kept + found.temp_size_in_bytes


def smallest_card(size: int) -> str:
    """The smallest card that holds so many bytes.

    >>> smallest_card(5 * 10**9), smallest_card(23 * 10**9), smallest_card(90 * 10**9)
    ('8 GB', '80 GB', 'none')
    """
    return next((f"{card} GB" for card in CARDS if size <= 0.9 * card * 10**9), "none")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="module of experiments, such as wgan_gp; its flags follow")
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 4, 16], help="microbatches (default: 1 4 16)")
    parser.add_argument("--topology", help="TPU to compile for, such as v5e:2x2 (default: the devices of this machine)")
    found, flags = parser.parse_known_args(arguments)
    module: Any = importlib.import_module(f"experiments.{found.experiment}")
    config = cli.parse(module.Config, flags)
    try:
        device = tpu(found.topology) if found.topology else None
        print("| flags | memory of a step, MiB | fits into |\n|---|---|---|")
        for parts in found.parts:
            for remat in (False, True) if parts == 1 else (False,):
                changed = dataclasses.replace(config, microbatches=parts, remat=remat)
                size = step_bytes(module, changed, device)
                flag = "`--remat`" if remat else f"`--microbatches {parts}`"
                print(f"| {flag} | {size / 2**20:,.0f} | {smallest_card(size)} |", flush=True)
    except ValueError as error:
        cli.leave(str(error))


if __name__ == "__main__":
    main()
