"""Computes the scores of a finished run, or of one folder of images against another. The scores depend on the kind of
run: see docs/evaluation.md.

    python -m experiments.evaluate --run runs/gan
    python -m experiments.evaluate --run runs/gan --checkpoint best --against runs/wgan_gp
    python -m experiments.evaluate --run runs/gan --features inception
    python -m experiments.evaluate --run runs/gan-dataset=stacked:mnist_5k-channels=3 --num-samples 25600
    python -m experiments.evaluate --pictures MINE --reference PHOTOS --features pixels

Scores of a run are appended to `RUN/scores.jsonl`, together with all settings they depend on. Two runs are compared
only if these settings are equal.
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
    pictures: PathName | None = None  # folder of images to score, instead of --run
    reference: PathName | None = None  # folder of reference images for --pictures
    checkpoint: str = "last"  # checkpoint to load: best, last or a step
    dataset: str | None = None  # data set of the run, if it was moved since training
    data_dir: PathName | None = None  # folder of prepared data sets; by default the one recorded in training
    # number of samples to generate, captions to use or images to translate; by default 1,000, and at least 6 for
    # nearest-neighbour scores; with --pictures the number of images of each folder, by default all
    num_samples: Annotated[int, Range(2, 10**6)] | None = None
    seed: Seed = 0  # random seed of the samples' latents
    train_split: str = "train"  # split of the data set to train the classifier on, independent of the run's split
    # split of the data set to compare the samples with; for translations of one data set without the A and B of its
    # splits
    test_split: str = "test"
    # feature extractor: a classifier trained on the data set's labels (the default for runs), the FID Inception network
    # (the default for --pictures), or raw pixels (only for --pictures)
    features: Literal["classifier", "inception", "pixels"] | None = None
    # resizing to Inception's input size: antialiased as in clean-fid, or legacy as in the FID code of 2017
    resizer: Literal["antialiased", "legacy"] = "antialiased"
    # path of pt_inception-2015-12-05-6726825d.pth; by default the cached file, downloaded if missing
    inception_weights: PathName | None = None
    # with --pictures, center-crop and resize images to this many pixels; by default the shorter side of the first
    # reference image
    image_size: Pixels | None = None
    # run folder or file of scores to print beside the new scores; must have been computed with the same settings
    against: PathName | None = None
    # file to append the scores to, new or with scores only; by default scores.jsonl in the run folder
    output: PathName | None = None


def main(config: Config) -> dict[str, float]:
    if (config.run is None) == (config.pictures is None) or (config.pictures is None) != (config.reference is None):
        raise ValueError("give --run FOLDER, or --pictures FOLDER and --reference FOLDER")
    if config.output is not None:
        _line_break(Path(config.output))
    against = None if config.against is None else _read_scores(Path(config.against))
    if config.pictures is not None and config.reference is not None:
        return _score_folder(config, config.pictures, config.reference, against)
    data = {"dataset": config.dataset, "data_dir": config.data_dir}
    run = open_run(config.run or "", EXPERIMENTS, checkpoint=config.checkpoint, data=data)
    file = Path(config.output) if config.output else Path(run.folder) / "scores.jsonl"
    inside = None if config.output else Path(run.folder)
    _line_break(file, inside)
    # There may be fewer captions or images to translate than requested.
    _check_count(against, config.num_samples or NUM_SAMPLES, exact=_draws_images(run))
    evaluation = _evaluation(run, config)
    averaged = run.state.ema_params is not None
    stamp = Stamp(**evaluation.protocol, averaged=averaged, step=run.step)
    _comparable(against, stamp)  # before the scores are computed
    with drawn_by(f"checkpoint {run.step} of {run.folder}"):
        scores = evaluation.scores(run.outputs)
    title = f"run         {run.folder} at step {run.step}, {'EMA' if averaged else 'raw'} weights"
    _keep_and_print(
        title, scores, stamp, file=file, inside=inside, against=against, num_features=evaluation.num_features
    )
    return scores


def _score_folder(config: Config, images: str, reference: str, against: "_Record | None") -> dict[str, float]:
    features = config.features or "inception"
    if features == "classifier":
        raise ValueError("there is no classifier for two folders: give --features inception or pixels")
    if against is not None:
        there = len(image_files(images))
        _check_count(against, min(there, config.num_samples or there), exact=features == "inception")
    scores, stamp = compare_folders(
        images,
        reference,
        features=features,
        num_samples=config.num_samples,
        image_size=config.image_size,
        resizer=config.resizer,
        inception_weights=config.inception_weights,
    )
    _keep_and_print(
        f"images      {images}",
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
        raise ValueError(f"features={features!r} is not available for {run.folder}, a run of {run.config.experiment}")
    number = config.num_samples or NUM_SAMPLES
    if run.experiment in translate.EXPERIMENTS.values():
        return translation_evaluation(run.config, split=config.test_split, most=number)
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
    """The text to write before a new line of scores: a line break if the last line has none, otherwise nothing.

    Raises:
      ValueError: the file cannot be written, or contains anything but scores.
    """
    was_there = file.exists()
    try:
        files.open_to_append(file, inside=inside).close()
    except OSError as error:
        raise ValueError(f"scores cannot be appended to {file} ({error.strerror}): give --output FILE") from None
    if not was_there:
        file.unlink()
        return ""
    text = ""
    try:
        for number, line in enumerate((text := files.read_text(file)).splitlines(), 1):
            record = json.loads(line)
            if not isinstance(record, dict) or not {"scores", "stamp"} <= record.keys():
                raise ValueError(f'line {number} is not an object with "scores" and "stamp"')
    except (OSError, ValueError, RecursionError) as error:
        invalid = isinstance(error, json.JSONDecodeError | RecursionError)
        reason = f"line {number} is not valid JSON" if invalid else error
        raise ValueError(f"{file} is not a file of scores ({reason}): give another --output") from None
    return "" if text.endswith("\n") or not text else "\n"


def _check_count(record: "_Record | None", number: int, *, exact: bool) -> None:
    """Checks that a record has the same number of samples, or at most that number unless `exact`."""
    if record is not None and ((count := record[1].fake_count) > number or (exact and count < number)):
        raise ValueError(
            f"scores computed in different ways cannot be compared: fake_count {number} and {count}: use equal "
            f"numbers, such as --num-samples {min(count, number)}"
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
    """Appends scores to a file and prints them beside others; prints them even if appending or comparing fails."""
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
        print(printable(f"scores      {made}, features: {stamp.features}, {stamp.image_size} pixels, uint8"))
        warnings = [bias_warning(stamp.real_count, stamp.fake_count, num_features)]
        if stamp.kernel_subset_size:
            warnings.append(subset_warning(stamp.kernel_subset_size, stamp.real_count, stamp.fake_count))
        for warning in filter(None, warnings):
            print(f"            {warning}")
        for name, value in scores.items():
            beside = f"   {_readable(others[name])}" if name in others else ""
            print(f"{name:42} {_readable(value)}{beside}")


def _readable(value: float) -> str:
    """Four decimals, or four significant digits for small values."""
    return f"{value:10.4f}" if value == 0.0 or abs(value) >= 0.1 else f"{value:10.4g}"


_Record = tuple[Scores, Stamp]


def _read_scores(place: Path) -> _Record:
    """The last scores of a run or file, and their stamp."""
    file = place / "scores.jsonl" if place.is_dir() else place
    try:
        record = records.parse(files.read_text(file).splitlines()[-1])
        if not isinstance(record, dict) or not isinstance(scores := record.get("scores"), dict):
            raise ValueError(f'the last line of {file.name} is not an object with "scores" and "stamp"')
        for name, value in scores.items():
            if type(value) not in (int, float) and value not in ("inf", "-inf"):
                raise ValueError(f"the score {name} is {str(value)[:40]!r}, not a number")
        return {name: float(value) for name, value in scores.items()}, read_stamp(record.get("stamp"))
    except (OSError, IndexError, ValueError, OverflowError) as error:
        reason = "it is empty" if isinstance(error, IndexError) else error
        raise ValueError(
            f"{place} has no scores to compare with ({reason}): evaluate it first, with this version"
        ) from None


def _comparable(record: _Record | None, stamp: Stamp) -> Scores:
    """The scores of a record, if they were computed with the settings of this stamp."""
    if record is None:
        return {}
    _check_count(record, stamp.fake_count, exact=True)
    check_comparable(stamp, record[1])
    return record[0]


if __name__ == "__main__":
    cli.run(Config, main)
