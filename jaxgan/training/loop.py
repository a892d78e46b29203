"""The one training loop. It knows no algorithm, only a `GAN`, its batches and a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxgan import files as run_files
from jaxgan.checkpoints.checkpoint import Checkpoints, DamagedCheckpointError
from jaxgan.checkpoints.retention import UNSCHEDULED
from jaxgan.devices.distributed import led, local_copy, sync_max
from jaxgan.devices.memory import give_back
from jaxgan.devices.sharding import data_mesh, device_put, replicated
from jaxgan.metrics.neighbours import pairwise_diversity
from jaxgan.runs import logging, report
from jaxgan.runs.alarm import Alarm
from jaxgan.runs.config import RunConfig, check_writable, known_data, run_folder, save_config
from jaxgan.runs.images import image_grid
from jaxgan.runs.lock import Lock
from jaxgan.runs.start import refuse_foreign, refuse_unusable, set_aside, starting_step, weights_from
from jaxgan.runs.streams import forgiving
from jaxgan.training.dry_run import dry_run, introduce
from jaxgan.training.interruption import Interruption
from jaxgan.training.step import NonFiniteError, Tally
from jaxgan.types import GAN, Batch, Batches

# Before the names of what a checkpoint at a stop holds besides the state: sums that belong to the next line of metrics,
# seconds, and whether its step is still to be scored.
_UNFINISHED = "unfinished/"


@forgiving()
def fit(
    gan: GAN,
    batches: Batches,
    config: RunConfig,
    *,
    evaluate: Callable[[Any], Mapping[str, float]] | None = None,
    draw: Callable[[Mapping[str, Array]], Any] | None = image_grid,
    panels: Callable[[Any], Mapping[str, Any]] | None = None,
    files: Mapping[str, Callable[[Path], None]] | None = None,
) -> tuple[Any, dict[str, float]]:
    """Trains to `config.num_steps`, from the run folder's last checkpoint if it has one.

    The run folder then holds `config.json`, `metrics.jsonl` (means over the steps since the line before),
    `tensorboard/`, `samples/<step>.png` of one fixed set of inputs, `checkpoints/<step>`, and `report.html`, which
    shows all of it. It is locked while the run goes on (`jaxgan.runs.lock`), and used only if it is new, empty or this
    run's (`jaxgan.runs.start`). A stop and a restart change nothing in the result: neither states nor metrics, images,
    scores. What looks like a collapse is said once, see `jaxgan.runs.alarm`. Output that cannot be shown, on a terminal
    that is gone, in TensorBoard or on the page, is left out.

    Args:
      gan: the algorithm.
      batches: its data; `batches(step)` must be the same at every call.
      config: how long and where to.
      evaluate: `state -> scores`, called at `evaluate_every` and at the end, each time followed by a checkpoint; and
        once before the first step where `best` names a score, to see that there is such a one.
      draw: from the outputs of `gan.sample` to a picture, see `jaxgan.runs.images.save_image`; None draws nothing.
      panels: `state -> {name: picture}`, drawn together with the samples, into `<name>/<step>.png`: see
        `jaxgan.evaluation.panels`.
      files: what else the run folder must hold for the run to be used, such as a vocabulary: by its name there, the
        function that writes it to a path.

    Returns:
      The final state, and the last line of metrics.

    Raises:
      ValueError: the run folder is in use, somebody else's, gone, or cannot be resumed as asked; a batch cannot be
        shared among the devices; `config.init_from` does not fit; or `config.best` is no score of `evaluate`.
      NonFiniteError: a metric stopped being finite under `on_nonfinite="stop"`, or stayed so under "skip".
      CheckpointError: a checkpoint could not be written or read.
      OSError: metrics or a picture could not be written, or data not be read.
      SystemExit: SIGINT, SIGTERM, SIGHUP or SIGUSR1 came, or an alarm under `on_alarm="stop"`, and the state has been
        saved. A second SIGINT leaves at once. Or `check` asked for a dry run (status 0).
    """
    if config.best is not None and evaluate is None:
        raise ValueError(f"best={config.best!r} names a score, but this run has no evaluation that could give one")
    folder = run_folder(config)
    check_writable(folder)
    mesh = data_mesh(config.num_devices, batch_size=config.batch_size)
    _refuse_loops(config, mesh)
    if config.check and jax.process_count() > 1:
        raise ValueError("check is a dry run of one process: leave out --coordinator")
    leads = jax.process_index() == 0  # it alone shows and writes
    key = jax.random.key(config.seed)

    with contextlib.ExitStack() as stack:
        led(lambda: refuse_foreign(folder))
        lock = None if config.check else led(lambda: stack.enter_context(Lock(folder)))
        first = batches(0)
        whole = _whole(first, config)
        abstract = jax.eval_shape(gan.init, key, first[0])
        checkpoints = stack.enter_context(
            Checkpoints(folder / "checkpoints", keep=config.keep, best=config.best, best_mode=config.best_mode)
        )
        data = known_data(batches)
        found = led(lambda: starting_step(config, folder, checkpoints.latest_step(), data))
        start = sync_max(-1 if found is None else found) if leads else sync_max(-2)
        resumes, unfinished = start >= 0, {}
        led(lambda: refuse_unusable(folder, resumes=resumes))
        if resumes:
            try:
                state = checkpoints.restore(None, abstract, sharding=replicated(mesh))
            except DamagedCheckpointError as error:
                cure = f"else give another --workdir, or remove {checkpoints.folder} to start again"
                raise DamagedCheckpointError(
                    f"{error}\nRename a step back to what it was written as; {cure}"
                ) from error
            start = checkpoints.latest_step() or start  # an earlier one where the newest is damaged
            saved = checkpoints.metrics(start).items()
            unfinished = {name.removeprefix(_UNFINISHED): x for name, x in saved if name.startswith(_UNFINISHED)}
        else:
            start, state = 0, gan.init(key, first[0])
            if config.init_from is not None:
                state, taken = weights_from(Path(config.init_from), state, files, data["classes"])
                if leads:
                    print(f"init_from   {taken}")
            state = device_put(state, replicated(mesh))
        to_score = evaluate is not None and "scores" in unfinished and start <= config.num_steps
        if start >= config.num_steps and not to_score:
            if leads:
                more = "" if start == config.num_steps else ", which is more than was asked for"
                print(f"{folder} is at step {start} of {config.num_steps}{more}: nothing to do")
            return local_copy(state), {}

        scores: dict[str, float] = {}
        if evaluate is not None and (config.best is not None or to_score):
            scores = _numbers(evaluate(local_copy(state)))
        if config.best is not None and config.best not in scores:
            if bad := scores.get("nonfinite_samples"):
                raise ValueError(f"best={config.best!r}: {bad:.0%} of the samples at step {start} are not finite")
            raise ValueError(f"best={config.best!r} is no score of this run: there are {', '.join(scores)}")
        about: Any = {"mesh": mesh, "state": state, "batches": batches, "start": start}
        if config.check:
            dry_run(gan, dataclasses.replace(config, steps_per_call=1), folder, **about)
            raise SystemExit(0)
        began = time.perf_counter()
        tally = Tally(gan, config, mesh, abstract, whole)
        tally.go_on(unfinished)
        record = partial(save_config, config, folder, whole[0], **data)
        interruption = stack.enter_context(Interruption())  # what comes from here on is heeded after the next step
        if leads:
            introduce(config, folder, **about, compiled=tally.compiled, seconds=time.perf_counter() - began)
            if not resumes and (aside := set_aside(folder)):
                print(f"            what an earlier start wrote, which saved no checkpoint, is in {aside} now")
            record()  # before other folders are made, so that a kill leaves none that is nobody's
            run_files.make_folder(folder / "checkpoints", inside=folder)
            for name, write in (files or {}).items():
                write(folder / name)
        shown = _at_least(64, batches)
        inputs = gan.preview(jax.random.fold_in(key, 1), shown)

        # The steps since the last line are those whose sums the checkpoint carries.
        logged = start - int(unfinished.get("count", 0) + unfinished.get("skipped", 0))
        options = {"num_steps": config.num_steps, "last_step": start, "last_line": logged}
        with _stopping(folder), logging.Report(folder, **options) as log:
            metrics: dict[str, Any] = log.add(start, scores) if to_score else {}
            watch = _Watch(folder, start, mesh, shown)
            if to_score:  # as it would have been done before the stop
                checkpoints.replace_metrics(start, scores)
                for sentence in watch.alarms_at_start:
                    log.note(f"alarm: {sentence}")
                log.note(f"step {start}  {'  '.join(f'{name} {value:.4g}' for name, value in scores.items())}")
                watch.write_page(log, at_once=start == config.num_steps)
                if watch.alarms_at_start and config.on_alarm == "stop":
                    raise SystemExit(128 + signal.SIGTERM)
            rows = len(jax.tree.leaves(whole)[0])
            clock = time.perf_counter() - unfinished.get("seconds", 0.0)
            at_once, alone = config.steps_per_call, jax.process_count() == 1
            for step in range(start + at_once, config.num_steps + 1, at_once):
                state = tally.update(state, *(batches(before) for before in range(step - at_once, step)))
                log.advance(step)

                ends = step == config.num_steps
                due = lambda every: ends or (every and step % every == 0)  # noqa: B023 (called in this turn alone)
                samples, evaluates = due(config.sample_every), due(config.evaluate_every)
                saves = evaluates or due(config.checkpoint_every)
                looks = samples or saves or due(config.log_every)
                # A signal may reach one process and not the others, which must stop at the same step.
                stops = sync_max(interruption.signal or 0) if alone or looks else 0
                if not (looks or stops):
                    continue

                seconds = time.perf_counter() - clock
                unfinished = {} if looks else tally.unfinished() | {"seconds": seconds}
                try:
                    metrics, count = tally.read()
                except NonFiniteError as error:
                    good = checkpoints.latest_step()
                    last = f"the last good checkpoint is {checkpoints.folder / str(good)}" if good else "none was saved"
                    raise NonFiniteError(f"{error}; {last}") from None
                metrics["steps_per_second"] = count / seconds
                metrics["images_per_second"] = count * gan.d_steps * rows / seconds
                scores = {}
                if evaluates and evaluate is not None and not stops:
                    scores = _numbers(evaluate(local_copy(state)))
                led(lambda: lock and lock.check())  # after what may take long, before anything is written
                if samples and draw is not None and leads:
                    outputs = gan.sample(local_copy(state), inputs)
                    if len(outputs) > 1:
                        watch.name_columns(outputs)
                    log.drawing(step, draw(outputs))
                    metrics |= watch.diversity(outputs)
                    for name, drawing in (panels(local_copy(state)) if panels else {}).items():
                        log.drawing(step, drawing, name)
                metrics |= scores
                if looks:
                    losses = [name for name in metrics if name.endswith("loss")]
                    log.metrics(step, metrics, shown=[*losses, *scores])
                    alarms = watch.alarms(step, metrics)
                    for sentence in alarms:
                        log.note(f"alarm: {sentence}")
                    if config.on_alarm == "stop":
                        stops = stops or sync_max(signal.SIGTERM if alarms else 0)
                if stops and evaluates and evaluate is not None and not scores:
                    unfinished["scores"] = 1.0  # by the next start: to score may take longer than a scheduler waits
                values = scores | {_UNFINISHED + name: x for name, x in unfinished.items()}
                values |= {} if saves else {UNSCHEDULED: 1.0}
                if saves or stops:
                    if leads and not (folder / "config.json").exists():  # as where somebody removed it
                        record()
                    checkpoints.save(step, state, values)
                if stops or ends:
                    checkpoints.wait()  # here, where a signal does not break it off
                if samples or saves or stops:
                    watch.write_page(log, at_once=bool(stops) or ends)
                    give_back()
                if stops:
                    log.note(f"stopped at step {step} and saved in {folder}: the same command goes on from there")
                    raise SystemExit(128 + stops)
                clock = time.perf_counter()

    if draw is not None and leads:
        print(f"samples: {folder / 'samples' / f'{config.num_steps:08d}.png'}")
    return local_copy(state), metrics


class _Watch:
    """Looks at a run as it goes on: whether it collapses, and the page on which a user looks at it."""

    def __init__(self, folder: Path, start: int, mesh: Mesh, shown: Batch):
        self._folder, self._writes = folder, jax.process_index() == 0
        self._alarm, self.alarms_at_start = Alarm(), []
        if self._writes:
            report.record_start(folder, start, f"{mesh.size} x {mesh.devices.flat[0].device_kind}")
            before = map(_without_deviations, logging.read_metrics(folder / "metrics.jsonl"))
            self.alarms_at_start = [sentence for step, sentence in self._alarm.replay(before) if step == start]
        self._spread = pairwise_diversity(np.asarray(shown["image"])) if "image" in shown else 0.0

    def diversity(self, outputs: Mapping[str, Array]) -> dict[str, float]:
        """How much samples differ, over how much as many real ones do."""
        samples = np.asarray(outputs["samples"], np.float32) if "samples" in outputs else None
        if not self._spread or samples is None or len(samples) < 2 or not np.isfinite(samples).all():
            return {}
        return {"preview_diversity": pairwise_diversity(samples) / self._spread}

    def name_columns(self, outputs: Mapping[str, Array]) -> None:
        if self._writes:
            report.save_labels(self._folder / "samples", columns=list(outputs))

    def alarms(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        return self._alarm.update(step, _without_deviations(metrics))

    def write_page(self, log: logging.Report, *, at_once: bool) -> None:
        """`report.html`, at most once a minute; a page that cannot be written is left out, which is said once."""
        if self._writes:
            try:
                report.write_page(self._folder, seconds=0 if at_once else 60)
            except Exception as error:  # of a disk, or of a package that a run can do without
                log.note(f"report.html is not written: {error}")
                self._writes = False


def _refuse_loops(config: RunConfig, mesh: Mesh) -> None:
    if config.steps_per_call > 1 and mesh.devices.flat[0].platform == "cpu":
        raise ValueError(
            f"steps_per_call={config.steps_per_call}: on a CPU convolutions in a loop take ten times as long, and it "
            "takes one step at a time"
        )


def _whole(batches: tuple[Batch, ...], config: RunConfig) -> Any:
    """The shapes of a step's batches with the rows of all processes, where a source reads only those of this one."""

    def shape(field: Array) -> jax.ShapeDtypeStruct:
        is_part = len(field) * jax.process_count() == config.batch_size
        rows = config.batch_size if is_part else len(field)
        return jax.ShapeDtypeStruct((rows, *field.shape[1:]), field.dtype)

    return jax.tree.map(shape, batches)


def _at_least(rows: int, batches: Batches) -> Batch:
    """The first examples, of as many whole batches as make a picture worth looking at."""
    first = batches(0)[0]
    size = len(jax.tree.leaves(first)[0])
    if size >= rows:
        return first
    parts = [batches(step)[0] for step in range(-(-rows // size))]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}


def _without_deviations(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What is no standard deviation over seeds: those may vanish or grow without any harm."""
    return {name: value for name, value in metrics.items() if not name.endswith("_std")}


@contextlib.contextmanager
def _stopping(folder: Path) -> Iterator[None]:
    """A full disk or a lost file under a report, a picture or the data stops the run with one line."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{folder} stops: {error}. The same command goes on from the last checkpoint") from error
