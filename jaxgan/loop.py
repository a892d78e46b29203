"""The one training loop. It knows no algorithm, only a `GAN`, its batches and a run folder."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxgan import page, report
from jaxgan.alarm import Alarm
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import RunConfig, differences, load_config, run_folder, save_config
from jaxgan.metrics.neighbours import pairwise_diversity
from jaxgan.sharding import by_batch, compile_step, data_mesh, replicated
from jaxgan.state import GANState
from jaxgan.types import GAN, Batch, Batches


class NonFiniteError(FloatingPointError):
    """A loss, a score or a gradient stopped being a finite number."""


def fit(
    gan: GAN,
    batches: Batches,
    config: RunConfig,
    *,
    evaluate: Callable[[Any], Mapping[str, float]] | None = None,
    draw: Callable[[Mapping[str, Array]], Any] | None = report.image_grid,
    files: Mapping[str, Callable[[Path], None]] | None = None,
) -> tuple[Any, dict[str, float]]:
    """Trains to `config.num_steps`, from the run folder's last checkpoint if it has one.

    The run folder then holds `config.json`, `metrics.jsonl` (means over the steps since the line before),
    `tensorboard/`, `samples/<step>.png` of one fixed set of inputs, `checkpoints/<step>`, and `report.html`, which
    shows all of it. A stop and a restart change nothing in the result. What looks like a collapse is said once, see
    `jaxgan.alarm`.

    Args:
      gan: the algorithm.
      batches: its data; `batches(step)` must be the same at every call.
      config: how long and where to.
      evaluate: `state -> scores`, called at `evaluate_every` and at the end, each time followed by a checkpoint; and
        once before the first step where `best` names a score, to see that there is such a one.
      draw: from the outputs of `gan.sample` to a picture, see `report.save_image`; None draws nothing.
      files: what else the run folder must hold for the run to be used, such as a vocabulary: by its name there, the
        function that writes it to a path.

    Returns:
      The final state, and the last line of metrics.

    Raises:
      ValueError: the run folder cannot be resumed as asked, a batch cannot be shared among the devices, or
        `config.best` is no score of `evaluate`.
      NonFiniteError: a metric stopped being finite under `on_nonfinite="stop"`.
      CheckpointError: a checkpoint could not be written or read.
      OSError: metrics or a picture could not be written, or data not be read.
      SystemExit: SIGINT or SIGTERM came, or an alarm under `on_alarm="stop"`, and the state has been saved. A second
        SIGINT leaves at once.
    """
    if config.best is not None and evaluate is None:
        raise ValueError(f"best={config.best!r} names a score, but this run has no evaluation that could give one")
    folder = run_folder(config)
    mesh = data_mesh(config.num_devices, batch_size=config.batch_size)
    key = jax.random.key(config.seed)
    first = batches(0)
    abstract = jax.eval_shape(gan.init, key, first[0])

    with Checkpoints(
        folder / "checkpoints", keep=config.keep, best=config.best, best_mode=config.best_mode
    ) as checkpoints:
        start = _starting_step(config, folder, checkpoints.latest_step())
        if start is None:
            start, state = 0, gan.init(key, first[0])
            if config.init_from is not None:
                state = _weights_from(Path(config.init_from), state)
            state = jax.device_put(state, replicated(mesh))
        else:
            state = checkpoints.restore(None, abstract, sharding=replicated(mesh))
            start = checkpoints.latest_step() or start  # an earlier one where the newest is damaged
        if start >= config.num_steps:
            print(f"{folder} is at step {start} of {config.num_steps}: nothing to do")
            return state, {}

        if config.best is not None and evaluate is not None and config.best not in (names := evaluate(state)):
            raise ValueError(f"best={config.best!r} is no score of this run: there are {', '.join(names)}")
        began = time.perf_counter()
        tally = _Tally(gan, config, mesh, abstract, first)
        _introduce(config, folder, mesh, state, batches, start, tally, time.perf_counter() - began)
        save_config(config, folder, first[0])
        for name, write in (files or {}).items():
            write(folder / name)
        shown = _at_least(64, batches)
        inputs = gan.preview(jax.random.fold_in(key, 1), shown)

        with (
            _stopping(folder),
            _Interruption() as interruption,
            report.Report(folder, num_steps=config.num_steps, last_step=start) as log,
        ):
            scores: dict[str, float] = {}
            watch = _Watch(folder, start, mesh, shown)
            clock = time.perf_counter()
            for step in range(start + 1, config.num_steps + 1):
                state = tally.update(state, batches(step - 1))
                log.advance(step)

                ends = step == config.num_steps
                stops = interruption.signal
                samples = not stops and (ends or step % config.sample_every == 0)
                evaluates = not stops and (ends or (config.evaluate_every and step % config.evaluate_every == 0))
                saves = bool(stops) or ends or evaluates or step % config.checkpoint_every == 0
                if not (samples or saves or step % config.log_every == 0):
                    continue

                metrics, count = tally.read(folder, checkpoints)
                seconds = time.perf_counter() - clock
                metrics["steps_per_second"] = count / seconds
                metrics["images_per_second"] = count * gan.d_steps * config.batch_size / seconds
                if samples and draw is not None:
                    outputs = gan.sample(state, inputs)
                    if len(outputs) > 1:
                        watch.name_columns(outputs)
                    log.drawing(step, draw(outputs))
                    metrics |= watch.diversity(outputs)
                if evaluates and evaluate is not None:
                    scores = {name: float(value) for name, value in evaluate(state).items()}
                    metrics |= scores
                losses = [name for name in metrics if name.endswith("loss")]
                log.metrics(step, metrics, shown=[*losses, *(scores if evaluates else ())])
                alarms = watch.alarms(step, metrics)
                for sentence in alarms:
                    log.note(f"alarm: {sentence}")
                stops = stops or (bool(alarms) and config.on_alarm == "stop" and signal.SIGTERM)
                saves = saves or bool(stops)
                if saves:
                    checkpoints.save(step, state, scores if evaluates else None)
                if stops or ends:
                    checkpoints.wait()  # here, where a signal does not break it off
                if samples or saves:
                    watch.write_page(log, at_once=bool(stops) or ends)
                if stops:
                    log.note(f"stopped at step {step} and saved in {folder}: the same command goes on from there")
                    raise SystemExit(128 + stops)
                clock = time.perf_counter()

    if draw is not None:
        print(f"samples: {folder / 'samples' / f'{config.num_steps:08d}.png'}")
    return state, metrics


class _Watch:
    """Looks at a run as it goes on: whether it collapses, and the page on which a user looks at it."""

    def __init__(self, folder: Path, start: int, mesh: Mesh, shown: Batch):
        self._folder, self._writes = folder, jax.process_index() == 0
        self._alarm = Alarm()
        if self._writes:
            page.record_start(folder, start, f"{mesh.size} x {mesh.devices.flat[0].device_kind}")
            self._alarm.replay(report.read_metrics(folder / "metrics.jsonl"))
        self._spread = pairwise_diversity(np.asarray(shown["image"])) if "image" in shown else 0.0

    def diversity(self, outputs: Mapping[str, Array]) -> dict[str, float]:
        """How much samples differ, over how much as many real ones do."""
        samples = np.asarray(outputs["samples"], np.float32) if "samples" in outputs else None
        if not self._spread or samples is None or len(samples) < 2 or not np.isfinite(samples).all():
            return {}
        return {"preview_diversity": pairwise_diversity(samples) / self._spread}

    def name_columns(self, outputs: Mapping[str, Array]) -> None:
        if self._writes:
            page.save_labels(self._folder / "samples", columns=list(outputs))

    def alarms(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        return self._alarm.update(step, metrics)

    def write_page(self, log: report.Report, *, at_once: bool) -> None:
        """`report.html`, at most once a minute; a page that cannot be written does not end a run."""
        if self._writes:
            try:
                page.write_page(self._folder, seconds=0 if at_once else 60)
            except (OSError, ValueError) as error:
                log.note(f"report.html was not written: {error}")


class _Carry(NamedTuple):
    sums: Array  # of each metric since the last reading, over the steps where all were finite
    count: Array  # of those steps
    skipped: Array  # of the others
    bad_step: Array  # the first of the others, 0 if none
    bad_metric: Array  # index of the first metric that was not finite there


class _Tally:
    """`train_step` compiled together with its running sums, so that the host need not look after every step."""

    def __init__(self, gan: GAN, config: RunConfig, mesh: Mesh, abstract: GANState, first: tuple):
        metrics = jax.eval_shape(gan.train_step, abstract, first)[1]
        # Losses first: where several numbers go wrong in one step, a loss tells more than a gradient's norm.
        self._names = sorted(metrics, key=lambda name: (not name.endswith("loss"), name))
        self._skips = config.on_nonfinite == "skip"
        self._batch_sharding = by_batch(mesh)
        self._zero = jax.device_put(
            _Carry(jnp.zeros(len(metrics)), *(jnp.int32(0) for _ in _Carry._fields[1:])), replicated(mesh)
        )
        self._carry = jax.tree.map(jnp.copy, self._zero)

        def step(both: tuple[Any, _Carry], batches: tuple) -> tuple[tuple[Any, _Carry], None]:
            state, carry = both
            moved, metrics = gan.train_step(state, batches)
            values = jnp.stack([metrics[name].astype(jnp.float32) for name in self._names])
            finite = jnp.isfinite(values)
            good = finite.all()
            is_first = ~good & (carry.bad_step == 0)
            if self._skips:
                moved = jax.lax.cond(good, lambda: moved, lambda: _only_steps(state, moved))
            carry = _Carry(
                sums=carry.sums + jnp.where(good, values, 0.0),
                count=carry.count + good,
                skipped=carry.skipped + ~good,
                bad_step=jnp.where(is_first, moved.step, carry.bad_step),
                bad_metric=jnp.where(is_first, jnp.argmin(finite), carry.bad_metric),
            )
            return (moved, carry), None

        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (self._zero, first))
        self.compiled = compile_step(step, mesh, (abstract, shapes[0]), shapes[1])

    def update(self, state: Any, batches: tuple) -> Any:
        (state, self._carry), _ = self.compiled((state, self._carry), jax.device_put(batches, self._batch_sharding))
        return state

    def read(self, folder: Path, checkpoints: Checkpoints) -> tuple[dict[str, float], int]:
        """Means since the last reading and the number of steps; waits for the device."""
        carry = jax.device_get(self._carry)
        self._carry = jax.tree.map(jnp.copy, self._zero)
        if carry.skipped and not (self._skips and carry.count):
            good = checkpoints.latest_step()
            raise NonFiniteError(
                f"step {carry.bad_step}: {self._names[carry.bad_metric]} is not finite. "
                + (
                    f"The last good checkpoint is {checkpoints.folder / str(good)}"
                    if good
                    else "No checkpoint was saved"
                )
                + ". Lower learning rates or a penalty often help; --on-nonfinite skip leaves such updates out."
            )
        metrics = dict(zip(self._names, (carry.sums / carry.count).tolist(), strict=True))
        if self._skips:
            metrics["skipped"] = float(carry.skipped)
        return metrics, int(carry.count + carry.skipped)


def _only_steps(state: GANState, moved: GANState) -> GANState:
    """The state from before an update that is left out; only its counts go on, and with them keys and data."""
    return state.replace(
        generator=state.generator.replace(step=moved.generator.step),
        discriminator=state.discriminator.replace(step=moved.discriminator.step),
    )


def _starting_step(config: RunConfig, folder: Path, latest: int | None) -> int | None:
    """The step to resume from, None to start afresh; refuses what would mix two runs in one folder."""
    if latest is None:
        if config.resume == "must":
            raise ValueError(f"nothing to resume: no checkpoint in {folder / 'checkpoints'}")
        return None
    if config.resume == "never":
        raise ValueError(f"{folder} already holds a run, at step {latest}: give another --workdir, or --resume auto")
    record = load_config(folder)
    if differing := differences(config, record):
        raise ValueError(
            f"{folder} holds a run with another configuration: {'; '.join(differing)}. "
            "Give the same flags, or another --workdir"
        )
    if (before := record["config"].get("num_steps")) != config.num_steps and latest < config.num_steps:
        print(f"num_steps was {before}, is {config.num_steps}: a schedule that ends with the run now ends there")
    return latest


def _weights_from(folder: Path, state: GANState) -> GANState:
    """A fresh state with another run's parameters, batch statistics and averages."""
    with Checkpoints(folder / "checkpoints") as checkpoints:
        players = {
            name: {"params": player.params, "model_state": player.model_state}
            for name, player in (("generator", state.generator), ("discriminator", state.discriminator))
        }
        averages = {"ema_params": state.ema_params, "ema_model_state": state.ema_model_state}
        found = checkpoints.restore(None, players | averages, partial=True)
    return state.replace(
        generator=state.generator.replace(**found["generator"]),
        discriminator=state.discriminator.replace(**found["discriminator"]),
        ema_params=found["ema_params"],
        ema_model_state=found["ema_model_state"],
    )


def _at_least(rows: int, batches: Batches) -> Batch:
    """The first examples, as many as make a picture worth looking at, from as many small batches as that takes."""
    first = batches(0)[0]
    size = len(jax.tree.leaves(first)[0])
    if size >= rows:
        return first
    parts = [batches(step)[0] for step in range(-(-rows // size))]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:rows], *parts)


def _introduce(config, folder, mesh, state, batches, start, tally, seconds) -> None:
    """What somebody wants to know before a long run."""
    count = lambda params: f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,}"
    device = mesh.devices.flat[0]
    cores = f", {os.cpu_count()} cores" if device.platform == "cpu" else ""
    cost = tally.compiled.cost_analysis() or {}
    memory = tally.compiled.memory_analysis()
    size = f", {(memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 2**20:,.0f} MiB" if memory else ""
    print(f"run         {folder}")
    print(f"device      {mesh.size} x {device.device_kind}{cores}")
    print(f"parameters  generator {count(state.generator.params)}, discriminator {count(state.discriminator.params)}")
    print(f"data        {batches.size:,} examples, batch {config.batch_size}")
    if notice := getattr(batches, "notice", None):
        print(f"            {notice}")
    print(f"steps       {start} to {config.num_steps}")
    print(f"one step    {cost.get('flops', 0) / 1e9:,.2f} GFLOP{size}, compiled in {seconds:.1f} s", flush=True)


@contextlib.contextmanager
def _stopping(folder: Path) -> Iterator[None]:
    """A full disk or a lost file under a report, a picture or the data stops the run with one line."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{folder} stops: {error}. The same command goes on from the last checkpoint") from error


class _Interruption:
    """SIGINT and SIGTERM become a request that the loop reads between steps; a second SIGINT is not made to wait."""

    signal: int | None = None

    def __enter__(self) -> _Interruption:
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses to set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: object) -> None:
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
