"""The summary that a run prints when it starts, and the dry run (`--check`), which takes a few steps."""

from __future__ import annotations

import math
import os
import statistics
import textwrap
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgan.algorithms.state import GANState
from jaxgan.devices.memory import is_kept
from jaxgan.messages import printable
from jaxgan.runs import outputs
from jaxgan.runs.config import RunConfig
from jaxgan.runs.images import image_grid, scatter
from jaxgan.runs.lock import refuse_held
from jaxgan.training.step import TrainStep
from jaxgan.types import GAN, Batch, Batches

STEPS = 20  # of a dry run, at most
SECONDS = 5.0  # a dry run takes no further step after this time

_COMMAND = "check"


def print_summary(
    config: RunConfig, folder: Path, *, mesh: Mesh, state: GANState, batches: Batches, start: int
) -> None:
    """Prints the summary of a run before its step is compiled: folder, devices, number of parameters, data, steps.

    Args:
      config: configuration of the run.
      folder: the run folder.
      mesh: the devices.
      state: any state of the run.
      batches: the data.
      start: the step from which the run starts or resumes.
    """
    count = lambda params: f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,}"
    device = mesh.devices.flat[0]
    cores = f", {os.cpu_count()} cores" if device.platform == "cpu" else ""
    print(f"run         {folder}")
    print(f"device      {mesh.size} x {device.device_kind}{cores}")
    if device.platform == "cpu" and is_kept():
        print("memory      freed memory is kept for the next step (--no-keep-memory returns it to the system)")
    print(f"parameters  generator {count(state.generator.params)}, discriminator {count(state.discriminator.params)}")
    print(f"data        {batches.size:,} examples, batch {config.batch_size}")
    if notice := getattr(batches, "notice", None):
        print(f"            {printable(notice)}")
    print(f"steps       {start} to {config.num_steps}; compiling a step", flush=True)


def print_cost(compiled: Any, seconds: float) -> None:
    """Prints the cost of a step: operations, memory, and the time of its compilation.

    Args:
      compiled: the compiled step, from `compile_step`. Costs that its platform does not report are left out.
      seconds: time of the compilation.
    """
    cost = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    parts = [f"{cost['flops'] / 1e9:,.2f} GFLOP"] if "flops" in cost else []
    parts += [_mebibytes(memory.temp_size_in_bytes + memory.argument_size_in_bytes)] if memory else []
    print(f"one step    {', '.join([*parts, f'compiled in {seconds:.1f} s'])}", flush=True)


def dry_run(
    gan: GAN,
    config: RunConfig,
    folder: Path,
    *,
    mesh: Mesh,
    state: GANState,
    batches: Batches,
    start: int,
) -> tuple[GANState, dict[str, float]]:
    """Takes a few steps and prints their cost and a description of the data; writes only an image of the first batch.

    The run folder is not created. The image is `<folder>-check.png` beside it; there is none if a batch holds neither
    images nor points in the plane. Beyond `print_summary` it prints: the size of the state; shape, range and mean of
    each field of the first batches; the metrics; the time of a step and of the whole run; and whether JAX finds a
    random key that is used twice. A penalty's critic shares the discriminator's key on purpose.

    Args:
      gan: the algorithm.
      config: configuration of the run.
      folder: the run folder.
      mesh: the devices.
      state: the initial or restored state; it is donated.
      batches: the data.
      start: the step from which the run would start or resume.

    Returns:
      The state and the metrics after these steps.

    Raises:
      NonFiniteError: a metric of these steps was not finite.
      ValueError: a file of the image's name exists, and no dry run wrote it.
      OSError: the image could not be written; nor could the run folder.
    """
    first = batches(start)
    image, path = _preview(first[0]), folder.with_name(f"{folder.name}-check.png")
    if image is not None:
        outputs.check_file(path, _COMMAND, flag="--workdir")
    print_summary(config, folder, mesh=mesh, state=state, batches=batches, start=start)
    began = time.perf_counter()
    train_step = TrainStep(gan, config, mesh, state, first)
    print_cost(train_step.compiled, time.perf_counter() - began)
    sizes = (_mebibytes(sum(leaf.nbytes for leaf in jax.tree.leaves(part))) for part in (state, state.generator.params))
    print("state       {}, including {} of generator parameters".format(*sizes))
    for name in first[0]:
        values = np.stack([np.asarray(batch[name], np.float64) for batch in first])
        shape = "x".join(map(str, values.shape[1:]))
        low, mean, high = values.min(), values.mean(), values.max()
        print(f"{name:11} {first[0][name].dtype}[{shape}], from {low:.4g} to {high:.4g}, mean {mean:.4g}")
    print(f"keys        {_reused_key(gan, state, first) or 'no random key is used twice'}", flush=True)

    times: list[float] = []
    while len(times) < min(STEPS, config.num_steps) and (len(times) < 3 or sum(times) < SECONDS):
        began = time.perf_counter()
        state = jax.block_until_ready(train_step.update(state, batches(start + len(times))))
        times.append(time.perf_counter() - began)
    metrics, count = train_step.read()
    listed = f"over {count} steps: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    print(textwrap.fill(listed, 120, initial_indent="metrics     ", subsequent_indent=" " * 12))
    seconds = statistics.median(times[1:] or times)  # the first step also reads data from the disk
    total = _duration(seconds * (config.num_steps - start))
    print(f"time        {1000 * seconds:,.1f} ms per step, {total} in total, without images, scores and checkpoints")

    if image is not None:
        outputs.write_image(path, image, _COMMAND)
        print(f"preview     the first batch: {path}")
    next_run = f"without --check the same command {'resumes' if start else 'creates'} {folder}"
    try:
        refuse_held(folder)
    except ValueError as error:
        next_run = f"without --check the same command is refused: {error}"
    print(f"nothing {'was' if image is None else 'else was'} written: {next_run}")
    return state, metrics


def _reused_key(gan: GAN, state: GANState, batches: tuple[Batch, ...]) -> str | None:
    """The message of JAX's check for reused random keys in a step, None if it finds none."""
    shapes = jax.eval_shape(lambda *both: both, state, batches)  # without the arrays' shardings
    try:
        with jax.debug_key_reuse(True):
            jax.jit(lambda *both: gan.train_step(*both)).lower(*shapes)
    except jax.errors.KeyReuseError as error:
        return f"JAX finds a key that is used twice (by a penalty's critic on purpose): {str(error).splitlines()[0]}"
    return None


def _preview(batch: Batch) -> Any:
    images = {name: np.asarray(field) for name, field in batch.items() if field.ndim == 4}
    if images:
        return image_grid(images)
    points = batch.get("image", jnp.zeros(0))
    return scatter(points, points) if points.ndim == 2 and points.shape[1] == 2 else None


def _mebibytes(count: float) -> str:
    return f"{count / 2**20:,.{0 if count >= 10 * 2**20 else 2}f} MiB"


def _duration(seconds: float) -> str:
    """A duration in words.

    >>> _duration(0.4), _duration(150), _duration(7300)
    ('1 s', '2 min 30 s', '2 h 1 min')
    """
    seconds = max(1, math.ceil(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min {seconds % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
