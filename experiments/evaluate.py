"""Scores a finished run, or two folders of pictures. Which scores there are depends on what a run does: see
`jaxgan.evaluation`.

    python -m experiments.evaluate --run runs/gan
    python -m experiments.evaluate --run runs/gan --checkpoint best --against runs/wgan_gp
    python -m experiments.evaluate --run runs/gan --features inception
    python -m experiments.evaluate --run runs/gan-dataset=stacked:mnist_5k-channels=3 --num-samples 25600
    python -m experiments.evaluate --pictures MINE --reference PHOTOS --features pixels

Scores of a run are added to `RUN/scores.jsonl`, with how they were made; those of two runs are compared only if they
were made alike.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from experiments import sample, translate
from jaxgan import cli
from jaxgan.evaluation.base import Evaluation
from jaxgan.evaluation.captions import caption_evaluation
from jaxgan.evaluation.images import image_evaluation
from jaxgan.evaluation.pictures import compare_pictures
from jaxgan.evaluation.translation import translation_evaluation
from jaxgan.flags import Flags, PathName, Pixels, Range, Seed
from jaxgan.metrics.frechet import bias_warning
from jaxgan.metrics.protocol import Stamp, check_comparable
from jaxgan.run import Run, open_run

EXPERIMENTS = sample.EXPERIMENTS | translate.EXPERIMENTS


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    run: PathName | None = None  # run folder
    pictures: PathName | None = None  # folder of pictures to score instead
    reference: PathName | None = None  # folder of the pictures that they should look like
    checkpoint: str = "last"  # best, last or a step
    # samples, captions or pictures to translate, of each kind, by default 1,000; of two folders' pictures, all
    num_samples: Annotated[int, Range(2, 10**7)] | None = None
    seed: Seed = 0  # of the samples
    train_split: str = "train"  # images to train the classifier on, whatever the run was trained on
    test_split: str = "test"  # images to compare the samples with
    # what looks at images: a classifier trained on the data set's labels (the default for a run), the FID Inception
    # network (the default for pictures), or nothing: their pixels alone (of pictures only)
    features: Literal["classifier", "inception", "pixels"] | None = None
    resizer: Literal["antialiased", "legacy"] = "antialiased"  # to Inception's size: as clean-fid, or as FID in 2017
    inception_weights: PathName | None = None  # pt_inception-2015-12-05-6726825d.pth, by default cached or downloaded
    image_size: Pixels | None = None  # pixels that pictures are cut square to, by default as the first reference
    # another run, or a file of scores, made in the same way, to print its scores beside
    against: PathName | None = None
    output: PathName | None = None  # file to add the scores to, by default scores.jsonl in the run folder


def main(config: Config) -> dict[str, float]:
    if (config.run is None) == (config.pictures is None) or (config.pictures is None) != (config.reference is None):
        raise ValueError("give --run FOLDER, or --pictures FOLDER and --reference FOLDER")
    if config.pictures is not None and config.reference is not None:
        return _score_pictures(config, config.pictures, config.reference)
    run = open_run(config.run or "", EXPERIMENTS, checkpoint=config.checkpoint)
    evaluation = _evaluation(run, config)
    averaged = run.state.ema_params is not None
    stamp = Stamp(**evaluation.protocol, averaged=averaged, step=run.step)
    others = _scores_of(Path(config.against), stamp) if config.against else {}
    scores = evaluation.scores(run.sample)
    _save(Path(config.output or run.folder / "scores.jsonl"), scores, stamp)
    print(f"run         {run.folder} at step {run.step}, {'averaged' if averaged else 'live'} weights")
    _print(scores, stamp, others, evaluation.num_features)
    return scores


def _score_pictures(config: Config, pictures: str, reference: str) -> dict[str, float]:
    features = config.features or "inception"
    if features == "classifier":
        raise ValueError("two folders have no classifier: give --features inception or pixels")
    scores, stamp = compare_pictures(
        pictures,
        reference,
        features=features,
        num_samples=config.num_samples,
        image_size=config.image_size,
        resizer=config.resizer,
        inception_weights=config.inception_weights,
    )
    others = _scores_of(Path(config.against), stamp) if config.against else {}
    if config.output:
        _save(Path(config.output), scores, stamp)
    print(f"pictures    {pictures}")
    _print(scores, stamp, others, 2048 if features == "inception" else 0)
    return scores


def _evaluation(run: Run, config: Config) -> Evaluation:
    draws_images = run.experiment not in (*translate.EXPERIMENTS.values(), *sample.WITH_PROMPTS)
    features = config.features or "classifier"
    if features == "pixels" or (config.features and not draws_images):
        raise ValueError(f"features={features!r} is not for {run.folder}, a run of {run.config.experiment}")
    number = config.num_samples or 1000
    if run.experiment in translate.EXPERIMENTS.values():
        return translation_evaluation(run.config, most=number)
    options: dict[str, Any] = {"num_samples": number, "seed": config.seed}
    if run.experiment in sample.WITH_PROMPTS:
        words = sample.vocabulary(run)
        return caption_evaluation(run.config, partial(words.encode, max_len=run.config.max_words), **options)
    return image_evaluation(
        run.config,
        train_split=config.train_split,
        test_split=config.test_split,
        features=features,
        resizer=config.resizer,
        inception_weights=config.inception_weights,
        **options,
    )


def _save(file: Path, scores: Mapping[str, float], stamp: Stamp) -> None:
    with file.open("a") as stream:
        stream.write(json.dumps({"scores": scores, "stamp": dataclasses.asdict(stamp)}) + "\n")


def _print(scores: Mapping[str, float], stamp: Stamp, others: Mapping[str, float], num_features: int) -> None:
    made = f"{stamp.fake_count} against {stamp.real_count} of {stamp.dataset} {stamp.split}"
    print(f"scores      {made}, features: {stamp.features}, {stamp.image_size} pixels, as bytes")
    if warning := bias_warning(stamp.real_count, stamp.fake_count, num_features):
        print(f"            {warning}")
    for name, value in scores.items():
        beside = f"   {others[name]:10.4f}" if name in others else ""
        print(f"{name:42} {value:10.4f}{beside}")


def _scores_of(place: Path, stamp: Stamp) -> dict[str, float]:
    """The last scores of another run, or in a file, if they were made as this stamp says."""
    file = place / "scores.jsonl" if place.is_dir() else place
    try:
        record = json.loads(file.read_text().splitlines()[-1])
        scores, made = dict(record["scores"]), Stamp(**record["stamp"])
    except (OSError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{place} has no scores to compare with: evaluate it first ({error})") from None
    check_comparable(stamp, made)
    return scores


if __name__ == "__main__":
    cli.run(Config, main)
