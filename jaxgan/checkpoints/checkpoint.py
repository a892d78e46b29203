"""Checkpoints: save a state in the background, keep the newest and the best, restore it onto any devices.

What jaxgan knows about Orbax is here, in `retention` and in `step_folders`. A checkpoint is a folder named after its
step, in which each array lies under its path in the state (`generator/params/dense/kernel`, see `leaves`). Containers
are not stored: they come from the state given to `restore`, so NamedTuples, integer dictionary keys and Nones are what
they were. Reading executes nothing: arrays are numbers, everything else is JSON. Orbax is loaded with the first folder
that is opened: a command line that is wrong, or asks for help, does not wait for it.

Orbax makes a step appear whole or not at all, but it does not notice when a byte of it changes later. So each step
also holds `digests.json`, its number and the BLAKE2b digest of every file, written in the background before the step
appears and compared before anything is read. Before they are written, every array is looked up in what Orbax wrote.
"""

from __future__ import annotations

import contextlib
import json
import math
import operator
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
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

METRICS = "metrics/metrics"  # where Orbax keeps them in a step


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, found or read; the message names the folder and the step."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint is not what was written, or cannot be read at all."""


class Checkpoints:
    """The checkpoints of one run, in one local or mounted folder.

    A context manager: leaving it finishes the save under way, also when the body raises. Opening and reading change
    nothing on the disk. The first `save` makes the folder, removes what a killed run left half-written, and renames
    steps that turned out to be damaged to `STEP.damaged`. Files and folders that are no steps are left alone.

    >>> import tempfile
    >>> with Checkpoints(tempfile.mkdtemp(), best="fid") as checkpoints:
    ...     checkpoints.save(10, {"w": jnp.ones(3)}, {"fid": 8.0})
    ...     checkpoints.save(20, {"w": jnp.zeros(3)}, {"fid": 9.0})
    ...     checkpoints.restore(checkpoints.resolve("best"), {"w": jnp.zeros(3)})["w"].tolist()
    [1.0, 1.0, 1.0]

    Args:
      folder: where they are; a relative path is taken from the current folder.
      keep: how many of the newest to keep, at least 1.
      best: name of the metric whose best step is kept as well; None keeps only the newest.
      best_mode: whether the smallest or the largest value is best. NaN, infinite or missing never is; of equal values
        the latest is.

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
            error.add_note(f"Besides, {failure}")  # the first error stays the one that is reported

    def save(self, step: int, state: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """Begins to save `state` in the background once the save before is done; its buffers may be donated at once.

        Where the save before failed, as on a full disk, this one makes up for it: it is waited for, and if it succeeds
        the failure is no more than a warning.

        Args:
          step: later than every step saved in this folder.
          state: any pytree of arrays, typed random keys among them.
          metrics: scalars by name; what `best` is chosen by. Those that are not finite are left out.

        Raises:
          CheckpointError: if this save cannot start, or failed as the one before did. The older steps are as they
            were, and later saves may work again.
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
                    f"it holds step {latest} already. Go on from step {latest}, use another folder, or delete the "
                    f"steps from {step} on."
                )
            arrays = {path: leaf for path, leaf in leaves(state).items() if leaf.size}  # Orbax refuses empty arrays
            if donated := [path for path, leaf in arrays.items() if leaf.is_deleted()]:
                raise ValueError(f"{donated[0]} was donated to a step and is gone")
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
        """Waits until what was saved is on the disk.

        Raises:
          CheckpointError: if the save under way failed.
        """
        step, self._pending = self._pending, None
        with self._saving(step):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the save under way and ends the background threads; leaving the context does it too."""
        with self._resources:
            try:
                self.wait()
            finally:
                self._manager.close()

    def metrics(self, step: int) -> dict[str, float]:
        """The metrics a step was saved with, those that are finite; none where they cannot be read."""
        self.wait()
        path = self.folder / str(step) / METRICS
        try:
            return {} if digests.changes(path.parents[1], METRICS) else _finite(records.parse(files.read_text(path)))
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def replace_metrics(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Gives a step that is on the disk other metrics, as where a state is saved first and scored later.

        A process that is killed meanwhile leaves the step readable, with the old metrics or the new ones.

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

    def arrays(self, step: int) -> list[str]:
        """The paths of the arrays that a step holds, such as `generator/params/dense/kernel`.

        Raises:
          DamagedCheckpointError: they cannot be read.
        """
        self.wait()
        with self._failing_as(f"step {step} in {self.folder} cannot be read", DamagedCheckpointError):
            self._refuse_changed(step)
            return list(self._manager.item_metadata(step)["state"])

    def restore(
        self,
        step: int | None,
        like: Any,
        *,
        sharding: Sharding | None = None,
        parts: Sequence[str] | None = None,
    ) -> Any:
        """Reads a state back, whatever number of devices it was written on.

        Args:
          step: which one; None is the newest that is not damaged. `latest_step` then tells which that was, and a
            warning what was wrong with those passed over.
          like: a state of the same structure, shapes and dtypes: live, or abstract as `jax.eval_shape` gives it. Its
            values are not used.
          sharding: where every array goes; by default where that of `like` is, or the default device where it does
            not say.
          parts: paths below which the checkpoint must hold what `like` does and no more, such as
            `["ema_params"]` for `{"ema_params": state.ema_params}`; what it holds elsewhere is left out. None for all.

        Returns:
          A state with the structure of `like` and the arrays of the checkpoint.

        Raises:
          DamagedCheckpointError: if it is not what was written; the message names the file.
          CheckpointError: if there is no such step, or it does not fit `like`; then the message lists the arrays that
            are missing, left over, or of another shape or dtype.
        """
        if step is not None:
            return self._read(self.resolve(step), like, sharding, parts)
        self.resolve("last")  # says so where there is none
        errors: dict[int, DamagedCheckpointError] = {}
        for step in reversed(self.steps()):
            try:
                state = self._read(step, like, sharding, parts)
            except DamagedCheckpointError as error:
                errors[step] = error
                continue
            for error in errors.values():
                _warn(f"{error}; going back to step {step}")
            self._damaged |= errors.keys()
            return state
        if len(errors) == 1:
            raise errors.popitem()[1]
        raise DamagedCheckpointError(
            f"none of the checkpoints in {self.folder} can be read:" + "".join(f"\n  {e}" for e in errors.values())
        )

    def steps(self) -> list[int]:
        """The steps there are, in increasing order, without those that `restore` found damaged."""
        self.wait()
        return sorted(set(self._manager.all_steps()) - self._damaged)

    def latest_step(self) -> int | None:
        """The last step saved, None where there is none."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step with the best metric, None where no step has a finite one."""
        return self._retention.best_among(self.steps())

    def resolve(self, which: int | str) -> int:
        """The step meant by 'best', 'last' or a number (also as text, as a command line gives it).

        Raises:
          CheckpointError: if there is none; the message lists the steps there are.
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
                reason = f"none holds a finite {metric!r}" if metric else "no metric says which"
                raise CheckpointError(f"no checkpoint is the best one, since {reason}; {there_are}")
            return best
        step = next((step for step in steps if str(step) == str(which).strip()), None)
        if step is None:
            raise CheckpointError(f"no checkpoint {which!r}: expected 'best', 'last' or a step; {there_are}")
        return step

    def _open(self) -> None:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            create=False,
            lightweight_initialize=True,  # else one damaged metrics file would make all steps unreadable
            best_fn=self._retention.score,  # without it Orbax does not store the metrics
            preservation_policy=self._retention,
            # In the background a folder that cannot be made leaves threads behind that wait for it for minutes.
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
        """Called in the background when all files of a step are written, before the step gets its name."""
        for folder in step_folders.unfinished(self.folder):
            if lost := self._unwritten - step_folders.stored_arrays(self._shown / folder.name / "state"):
                raise RuntimeError(f"Orbax wrote no {min(lost)}, nor {len(lost) - 1} more")
            found = digests.digests(folder)
            found.pop("_CHECKPOINT_METADATA", None)  # Orbax adds the time to it later
            digests.write(folder, {"step": int(folder.name.partition(".")[0]), "files": found})

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
            _warn(f"step {step} in {self.folder} has no {digests.NAME}: whether it is what was written cannot be told")
        arrays |= stored
        state = jax.tree.unflatten(jax.tree.structure(like), [arrays[path] for path in leaves(like)])
        # Digests of before they held the step do not tell where a folder was renamed, but a state may.
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
        except Exception as error:  # Orbax raises almost any type, for a damaged file as for a full disk
            reason = (str(error) or repr(error)).replace(str(self._shown), str(self.folder))
            raise kind(f"{message}: {reason}") from error

    @contextlib.contextmanager
    def _saving(self, step: int | None) -> Iterator[None]:
        try:
            with self._failing_as(f"step {step} could not be saved in {self.folder}"):
                yield
        except CheckpointError:
            # The manager's own list now lacks steps that it meant to delete but that are still on the disk.
            with contextlib.suppress(Exception):
                self._manager.close()
            if jax.process_index() == 0:
                with contextlib.suppress(OSError):  # what was half-written would keep a full disk full
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
            for name in {step, *self._damaged}:  # what has the new step's name is no step: Orbax would wait for a pipe
                step_folders.set_aside(self.folder, name)
        if self._damaged:
            self._damaged.clear()
            self._manager.close()
            self._open()
        self._writable = True


def _warn(message: str) -> None:
    if jax.process_index() == 0:
        print(printable(f"warning: {message}"), file=sys.stderr, flush=True)


def _first(lines: Sequence[str]) -> list[str]:
    """The lines a message shows, and how many more there are."""
    return [*lines[:10], *([f"and {len(lines) - 10} more"] if len(lines) > 10 else [])]


def _finite(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    values = {name: float(value) for name, value in (metrics or {}).items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}
