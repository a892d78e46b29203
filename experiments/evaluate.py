"""Scores a finished run. Which scores there are depends on what it does: see `jaxgan.evaluation`.

    python -m experiments.evaluate --run runs/gan
    python -m experiments.evaluate --run runs/gan --checkpoint best --against runs/wgan_gp

Scores are added to `RUN/scores.jsonl`, with how they were made; those of two runs are compared only if they were made
alike.
"""

import dataclasses
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experiments import sample, translate
from jaxgan import cli
from jaxgan.evaluation import Evaluation, caption_evaluation, image_evaluation, translation_evaluation
from jaxgan.metrics.frechet import bias_warning
from jaxgan.metrics.protocol import Stamp, check_comparable
from jaxgan.run import Run, open_run

EXPERIMENTS = sample.EXPERIMENTS | translate.EXPERIMENTS


@dataclass(frozen=True, kw_only=True)
class Config:
    run: str  # run folder
    checkpoint: str = "last"  # best, last or a step
    num_samples: int = 1000  # how many samples, captions or pictures to translate, of each kind
    seed: int = 0  # of the samples
    train_split: str = "train"  # images to train the classifier on, whatever the run was trained on
    test_split: str = "test"  # images to compare the samples with
    against: str | None = None  # another run that was evaluated in the same way, to print its scores beside


def main(config: Config) -> dict[str, float]:
    if config.num_samples < 2:
        raise ValueError(f"num_samples={config.num_samples} must be at least 2")
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    evaluation = _evaluation(run, config)
    averaged = run.state.ema_params is not None
    stamp = Stamp(**evaluation.protocol, averaged=averaged, step=run.step)
    others = _scores_of(Path(config.against), stamp) if config.against else {}
    scores = evaluation.scores(run.sample)
    with (run.folder / "scores.jsonl").open("a") as file:
        file.write(json.dumps({"scores": scores, "stamp": dataclasses.asdict(stamp)}) + "\n")

    print(f"run         {run.folder} at step {run.step}, {'averaged' if averaged else 'live'} weights")
    made = f"{stamp.fake_count} against {stamp.real_count} of {stamp.dataset} {stamp.split}"
    print(f"scores      {made}, features: {stamp.features}, {stamp.image_size} pixels, as bytes")
    if "classifier_frechet" in scores and (warning := bias_warning(stamp.real_count, stamp.fake_count, 128)):
        print(f"            {warning}")
    for name, value in scores.items():
        beside = f"   {others[name]:10.4f}" if name in others else ""
        print(f"{name:42} {value:10.4f}{beside}")
    return scores


def _evaluation(run: Run, config: Config) -> Evaluation:
    if run.experiment in translate.EXPERIMENTS.values():
        return translation_evaluation(run.config, most=config.num_samples)
    options: dict[str, Any] = {"num_samples": config.num_samples, "seed": config.seed}
    if run.experiment in sample.WITH_PROMPTS:
        words = sample.vocabulary(run)
        return caption_evaluation(run.config, partial(words.encode, max_len=run.config.max_words), **options)
    return image_evaluation(run.config, train_split=config.train_split, test_split=config.test_split, **options)


def _scores_of(folder: Path, stamp: Stamp) -> dict[str, float]:
    """The last scores of another run, if they were made as this stamp says."""
    try:
        record = json.loads((folder / "scores.jsonl").read_text().splitlines()[-1])
        scores, made = dict(record["scores"]), Stamp(**record["stamp"])
    except (OSError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} has no scores to compare with: evaluate it first ({error})") from None
    check_comparable(stamp, made)
    return scores


if __name__ == "__main__":
    cli.run(Config, main)
