"""Opens a run: locks its folder, chooses the devices, and restores or initializes the state."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxgan import files as run_files
from jaxgan.checkpoints.checkpoint import Checkpoints, DamagedCheckpointError
from jaxgan.devices.distributed import on_first_process, sync_max
from jaxgan.devices.sharding import data_mesh, device_put, replicated
from jaxgan.runs.config import RunConfig, check_writable, known_data, run_folder, save_config
from jaxgan.runs.init_from import weights_from
from jaxgan.runs.lock import Lock
from jaxgan.runs.start import refuse_foreign, refuse_unusable, set_aside, starting_step
from jaxgan.types import GAN, Batch, Batches

# Prefix of values in a checkpoint that is saved at a stop between two lines of metrics: the running sums and seconds
# since the last line, and whether the scores of its step are still to be computed.
UNFINISHED = "unfinished/"

Files = Mapping[str, Callable[[Path], None]]


class Opened(NamedTuple):
    """A run that is ready for its next step.

    Attributes:
      folder: the run folder.
      mesh: the devices.
      checkpoints: the folder's checkpoints.
      lock: the lock of the folder in the first process; None in other processes and in a dry run.
      state: the state, replicated over the devices.
      step: the step of the state.
      resumed: whether the state comes from a checkpoint of this run.
      unfinished: running sums since the last line of metrics, from the checkpoint, see `TrainStep.unfinished`.
      abstract: shapes of the state.
      batches: shapes of the batches of one step, with the rows of all processes.
      data: description of the data, see `known_data`.
    """

    folder: Path
    mesh: Mesh
    checkpoints: Checkpoints
    lock: Lock | None
    state: Any
    step: int
    resumed: bool
    unfinished: dict[str, float]
    abstract: Any
    batches: tuple[Any, ...]
    data: dict[str, Any]


def open_state(
    stack: contextlib.ExitStack, gan: GAN, batches: Batches, config: RunConfig, files: Files | None
) -> Opened:
    """Locks the run folder and restores or initializes the state. It writes nothing yet.

    Args:
      stack: releases the lock and closes the checkpoints when it is closed.
      gan, batches, config, files: as for `fit`.

    Raises:
      ValueError, CheckpointError: as `fit`.
    """
    folder = run_folder(config)
    check_writable(folder)
    mesh = data_mesh(config.num_devices, batch_size=config.batch_size)
    _refuse_scan_on_cpu(config, mesh)
    if config.check and jax.process_count() > 1:
        raise ValueError("--check runs in a single process: leave out --coordinator")
    on_first_process(lambda: refuse_foreign(folder))
    lock = None if config.check else on_first_process(lambda: stack.enter_context(Lock(folder)))
    if (rows := config.batch_size * gan.num_seeds) != batches.batch_size:
        raise ValueError(f"batch_size={config.batch_size} asks for {rows} rows, but a batch has {batches.batch_size}")
    first = batches(0)
    key = jax.random.key(config.seed)
    abstract = jax.eval_shape(gan.init, key, first[0])
    checkpoints = stack.enter_context(
        Checkpoints(folder / "checkpoints", keep=config.keep, best=config.best, best_mode=config.best_mode)
    )
    data = known_data(batches)
    found = on_first_process(lambda: starting_step(config, folder, checkpoints.latest_step(), data))
    step = sync_max(-1 if found is None else found) if jax.process_index() == 0 else sync_max(-2)
    resumed = step >= 0
    on_first_process(lambda: refuse_unusable(folder, resumes=resumed))
    if resumed:
        state = _restored(checkpoints, abstract, mesh)
        step = checkpoints.latest_step() or step  # an earlier one if the newest is damaged
    else:
        step, state = 0, gan.init(key, first[0])
        if config.init_from is not None:
            state, taken = weights_from(
                Path(config.init_from), state, files, data["classes"], dataclasses.asdict(config), config.experiment
            )
            if jax.process_index() == 0:
                print(f"init_from   {taken}")
        state = device_put(state, replicated(mesh))
    saved = checkpoints.metrics(step).items() if resumed else ()
    unfinished = {name.removeprefix(UNFINISHED): x for name, x in saved if name.startswith(UNFINISHED)}
    return Opened(
        folder, mesh, checkpoints, lock, state, step, resumed, unfinished, abstract, _shapes(first, config), data
    )


def write_initial_files(run: Opened, config: RunConfig, files: Files | None) -> None:
    """Writes the first contents of the run folder: config.json, the checkpoint folder and the caller's files."""
    if not run.resumed and (aside := set_aside(run.folder)):
        print(f"            files of an earlier start, which saved no checkpoint, were moved to {aside}")
    write_config(run, config)  # first: after a kill, a folder without config.json would be refused
    run_files.make_folder(run.folder / "checkpoints", inside=run.folder)
    for name, write in (files or {}).items():
        write(run.folder / name)


def write_config(run: Opened, config: RunConfig) -> None:
    save_config(config, run.folder, run.batches[0], **run.data)


def _restored(checkpoints: Checkpoints, abstract: Any, mesh: Mesh) -> Any:
    try:
        return checkpoints.restore(None, abstract, sharding=replicated(mesh))
    except DamagedCheckpointError as error:
        cure = f"Else give another --workdir, or remove {checkpoints.folder} to start again"
        raise DamagedCheckpointError(f"{error}\nIf the folder of a step was renamed, rename it back. {cure}") from error


def _refuse_scan_on_cpu(config: RunConfig, mesh: Mesh) -> None:
    if config.steps_per_call > 1 and mesh.devices.flat[0].platform == "cpu":
        raise ValueError(
            f"steps_per_call={config.steps_per_call}: on a CPU it must be 1, since convolutions in a compiled loop are "
            "ten times slower there"
        )


def _shapes(batches: tuple[Batch, ...], config: RunConfig) -> Any:
    """Shapes of a step's batches with the rows of all processes; a streamed source reads only this process's rows."""

    def shape(field: Any) -> jax.ShapeDtypeStruct:
        is_local = len(field) * jax.process_count() == config.batch_size
        rows = config.batch_size if is_local else len(field)
        return jax.ShapeDtypeStruct((rows, *field.shape[1:]), field.dtype)

    return jax.tree.map(shape, batches)
