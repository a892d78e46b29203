"""Scores a finished run: how many of its samples a classifier, trained on the run's data set, is sure of.

python -m experiments.evaluate --run runs/gan
"""

from dataclasses import dataclass

import jax

from experiments.sample import EXPERIMENTS
from jaxgan import cli
from jaxgan.data.sources import images
from jaxgan.metrics.features import train_classifier
from jaxgan.metrics.modes import confident_classes
from jaxgan.pixels import to_uint8
from jaxgan.run import open_run


@dataclass(frozen=True, kw_only=True)
class Config:
    run: str  # run folder
    checkpoint: str = "last"  # best, last or a step
    num_samples: int = 1000  # how many samples
    seed: int = 0  # of the samples
    test_split: str = "test"  # images to measure the classifier by; it is trained on the run's own split
    threshold: float = 0.9  # the classifier is sure above this probability


def main(config: Config) -> dict[str, float]:
    if config.num_samples < 1:
        raise ValueError(f"num_samples={config.num_samples} must be at least 1")
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    shape = {name: getattr(run.config, name) for name in ("data_dir", "image_size", "channels")}
    train, test = (images(run.config.dataset, split, **shape) for split in (run.config.split, config.test_split))
    if "label" not in train:
        raise ValueError(f"data set {run.config.dataset} has no labels to train a classifier on")
    predict = train_classifier(train["image"], train["label"])

    latents = jax.random.normal(jax.random.key(config.seed), (config.num_samples, run.config.latent_dim))
    samples = to_uint8(run.sample({"latents": latents})["samples"])

    real, generated = predict(test["image"]), predict(samples)
    accuracy = float((real.argmax(axis=1) == test["label"]).mean())
    scores = confident_classes(generated, config.threshold)
    print(f"run         {run.folder} at step {run.step}, {'averaged' if run.config.ema_decay else 'live'} weights")
    print(f"classifier  {accuracy:.1%} of {len(real)} test images right")
    print(f"real        sure of {confident_classes(real, config.threshold)['confident']:.1%} of them")
    print(f"samples     sure of {scores['confident']:.1%} of {len(samples)}")
    print("classes     " + "  ".join(f"{name}: {share:.1%}" for name, share in scores.items() if name != "confident"))
    return {"accuracy": accuracy, **scores}


if __name__ == "__main__":
    cli.run(Config, main)
