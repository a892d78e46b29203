"""Fine-tuning on few images: from scratch, from a run on other classes, and from it with frozen discriminator stages.

    python -m benchmarks.fine_tuning
    python -m benchmarks.fine_tuning --num-steps 500 --freeze-d 2

The data are Fashion-MNIST: a first run is trained on eight classes, the others on 500 images of the last two, all with
the default settings of `experiments.gan` but for the number of steps. The score is the Frechet distance of 2,000
samples to the 2,000 test images of the two classes, in the features of a classifier of all ten classes; smaller is
better. A run that is finished is not trained again, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxgan import restore
from jaxgan.data.sources import images
from jaxgan.metrics.features import train_classifier
from jaxgan.metrics.frechet import frechet_distance

NEW = (8, 9)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=500, help="images of the two classes (default: 500)")
    parser.add_argument("--num-steps", type=int, default=1000, help="steps on the two classes (default: 1000)")
    parser.add_argument("--num-seeds", type=int, default=3, help="seeds of each row (default: 3)")
    parser.add_argument("--freeze-d", type=int, nargs="*", default=[1, 2], help="stages to freeze (default: 1 2)")
    parser.add_argument("--data-dir", help="folder of prepared data sets")
    parser.add_argument("--runs", default="runs/fine_tuning", help="folder for data and runs (default: %(default)s)")
    arguments = parser.parse_args(argv)

    folder = Path(arguments.runs)
    folder.mkdir(parents=True, exist_ok=True)
    train, test = (
        images("fashion_mnist", split, data_dir=arguments.data_dir, image_size=32) for split in ("train", "test")
    )
    new = np.isin(train["label"], NEW)
    chosen = np.flatnonzero(new)[: arguments.num_images]
    for name, rows in (("eight", np.flatnonzero(~new)), ("two", chosen)):
        np.savez(folder / f"{name}.npz", image=train["image"][rows])
    classifier = train_classifier(train["image"], train["label"])
    real = classifier.features(test["image"][np.isin(test["label"], NEW)])

    trained(folder / "eight", "--dataset", folder / "eight.npz")
    rows = {"from scratch": [], "--init-from": ["--init-from", folder / "eight"]}
    rows |= {f"--init-from, --freeze-d {n}": [*rows["--init-from"], "--freeze-d", n] for n in arguments.freeze_d}
    print("| start | Frechet, mean | standard deviation | worst |\n|---|---|---|---|")
    for name, flags in rows.items():
        distances = []
        for seed in range(arguments.num_seeds):
            run = folder / f"{name.replace(' ', '_').replace(',', '')}-{arguments.num_steps}-{seed}"
            length = ["--num-steps", arguments.num_steps, "--seed", seed]
            trained(run, "--dataset", folder / "two.npz", *length, *flags)
            fake = restore(run).sample(seed, count=2000)
            distances.append(frechet_distance(real, classifier.features(fake)))
        spread = statistics.stdev(distances) if len(distances) > 1 else 0.0
        print(f"| {name} | {statistics.mean(distances):.2f} | {spread:.2f} | {max(distances):.2f} |", flush=True)


def trained(run: Path, *flags: object) -> None:
    command = [sys.executable, "-m", "experiments.gan", "--workdir", run, *flags]
    done = subprocess.run([str(word) for word in command], check=False, stdout=subprocess.DEVNULL)
    if done.returncode:  # the command has said why
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
