"""Fault injection: kills, signals, full disks and damaged checkpoints at random moments of real training processes.

A small run of experiments.gaussians_2d is started as a command, hit by one fault, and started again by the same
command, until `count` faults have been injected. A run that finishes meanwhile is checked, and a new one is started. A
fault is survived if the process ends as expected, leaves all files intact, and the same command resumes from a
checkpoint at most one interval old. At the end every run must be bit-identical to an uninterrupted run: the state,
the metrics and scores of each step once and in order, the images, the best checkpoint.

    python -m tests.stress.faults --count 60
    python -m tests.stress.faults --count 40 --kinds flip cut delete full
"""

import argparse
import io
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from experiments import gaussians_2d
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.runs.logging import read_metrics
from jaxgan.runs.open_run import open_run

SIGNALS = {
    "kill": signal.SIGKILL,
    "terminate": signal.SIGTERM,
    "interrupt": signal.SIGINT,
    "hangup": signal.SIGHUP,
    "user": signal.SIGUSR1,
}
# Damage to the newest checkpoint between two processes: a flipped bit, a truncated file, a deleted file.
DAMAGES = ("flip", "cut", "delete")
# At a given step: a signal when images and scores are due, a kill before the first checkpoint, a second process.
PLACED = ("due", "early", "second")
KINDS = (*SIGNALS, *PLACED, "interrupt_twice", "full", *DAMAGES)

INTERVAL = 20  # steps between checkpoints
DUE = 120  # steps between images, and between scores
SETTINGS = {
    "batch_size": 16,
    "width": 8,
    "log_every": 10,
    "sample_every": DUE,
    "evaluate_every": DUE,
    "checkpoint_every": INTERVAL,
    "best": "high_quality",
}
SECONDS = 120  # after this time, a process that should have ended counts as hanging
REFUSED = 1.0  # a second process must be refused within so many seconds after its imports

# The command of the experiment, which also prints the time of its imports and sends itself a signal at a given step.
PLACING = """
import os, sys, time
import tyro
from experiments import gaussians_2d
from jaxgan.runs import cli
from jaxgan.training.step import TrainStep

step, number = int(sys.argv.pop(1)), int(sys.argv.pop(1))

def update(self, *arguments, update=TrainStep.update):
    state = update(self, *arguments)
    if int(state.step) == step:
        os.kill(os.getpid(), number)
    return state

TrainStep.update = update
print("imported", time.time(), flush=True)
cli.run(gaussians_2d.Config, gaussians_2d.main)
"""


class Lost(Exception):
    """A fault was not survived; the message says why."""


class Life:
    """One process of a run, from its start to its end."""

    def __init__(
        self, folder: Path, num_steps: int, *, place: tuple[int, int] | None = None, **settings: object
    ) -> None:
        """Starts the process; `place` is a step and the signal that the process gets at that step."""
        flags = SETTINGS | {"num_steps": num_steps, "num_devices": 1, "workdir": folder} | settings
        program = ["-m", "experiments.gaussians_2d"] if place is None else ["-c", PLACING, *map(str, place)]
        arguments = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdout=subprocess.PIPE,  # not a file, whose size would also be limited
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with self.process.stdout or io.StringIO() as stream:
            self._lines.extend(stream)

    def said(self) -> str:
        return "".join(self._lines)

    @property
    def trains(self) -> bool:
        return re.search(r"^step \d+/", self.said(), re.MULTILINE) is not None

    @property
    def finished(self) -> bool:
        return "within 3 standard deviations" in self.said()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until the condition holds or the process has ended."""
        deadline = time.monotonic() + SECONDS
        while not condition() and self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
                raise Lost(f"condition not reached after {SECONDS} s: {self.said()[-500:]}")
            time.sleep(0.02)

    def wait_for_training(self) -> None:
        self.wait_for(lambda: self.trains)

    def end(self) -> int:
        """Waits until the process has ended, and returns its status."""
        try:
            return self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise Lost(f"hangs after {SECONDS} s: {self.said()[-500:]}") from None
        finally:
            self.process.kill()
            self._reader.join()


def steps_in(folder: Path) -> list[int]:
    """The steps of the checkpoints on disk, by folder names."""
    found = [path.name for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    return sorted(int(name) for name in found)


def inject(kind: str, life: Life, chance: random.Random) -> None:
    """Injects a fault into a process, and checks how it ends."""
    if kind == "full":
        # Simulates a full disk without privileges: limits the file size of the other process.
        limit = int(10 ** chance.uniform(2.0, 4.5))
        resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        expected = (2, "error: ")
    elif kind == "interrupt_twice":
        life.process.send_signal(signal.SIGINT)
        time.sleep(chance.uniform(0.0, 0.1))
        life.process.send_signal(signal.SIGINT)
        expected = None
    else:
        number = SIGNALS.get(kind, signal.SIGKILL)
        life.process.send_signal(number)
        expected = None if number == signal.SIGKILL else (128 + number, "the same command resumes from there")
    trained = life.trains
    status = life.end()
    # Before the first step there is nothing to save, and after the last nothing to interrupt.
    if expected and trained and not life.finished and (status != expected[0] or expected[1] not in life.said()):
        raise Lost(f"status {status} instead of {expected[0]}: {life.said()[-1000:]}")


def place(kind: str, folder: Path, num_steps: int, chance: random.Random) -> Life:
    """Starts a process with a fault at a given step, and checks how it ends."""
    last = max(steps_in(folder), default=0)
    if kind == "early":
        life = Life(
            folder,
            num_steps,
            place=(chance.randrange(DUE, 2 * DUE), signal.SIGKILL),
            checkpoint_every=num_steps,
            evaluate_every=num_steps,
        )
        expected = -signal.SIGKILL
    elif kind == "due":
        step = chance.choice([step for step in range(DUE, num_steps + 1, DUE) if step > last][:2] or [num_steps])
        number = chance.choice([signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
        life = Life(folder, num_steps, place=(step, number))
        expected = 128 + number
    else:
        life = Life(folder, num_steps, place=(chance.randrange(last + 1, num_steps), signal.SIGSTOP))
        life.wait_for(lambda: is_stopped(life.process.pid))
        second = Life(folder, num_steps, place=(0, 0))
        status, ended = second.end(), time.time()
        life.process.send_signal(signal.SIGCONT)
        expected = 0
        life.end()
        if status != 2 or f"is in use by process {life.process.pid} " not in second.said():
            raise Lost(f"a second process ended with status {status}: {second.said()[-500:]}")
        if (took := ended - float(second.said().split()[1])) > REFUSED:
            raise Lost(f"a second process was refused {took:.2f} s after its imports")
    if (status := life.end()) != expected:
        raise Lost(f"status {status} instead of {expected}: {life.said()[-1000:]}")
    return life


def is_stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def damage(kind: str, folder: Path, chance: random.Random) -> str:
    """Damages one file of the newest checkpoint, and returns a description."""
    newest = folder / "checkpoints" / str(steps_in(folder)[-1])
    path = chance.choice(sorted(path for path in newest.rglob("*") if path.is_file()))
    content = bytearray(path.read_bytes())
    place = chance.randrange(max(1, len(content)))
    if kind == "delete":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[:place])
    else:
        content[place] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    return f"{kind} {path.relative_to(newest.parent)} at {place}"


def check_files(folder: Path) -> None:
    """Checks that all files are intact, whenever the process ended."""
    for path in folder.glob("samples/*.png"):
        with Image.open(path) as image:
            image.load()
    if (folder / "config.json").exists():
        json.loads((folder / "config.json").read_text())
    if (folder / "metrics.jsonl").exists():
        steps = [line["step"] for line in read_metrics(folder / "metrics.jsonl")]
        if steps != sorted(set(steps)):
            raise Lost(f"steps in metrics.jsonl: {steps}")


def check_same(folder: Path, unbroken: Path) -> None:
    """Checks that an interrupted run ended in the same state as the uninterrupted one."""
    states = [open_run(path, {"gaussians_2d": gaussians_2d}).state for path in (folder, unbroken)]
    for (path, a), b in zip(jax.tree.leaves_with_path(states[0]), jax.tree.leaves(states[1]), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        if np.asarray(a).tobytes() != np.asarray(b).tobytes():
            raise Lost(f"{jax.tree_util.keystr(path)} differs from the uninterrupted run")
    check_files(folder)
    lines, expected = (untimed(path / "metrics.jsonl") for path in (folder, unbroken))
    if lines.keys() != expected.keys():
        raise Lost(f"steps missing in metrics.jsonl, or too many: {sorted(lines.keys() ^ expected.keys())}")
    if differing := [step for step in lines if lines[step] != expected[step]]:
        raise Lost(f"metrics of the steps {differing} differ from the uninterrupted run")
    images = [{path.name: path.read_bytes() for path in (f / "samples").glob("*.png")} for f in (folder, unbroken)]
    if images[0] != images[1]:
        raise Lost("the images differ from those of the uninterrupted run")
    scores = [best(path) for path in (folder, unbroken)]
    if scores[0] != scores[1]:
        raise Lost(f"the best checkpoint and the last, with scores: {scores[0]} instead of {scores[1]}")


def untimed(path: Path) -> dict[int, dict[str, float]]:
    """Lines of metrics by step, without measured times."""
    return {
        line["step"]: {name: value for name, value in line.items() if not name.endswith("per_second")}
        for line in read_metrics(path)
    }


def best(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """The best checkpoint and the last, with their scores."""
    with Checkpoints(folder / "checkpoints", best=str(SETTINGS["best"]), best_mode="max") as checkpoints:
        return [(step, checkpoints.metrics(step)) for step in map(checkpoints.resolve, ("best", "last"))]


def run_faults(
    folder: Path, kinds: Sequence[str], *, count: int, num_steps: int = 600, seed: int = 0, verbose: bool = False
) -> dict[str, list[int]]:
    """Injects `count` faults, cycling through the kinds.

    Args:
      folder: an empty working folder.
      kinds: a selection of `KINDS`.
      count: number of faults.
      num_steps: number of steps of each run.
      seed: seed of moments and positions.
      verbose: whether to print a line for each fault.

    Returns:
      For each kind the numbers of faults that were survived and not survived; for "runs" the numbers of runs that are
      identical to the uninterrupted one, and not.
    """
    chance = random.Random(seed)
    table = {kind: [0, 0] for kind in (*kinds, "runs")}
    unbroken = folder / "unbroken"
    life = Life(unbroken, num_steps)
    if life.end() != 0:
        raise RuntimeError(f"the uninterrupted run failed: {life.said()}")

    def tell(text: str) -> None:
        if verbose:
            print(text, flush=True)

    def finish(run: Path) -> None:
        try:
            if (life := Life(run, num_steps)).end() != 0:
                raise Lost(f"does not resume: {life.said()[-500:]}")
            check_same(run, unbroken)
        except Lost as loss:
            table["runs"][1] += 1
            tell(f"{run.name} lost: {loss}")
        else:
            table["runs"][0] += 1
            tell(f"{run.name} is bit-identical to the uninterrupted run")

    injected, number, run = 0, 0, folder / "run-0"

    def new_run() -> Path:
        nonlocal number
        number += 1
        return folder / f"run-{number}"

    while injected < count:
        kind = kinds[injected % len(kinds)]
        ended = max(steps_in(run), default=0) >= num_steps - 1
        if kind in PLACED and (ended or (kind == "early" and run.exists())):
            finish(run)
            run = new_run()
        before, told = steps_in(run), kind
        life = None if kind in PLACED else Life(run, num_steps)
        if life and kind in SIGNALS and chance.random() < 0.2:  # sometimes during start-up
            time.sleep(chance.uniform(0.0, 5.0))
        elif life:
            life.wait_for_training()
            time.sleep(chance.uniform(0.0, 2.0))
        if life and life.process.poll() is not None:  # it finished first
            finish(run)
            run = new_run()
            continue
        try:
            if life:
                before = steps_in(run)
                inject(kind, life, chance)
            else:
                life = place(kind, run, num_steps, chance)
            check_files(run)
            after = steps_in(run)
            if before and (not after or after[-1] < before[-1]):
                raise Lost(f"checkpoints {before} became {after}")
            if kind in DAMAGES:
                if len(after) < 2:
                    continue  # nothing to damage, or no older checkpoint to fall back to
                told = damage(kind, run, chance)
        except Lost as loss:
            table[kind][1] += 1
            told += f": lost: {loss}"
        else:
            table[kind][0] += 1
        injected += 1
        tell(f"{injected}: {told}; checkpoints {', '.join(map(str, steps_in(run))) or 'none'}")
        if max(steps_in(run), default=0) >= num_steps and kind != "due":
            finish(run)
            run = new_run()
    finish(run)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="total number of faults")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=str(KINDS))
    parser.add_argument("--num-steps", type=int, default=600, help="number of steps of each run")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = run_faults(
            Path(folder),
            arguments.kinds,
            count=arguments.count,
            num_steps=arguments.num_steps,
            seed=arguments.seed,
            verbose=True,
        )
    print("| fault | injected | survived | lost |\n|---|---|---|---|")
    for kind, (survived, lost) in table.items():
        print(f"| {kind} | {survived + lost} | {survived} | {lost} |")


if __name__ == "__main__":
    main()
