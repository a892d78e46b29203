"""Images per second from a data set on the device, and from the same data set read and decoded during training.

python -m benchmarks.input_pipeline
python -m benchmarks.input_pipeline --dataset folder:PATH --image-size 64

Or the cost of the batches of experiments: steps on one fixed batch and on the batches of the data set, alternating.

python -m benchmarks.input_pipeline --experiments gan cyclegan
python -m benchmarks.input_pipeline --experiments all
"""

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from benchmarks.step_throughput import compiled, experiments, take_turns
from jaxgan.data.pipeline import image_batches
from jaxgan.devices.memory import keep_freed_memory
from jaxgan.runs import cli
from jaxgan.runs.images import save_image

BATCHES = 200  # the time of a batch is the mean over so many


def write_images(folder: Path, count: int, size: int) -> None:
    """PNG files of smooth random colours: noise does not compress and is slower to read than real images."""
    random = np.random.default_rng(0)
    coarse = random.integers(256, size=(count, 8, 8, 3), dtype=np.uint8)
    for index, colours in enumerate(coarse):
        save_image(folder / f"{index:05d}.png", colours.repeat(size // 8, axis=0).repeat(size // 8, axis=1))


def images_per_second(batches, batch_size: int, steps: int) -> float:
    jax.block_until_ready(batches(0))
    began = time.perf_counter()
    for step in range(1, steps + 1):
        jax.block_until_ready(batches(step))
    return steps * batch_size / (time.perf_counter() - began)


def share_of_a_step(name: str, flags: Sequence[str] = (), *, turns: int = 31) -> dict[str, float]:
    """The fraction of an experiment's time that its data takes.

    Args:
      name: name of the experiment.
      flags: flags of the experiment; defaults for the others.
      turns: turns of each kind.

    Returns:
      `step_ms` on one batch and `fed_ms` on the batches of the data set, medians over turns; `share`, the median over
      turns of the fraction of a step that data takes (may be negative by noise); `batches_ms`, the time of the batches
      of a step alone.
    """
    module = importlib.import_module(f"experiments.{name}")
    config = cli.parse(module.Config, flags)
    step, source = compiled(module, config), module.batches(config)
    times = take_turns({"step": step.run, "fed": step.run_fed}, turns)
    began = time.perf_counter()
    for number in range(BATCHES):
        jax.block_until_ready(source(number))
    return {
        "step_ms": statistics.median(times["step"]),
        "fed_ms": statistics.median(times["fed"]),
        "share": statistics.median(1 - one / fed for one, fed in zip(times["step"], times["fed"], strict=True)),
        "batches_ms": 1000 * (time.perf_counter() - began) / BATCHES,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", nargs="+", choices=(*experiments(), "all"), help="time batches of these")
    parser.add_argument("--dataset", help="data set to read; by default 2,000 generated PNG files of 64x64")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    if names := arguments.experiments:
        print("| experiment | step on one batch, ms | on the data set's, ms | share of data | batches alone, ms |")
        print("| --- | --- | --- | --- | --- |")
        for name in experiments() if "all" in names else names:
            found = share_of_a_step(name)
            cells = [f"{found[column]:.1f}" for column in ("step_ms", "fed_ms")]
            print(f"| {name} | {' | '.join(cells)} | {found['share']:.1%} | {found['batches_ms']:.2f} |", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        dataset = arguments.dataset
        if dataset is None:
            dataset = f"folder:{folder}"
            write_images(Path(folder), 2000, arguments.image_size)
        print(f"{dataset if arguments.dataset else '2,000 PNG files'}, {jax.devices()[0].device_kind}")
        options = {name: getattr(arguments, name) for name in ("batch_size", "image_size", "channels")}
        for name, resident_mib in (("resident", 1 << 20), ("streamed", 0)):
            began = time.perf_counter()
            batches = image_batches(dataset, resident_mib=resident_mib, **options)
            seconds = time.perf_counter() - began
            rate = images_per_second(batches, arguments.batch_size, arguments.steps)
            print(f"{name}: {rate:,.0f} images/s, opened in {seconds:.1f} s")


if __name__ == "__main__":
    keep_freed_memory()
    main()
