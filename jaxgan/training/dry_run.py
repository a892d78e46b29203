"""What somebody wants to know before a long run: in short when it begins, and at length as a dry run (`--check`)."""

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
from jaxgan.messages import printable
from jaxgan.runs import outputs
from jaxgan.runs.config import RunConfig
from jaxgan.runs.images import image_grid, scatter
from jaxgan.runs.lock import refuse_held
from jaxgan.training.step import Tally
from jaxgan.types import GAN, Batch, Batches

STEPS = 20  # that a dry run takes at most
SECONDS = 5.0  # after which it takes no more

_COMMAND = "check"


def introduce(
    config: RunConfig,
    folder: Path,
    *,
    mesh: Mesh,
    state: GANState,
    batches: Batches,
    start: int,
    compiled: Any,
    seconds: float,
) -> None:
    """Prints what every run begins with.

    Args:
      config: its configuration.
      folder: its folder.
      mesh: its devices.
      state: a state of it.
      batches: its data.
      start: the step it goes on from.
      compiled: its step, from `compile_step`. What its platform does not count is left out.
      seconds: how long that took.
    """
    count = lambda params: f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,}"
    device = mesh.devices.flat[0]
    cores = f", {os.cpu_count()} cores" if device.platform == "cpu" else ""
    cost = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    parts = [f"{cost['flops'] / 1e9:,.2f} GFLOP"] if "flops" in cost else []
    parts += [_mebibytes(memory.temp_size_in_bytes + memory.argument_size_in_bytes)] if memory else []
    print(f"run         {folder}")
    print(f"device      {mesh.size} x {device.device_kind}{cores}")
    print(f"parameters  generator {count(state.generator.params)}, discriminator {count(state.discriminator.params)}")
    print(f"data        {batches.size:,} examples, batch {config.batch_size}")
    if notice := getattr(batches, "notice", None):
        print(f"            {printable(notice)}")
    print(f"steps       {start} to {config.num_steps}")
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
    """Takes a few steps, prints what they cost and what they read, and keeps nothing of them but an image.

    The run folder is not made. The first batch is drawn as `<folder>-check.png` beside it, unless it is neither images
    nor points in the plane. Besides what `introduce` prints: bytes of the state, how each field of the first batches
    is filled, the metrics, the time of a step and of the whole run, and whether JAX finds a random key that is used
    twice; a penalty's critic shares the discriminator's on purpose.

    Args:
      gan: the algorithm.
      config: of the run.
      folder: of the run.
      mesh: its devices.
      state: what it would begin with; it is donated.
      batches: its data.
      start: the step it would go on from.

    Returns:
      The state and the metrics after these steps.

    Raises:
      NonFiniteError: a metric of these steps was not finite.
      ValueError: what has the image's name is not of an earlier dry run.
      OSError: the image could not be written, as the run folder could not be made.
    """
    first = batches(start)
    drawing, path = _drawing(first[0]), folder.with_name(f"{folder.name}-check.png")
    if drawing is not None:
        outputs.check_file(path, _COMMAND, flag="--workdir")
    began = time.perf_counter()
    tally = Tally(gan, config, mesh, state, first)
    seconds = time.perf_counter() - began
    introduce(
        config, folder, mesh=mesh, state=state, batches=batches, start=start, compiled=tally.compiled, seconds=seconds
    )
    sizes = (_mebibytes(sum(leaf.nbytes for leaf in jax.tree.leaves(part))) for part in (state, state.generator.params))
    print("state       {}, of it {} the generator's parameters".format(*sizes))
    for name in first[0]:
        values = np.stack([np.asarray(batch[name], np.float64) for batch in first])
        shape = "x".join(map(str, values.shape[1:]))
        low, mean, high = values.min(), values.mean(), values.max()
        print(f"{name:11} {first[0][name].dtype}[{shape}], from {low:.4g} to {high:.4g}, mean {mean:.4g}")
    print(f"keys        {_reused_key(gan, state, first) or 'none is used twice'}", flush=True)

    times: list[float] = []
    while len(times) < min(STEPS, config.num_steps) and (len(times) < 3 or sum(times) < SECONDS):
        began = time.perf_counter()
        state = jax.block_until_ready(tally.update(state, batches(start + len(times))))
        times.append(time.perf_counter() - began)
    metrics, count = tally.read()
    listed = f"over {count} steps: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    print(textwrap.fill(listed, 120, initial_indent="metrics     ", subsequent_indent=" " * 12))
    one = statistics.median(times[1:] or times)  # the first reads what the others find read
    whole = _duration(one * (config.num_steps - start))
    print(f"time        {1000 * one:,.1f} ms a step, {whole} in all, besides pictures, scores and checkpoints")

    if drawing is not None:
        outputs.write_image(path, drawing, _COMMAND)
        print(f"picture     the first batch: {path}")
    follows = f"without --check the same command {'goes on in' if start else 'makes'} {folder}"
    try:
        refuse_held(folder)
    except ValueError as error:
        follows = f"without --check the same command is refused: {error}"
    print(f"nothing {'was' if drawing is None else 'else was'} written: {follows}")
    return state, metrics


def _reused_key(gan: GAN, state: GANState, batches: tuple[Batch, ...]) -> str | None:
    """What JAX's own check says of the keys of a step, None where it finds nothing."""
    shapes = jax.eval_shape(lambda *both: both, state, batches)  # wherever the arrays lie
    try:
        with jax.debug_key_reuse(True):
            jax.jit(lambda *both: gan.train_step(*both)).lower(*shapes)
    except jax.errors.KeyReuseError as error:
        return f"JAX finds one used twice (a penalty's critic does so on purpose): {str(error).splitlines()[0]}"
    return None


def _drawing(batch: Batch) -> Any:
    pictures = {name: np.asarray(field) for name, field in batch.items() if field.ndim == 4}
    if pictures:
        return image_grid(pictures)
    points = batch.get("image", jnp.zeros(0))
    return scatter(points, points) if points.ndim == 2 and points.shape[1] == 2 else None


def _mebibytes(count: float) -> str:
    return f"{count / 2**20:,.{0 if count >= 10 * 2**20 else 2}f} MiB"


def _duration(seconds: float) -> str:
    """In words, by the unit that fits.

    >>> _duration(0.4), _duration(150), _duration(7300)
    ('1 s', '2 min 30 s', '2 h 1 min')
    """
    seconds = max(1, math.ceil(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min {seconds % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
