"""The one training loop. It knows no algorithm, only a `GAN`, its batches and a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.checkpoints.retention import UNSCHEDULED
from jaxgan.devices.distributed import led, local_copy, sync_max
from jaxgan.devices.memory import give_back
from jaxgan.runs import logging
from jaxgan.runs.config import RunConfig
from jaxgan.runs.images import image_grid
from jaxgan.runs.interruption import Interruption, Stopped
from jaxgan.runs.streams import forgiving
from jaxgan.training.dry_run import dry_run, introduce
from jaxgan.training.opening import UNFINISHED, Files, Opened, open_state, write_beginnings, write_config
from jaxgan.training.step import NonFiniteError, Tally
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
) -> tuple[Any, dict[str, float]]:
    """Trains to `config.num_steps`, from the run folder's last checkpoint if it has one.

    The run folder then holds `config.json`, `metrics.jsonl` (means over the steps since the line before),
    `tensorboard/`, `samples/<step>.png` of one fixed set of inputs, `checkpoints/<step>`, and `report.html`, which
    shows all of it. It is locked while the run goes on (`jaxgan.runs.lock`), and used only if it is new, empty or this
    run's (`jaxgan.runs.start`). A stop and a restart change nothing in the result: neither states nor metrics, images,
    scores. What looks like a collapse is said once, see `jaxgan.runs.alarm`. Output that cannot be shown, on a terminal
    that is gone, in TensorBoard or on the page, is left out.

    SIGINT, SIGTERM, SIGHUP and SIGUSR1 are read between steps: the state is saved, and `Stopped` raised. In an
    interactive session (a Python prompt, a notebook) Ctrl-C returns the state so far instead; the same call goes on.

    Args:
      gan: the algorithm.
      batches: its data; `batches(step)` must be the same at every call.
      config: how long and where to.
      evaluate: `state -> scores`, called at `evaluate_every` and at the end, each time followed by a checkpoint; and
        once before the first step where `best` names a score, to see that there is such a one.
      draw: from the outputs of `gan.sample` to an image, see `jaxgan.runs.images.save_image`; None draws nothing.
      panels: `state -> {name: image}`, drawn together with the samples, into `<name>/<step>.png`: see
        `jaxgan.evaluation.panels`.
      files: what else the run folder must hold for the run to be used, such as a vocabulary: by its name there, the
        function that writes it to a path.

    Returns:
      The final state, and the last line of metrics. Of a dry run (`config.check`) those after its few steps.

    Raises:
      Stopped: a signal came, or an alarm under `on_alarm="stop"`, and the state has been saved.
      KeyboardInterrupt: a second Ctrl-C came, which does not wait for a save.
      ValueError: the run folder is in use, somebody else's, gone, or cannot be resumed as asked; a batch cannot be
        shared among the devices, or has another size than the config says; `config.init_from` does not fit; or
        `config.best` is no score of `evaluate`.
      NonFiniteError: a metric stopped being finite under `on_nonfinite="stop"`, or stayed so under "skip".
      CheckpointError: a checkpoint could not be written or read.
      OSError: metrics or an image could not be written, or data not be read.
    """
    if config.best is not None and evaluate is None:
        raise ValueError(f"best={config.best!r} names a score, but this run has no evaluation that could give one")
    hooks = _Hooks(evaluate, draw, panels, files or {})
    try:
        with contextlib.ExitStack() as stack:
            run = open_state(stack, gan, batches, config, hooks.files)
            owed = evaluate is not None and "scores" in run.unfinished and run.step <= config.num_steps
            if run.step >= config.num_steps and not owed:
                return _nothing_left(run, config)
            scores = _first_scores(run, config, evaluate, owed=owed)
            if config.check:
                config = dataclasses.replace(config, steps_per_call=1)
                return dry_run(gan, config, run.folder, mesh=run.mesh, state=run.state, batches=batches, start=run.step)
            return _train(stack, run, gan, batches, config, hooks, scores if owed else None)
    except Stopped as stop:
        if stop.signal == signal.SIGINT and hasattr(sys, "ps1"):  # as in a Python prompt and in a notebook
            return stop.state, stop.metrics
        raise


class _Hooks(NamedTuple):
    evaluate: Evaluate | None
    draw: Draw | None
    panels: Callable[[Any], Mapping[str, Any]] | None
    files: Files


class Due(NamedTuple):
    """What is to be done after a step; at the end of a run, everything."""

    log: bool
    samples: bool
    scores: bool
    checkpoint: bool
    end: bool


def due_at(step: int, config: RunConfig) -> Due:
    """What is due after a step: scores are always saved with a checkpoint.

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
    owed_scores: dict[str, float] | None,
) -> tuple[Any, dict[str, float]]:
    began = time.perf_counter()
    tally = Tally(gan, config, run.mesh, run.abstract, run.batches)
    tally.go_on(run.unfinished)
    interruption = stack.enter_context(Interruption())  # what comes from here on is heeded after the next step
    leads = jax.process_index() == 0  # it alone shows and writes
    if leads:
        about: Any = {"mesh": run.mesh, "state": run.state, "batches": batches, "start": run.step}
        introduce(config, run.folder, **about, compiled=tally.compiled, seconds=time.perf_counter() - began)
        write_beginnings(run, config, hooks.files)
    shown = _at_least(64, batches)
    inputs = gan.preview(jax.random.fold_in(jax.random.key(config.seed), 1), shown)
    with _naming_the_folder(run.folder), _report(run, config) as log:
        watch = Watch(run.folder, run.step, run.mesh, shown)
        metrics = {} if owed_scores is None else _record_owed(run, config, log, watch, owed_scores)
        clock = time.perf_counter() - run.unfinished.get("seconds", 0.0)
        state, at_once, alone = run.state, config.steps_per_call, jax.process_count() == 1
        for step in range(run.step + at_once, config.num_steps + 1, at_once):
            state = tally.update(state, *(batches(before) for before in range(step - at_once, step)))
            log.advance(step)
            due = due_at(step, config)
            # A signal may reach one process and not the others, which must stop at the same step.
            stop = sync_max(interruption.signal or 0) if alone or any(due) else 0
            if not (any(due) or stop):
                continue

            seconds = time.perf_counter() - clock
            unfinished = {} if any(due) else tally.unfinished() | {"seconds": seconds}
            metrics, count = _read(tally, run.checkpoints)
            metrics["steps_per_second"] = count / seconds
            metrics["images_per_second"] = count * gan.d_steps * len(jax.tree.leaves(run.batches)[0]) / seconds
            scores = {}
            if due.scores and hooks.evaluate is not None:
                if stop:  # to score may take longer than a scheduler waits
                    unfinished["scores"] = 1.0
                else:
                    scores = _numbers(hooks.evaluate(local_copy(state)))
            led(lambda: run.lock and run.lock.check())  # after what may take long, before anything is written
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
            if stop or due.end:
                run.checkpoints.wait()  # here, where a signal does not break it off
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


def _nothing_left(run: Opened, config: RunConfig) -> tuple[Any, dict[str, float]]:
    if jax.process_index() == 0:
        more = "" if run.step == config.num_steps else ", which is more than was asked for"
        print(f"{run.folder} is at step {run.step} of {config.num_steps}{more}: nothing to do")
    return local_copy(run.state), {}


def _first_scores(run: Opened, config: RunConfig, evaluate: Evaluate | None, *, owed: bool) -> dict[str, float]:
    """The scores of the state that training goes on from, where they are owed or have to hold the best one's name."""
    if evaluate is None or not (owed or config.best is not None):
        return {}
    scores = _numbers(evaluate(local_copy(run.state)))
    if config.best is not None and config.best not in scores:
        if bad := scores.get("nonfinite_samples"):
            raise ValueError(f"best={config.best!r}: {bad:.0%} of the samples at step {run.step} are not finite")
        raise ValueError(f"best={config.best!r} is no score of this run: there are {', '.join(scores)}")
    return scores


def _report(run: Opened, config: RunConfig) -> logging.Report:
    # The steps since the last line are those whose sums the checkpoint carries.
    last_line = run.step - int(run.unfinished.get("count", 0) + run.unfinished.get("skipped", 0))
    return logging.Report(run.folder, num_steps=config.num_steps, last_step=run.step, last_line=last_line)


def _record_owed(
    run: Opened, config: RunConfig, log: logging.Report, watch: Watch, scores: dict[str, float]
) -> dict[str, Any]:
    """Records the scores of the step at which the run was stopped, as they would have been before the stop."""
    metrics = log.add(run.step, scores)
    run.checkpoints.replace_metrics(run.step, scores)
    for sentence in watch.alarms_at_start:
        log.note(f"alarm: {sentence}")
    log.note(f"step {run.step}  {'  '.join(f'{name} {value:.4g}' for name, value in scores.items())}")
    watch.write_page(log, at_once=run.step == config.num_steps)
    if watch.alarms_at_start and config.on_alarm == "stop":
        raise Stopped(signal.SIGTERM, run.folder, run.step, local_copy(run.state), metrics)
    return metrics


def _read(tally: Tally, checkpoints: Checkpoints) -> tuple[dict[str, float], int]:
    try:
        return tally.read()
    except NonFiniteError as error:
        good = checkpoints.latest_step()
        last = f"the last good checkpoint is {checkpoints.folder / str(good)}" if good else "none was saved"
        raise NonFiniteError(f"{error}; {last}") from None


def _draw_samples(
    step: int, state: Any, gan: GAN, inputs: Any, hooks: _Hooks, log: logging.Report, watch: Watch
) -> dict[str, float]:
    """Draws the samples and the panels of a step; the diversity of the samples."""
    if hooks.draw is None:
        return {}
    outputs = gan.sample(local_copy(state), inputs)
    if len(outputs) > 1:
        watch.name_columns(outputs)
    log.drawing(step, hooks.draw(outputs))
    for name, image in (hooks.panels(local_copy(state)) if hooks.panels else {}).items():
        log.drawing(step, image, name)
    return watch.diversity(outputs)


def _log(step: int, metrics: dict[str, Any], scores: dict[str, float], log: logging.Report, watch: Watch) -> list[str]:
    """Logs the metrics of a step and gives the alarms that they raise."""
    losses = [name for name in metrics if name.endswith("loss")]
    log.metrics(step, metrics, shown=[*losses, *scores])
    alarms = watch.alarms(step, metrics)
    for sentence in alarms:
        log.note(f"alarm: {sentence}")
    return alarms


def _save(step: int, state: Any, values: dict[str, float], run: Opened, config: RunConfig) -> None:
    if jax.process_index() == 0 and not (run.folder / "config.json").exists():  # as where somebody removed it
        write_config(run, config)
    run.checkpoints.save(step, state, values)


def _at_least(rows: int, batches: Batches) -> Batch:
    """The first examples, of as many whole batches as make an image worth looking at."""
    first = batches(0)[0]
    size = len(jax.tree.leaves(first)[0])
    if size >= rows:
        return first
    parts = [batches(step)[0] for step in range(-(-rows // size))]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}


@contextlib.contextmanager
def _naming_the_folder(folder: Path) -> Iterator[None]:
    """A full disk or a lost file under a report, an image or the data stops the run with one line."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{folder} stops: {error}. The same command goes on from the last checkpoint") from error
