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
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from experiments import sample, translate
from jaxgan import files, records
from jaxgan.data.folder import image_files
from jaxgan.evaluation.caption_scores import caption_evaluation
from jaxgan.evaluation.evaluation import Evaluation, Scores
from jaxgan.evaluation.image_folders import compare_folders
from jaxgan.evaluation.image_scores import image_evaluation
from jaxgan.evaluation.translation_scores import translation_evaluation
from jaxgan.messages import printable
from jaxgan.metrics.frechet import bias_warning
from jaxgan.metrics.kernel import subset_warning
from jaxgan.metrics.protocol import Stamp, check_comparable, read_stamp
from jaxgan.pixels import drawn_by
from jaxgan.runs import cli
from jaxgan.runs.flags import Flags, PathName, Pixels, Range, Seed
from jaxgan.runs.open_run import Run, open_run

EXPERIMENTS = sample.EXPERIMENTS | translate.EXPERIMENTS
NUM_SAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    run: PathName | None = None  # run folder
    pictures: PathName | None = None  # folder of pictures to score instead
    reference: PathName | None = None  # folder of the pictures that they should look like
    checkpoint: str = "last"  # best, last or a step
    dataset: str | None = None  # the run's data set, where it lies elsewhere now
    data_dir: PathName | None = None  # where prepared data sets lie, by default where they lay when the run was trained
    # samples, captions or pictures to translate, of each kind, by default 1,000 (6 and more where neighbours are looked
    # for among them); of two folders' pictures, by default all
    num_samples: Annotated[int, Range(2, 10**6)] | None = None
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
    # file to add the scores to, new or of scores alone, by default scores.jsonl in the run folder
    output: PathName | None = None


def main(config: Config) -> dict[str, float]:
    if (config.run is None) == (config.pictures is None) or (config.pictures is None) != (config.reference is None):
        raise ValueError("give --run FOLDER, or --pictures FOLDER and --reference FOLDER")
    if config.output is not None:
        _line_break(Path(config.output))
    against = None if config.against is None else _read_scores(Path(config.against))
    if config.pictures is not None and config.reference is not None:
        return _score_pictures(config, config.pictures, config.reference, against)
    data = {"dataset": config.dataset, "data_dir": config.data_dir}
    run = open_run(config.run or "", EXPERIMENTS, checkpoint=config.checkpoint, data=data)
    file = Path(config.output) if config.output else Path(run.folder) / "scores.jsonl"
    inside = None if config.output else Path(run.folder)
    _line_break(file, inside)
    # Captions and translations may be fewer than asked for.
    _check_count(against, config.num_samples or NUM_SAMPLES, exact=_draws_images(run))
    evaluation = _evaluation(run, config)
    averaged = run.state.ema_params is not None
    stamp = Stamp(**evaluation.protocol, averaged=averaged, step=run.step)
    _comparable(against, stamp)  # before the scores are computed
    with drawn_by(f"checkpoint {run.step} of {run.folder}"):
        scores = evaluation.scores(run.sample)
    title = f"run         {run.folder} at step {run.step}, {'averaged' if averaged else 'live'} weights"
    _keep_and_print(
        title, scores, stamp, file=file, inside=inside, against=against, num_features=evaluation.num_features
    )
    return scores


def _score_pictures(config: Config, pictures: str, reference: str, against: "_Record | None") -> dict[str, float]:
    features = config.features or "inception"
    if features == "classifier":
        raise ValueError("two folders have no classifier: give --features inception or pixels")
    if against is not None:
        there = len(image_files(pictures))
        _check_count(against, min(there, config.num_samples or there), exact=features == "inception")
    scores, stamp = compare_folders(
        pictures,
        reference,
        features=features,
        num_samples=config.num_samples,
        image_size=config.image_size,
        resizer=config.resizer,
        inception_weights=config.inception_weights,
    )
    _keep_and_print(
        f"pictures    {pictures}",
        scores,
        stamp,
        file=Path(config.output) if config.output else None,
        against=against,
        num_features=2048 if features == "inception" else 0,
    )
    return scores


def _draws_images(run: Run) -> bool:
    return run.experiment not in (*translate.EXPERIMENTS.values(), *sample.WITH_PROMPTS)


def _evaluation(run: Run, config: Config) -> Evaluation:
    features = config.features or "classifier"
    if features == "pixels" or (config.features and not _draws_images(run)):
        raise ValueError(f"features={features!r} is not for {run.folder}, a run of {run.config.experiment}")
    number = config.num_samples or NUM_SAMPLES
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


def _line_break(file: Path, inside: Path | None = None) -> str:
    """What has to stand before a line of scores that is added to this file: nothing, or the end of the line before.

    Raises:
      ValueError: the file cannot be written, or holds something else than scores.
    """
    was_there = file.exists()
    try:
        files.open_to_append(file, inside=inside).close()
    except OSError as error:
        raise ValueError(f"scores cannot be added to {file} ({error.strerror}): give --output FILE") from None
    if not was_there:
        file.unlink()
        return ""
    text = ""
    try:
        for number, line in enumerate((text := files.read_text(file)).splitlines(), 1):
            record = json.loads(line)
            if not isinstance(record, dict) or not {"scores", "stamp"} <= record.keys():
                raise ValueError(f'line {number} is no object with "scores" and "stamp"')
    except (OSError, ValueError, RecursionError) as error:
        reason = f"line {number} is no JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else error
        raise ValueError(f"{file} holds something else than scores ({reason}): give another --output") from None
    return "" if text.endswith("\n") or not text else "\n"


def _check_count(record: "_Record | None", number: int, *, exact: bool) -> None:
    """Refuses to compare scores of this number of samples, or if not `exact` of fewer, with those of another."""
    if record is not None and ((count := record[1].fake_count) > number or (exact and count < number)):
        raise ValueError(
            f"scores made in different ways cannot be compared: fake_count {number} and {count}: give both the same, "
            f"as by --num-samples {min(count, number)}"
        )


def _keep_and_print(
    title: str,
    scores: Scores,
    stamp: Stamp,
    *,
    file: Path | None,
    inside: Path | None = None,
    against: "_Record | None",
    num_features: int,
) -> None:
    """Adds scores to a file and prints them beside others; prints them also where one of these fails."""
    others = {}
    try:
        if file is not None:
            kept = {name: value if math.isfinite(value) else str(value) for name, value in scores.items()}
            line = json.dumps({"scores": kept, "stamp": dataclasses.asdict(stamp)})
            files.append(file, f"{_line_break(file, inside)}{line}\n", inside=inside)
        others = _comparable(against, stamp)
    finally:
        print(printable(title))
        made = f"{stamp.fake_count} against {stamp.real_count} of {stamp.dataset} {stamp.split}"
        print(printable(f"scores      {made}, features: {stamp.features}, {stamp.image_size} pixels, as bytes"))
        warnings = [bias_warning(stamp.real_count, stamp.fake_count, num_features)]
        if stamp.kernel_subset_size:
            warnings.append(subset_warning(stamp.kernel_subset_size, stamp.real_count, stamp.fake_count))
        for warning in filter(None, warnings):
            print(f"            {warning}")
        for name, value in scores.items():
            beside = f"   {_readable(others[name])}" if name in others else ""
            print(f"{name:42} {_readable(value)}{beside}")


def _readable(value: float) -> str:
    """Four decimals, or where these say little four digits."""
    return f"{value:10.4f}" if value == 0.0 or abs(value) >= 0.1 else f"{value:10.4g}"


_Record = tuple[Scores, Stamp]


def _read_scores(place: Path) -> _Record:
    """The last scores of another run, or in a file, and how they were made."""
    file = place / "scores.jsonl" if place.is_dir() else place
    try:
        record = records.parse(files.read_text(file).splitlines()[-1])
        if not isinstance(record, dict) or not isinstance(scores := record.get("scores"), dict):
            raise ValueError(f'the last line of {file.name} is no object with "scores" and "stamp"')
        for name, value in scores.items():
            if type(value) not in (int, float) and value not in ("inf", "-inf"):
                raise ValueError(f"the score {name} is {str(value)[:40]!r}, no number")
        return {name: float(value) for name, value in scores.items()}, read_stamp(record.get("stamp"))
    except (OSError, IndexError, ValueError, OverflowError) as error:
        reason = "it is empty" if isinstance(error, IndexError) else error
        raise ValueError(
            f"{place} has no scores to compare with ({reason}): evaluate it first, by this version"
        ) from None


def _comparable(record: _Record | None, stamp: Stamp) -> Scores:
    """The scores of a record, if they were made as this stamp says."""
    if record is None:
        return {}
    _check_count(record, stamp.fake_count, exact=True)
    check_comparable(stamp, record[1])
    return record[0]


if __name__ == "__main__":
    cli.run(Config, main)
