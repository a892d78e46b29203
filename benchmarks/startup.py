"""Start-up time: seconds from the start of an experiment to the end of its first step, by phase, cold and warm.

python -m benchmarks.startup
python -m benchmarks.startup wgan_gp --preset paper

The experiment runs twice as a command, with its own cache folder, which is empty in the first run. Other flags are
passed to the experiment.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class Clock:
    """Seconds by phase; the time of a nested phase counts only for the inner one."""

    def __init__(self, interpreter: float):
        self.seconds = {"Python itself": interpreter}
        self._within = [""]
        self._last = time.time()

    def turn(self) -> None:
        now = time.time()
        phase = self._within[-1] or "the rest"
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    @contextlib.contextmanager
    def phase(self, name: str):
        self.turn()
        self._within.append(name)
        try:
            yield
        finally:
            self.turn()
            self._within.pop()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            with self.phase(name):
                return function(*arguments, **options)

        return wrapped


def start(name: str, flags: Sequence[str], began: float) -> dict[str, float]:
    """Runs an experiment in this process up to its first step.

    Args:
      name: name of the experiment.
      flags: its flags.
      began: start time of this process, `time.time()`.

    Returns:
      Seconds by phase.
    """
    clock = Clock(time.time() - began)
    with clock.phase("import jax"):
        import jax
    with clock.phase("import the experiment"):
        module: Any = importlib.import_module(f"experiments.{name}")
        from jaxgan.runs import cli
        from jaxgan.training import loop, opening

    def build(config: Any, build: Callable[[Any], Any] = module.build) -> Any:
        gan = build(config)
        return gan._replace(init=clock.timed("init", gan.init), preview=clock.timed("first inputs", gan.preview))

    def update(train_step: Any, *arguments: Any, update: Callable[..., Any] = loop.TrainStep.update) -> None:
        with clock.phase("first step"):
            jax.block_until_ready(update(train_step, *arguments))
        raise SystemExit

    module.build, module.batches = build, clock.timed("data", module.batches)
    cli.parse = clock.timed("flags", cli.parse)
    setattr(opening, "Checkpoints", clock.timed("checkpoints", opening.Checkpoints))  # noqa: B010 (a class)
    loop.logging.Report = clock.timed("reports", loop.logging.Report)
    train_step: Any = loop.TrainStep
    train_step.update, train_step.__init__ = update, clock.timed("compile the step", train_step.__init__)
    sys.argv = [name, *flags]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
        cli.run(module.Config, module.main)
    clock.turn()
    return clock.seconds


def measure(name: str, flags: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds by phase, with an empty and with a filled cache folder.

    Raises:
      RuntimeError: the experiment did not start; its output is shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
        environment["JAXGAN_CACHE"] = folder
        found = []
        for run in ("cold", "warm"):
            task = json.dumps([name, ["--workdir", f"{folder}/{run}", *flags], time.time()])
            command = [sys.executable, "-m", "benchmarks.startup", "--child", task]
            child = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
            if child.returncode or not child.stdout:
                raise RuntimeError(f"experiments.{name} did not start, see the output above")
            found.append(json.loads(child.stdout.splitlines()[-1]))
        return found[0], found[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one row for each phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="gan")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    found, flags = parser.parse_known_args(arguments)
    if found.child:
        print(json.dumps(start(*found.child)), flush=True)
        return
    cold, warm = measure(found.name, flags)
    print(f"| experiments.{found.name} | cold, s | warm, s |\n|---|---|---|")
    for phase in cold:
        print(f"| {phase} | {cold[phase]:.2f} | {warm.get(phase, 0.0):.2f} |")
    print(f"| total | {sum(cold.values()):.2f} | {sum(warm.values()):.2f} |")


if __name__ == "__main__":
    main()
