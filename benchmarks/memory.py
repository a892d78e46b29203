"""Memory of a training step for several numbers of microbatches, as the compiler counts it, without running the step.

python -m benchmarks.memory wgan_gp --preset paper --batch-size 64
python -m benchmarks.memory cyclegan --preset paper --batch-size 16 --parts 1 4 16

Prints arguments, results and temporaries of the compiled step, and the smallest card that holds them: 8, 12, 24 or 80
GB, of which a tenth is left for the libraries. Other flags are passed to the experiment. No data are read.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

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


def step_bytes(module: Any, config: Any) -> int:
    """Bytes of arguments, results and temporaries of one training step; the state is donated."""
    gan, batch = module.build(config), batch_of(config)
    state = jax.eval_shape(gan.init, jax.random.key(0), batch)
    step = jax.jit(gan.train_step, donate_argnums=0).lower(state, (batch,) * gan.d_steps).compile()
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
    found, flags = parser.parse_known_args(arguments)
    module: Any = importlib.import_module(f"experiments.{found.experiment}")
    config = cli.parse(module.Config, flags)
    print("| `--microbatches` | memory of a step, MiB | fits into |\n|---|---|---|")
    for parts in found.parts:
        try:
            size = step_bytes(module, dataclasses.replace(config, microbatches=parts))
        except ValueError as error:
            cli.leave(str(error))
        print(f"| {parts} | {size / 2**20:,.0f} | {smallest_card(size)} |", flush=True)


if __name__ == "__main__":
    main()
