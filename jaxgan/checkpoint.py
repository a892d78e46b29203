"""Checkpoints: save a state in the background, keep the newest and the best, restore it onto any devices.

Everything jaxgan knows about Orbax is in this file. A checkpoint is a folder named after its step, in which each array
lies under its path in the state (`generator/params/dense/kernel`). Containers are not stored: they come from the state
given to `restore`, so NamedTuples, integer dictionary keys and Nones are what they were. Reading executes nothing:
arrays are numbers, everything else is JSON. Orbax is loaded with the first folder that is opened: a command line that
is wrong, or asks for help, does not wait for it.

Orbax makes a step appear whole or not at all, but it does not notice when a byte of it changes later. So each step
also holds `digests.json`, its number and the BLAKE2b digest of every file, written in the background before the step
appears and compared before anything is read. They certify nothing that could not be read again: before, the arrays are
looked up in what Orbax wrote.

Orbax takes the folder's path for a pattern of names, TensorStore for a part of a URL. A path with other characters than
those of ordinary names is therefore shown to them as a link of a plain name, in the folder for temporary files.
"""

from __future__ import annotations

import contextlib
import json
import math
import operator
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Sharding, SingleDeviceSharding

from jaxgan import digests, files, records
from jaxgan.text import printable

METRICS = "metrics/metrics"  # where Orbax keeps them in a step
UNSCHEDULED = "unfinished/unscheduled"  # of a step's metrics: it counts among those to keep only while it is the last
_LEFTOVERS = "*.orbax-checkpoint-tmp*"


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
        self,
        folder: str | os.PathLike[str],
        *,
        keep: int = 2,
        best: str | None = None,
        best_mode: Literal["min", "max"] = "min",
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep}: at least the newest checkpoint is kept, so keep must be 1 or more")
        if best_mode not in ("min", "max"):
            raise ValueError(f"best_mode={best_mode!r}: expected 'min' or 'max'")
        self.folder = Path(os.path.abspath(folder))  # Orbax refuses a relative path, but only at the first save
        self.keep, self.best, self.best_mode = keep, best, best_mode
        self._pending: int | None = None
        self._damaged: set[int] = set()
        self._unwritten: set[str] = set()  # paths of the arrays of the save under way
        self._resources = contextlib.ExitStack()
        self._shown = self._resources.enter_context(_plainly_named(self.folder))
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
        latest = self.latest_step()
        if latest is not None and step <= latest:
            raise CheckpointError(
                f"step {step} cannot be saved in {self.folder}: it holds step {latest} already. "
                f"Go on from step {latest}, use another folder, or delete the steps from {step} on."
            )
        arrays = {path: leaf for path, leaf in _leaves(state).items() if leaf.size}  # Orbax refuses empty arrays
        if donated := [path for path, leaf in arrays.items() if leaf.is_deleted()]:
            raise CheckpointError(
                f"step {step} cannot be saved in {self.folder}: {donated[0]} was donated to a step and is gone"
            )
        values = _finite(metrics)
        with self._saving(step):
            self._prepare_to_write(step)
            self._scores[step] = self._score(values)
            self._unscheduled |= {step} if UNSCHEDULED in values else set()
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
        record = digests.read(folder) if jax.process_index() == 0 else None
        with self._failing_as(f"the metrics of step {step} could not be saved in {self.folder}"):
            if record is not None:
                unsure = {name: digest for name, digest in record["files"].items() if name != METRICS}
                digests.write(folder, record | {"files": unsure})
            if jax.process_index() == 0:
                files.write(folder / METRICS, json.dumps(values), inside=folder)
            if record is not None:
                digests.write(folder, record | {"files": record["files"] | digests.digests(folder, [METRICS])})
        self._scores[step] = self._score(values)

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
        return self._best_among(self.steps())

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
                reason = f"none holds a finite {self.best!r}" if self.best else "no metric says which"
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
            best_fn=self._score,  # without it Orbax does not store the metrics
            preservation_policy=_KeepLastAndBest(self),
            # In the background a folder that cannot be made leaves threads behind that wait for it for minutes.
            async_options=ocp.AsyncOptions(
                create_directories_asynchronously=False, post_finalization_callback=self._certify
            ),
        )
        handlers: Any = {"state": ocp.PyTreeCheckpointHandler()}
        with self._failing_as(f"{self.folder} cannot be read as a folder of checkpoints"):
            self._manager = ocp.CheckpointManager(self._shown, options=options, item_handlers=handlers)
        found = {step: self.metrics(step) for step in self._manager.all_steps()}
        self._scores = {step: self._score(values) for step, values in found.items()}
        self._unscheduled = {step for step, values in found.items() if UNSCHEDULED in values}
        self._writable = False

    def _certify(self) -> None:
        """Called in the background when all files of a step are written, before the step gets its name."""
        for folder in self.folder.glob(_LEFTOVERS):
            if lost := self._unwritten - _stored_arrays(self._shown / folder.name / "state"):
                raise RuntimeError(f"Orbax wrote no {min(lost)}, nor {len(lost) - 1} more")
            found = digests.digests(folder)
            found.pop("_CHECKPOINT_METADATA", None)  # Orbax adds the time to it later
            digests.write(folder, {"step": int(folder.name.partition(".")[0]), "files": found})

    def _read(self, step: int, like: Any, sharding: Sharding | None, parts: Sequence[str] | None) -> Any:
        import orbax.checkpoint as ocp

        fallback = SingleDeviceSharding(jax.local_devices()[0])
        wanted = {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding or leaf.sharding or fallback)
            for path, leaf in _leaves(like).items()
        }
        arrays = {
            path: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
            for path, leaf in wanted.items()
            if not leaf.size
        }
        wanted = {path: leaf for path, leaf in wanted.items() if leaf.size}
        with self._failing_as(f"step {step} in {self.folder} cannot be read", DamagedCheckpointError):
            self._refuse_changed(step)
            stored = dict(self._manager.item_metadata(step)["state"])
            self._refuse(step, _differences(stored, wanted, parts))
            read = ocp.args.PyTreeRestore(
                wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
            )
            stored = self._manager.restore(step, args=ocp.args.Composite(state=read))["state"]
            self._refuse(step, _differences(stored, wanted, parts))  # a typed key differs from a legacy one only now
        if not (self.folder / str(step) / digests.NAME).exists():
            _warn(f"step {step} in {self.folder} has no {digests.NAME}: whether it is what was written cannot be told")
        arrays |= stored
        state = jax.tree.unflatten(jax.tree.structure(like), [arrays[path] for path in _leaves(like)])
        # Digests of before they held the step do not tell where a folder was renamed, but a state may.
        told = (digests.read(self.folder / str(step)) or {}).get("step")
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
            with contextlib.suppress(OSError):  # what was half-written would keep a full disk full
                self._remove_leftovers()
            self._open()
            raise

    def _refuse(self, step: int, differences: Sequence[str]) -> None:
        if differences:
            lines = "".join(f"\n  {line}" for line in _first(differences))
            raise CheckpointError(f"step {step} in {self.folder} does not fit the state it is restored into:{lines}")

    def _prepare_to_write(self, step: int) -> None:
        if jax.process_index() == 0:
            self._set_aside(step)  # whatever has its name is no step, and Orbax would wait for a pipe
        if self._writable and not self._damaged:
            return
        if jax.process_index() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            for step in self._damaged:
                self._set_aside(step)
        if self._damaged:
            self._damaged.clear()
            self._manager.close()
            self._open()
        self._writable = True

    def _set_aside(self, step: int) -> None:
        path, aside = self.folder / str(step), self.folder / f"{step}.damaged"
        if os.path.lexists(path):
            _remove(aside)
            path.rename(aside)

    def _remove_leftovers(self) -> None:
        if jax.process_index() == 0:
            for leftover in self.folder.glob(_LEFTOVERS):
                _remove(leftover)

    def _score(self, metrics: Mapping[str, float] | None) -> float:
        value = (metrics or {}).get(self.best or "", math.nan)
        if not math.isfinite(value):
            return -math.inf
        return value if self.best_mode == "max" else -value

    def _best_among(self, steps: Sequence[int]) -> int | None:
        score, step = max(((self._scores[step], step) for step in steps), default=(-math.inf, None))
        return step if score > -math.inf else None


class _KeepLastAndBest:
    # Orbax's own pair `max_to_keep` and `best_fn` keeps only the best ones, and a resumed run would start from there.

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        steps = [info.step for info in checkpoints]
        counted = [step for step in steps if step == steps[-1] or step not in self._checkpoints._unscheduled]
        kept = {self._checkpoints._best_among(steps), *counted[-self._checkpoints.keep :]}
        # What lies elsewhere is not this run's to delete.
        return [step in kept or (self._checkpoints.folder / str(step)).is_symlink() for step in steps]


def _warn(message: str) -> None:
    if jax.process_index() == 0:
        print(printable(f"warning: {message}"), file=sys.stderr, flush=True)


def _first(lines: Sequence[str], number: int = 10) -> list[str]:
    """The lines a message shows, and how many more there are."""
    return [*lines[:number], *([f"and {len(lines) - number} more"] if len(lines) > number else [])]


def _stored_arrays(folder: Path) -> set[str]:
    """The paths of the arrays that can be read in what Orbax wrote."""
    import tensorstore

    base = {"driver": "file", "path": f"{folder}/"}
    keys = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result().list().result()
    return {key.decode().removesuffix("/.zarray") for key in keys if key.endswith(b"/.zarray")}


def _finite(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    values = {name: float(value) for name, value in (metrics or {}).items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _remove(path: Path) -> None:
    """Removes a folder with what is in it; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _plainly_named(folder: Path) -> Iterator[Path]:
    """The folder under a path that is no pattern of names and no URL: itself, or a link to it while this lasts."""
    if re.fullmatch(r"[\w ./=,+@~-]*", str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="jaxgan-") as beside:
        link = Path(beside, "checkpoints")
        link.symlink_to(folder, target_is_directory=True)
        yield link


def _leaves(tree: Any) -> dict[str, Any]:
    """The arrays of a tree, live or abstract, by path."""
    flat, _ = jax.tree.flatten_with_path(tree)
    leaves = {}
    for keys, leaf in flat:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        if path in leaves:
            raise CheckpointError(f"two arrays of the state share the path {path}: a dictionary key must not hold '/'")
        if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
            try:
                leaf = jnp.asarray(leaf)
            except (TypeError, ValueError):
                raise CheckpointError(f"a state holds arrays only, but {path} is {leaf!r}") from None
        leaves[path] = leaf
    return leaves


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any], parts: Sequence[str] | None) -> list[str]:
    def describe(leaf: Any, raw_key: bool) -> str:
        if raw_key and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]"

    lines = [f"{path}: missing in the checkpoint" for path in wanted if path not in stored]
    is_read = lambda path: parts is None or any(path == part or path.startswith(f"{part}/") for part in parts)
    lines += [f"{path}: in the checkpoint only" for path in stored if path not in wanted and is_read(path)]
    for path in wanted.keys() & stored.keys():
        raw_key = not isinstance(stored[path], jax.Array)  # the metadata describe a typed key by its numbers
        there, here = describe(stored[path], raw_key), describe(wanted[path], raw_key)
        if there != here:
            lines.append(f"{path}: {there} in the checkpoint, {here} expected")
    return sorted(lines)
