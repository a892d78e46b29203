"""Does a run stay as it began? Trains for a while and watches memory, open files and speed from outside.

The default experiment runs as a command, without an end; what Linux says of the process is written down until the time
is over, and the first minutes of training are compared with the last. Then the run is stopped as a user would, by
SIGTERM, and must have saved. Further flags are the experiment's own.

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


class Look(NamedTuple):
    """One look at a process.

    Attributes:
      seconds: when.
      memory: resident, MiB.
      files: open files.
      threads: how many.
      processor: seconds of processor time so far.
      step: the last step in `metrics.jsonl`.
    """

    seconds: float
    memory: float
    files: int
    threads: int
    processor: float
    step: int


class Phase(NamedTuple):
    """A stretch of a run.

    Attributes:
      memory: MiB, mean.
      files: open files, mean.
      threads: mean.
      steps_per_second: by the clock.
      milliseconds: of processor time a step, which other programs on the machine hardly change.
    """

    memory: float
    files: float
    threads: float
    steps_per_second: float
    milliseconds: float


def look(process: int, folder: Path) -> Look | None:
    """A look at a process that trains in a folder; None before its first line of metrics."""
    lines = folder / "metrics.jsonl"
    if not lines.exists() or not (found := read_metrics(lines)):
        return None
    proc = Path(f"/proc/{process}")
    fields = (proc / "stat").read_text().rpartition(")")[2].split()  # behind the name, which may hold spaces
    return Look(
        seconds=time.monotonic(),
        memory=int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
        files=len(list((proc / "fd").iterdir())),
        threads=int(fields[17]),
        processor=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        step=found[-1]["step"],
    )


def phases(looks: Sequence[Look], seconds: float) -> tuple[Phase, Phase]:
    """The first and the last `seconds` of these looks, at most half of them each.

    >>> steady = [Look(float(i), 100.0, 9, 3, 0.5 * i, 10 * i) for i in range(11)]
    >>> phases(steady, 4.0)[1]
    Phase(memory=100.0, files=9.0, threads=3.0, steps_per_second=10.0, milliseconds=50.0)
    """
    start, end = looks[0].seconds, looks[-1].seconds
    seconds = min(seconds, (end - start) / 2)

    def phase(part: Sequence[Look]) -> Phase:
        # Steps are known line by line of the metrics: counted from the first of a line to the first of another.
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
        phase([one for one in looks if one.seconds <= start + seconds]),
        phase([one for one in looks if one.seconds >= end - seconds]),
    )


def soak(folder: Path, command: Sequence[str], *, minutes: float, every: float = 5.0) -> list[Look]:
    """Runs a command that trains in `folder`, and stops it.

    Args:
      folder: its run folder.
      command: the module and its flags, as for `python -m`.
      minutes: from the first line of metrics on.
      every: seconds from look to look.

    Returns:
      The looks.

    Raises:
      RuntimeError: it did not train, ended by itself, or did not save when it was told to end.
    """
    looks: list[Look] = []
    deadline = time.monotonic() + STARTS
    with tempfile.TemporaryFile("w+") as output:  # not a pipe, which would be full before long
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(every)
                if process.poll() is None and (one := look(process.pid, folder)):
                    if not looks:
                        deadline = one.seconds + 60 * minutes
                    looks.append(one)
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=60)
        finally:
            process.kill()
        output.seek(0)
        said = output.read()
    if not looks or status != 128 + signal.SIGTERM or "saved" not in said:
        raise RuntimeError(f"it ended with status {status} after {len(looks)} looks: {said[-1000:]}")
    return looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="of training")
    arguments, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["experiments.gan", "--num-steps", str(10**7), "--workdir", str(run), *flags]
        looks = soak(run, command, minutes=arguments.minutes)
    first, last = phases(looks, 300.0)
    print(f"| {arguments.minutes:g} minutes, {looks[-1].step:,} steps | first | last |\n|---|---|---|")
    for name, begin, end in zip(Phase._fields, first, last, strict=True):
        print(f"| {name.replace('_', ' ')} | {begin:,.1f} | {end:,.1f} |")


if __name__ == "__main__":
    main()
