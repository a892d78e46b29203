"""A finished run, opened from its folder: its configuration, its experiment and its state."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxgan import pixels
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.data.trust import check_trusted_paths
from jaxgan.devices.sharding import in_parts
from jaxgan.runs.config import RunConfig, load_config
from jaxgan.types import GAN


class Run(NamedTuple):
    """What `open_run` found.

    Attributes:
      folder: the run folder.
      experiment: the module that made it.
      config: its configuration.
      gan: built from the configuration.
      batch: shapes and types of a batch, the data set unread.
      state: the checkpoint.
      step: the checkpoint's step.
    """

    folder: Path
    experiment: ModuleType
    config: Any
    gan: GAN
    batch: Mapping[str, jax.ShapeDtypeStruct]
    state: Any
    step: int

    def sample(self, inputs: Mapping[str, Any], *, live: bool = False, at_once: int = 250) -> Mapping[str, np.ndarray]:
        """The outputs of `gan.sample`, for any number of inputs.

        Args:
          inputs: arrays by name, one row a sample.
          live: whether to use the weights as they were trained last, not their moving average.
          at_once: rows computed together.

        Returns:
          Outputs by name, on the host.
        """
        state = self.state.replace(ema_params=None, ema_model_state=None) if live else self.state
        return in_parts(partial(self.gan.sample, state), at_once=at_once)(inputs)

    def to_uint8(self, images: ArrayLike) -> np.ndarray:
        """`pixels.to_uint8` of what this run drew.

        Raises:
          ValueError: they are not finite; the message names the checkpoint.
        """
        try:
            return pixels.to_uint8(images)
        except ValueError as error:
            raise ValueError(f"{self.folder} at step {self.step}: {error}") from None


def open_run(
    folder: str | os.PathLike[str],
    experiments: Mapping[str, ModuleType],
    *,
    checkpoint: int | str = "last",
    data: Mapping[str, str | None] | None = None,
) -> Run:
    """Opens a run folder and reads one of its checkpoints, whatever devices it was written on.

    The data it was trained on need not be there, unless it was written before `config.json` held a batch's shapes.

    Args:
      folder: the run folder.
      experiments: the modules a run may come from, by name. `config.json` is data: it chooses among these and names
        no code of its own.
      checkpoint: 'best', 'last' or a step.
      data: where its data lie now, in place of where they lay: of the fields `dataset`, `dataset_b` and `data_dir`, by
        name, those that are not None.

    Returns:
      The `Run`.

    Raises:
      ValueError: no run folder, an experiment that is not among those, or a configuration it does not know.
      CheckpointError: no such checkpoint.
    """
    folder = Path(folder)
    record = load_config(folder)
    experiment = experiments.get(record.get("experiment", ""))
    if experiment is None:
        raise ValueError(f"{folder} is a run of {record.get('experiment')!r}; known here: {', '.join(experiments)}")
    config = _config(experiment.Config, record["config"], folder)
    moved = {name: value for name, value in (data or {}).items() if value is not None}
    if unknown := sorted(moved.keys() - {field.name for field in dataclasses.fields(config)}):
        raise ValueError(f"{folder} is a run of {config.experiment}, which has no {', '.join(unknown)}")
    config = dataclasses.replace(config, **moved)
    check_trusted_paths(config, folder, given=moved)
    with Checkpoints(folder / "checkpoints", best=config.best, best_mode=config.best_mode) as checkpoints:
        step = checkpoints.resolve(checkpoint)
        gan, batch, abstract = _built(experiment, config, record, folder)
        # The last one is the last that is not damaged.
        state = checkpoints.restore(None if checkpoint == "last" else step, abstract)
        step = (checkpoints.latest_step() or step) if checkpoint == "last" else step
    return Run(folder, experiment, config, gan, batch, state, step)


def _built(experiment: ModuleType, config: Any, record: Mapping[str, Any], folder: Path) -> tuple[GAN, Any, Any]:
    """The GAN, a batch and a state, the latter two abstract."""
    try:
        gan = experiment.build(config)
    except ValueError as error:  # of a value that only the networks know to be wrong
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    if "batch" not in record:
        batch = jax.eval_shape(lambda batch: batch, experiment.batches(config)(0)[0])
    else:
        batch = {name: jax.ShapeDtypeStruct(field["shape"], field["dtype"]) for name, field in record["batch"].items()}
    try:
        return gan, batch, jax.eval_shape(gan.init, jax.random.key(0), batch)
    except Exception as error:  # whatever a network raises at a shape that it was not made for
        shapes = ", ".join(f"{name} {list(field.shape)}" for name, field in batch.items())
        raise ValueError(f"{folder / 'config.json'}: a batch of {shapes} does not fit its networks ({error})") from None


def _config(config_class: Any, values: Mapping[str, Any], folder: Path) -> RunConfig:
    known = {field.name for field in dataclasses.fields(config_class)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{folder / 'config.json'} has fields this version does not know: {', '.join(unknown)}")
    try:
        return config_class(**values)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
