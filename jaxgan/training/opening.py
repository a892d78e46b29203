"""The first part of a run: its folder locked, its devices chosen, its state restored or made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxgan import files as run_files
from jaxgan.checkpoints.checkpoint import Checkpoints, DamagedCheckpointError
from jaxgan.devices.distributed import led, sync_max
from jaxgan.devices.sharding import data_mesh, device_put, replicated
from jaxgan.runs.config import RunConfig, check_writable, known_data, run_folder, save_config
from jaxgan.runs.lock import Lock
from jaxgan.runs.start import refuse_foreign, refuse_unusable, set_aside, starting_step, weights_from
from jaxgan.types import GAN, Batch, Batches

# Before the names of what a checkpoint at a stop holds besides the state: sums that belong to the next line of metrics,
# seconds, and whether its step is still to be scored.
UNFINISHED = "unfinished/"

Files = Mapping[str, Callable[[Path], None]]


class Opened(NamedTuple):
    """A run before its next step.

    Attributes:
      folder: the run folder.
      mesh: the devices.
      checkpoints: those of the folder.
      lock: on the folder, in the process that writes; None elsewhere and in a dry run.
      state: replicated over the devices.
      step: the step that the state is at.
      resumed: whether the state comes from a checkpoint of this run.
      unfinished: what the checkpoint says of a line of metrics that was not finished, see `Tally.unfinished`.
      abstract: shapes of the state.
      batches: shapes of the batches of one step, with the rows of all processes.
      data: what is known of the data, see `known_data`.
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
    """Locks the run folder and gives the state that training goes on from; nothing is written yet.

    Args:
      stack: closes the folder when it is left.
      gan, batches, config, files: as for `fit`.

    Raises:
      ValueError, CheckpointError: as `fit`.
    """
    folder = run_folder(config)
    check_writable(folder)
    mesh = data_mesh(config.num_devices, batch_size=config.batch_size)
    _refuse_scan_on_cpu(config, mesh)
    if config.check and jax.process_count() > 1:
        raise ValueError("check is a dry run of one process: leave out --coordinator")
    led(lambda: refuse_foreign(folder))
    lock = None if config.check else led(lambda: stack.enter_context(Lock(folder)))
    if (rows := config.batch_size * gan.num_seeds) != batches.batch_size:
        raise ValueError(f"batch_size={config.batch_size} asks for {rows} rows, but a batch has {batches.batch_size}")
    first = batches(0)
    key = jax.random.key(config.seed)
    abstract = jax.eval_shape(gan.init, key, first[0])
    checkpoints = stack.enter_context(
        Checkpoints(folder / "checkpoints", keep=config.keep, best=config.best, best_mode=config.best_mode)
    )
    data = known_data(batches)
    found = led(lambda: starting_step(config, folder, checkpoints.latest_step(), data))
    step = sync_max(-1 if found is None else found) if jax.process_index() == 0 else sync_max(-2)
    resumed = step >= 0
    led(lambda: refuse_unusable(folder, resumes=resumed))
    if resumed:
        state = _restored(checkpoints, abstract, mesh)
        step = checkpoints.latest_step() or step  # an earlier one where the newest is damaged
    else:
        step, state = 0, gan.init(key, first[0])
        if config.init_from is not None:
            state, taken = weights_from(Path(config.init_from), state, files, data["classes"])
            if jax.process_index() == 0:
                print(f"init_from   {taken}")
        state = device_put(state, replicated(mesh))
    saved = checkpoints.metrics(step).items() if resumed else ()
    unfinished = {name.removeprefix(UNFINISHED): x for name, x in saved if name.startswith(UNFINISHED)}
    return Opened(
        folder, mesh, checkpoints, lock, state, step, resumed, unfinished, abstract, _shapes(first, config), data
    )


def write_beginnings(run: Opened, config: RunConfig, files: Files | None) -> None:
    """Writes what the run folder holds from the start: config.json, the folder of checkpoints, the caller's files."""
    if not run.resumed and (aside := set_aside(run.folder)):
        print(f"            what an earlier start wrote, which saved no checkpoint, is in {aside} now")
    write_config(run, config)  # before other folders are made, so that a kill leaves none that is nobody's
    run_files.make_folder(run.folder / "checkpoints", inside=run.folder)
    for name, write in (files or {}).items():
        write(run.folder / name)


def write_config(run: Opened, config: RunConfig) -> None:
    save_config(config, run.folder, run.batches[0], **run.data)


def _restored(checkpoints: Checkpoints, abstract: Any, mesh: Mesh) -> Any:
    try:
        return checkpoints.restore(None, abstract, sharding=replicated(mesh))
    except DamagedCheckpointError as error:
        cure = f"else give another --workdir, or remove {checkpoints.folder} to start again"
        raise DamagedCheckpointError(f"{error}\nRename a step back to what it was written as; {cure}") from error


def _refuse_scan_on_cpu(config: RunConfig, mesh: Mesh) -> None:
    if config.steps_per_call > 1 and mesh.devices.flat[0].platform == "cpu":
        raise ValueError(
            f"steps_per_call={config.steps_per_call}: on a CPU convolutions in a loop take ten times as long, and it "
            "takes one step at a time"
        )


def _shapes(batches: tuple[Batch, ...], config: RunConfig) -> Any:
    """The shapes of a step's batches with the rows of all processes, where a source reads only those of this one."""

    def shape(field: Any) -> jax.ShapeDtypeStruct:
        is_part = len(field) * jax.process_count() == config.batch_size
        rows = config.batch_size if is_part else len(field)
        return jax.ShapeDtypeStruct((rows, *field.shape[1:]), field.dtype)

    return jax.tree.map(shape, batches)
