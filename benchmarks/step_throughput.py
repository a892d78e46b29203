"""Time, operations and memory of one training step of any experiment.

python -m benchmarks.step_throughput gan --preset paper --image-size 64
python -m benchmarks.step_throughput dcgan_32 wgan_gp_32 --iterations 15 --compare torch --output throughput.json
python -m benchmarks.step_throughput all

Names come first: experiments, shapes (experiments with fixed flags, see SHAPES), `shapes` or `all`. Other flags are
passed to the experiments. The data is one batch of noise on the device. All measurements alternate: the step; large
matrix products in float32 and bfloat16, whose highest speed is the peak for the utilisation; and with `--compare torch`
the same step in PyTorch (`benchmarks.pytorch.reference`), in a separate process.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import importlib
import importlib.metadata
import itertools
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.devices.memory import fill_gaps, keep_freed_memory
from jaxgan.devices.sharding import by_batch, compile_step, data_mesh, device_put, replicated
from jaxgan.runs import cli

# Of width 64, batch 64 and 3 channels; CycleGAN's of width 32 and batch 4, SNGAN's discriminator of width 32.
SHAPES = {
    "dcgan_32": "gan --preset paper --image-size 32 --channels 3",
    "dcgan_64": "gan --preset paper --image-size 64 --channels 3",
    "wgan_gp_32": "wgan_gp --preset paper --batch-size 64 --latent-dim 100 --channels 3",
    "sngan_32": "sngan --preset paper --g-width 64 --d-width 32 --n-critic 1",
    "cyclegan_64": (
        "cyclegan --image-size 64 --width 32 --blocks 6 --d-width 32 --patch-layers 3 --batch-size 4 --ema-decay 0"
    ),
}
RANDOM = {"dataset": "noise", "dataset_b": "noise"}  # configuration fields of data sets
CAPTIONED = ("text_to_image",)  # keeps its own data set, because noise has no captions
DTYPES = ("float32", "bfloat16")
SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}  # side of the matrices for the peak
ROOT = Path(__file__).parent.parent
TURN_MS = 200  # shortest turn, with at most MOST steps
MOST = 100

Run = Callable[[int], float]
"""Runs a number of steps, waits for them, and returns the milliseconds per step."""


def experiments() -> list[str]:
    """The training experiments: modules of `experiments` with a function `build`."""
    paths = sorted((ROOT / "experiments").glob("*.py"))
    return [path.stem for path in paths if "\ndef build(" in path.read_text()]


def named(names: Sequence[str]) -> list[str]:
    """Names with `shapes` and `all` expanded.

    Raises:
      ValueError: an unknown name.
    """
    known = [*SHAPES, *experiments()]
    if unknown := set(names) - {*known, "shapes", "all"}:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}: there are {', '.join(known)}, shapes and all")
    groups = {"shapes": list(SHAPES), "all": known}
    return [one for name in names for one in groups.get(name, [name])]


def configuration(name: str, flags: Sequence[str] = ()) -> tuple[Any, Any]:
    """The module of an experiment or shape, and its configuration with random data; `flags` take precedence."""
    experiment, *fixed = shlex.split(SHAPES.get(name, name))
    module = importlib.import_module(f"experiments.{experiment}")
    fields = {field.name for field in dataclasses.fields(module.Config)}
    random = RANDOM if experiment not in CAPTIONED else {}
    data = [word for name, value in random.items() if name in fields for word in (f"--{name}", value)]
    return module, cli.parse(module.Config, [*data, *fixed, *flags])


class Step(NamedTuple):
    """A compiled training step.

    Attributes:
      run: runs training steps on one batch.
      run_fed: runs training steps on the batches of the data set.
      compile_seconds: time of tracing and compilation.
      gflop: billions of floating-point operations of one step on one device, as counted by XLA in the compiled program,
        without products with zero padding.
      program_mib: size of arguments, results and temporaries of the program on one device.
      images: number of images in a step.
      devices: number of devices.
    """

    run: Run
    run_fed: Run
    compile_seconds: float
    gflop: float
    program_mib: float
    images: int
    devices: int


def compiled(module: Any, config: Any) -> Step:
    """The `train_step` of an experiment, compiled as in the training loop."""
    gan = module.build(config)
    mesh = data_mesh(config.num_devices, batch_size=config.batch_size)
    source = module.batches(config)
    batches = jax.device_put(source(0), by_batch(mesh))
    state = jax.device_put(gan.init(jax.random.key(config.seed), batches[0]), replicated(mesh))
    began = time.perf_counter()
    step = compile_step(gan.train_step, mesh, state, batches)
    seconds = time.perf_counter() - began
    memory = step.memory_analysis()
    size = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    gflop = (step.cost_analysis() or {}).get("flops", 0.0) / 1e9

    def run(steps: int, feed: Callable[[], Any] = lambda: batches) -> float:
        nonlocal state
        fill_gaps()  # as in `fit`
        began = time.perf_counter()
        for _ in range(steps):
            state, _ = step(state, feed())
        jax.block_until_ready(state)
        return 1000 * (time.perf_counter() - began) / steps

    number = itertools.count(1)
    run_fed = functools.partial(run, feed=lambda: device_put(source(next(number)), by_batch(mesh)))
    mib = (size - memory.alias_size_in_bytes) / 2**20
    return Step(run, run_fed, seconds, gflop, mib, gan.d_steps * config.batch_size, mesh.size)


def matrix_product(dtype: str, side: int) -> Run:
    """Products of a square matrix with itself."""
    matrix = jnp.full((side, side), 1 / side, dtype)
    product = jax.jit(lambda a: a @ a).lower(matrix).compile()

    def run(steps: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready([product(matrix) for _ in range(steps)][-1])
        return 1000 * (time.perf_counter() - began) / steps

    return run


class Torch:
    """A process of `benchmarks.pytorch.reference`, which waits for its turns.

    A separate process may use another interpreter, has its own memory, and its threads sleep while it waits.

    Attributes:
      found: its description: `torch`, `device`, `threads`, the working `variants`, and reasons why others `failed`.
      runs: the `Run` of each variant.
    """

    def __init__(self, python: str, config: Any, variants: Sequence[str]):
        """Starts the process.

        Raises:
          RuntimeError: it did not start.
        """
        config = {**dataclasses.asdict(config), "experiment": config.experiment}
        spec = {**config, "platform": jax.default_backend(), "variants": variants}
        # Without this, OpenMP's threads spin while they wait, which is very slow if other programs run.
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.pytorch.reference", json.dumps(spec)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.found = json.loads(self._answer())
        self.runs: dict[str, Run] = {
            variant: functools.partial(self._run, variant) for variant in self.found["variants"]
        }

    def _run(self, variant: str, steps: int) -> float:
        print(variant, steps, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            self.close()
            raise RuntimeError(
                f"benchmarks.pytorch.reference ended with status {self._process.returncode}, see the output above"
            )
        return line

    def close(self) -> None:
        self._process.communicate()


def take_turns(runs: Mapping[str, Run], iterations: int) -> dict[str, list[float]]:
    """Alternates the runs (A B C A B C ...), so that slow changes of the machine affect all of them equally.

    Args:
      runs: the runs by name. Each is first called twice: to warm up, and to find the number of steps for a turn.
      iterations: turns of each.

    Returns:
      Milliseconds per step by name, one number per turn.
    """
    steps = {}
    for name, run in runs.items():
        run(1)
        steps[name] = max(1, min(MOST, round(TURN_MS / run(1))))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(iterations):
        for name, run in runs.items():
            times[name].append(run(steps[name]))
    return times


def best(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The smallest median and the smallest minimum, possibly of different runs."""
    return {
        "median_ms": min(statistics.median(of_one) for of_one in times.values()),
        "minimum_ms": min(min(of_one) for of_one in times.values()),
    }


def resident_mib() -> float:
    """Peak memory of this process, including compilation."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(name: str, flags: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """One row of the table.

    Args:
      name: name of an experiment or shape.
      flags: flags of the experiment.
      arguments: arguments of the benchmark.

    Returns:
      The columns of the table and the raw measurements, for JSON. The utilisation uses the minimum times of the step
      and of the matrix products.
    """
    module, config = configuration(name, flags)
    step = compiled(module, config)
    side = SIDE[jax.default_backend()]
    runs = {"step": step.run} | {dtype: matrix_product(dtype, side) for dtype in DTYPES}
    torch = Torch(arguments.torch_python, config, arguments.variants) if arguments.compare else None
    theirs = torch.runs if torch else {}
    try:
        times = take_turns({**runs, **theirs}, arguments.iterations)
    finally:
        if torch:
            torch.close()
    ours = best({"step": times["step"]})
    peaks = {dtype: 2e-6 * side**3 / min(times[dtype]) for dtype in DTYPES}
    speed = 1000 * step.gflop / ours["minimum_ms"]
    row = {
        "name": name,
        "config": dataclasses.asdict(config),
        "devices": step.devices,
        "compile_seconds": step.compile_seconds,
        **ours,
        "images_per_second": 1000 * step.images / ours["median_ms"],
        "gflop": step.gflop,
        "peak_gflop_per_second": peaks,
        "utilisation": {dtype: speed / peak for dtype, peak in peaks.items()},
        "program_mib": step.program_mib,
        "process_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / 2 ** (20 if sys.platform == "darwin" else 10),
        "times_ms": times,
    }
    if torch:
        row["torch"] = torch.found
    if theirs:
        row["torch_best"] = best({variant: times[variant] for variant in theirs})
        row["ratio"] = {how: row["torch_best"][how] / ours[how] for how in ours}
    return row


# Heading, key in a row, and format; the last four only with PyTorch.
COLUMNS = (
    ("step", "name", ""),
    ("compiled, s", "compile_seconds", ".1f"),
    ("median, ms", "median_ms", ".1f"),
    ("minimum, ms", "minimum_ms", ".1f"),
    ("images/s", "images_per_second", ",.0f"),
    ("GFLOP", "gflop", ",.2f"),
    ("of float32 peak", "utilisation.float32", ".0%"),
    ("of bfloat16 peak", "utilisation.bfloat16", ".0%"),
    ("program, MiB", "program_mib", ",.0f"),
    ("process, MiB", "process_mib", ",.0f"),
    ("PyTorch, median", "torch_best.median_ms", ".1f"),
    ("minimum", "torch_best.minimum_ms", ".1f"),
    ("PyTorch / ours, medians", "ratio.median_ms", ".2f"),
    ("minima", "ratio.minimum_ms", ".2f"),
)


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cells(row: Mapping[str, Any], columns: Sequence[tuple[str, str, str]]) -> list[str]:
    """The cells of a row as text, empty for missing values."""

    def value(path: str) -> Any:
        return functools.reduce(lambda found, key: (found or {}).get(key), path.split("."), row)

    return [format(value(path), form) if value(path) is not None else "" for _, path, form in columns]


def processor() -> str:
    """The name of the processor, if the system provides it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def circumstances(argv: Sequence[str]) -> dict[str, Any]:
    """Versions and machine of a measurement, including the load."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks.step_throughput", *argv]),
        "versions": {"python": sys.version.split()[0]} | {name: importlib.metadata.version(name) for name in packages},
        "platform": device.platform,
        "device": device.device_kind,
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("names", nargs="+", metavar="name", help="experiment, shape, `shapes` or `all`")
    parser.add_argument("--iterations", type=int, default=9, help="turns of each measurement")
    parser.add_argument("--compare", choices=("torch",), help="framework to compare with")
    parser.add_argument("--torch-python", default=sys.executable, help="Python interpreter with PyTorch")
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=("eager", "channels_last", "compile"),
        default=("eager", "channels_last"),
        help="variants of the PyTorch step; `compile` is torch.compile, which takes minutes and needs g++ on a CPU",
    )
    parser.add_argument("--output", type=Path, help="JSON file to write all results to")
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments, flags = parser.parse_known_args(argv)
    if arguments.iterations < 1:
        raise ValueError(f"--iterations {arguments.iterations}: at least 1")
    names = named(arguments.names)
    jax.config.update("jax_enable_compilation_cache", False)  # to measure the compilation time
    report: dict[str, Any] = {**circumstances(argv), "rows": []}
    print({name: value for name, value in report.items() if name != "rows"})
    columns = COLUMNS if arguments.compare else COLUMNS[:-4]
    print(line([heading for heading, _, _ in columns]))
    print(line(["---"] * len(columns)))
    for name in names:
        row = measure(name, flags, arguments)
        print(line(cells(row, columns)), flush=True)
        for variant, reason in row.get("torch", {}).get("failed", {}).items():
            print(f"no PyTorch {variant}: {reason}", file=sys.stderr)
        report["rows"].append(row)
        if arguments.output:  # after every row, so that an interruption loses only the rows that are missing
            arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    return report["rows"]


if __name__ == "__main__":
    # Leave memory for PyTorch on the same GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    keep_freed_memory()  # as `cli.run` does for the experiments
    try:
        main()
    except (ValueError, RuntimeError) as error:
        cli.leave(str(error))
