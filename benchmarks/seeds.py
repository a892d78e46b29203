"""Results as distributions: trains an experiment with several seeds, scores each run, and prints what they reached.

    python -m benchmarks.seeds sngan --dataset fashion_mnist
    python -m benchmarks.seeds gan --num-seeds 5 --split 'train[:500]' --augment translation

Prints the mean, the standard deviation and the worst seed of every score of `experiments.evaluate`, or of the last
metrics of `gaussians_2d`, and of the seconds of training, all runs one after another. A seed that is trained and scored
is not trained again, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.evaluate import EXPERIMENTS
from jaxgan.runs.config import RunConfig

POINT_SCORES = ("modes", "high_quality")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="module of experiments to train, such as gan; its flags follow")
    parser.add_argument(
        "--num-seeds", type=int, default=5, help="number of runs, with the seeds 0, 1, ... (default: 5)"
    )
    parser.add_argument("--runs", default="runs/seeds", help="folder for their run folders (default: runs/seeds)")
    arguments, flags = parser.parse_known_args(argv)
    folder = Path(arguments.runs, "-".join([arguments.experiment, *flags]).replace("/", "_").replace("--", ""))
    if arguments.num_seeds < 1:
        parser.error(f"--num-seeds {arguments.num_seeds}: expected at least 1")
    seeds = range(arguments.num_seeds)
    try:
        found = [scores_of(arguments.experiment, flags, folder / f"seed-{seed}", seed) for seed in seeds]
    except subprocess.CalledProcessError as error:  # which has said why
        parser.exit(max(error.returncode, 1))
    print("\n".join(table(found)))


def scores_of(experiment: str, flags: Sequence[str], run: Path, seed: int) -> dict[str, float]:
    """Trains and scores one seed, unless that is done already."""
    scored = experiment in EXPERIMENTS
    if not (run / ("scores.jsonl" if scored else "seconds.log")).exists():
        began = time.monotonic()
        module = ["-m", f"experiments.{experiment}", *flags, "--seed", str(seed), "--workdir", str(run)]
        subprocess.run([sys.executable, *module], check=True, stdout=subprocess.DEVNULL)
        (run / "seconds.log").write_text(f"{time.monotonic() - began}\n")
        if scored:
            evaluate = ["-m", "experiments.evaluate", "--run", str(run)]
            subprocess.run([sys.executable, *evaluate], check=True, stdout=subprocess.DEVNULL)
    last = json.loads((run / ("scores.jsonl" if scored else "metrics.jsonl")).read_text().splitlines()[-1])
    last = last["scores"] if scored else {name: value for name, value in last.items() if name in POINT_SCORES}
    print(f"seed {seed}: " + ", ".join(f"{name} {value:.4g}" for name, value in last.items()), flush=True)
    return last | {"seconds": float((run / "seconds.log").read_text())}


def table(found: Sequence[dict[str, float]]) -> list[str]:
    """Lines of a Markdown table: mean, standard deviation and worst of each score."""
    lines = [f"| score | mean | standard deviation | worst of {len(found)} |", "|---|---|---|---|"]
    for name in found[0]:
        values = [scores[name] for scores in found]
        worst = max if name == "seconds" or RunConfig(best=name).best_mode == "min" else min
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        lines.append(f"| {name} | {statistics.mean(values):.4g} | {deviation:.4g} | {worst(values):.4g} |")
    return lines


if __name__ == "__main__":
    main()
