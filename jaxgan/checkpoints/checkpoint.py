"""Checkpoints: save a state in the background, keep the newest and the best, restore it onto any devices.

All code that depends on Orbax is here, in `retention` and in `step_folders`. A checkpoint is a folder named after its
step, in which each array is stored under its path in the state (`generator/params/dense/kernel`, see `leaves`).
Containers are not stored: they come from the state given to `restore`, so NamedTuples, integer dictionary keys and
Nones are preserved. Reading executes no code from the checkpoint: arrays are numbers, everything else is JSON. Orbax is
imported when the first folder is opened, so that `--help` and errors in a command line do not wait for it.

Orbax writes a step atomically, but it does not detect bytes that change later. So each step also holds `digests.json`,
with its step number and the BLAKE2b digest of every file: written in the background, after a check that Orbax wrote
every array and before the step gets its name, and compared before anything is read.
"""

from __future__ import annotations

import contextlib
import json
import math
import operator
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Sharding, SingleDeviceSharding

from jaxgan import files, records
from jaxgan.checkpoints import digests, step_folders
from jaxgan.checkpoints.leaves import differences, leaves
from jaxgan.checkpoints.retention import Retention
from jaxgan.messages import printable

METRICS = "metrics/metrics"  # where Orbax stores the metrics of a step


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, found or read; the message names the folder and the step."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint was changed since it was written, or cannot be read."""


class Checkpoints:
    """The checkpoints of one run, in one local or mounted folder.

    A context manager: on exit it waits for the pending save, also if the body raises. Opening and reading change
    nothing on disk. The first `save` makes the folder, removes unfinished steps of a killed run, and renames steps that
    `restore` found damaged to `STEP.damaged`. Other files and folders are not touched.

    >>> import tempfile
    >>> with Checkpoints(tempfile.mkdtemp(), best="fid") as checkpoints:
    ...     checkpoints.save(10, {"w": jnp.ones(3)}, {"fid": 8.0})
    ...     checkpoints.save(20, {"w": jnp.zeros(3)}, {"fid": 9.0})
    ...     checkpoints.restore(checkpoints.resolve("best"), {"w": jnp.zeros(3)})["w"].tolist()
    [1.0, 1.0, 1.0]

    Args:
      folder: the folder of the checkpoints; a relative path refers to the current folder.
      keep: number of newest steps to keep, at least 1.
      best: name of the metric whose best step is kept as well; None keeps only the newest.
      best_mode: whether the smallest or the largest value is best. NaN, infinite and missing values are never best; of
        equal values the latest step is.

    Raises:
      CheckpointError: if the folder cannot be read.
    """

    def __init__(
        self, folder: files.StrPath, *, keep: int = 2, best: str | None = None, best_mode: Literal["min", "max"] = "min"
    ) -> None:
        self.folder = Path(os.path.abspath(folder))  # Orbax refuses a relative path, but only at the first save
        self._retention = Retention(self.folder, keep=keep, best=best, best_mode=best_mode)
        self._pending: int | None = None
        self._damaged: set[int] = set()
        self._unwritten: set[str] = set()  # paths of the arrays of the save under way
        self._resources = contextlib.ExitStack()
        self._shown = self._resources.enter_context(step_folders.plainly_named(self.folder))
        self._open()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.close()
        except CheckpointError as failure:
            if not isinstance(error, Exception):
                raise
            error.add_note(f"In addition, {failure}")  # the error of the body is the one to report

    def save(self, step: int, state: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """Waits for the previous save, then saves `state` in the background. Its buffers may be donated at once.

        If the previous save failed, as on a full disk, this call waits for its own save. If that succeeds, the earlier
        failure is only a warning.

        Args:
          step: larger than every step saved in this folder.
          state: any pytree of arrays, including typed random keys.
          metrics: scalars by name, among them the one that `best` refers to. Values that are not finite are left out.

        Raises:
          CheckpointError: if this save cannot start, or if it failed after the previous one failed. Older steps are
            unchanged, and later saves may succeed.
        """
        import orbax.checkpoint as ocp

        step = operator.index(step)
        failure = None
        try:
            self.wait()
        except CheckpointError as error:
            failure = error
        with self._failing_as(f"step {step} cannot be saved in {self.folder}"):
            latest = self.latest_step()
            if latest is not None and step <= latest:
                raise ValueError(
                    f"it already holds step {latest}. Continue from step {latest}, use another folder, or delete the "
                    f"steps from {step} on."
                )
            arrays = {path: leaf for path, leaf in leaves(state).items() if leaf.size}  # Orbax refuses empty arrays
            if donated := [path for path, leaf in arrays.items() if leaf.is_deleted()]:
                raise ValueError(f"{donated[0]} was donated to a training step and is deleted")
            values = _finite(metrics)
        with self._saving(step):
            self._prepare_to_write(step)
            self._retention.metrics[step] = values
            self._unwritten = set(arrays)
            if not self._manager.save(step, args=ocp.args.Composite(state=ocp.args.PyTreeSave(arrays)), metrics=values):
                raise RuntimeError("Orbax skipped it")
        self._pending = step
        if failure is not None:
            self.wait()
            _warn(f"{failure}; step {step} is saved")

    def wait(self) -> None:
        """Waits for the pending save.

        Raises:
          CheckpointError: if it failed.
        """
        step, self._pending = self._pending, None
        with self._saving(step):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the pending save and stops the background threads; the context manager calls it on exit."""
        with self._resources:
            try:
                self.wait()
            finally:
                self._manager.close()

    def metrics(self, step: int) -> dict[str, float]:
        """The finite metrics of a step; empty if they cannot be read."""
        self.wait()
        path = self.folder / str(step) / METRICS
        try:
            return {} if digests.changes(path.parents[1], METRICS) else _finite(records.parse(files.read_text(path)))
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def replace_metrics(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Replaces the metrics of a step on disk, for a state that is evaluated after it was saved.

        If the process is killed meanwhile, the step stays readable, with the old or the new metrics.

        Raises:
          CheckpointError: the metrics cannot be written.
        """
        self.wait()
        values, folder = _finite(metrics), self.folder / str(step)
        with self._failing_as(f"the metrics of step {step} could not be saved in {self.folder}"):
            if jax.process_index() == 0:
                with digests.replacing(folder, METRICS):
                    files.write(folder / METRICS, json.dumps(values), inside=folder)
        self._retention.metrics[step] = values

    def arrays(self, step: int | None) -> dict[str, tuple[int, ...]]:
        """The shapes of a step's arrays by path (`generator/params/dense/kernel`); the step and errors as `restore`."""
        if step is None:
            return self._newest(self.arrays)
        self.wait()
        with self._failing_as(f"step {step} in {self.folder} cannot be read", DamagedCheckpointError):
            self._refuse_changed(step)
            return {path: tuple(leaf.shape) for path, leaf in dict(self._manager.item_metadata(step)["state"]).items()}

    def restore(
        self,
        step: int | None,
        like: Any,
        *,
        sharding: Sharding | None = None,
        parts: Sequence[str] | None = None,
    ) -> Any:
        """Reads a state, onto any number of devices.

        Args:
          step: the step to read; None is the newest that is not damaged. `latest_step` then returns that step, and a
            warning says what is wrong with the newer ones.
          like: a state of the same structure, shapes and dtypes, of arrays or of the shapes from `jax.eval_shape`. Its
            values are not used.
          sharding: the sharding of every array; by default that of the array in `like`, or the default device if it has
            none.
          parts: paths below which the checkpoint and `like` must hold the same arrays, such as `["ema_params"]` for
            `{"ema_params": state.ema_params}`; other arrays of the checkpoint are ignored. None for all arrays.

        Returns:
          A state with the structure of `like` and the arrays of the checkpoint.

        Raises:
          DamagedCheckpointError: if it was changed since it was written; the message names the file.
          CheckpointError: if the step does not exist or does not fit `like`; the message lists the arrays that are
            missing, left over, or of another shape or dtype.
        """
        if step is not None:
            return self._read(self.resolve(step), like, sharding, parts)
        return self._newest(lambda step: self._read(step, like, sharding, parts))

    def steps(self) -> list[int]:
        """The steps on disk in increasing order, without those that `restore` found damaged."""
        self.wait()
        return sorted(set(self._manager.all_steps()) - self._damaged)

    def latest_step(self) -> int | None:
        """The newest step, None if there is none."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step with the best metric, None if no step has a finite one."""
        return self._retention.best_among(self.steps())

    def resolve(self, which: int | str) -> int:
        """The step that 'best', 'last' or a number (also as text, from a command line) refers to.

        Raises:
          CheckpointError: if there is no such step; the message lists the steps on disk.
        """
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"no checkpoint in {self.folder}")
        there_are = f"in {self.folder} there are steps {', '.join(map(str, steps))}"
        if which == "last":
            return steps[-1]
        if which == "best":
            best = self.best_step()
            if best is None:
                metric = self._retention.best
                reason = f"none has a finite {metric!r}" if metric else "the run was not trained with --best SCORE"
                raise CheckpointError(f"there is no best checkpoint: {reason}; {there_are}")
            return best
        step = next((step for step in steps if str(step) == str(which).strip()), None)
        if step is None:
            raise CheckpointError(f"no checkpoint {which!r}: expected 'best', 'last' or a step; {there_are}")
        return step

    def _open(self) -> None:
        ocp = files.import_extra("orbax.checkpoint", "train")

        options = ocp.CheckpointManagerOptions(
            create=False,
            lightweight_initialize=True,  # otherwise one damaged metrics file would make all steps unreadable
            best_fn=self._retention.score,  # without it Orbax does not store the metrics
            preservation_policy=self._retention,
            # If a folder cannot be made in the background, threads that wait for it stay alive for minutes.
            async_options=ocp.AsyncOptions(
                create_directories_asynchronously=False, post_finalization_callback=self._certify
            ),
        )
        handlers: Any = {"state": ocp.PyTreeCheckpointHandler()}
        with self._failing_as(f"{self.folder} cannot be read as a folder of checkpoints"):
            self._manager = ocp.CheckpointManager(self._shown, options=options, item_handlers=handlers)
        self._retention.metrics = {step: self.metrics(step) for step in self._manager.all_steps()}
        self._writable = False

    def _certify(self) -> None:
        """Checks and digests a step: called in the background when its files are written, before it gets its name."""
        for folder in step_folders.unfinished(self.folder):
            if lost := self._unwritten - step_folders.stored_arrays(self._shown / folder.name / "state"):
                raise RuntimeError(f"Orbax did not write {', '.join(_first(sorted(lost), 3))}")
            found = digests.digests(folder)
            found.pop("_CHECKPOINT_METADATA", None)  # Orbax adds the time to it later
            digests.write(folder, {"step": int(folder.name.partition(".")[0]), "files": found})

    def _newest(self, read: Callable[[int], Any]) -> Any:
        """The result of `read` for the newest undamaged step."""
        self.resolve("last")  # raises if there is no checkpoint
        errors: dict[int, DamagedCheckpointError] = {}
        for step in reversed(self.steps()):
            try:
                found = read(step)
            except DamagedCheckpointError as error:
                errors[step] = error
                continue
            for error in errors.values():
                _warn(f"{error}; falling back to step {step}")
            self._damaged |= errors.keys()
            return found
        listed = "".join(f"\n  {error}" for error in errors.values())
        several = DamagedCheckpointError(f"none of the checkpoints in {self.folder} can be read:{listed}")
        raise several if len(errors) > 1 else errors.popitem()[1]

    def _read(self, step: int, like: Any, sharding: Sharding | None, parts: Sequence[str] | None) -> Any:
        import orbax.checkpoint as ocp

        fallback = SingleDeviceSharding(jax.local_devices()[0])
        wanted = {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding or leaf.sharding or fallback)
            for path, leaf in leaves(like).items()
        }
        empty = {path: leaf for path, leaf in wanted.items() if not leaf.size}
        arrays = {path: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding) for path, leaf in empty.items()}
        wanted = {path: leaf for path, leaf in wanted.items() if leaf.size}
        with self._failing_as(f"step {step} in {self.folder} cannot be read", DamagedCheckpointError):
            self._refuse_changed(step)
            stored = dict(self._manager.item_metadata(step)["state"])
            self._refuse(step, differences(stored, wanted, parts))
            read = ocp.args.PyTreeRestore(
                wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
            )
            stored = self._manager.restore(step, args=ocp.args.Composite(state=read))["state"]
            self._refuse(step, differences(stored, wanted, parts))  # a typed key differs from a legacy one only now
        record = digests.read(self.folder / str(step))
        if record is None:
            _warn(f"step {step} in {self.folder} has no {digests.NAME}: changes since it was written go unnoticed")
        arrays |= stored
        state = jax.tree.unflatten(jax.tree.structure(like), [arrays[path] for path in leaves(like)])
        # Older digests hold no step number, so a renamed folder is only noticed by the state's own step.
        told = (record or {}).get("step")
        if told is None and hasattr(state, "step") and (found := int(jnp.max(state.step))) != step:
            raise DamagedCheckpointError(f"step {step} in {self.folder} is damaged: it holds step {found}")
        return state

    def _refuse_changed(self, step: int) -> None:
        if changes := digests.changes(self.folder / str(step)):
            raise DamagedCheckpointError(f"step {step} in {self.folder} is damaged: {', '.join(_first(changes))}")

    @contextlib.contextmanager
    def _failing_as(self, message: str, kind: type[CheckpointError] = CheckpointError) -> Iterator[None]:
        try:
            yield
        except CheckpointError:
            raise
        except Exception as error:  # Orbax raises many types, for damaged files and for a full disk
            reason = (str(error) or repr(error)).replace(str(self._shown), str(self.folder))
            raise kind(f"{message}: {reason}") from error

    @contextlib.contextmanager
    def _saving(self, step: int | None) -> Iterator[None]:
        try:
            with self._failing_as(f"step {step} could not be saved in {self.folder}"):
                yield
        except CheckpointError:
            # The manager's list now lacks steps that it meant to delete but that are still on disk.
            with contextlib.suppress(Exception):
                self._manager.close()
            if jax.process_index() == 0:
                with contextlib.suppress(OSError):  # an unfinished step would keep a full disk full
                    step_folders.remove_leftovers(self.folder)
            self._open()
            raise

    def _refuse(self, step: int, differences: Sequence[str]) -> None:
        if differences:
            lines = "".join(f"\n  {line}" for line in _first(differences))
            raise CheckpointError(f"step {step} in {self.folder} does not fit the state it is restored into:{lines}")

    def _prepare_to_write(self, step: int) -> None:
        if jax.process_index() == 0:
            if not self._writable:
                self.folder.mkdir(parents=True, exist_ok=True)
                step_folders.remove_leftovers(self.folder)
            for name in {step, *self._damaged}:  # another file of the new step's name, such as a pipe, may block Orbax
                step_folders.set_aside(self.folder, name)
        if self._damaged:
            self._damaged.clear()
            self._manager.close()
            self._open()
        self._writable = True


def _warn(message: str) -> None:
    if jax.process_index() == 0:
        print(printable(f"warning: {message}"), file=sys.stderr, flush=True)


def _first(lines: Sequence[str], number: int = 10) -> list[str]:
    """The first lines, and the number of further ones."""
    return [*lines[:number], *([f"and {len(lines) - number} more"] if len(lines) > number else [])]


def _finite(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    values = {name: float(value) for name, value in (metrics or {}).items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}
