"""The training loop. It is the same for all algorithms: it needs a `GAN`, its batches and a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.checkpoints.retention import UNSCHEDULED
from jaxgan.devices.distributed import local_copy, on_first_process, sync_max
from jaxgan.devices.memory import give_back
from jaxgan.runs import logging
from jaxgan.runs.config import RunConfig
from jaxgan.runs.images import image_grid
from jaxgan.runs.interruption import Interruption, Stopped
from jaxgan.runs.streams import forgiving
from jaxgan.runs.writers import RATE, Writer, check_writers, close_writers
from jaxgan.training.dry_run import dry_run, print_cost, print_summary
from jaxgan.training.opening import UNFINISHED, Files, Opened, open_state, write_config, write_initial_files
from jaxgan.training.step import NonFiniteError, TrainStep
from jaxgan.training.watch import Watch
from jaxgan.types import GAN, Batch, Batches

Draw = Callable[[Mapping[str, Array]], Any]
Evaluate = Callable[[Any], Mapping[str, float]]


@forgiving()
def fit(
    gan: GAN,
    batches: Batches,
    config: RunConfig,
    *,
    evaluate: Evaluate | None = None,
    draw: Draw | None = image_grid,
    panels: Callable[[Any], Mapping[str, Any]] | None = None,
    files: Mapping[str, Callable[[Path], None]] | None = None,
    writers: Sequence[Writer] = (),
) -> tuple[Any, dict[str, float]]:
    """Trains to step `config.num_steps`, from the run folder's last checkpoint if it has one.

    It writes into the run folder: `config.json`, `metrics.jsonl` (means over the steps since the previous line),
    `tensorboard/`, `samples/<step>.png` of a fixed set of inputs, `checkpoints/<step>`, and `report.html`, which shows
    all of them. The folder must be new, empty or this run's (`jaxgan.runs.start`), and is locked during the run
    (`jaxgan.runs.lock`). A stop and a restart do not change the result: states, metrics, images and scores are those of
    an uninterrupted run. Signs of a collapse are printed once, see `jaxgan.runs.alarm`. A closed terminal, or a failing
    TensorBoard or report, does not stop the run.

    SIGINT, SIGTERM, SIGHUP and SIGUSR1 take effect between steps: the state is saved, and `Stopped` is raised. In an
    interactive session (a Python prompt, a notebook) Ctrl-C returns the state so far instead; the same call resumes.

    Args:
      gan: the algorithm.
      batches: its data; `batches(step)` must return the same at every call.
      config: the run's length, folder and intervals.
      evaluate: `state -> scores`, called every `evaluate_every` steps and at the end; a checkpoint follows each time.
        If `config.best` names a score, it is also called before the first step, to check that this score exists.
      draw: outputs of `gan.sample` to an image, see `jaxgan.runs.images.as_image`; None for no images.
      panels: `state -> {name: image}`, further images, written to `<name>/<step>.png` together with the samples: see
        `jaxgan.evaluation.panels`.
      files: further files that one needs to use the run, such as a vocabulary: by file name, a function that writes the
        file to a given path.
      writers: further objects with the methods of `jaxgan.Writer`, told of all metrics and images. One that raises an
        exception is named and left out from then on; training goes on. All are closed at the end.

    Returns:
      The final state, and the last line of metrics, also of a run that was finished before. A dry run (`config.check`)
      returns those after its few steps.

    Raises:
      Stopped: after a signal, or after an alarm with `on_alarm="stop"`; the state has been saved.
      KeyboardInterrupt: after a second Ctrl-C, which does not wait for a save.
      ValueError: the run folder is in use, belongs to another run, was deleted, or cannot be resumed as requested; a
        batch cannot be divided among the devices, or has another size than the config; `config.init_from` does not fit;
        `config.best` is no score of `evaluate`; or a writer lacks a method.
      NonFiniteError: a metric is not finite and `on_nonfinite="stop"`, or too often in a row with "skip".
      CheckpointError: a checkpoint could not be written or read.
      OSError: metrics or an image could not be written, or data could not be read.
    """
    if config.best is not None and evaluate is None:
        raise ValueError(f"best={config.best!r} names a score, but this run has no evaluation")
    writers = check_writers(writers)
    hooks = _Hooks(evaluate, draw, panels, files or {}, writers)
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(close_writers, writers)
            run = open_state(stack, gan, batches, config, hooks.files)
            pending = evaluate is not None and "scores" in run.unfinished and run.step <= config.num_steps
            if run.step >= config.num_steps and not pending:
                return _already_finished(run, config)
            scores = _first_scores(run, config, evaluate, pending=pending)
            if config.check:
                config = dataclasses.replace(config, steps_per_call=1)
                return dry_run(gan, config, run.folder, mesh=run.mesh, state=run.state, batches=batches, start=run.step)
            return _train(stack, run, gan, batches, config, hooks, scores if pending else None)
    except Stopped as stop:
        if stop.signal == signal.SIGINT and hasattr(sys, "ps1"):  # at a Python prompt or in a notebook
            return stop.state, stop.metrics
        raise


class _Hooks(NamedTuple):
    evaluate: Evaluate | None
    draw: Draw | None
    panels: Callable[[Any], Mapping[str, Any]] | None
    files: Files
    writers: Sequence[Writer]


class Due(NamedTuple):
    """What is due after a step; at the end of a run, everything is."""

    log: bool
    samples: bool
    scores: bool
    checkpoint: bool
    end: bool


def due_at(step: int, config: RunConfig) -> Due:
    """What is due after a step. A checkpoint is always saved with the scores.

    >>> due_at(10, RunConfig(num_steps=20, log_every=5, sample_every=10, checkpoint_every=20, evaluate_every=0))
    Due(log=True, samples=True, scores=False, checkpoint=False, end=False)
    """
    end = step == config.num_steps
    now = lambda every: end or (every > 0 and step % every == 0)
    scores = now(config.evaluate_every)
    return Due(now(config.log_every), now(config.sample_every), scores, scores or now(config.checkpoint_every), end)


def _train(
    stack: contextlib.ExitStack,
    run: Opened,
    gan: GAN,
    batches: Batches,
    config: RunConfig,
    hooks: _Hooks,
    pending_scores: dict[str, float] | None,
) -> tuple[Any, dict[str, float]]:
    leads = jax.process_index() == 0  # only the first process prints and writes
    if leads:
        print_summary(config, run.folder, mesh=run.mesh, state=run.state, batches=batches, start=run.step)
    began = time.perf_counter()
    train_step = TrainStep(gan, config, run.mesh, run.abstract, run.batches)
    train_step.resume(run.unfinished)
    interruption = stack.enter_context(Interruption())  # from here on, signals take effect after the next step
    if leads:
        print_cost(train_step.compiled, time.perf_counter() - began)
        write_initial_files(run, config, hooks.files)
    preview_batch = _at_least(64, batches)
    inputs = gan.preview(jax.random.fold_in(jax.random.key(config.seed), 1), preview_batch)
    with _name_folder_in_errors(run.folder), _report(run, config, hooks.writers) as log:
        watch = Watch(run.folder, run.step, run.mesh, preview_batch)
        metrics = {} if pending_scores is None else _record_pending(run, config, log, watch, pending_scores)
        clock = time.perf_counter() - run.unfinished.get("seconds", 0.0)
        state, stride, one_process = run.state, config.steps_per_call, jax.process_count() == 1
        for step in range(run.step + stride, config.num_steps + 1, stride):
            state = train_step.update(state, *(batches(index) for index in range(step - stride, step)))
            log.advance(step)
            due = due_at(step, config)
            # A signal may reach only one of several processes, but all must stop at the same step.
            stop = sync_max(interruption.signal or 0) if one_process or any(due) else 0
            if not (any(due) or stop):
                continue

            unfinished = {} if any(due) else train_step.unfinished()
            metrics, count = _read(train_step, run.checkpoints)
            seconds = time.perf_counter() - clock  # after the read, which waits for the device
            unfinished |= {} if any(due) else {"seconds": seconds}
            metrics[RATE] = count / seconds
            metrics["images_per_second"] = count * gan.d_steps * len(jax.tree.leaves(run.batches)[0]) / seconds
            scores = {}
            if due.scores and hooks.evaluate is not None:
                if stop:  # scoring may take longer than a scheduler waits
                    unfinished["scores"] = 1.0
                else:
                    scores = _as_floats(hooks.evaluate(local_copy(state)))
            # After the evaluation, which may take long, and before any write.
            on_first_process(lambda: run.lock and run.lock.check())
            if due.samples and leads:
                metrics |= _draw_samples(step, state, gan, inputs, hooks, log, watch)
            metrics |= scores
            if any(due):
                alarms = _log(step, metrics, scores, log, watch)
                if config.on_alarm == "stop" and not stop:
                    stop = sync_max(signal.SIGTERM if alarms else 0)
            if due.checkpoint or stop:
                values = scores | {UNFINISHED + name: value for name, value in unfinished.items()}
                _save(step, state, values if due.checkpoint else values | {UNSCHEDULED: 1.0}, run, config)
                log.flush()
            if stop or due.end:
                run.checkpoints.wait()  # here, where a signal does not interrupt it
            if due.samples or due.checkpoint or stop:
                watch.write_page(log, at_once=bool(stop) or due.end)
                give_back()
            if stop:
                stopped = Stopped(stop, run.folder, step, local_copy(state), metrics)
                log.note(str(stopped))
                raise stopped
            clock = time.perf_counter()

    if hooks.draw is not None and leads:
        print(f"samples: {run.folder / 'samples' / f'{config.num_steps:08d}.png'}")
    return local_copy(state), metrics


def _already_finished(run: Opened, config: RunConfig) -> tuple[Any, dict[str, float]]:
    if jax.process_index() == 0:
        print(f"{run.folder} is at step {run.step} already: a num_steps above {run.step} continues it")
    file = run.folder / "metrics.jsonl"
    last = logging.read_metrics(file)[-1:] if file.exists() else []
    return local_copy(run.state), {name: value for line in last for name, value in line.items() if name != "step"}


def _first_scores(run: Opened, config: RunConfig, evaluate: Evaluate | None, *, pending: bool) -> dict[str, float]:
    """The scores of the initial or restored state, if they are still pending or `config.best` must be checked."""
    if evaluate is None or not (pending or config.best is not None):
        return {}
    scores = _as_floats(evaluate(local_copy(run.state)))
    if config.best is not None and config.best not in scores:
        if bad := scores.get("nonfinite_samples"):
            raise ValueError(f"best={config.best!r}: {bad:.0%} of the samples at step {run.step} are not finite")
        raise ValueError(f"best={config.best!r} is no score of this run; its scores are {', '.join(scores)}")
    return scores


def _report(run: Opened, config: RunConfig, writers: Sequence[Writer]) -> logging.Report:
    # The checkpoint holds the running sums of the steps since the last line.
    last_line = run.step - int(run.unfinished.get("count", 0) + run.unfinished.get("skipped", 0))
    options: dict[str, Any] = {"num_steps": config.num_steps, "last_step": run.step, "last_line": last_line}
    return logging.Report(run.folder, writers=writers, hparams=dataclasses.asdict(config), **options)


def _record_pending(
    run: Opened, config: RunConfig, log: logging.Report, watch: Watch, scores: dict[str, float]
) -> dict[str, Any]:
    """Records the scores of the step at which the run was stopped before it computed them."""
    metrics = log.add(run.step, scores)
    run.checkpoints.replace_metrics(run.step, scores)
    for sentence in watch.alarms_at_start:
        log.note(f"alarm: {sentence}")
    log.note(f"step {run.step}  {'  '.join(f'{name} {value:.4g}' for name, value in scores.items())}")
    watch.write_page(log, at_once=run.step == config.num_steps)
    if watch.alarms_at_start and config.on_alarm == "stop":
        raise Stopped(signal.SIGTERM, run.folder, run.step, local_copy(run.state), metrics)
    return metrics


def _read(train_step: TrainStep, checkpoints: Checkpoints) -> tuple[dict[str, float], int]:
    try:
        return train_step.read()
    except NonFiniteError as error:
        good = checkpoints.latest_step()
        last = f"the last good checkpoint is {checkpoints.folder / str(good)}" if good else "none was saved"
        raise NonFiniteError(f"{error}; {last}") from None


def _draw_samples(
    step: int, state: Any, gan: GAN, inputs: Any, hooks: _Hooks, log: logging.Report, watch: Watch
) -> dict[str, float]:
    """Writes the samples and the panels of a step as images; returns the diversity of the samples."""
    if hooks.draw is None:
        return {}
    outputs = gan.sample(local_copy(state), inputs)
    if len(outputs) > 1:
        watch.name_columns(outputs)
    log.image(step, hooks.draw(outputs))
    for name, image in (hooks.panels(local_copy(state)) if hooks.panels else {}).items():
        log.image(step, image, name)
    return watch.diversity(outputs)


def _log(step: int, metrics: dict[str, Any], scores: dict[str, float], log: logging.Report, watch: Watch) -> list[str]:
    """Logs the metrics of a step; returns the alarms that they raise."""
    losses = [name for name in metrics if name.endswith("loss")]
    log.metrics(step, metrics, shown=[RATE, *losses, *scores])
    alarms = watch.alarms(step, metrics)
    for sentence in alarms:
        log.note(f"alarm: {sentence}")
    return alarms


def _save(step: int, state: Any, values: dict[str, float], run: Opened, config: RunConfig) -> None:
    if jax.process_index() == 0 and not (run.folder / "config.json").exists():  # somebody removed it
        write_config(run, config)
    run.checkpoints.save(step, state, values)


def _at_least(rows: int, batches: Batches) -> Batch:
    """The first examples: as many whole batches as are needed for this number of rows."""
    first = batches(0)[0]
    size = len(jax.tree.leaves(first)[0])
    if size >= rows:
        return first
    parts = [batches(step)[0] for step in range(-(-rows // size))]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _as_floats(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}


@contextlib.contextmanager
def _name_folder_in_errors(folder: Path) -> Iterator[None]:
    """Adds the run folder to an OSError, such as a full disk or a missing file of the data."""
    try:
        yield
    except OSError as error:
        raise OSError(f"run {folder} stopped: {error}. The same command resumes from the last checkpoint") from error
