"""Soak test: trains for a long time, and measures memory, open files and speed of the process.

The default experiment runs as a command without an end. Linux's statistics of the process are sampled, and the first
minutes of training are compared with the last. Then the run is stopped with SIGTERM, and must have saved a checkpoint.
Other flags are passed to the experiment.

    python -m tests.stress.soak --minutes 30
    python -m tests.stress.soak --minutes 30 --dataset noise --width 16
"""

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxgan.runs.logging import read_metrics

ROOT = Path(__file__).parents[2]
STARTS = 600.0  # seconds after which a process that has not trained yet hangs


class Sample(NamedTuple):
    """Statistics of a process at one time.

    Attributes:
      seconds: time of the sample.
      memory: resident memory in MiB.
      files: number of open files.
      threads: number of threads.
      processor: CPU time so far, in seconds.
      step: last step in `metrics.jsonl`.
    """

    seconds: float
    memory: float
    files: int
    threads: int
    processor: float
    step: int


class Phase(NamedTuple):
    """Statistics of a period of a run.

    Attributes:
      memory: mean resident memory in MiB.
      files: mean number of open files.
      threads: mean number of threads.
      steps_per_second: steps per second of wall-clock time.
      milliseconds: CPU time per step, which hardly depends on other programs.
    """

    memory: float
    files: float
    threads: float
    steps_per_second: float
    milliseconds: float


def sample(process: int, folder: Path) -> Sample | None:
    """A sample of a process that trains in a folder; None before its first line of metrics."""
    lines = folder / "metrics.jsonl"
    if not lines.exists() or not (found := read_metrics(lines)):
        return None
    proc = Path(f"/proc/{process}")
    fields = (proc / "stat").read_text().rpartition(")")[2].split()  # after the name, which may contain spaces
    return Sample(
        seconds=time.monotonic(),
        memory=int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
        files=len(list((proc / "fd").iterdir())),
        threads=int(fields[17]),
        processor=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        step=found[-1]["step"],
    )


def phases(samples: Sequence[Sample], seconds: float) -> tuple[Phase, Phase]:
    """The first and the last `seconds` of the samples, each at most half of the time.

    >>> steady = [Sample(float(i), 100.0, 9, 3, 0.5 * i, 10 * i) for i in range(11)]
    >>> phases(steady, 4.0)[1]
    Phase(memory=100.0, files=9.0, threads=3.0, steps_per_second=10.0, milliseconds=50.0)
    """
    start, end = samples[0].seconds, samples[-1].seconds
    seconds = min(seconds, (end - start) / 2)

    def phase(part: Sequence[Sample]) -> Phase:
        # Steps are only known when a line of metrics is written: count between the first samples after two lines.
        marks = [after for before, after in itertools.pairwise(part) if after.step > before.step]
        if len(marks) < 2:
            raise ValueError(f"{len(marks)} lines of metrics in {seconds:.0f} s are too few: give more --minutes")
        steps = marks[-1].step - marks[0].step
        return Phase(
            *(sum(values) / len(part) for values in zip(*(one[1:4] for one in part), strict=True)),
            steps_per_second=steps / (marks[-1].seconds - marks[0].seconds),
            milliseconds=1000 * (marks[-1].processor - marks[0].processor) / steps,
        )

    return (
        phase([one for one in samples if one.seconds <= start + seconds]),
        phase([one for one in samples if one.seconds >= end - seconds]),
    )


def soak(folder: Path, command: Sequence[str], *, minutes: float, every: float = 5.0) -> list[Sample]:
    """Runs a training command in `folder` for some time, then stops it.

    Args:
      folder: its run folder.
      command: module and flags, as for `python -m`.
      minutes: time to run after the first line of metrics.
      every: seconds between samples.

    Returns:
      The samples.

    Raises:
      RuntimeError: it did not train, ended early, or did not save when it was stopped.
    """
    samples: list[Sample] = []
    deadline = time.monotonic() + STARTS
    with tempfile.TemporaryFile("w+") as output:  # not a pipe, which would fill up
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(every)
                if process.poll() is None and (one := sample(process.pid, folder)):
                    if not samples:
                        deadline = one.seconds + 60 * minutes
                    samples.append(one)
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=60)
        finally:
            process.kill()
        output.seek(0)
        said = output.read()
    if not samples or status != 128 + signal.SIGTERM or "saved" not in said:
        raise RuntimeError(f"it ended with status {status} after {len(samples)} samples: {said[-1000:]}")
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="minutes of training")
    arguments, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["experiments.gan", "--num-steps", str(10**7), "--workdir", str(run), *flags]
        samples = soak(run, command, minutes=arguments.minutes)
    first, last = phases(samples, 300.0)
    print(f"| {arguments.minutes:g} minutes, {samples[-1].step:,} steps | first | last |\n|---|---|---|")
    for name, begin, end in zip(Phase._fields, first, last, strict=True):
        print(f"| {name.replace('_', ' ')} | {begin:,.1f} | {end:,.1f} |")


if __name__ == "__main__":
    main()
