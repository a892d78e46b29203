"""Scores a finished run: how many of its samples a classifier is sure of, whether they cover the data, and whether
they are copies of what the discriminator was shown.

python -m experiments.evaluate --run runs/gan
"""

from dataclasses import dataclass

import jax
import numpy as np

from experiments.sample import EXPERIMENTS
from jaxgan import cli
from jaxgan.data.sources import images
from jaxgan.metrics.features import train_classifier
from jaxgan.metrics.modes import confident_classes
from jaxgan.metrics.neighbours import nearest_distances
from jaxgan.metrics.precision_recall import density_coverage
from jaxgan.pixels import to_uint8
from jaxgan.run import open_run


@dataclass(frozen=True, kw_only=True)
class Config:
    run: str  # run folder
    checkpoint: str = "last"  # best, last or a step
    num_samples: int = 1000  # how many samples
    seed: int = 0  # of the samples
    train_split: str = "train"  # images to train the classifier on, whatever the run was trained on
    test_split: str = "test"  # images to measure it, and the cover, by
    threshold: float = 0.9  # the classifier is sure above this probability


def main(config: Config) -> dict[str, float]:
    if config.num_samples < 1:
        raise ValueError(f"num_samples={config.num_samples} must be at least 1")
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    options = {name: getattr(run.config, name) for name in ("data_dir", "image_size", "channels")}
    train, test, shown = (
        {name: to_uint8(field) if field.dtype == np.float32 else field for name, field in data.items()}
        for data in (
            images(run.config.dataset, split, **options)
            for split in (config.train_split, config.test_split, run.config.split)
        )
    )
    if "label" not in train or "label" not in test:
        raise ValueError(f"data set {run.config.dataset} has no labels to train a classifier with")
    predict = train_classifier(train["image"], train["label"])

    latents = jax.random.normal(jax.random.key(config.seed), (config.num_samples, run.config.latent_dim))
    samples = to_uint8(run.sample({"latents": latents})["samples"])

    real, generated = predict(test["image"]), predict(samples)
    accuracy = float((real.argmax(axis=1) == test["label"]).mean())
    scores = confident_classes(generated, config.threshold)
    some = slice(0, 1000)
    unseen = np.median(nearest_distances(test["image"][some], shown["image"]))
    scores["nearest"] = float(np.median(nearest_distances(samples[some], shown["image"])) / unseen)
    scores["coverage"] = density_coverage(test["image"][some], samples)["coverage"]
    averaged = run.state.ema_params is not None
    print(f"run         {run.folder} at step {run.step}, {'averaged' if averaged else 'live'} weights")
    print(f"classifier  {accuracy:.1%} of {len(real)} test images right")
    print(f"real        sure of {confident_classes(real, config.threshold)['confident']:.1%} of them")
    print(f"samples     sure of {scores['confident']:.1%} of {len(samples)}")
    print("classes     " + "  ".join(f"{k}: {share:.1%}" for k, share in scores.items() if k.startswith("class_")))
    print(f"nearest     training image at {scores['nearest']:.2f} of its distance from unseen real images (median)")
    print(f"coverage    {scores['coverage']:.1%} of {len(test['image'][some])} test images")
    return {"accuracy": accuracy, **scores}


if __name__ == "__main__":
    cli.run(Config, main)
