"""Opens a run folder: configuration, experiment and trained state."""

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
from jaxgan.devices.sharding import batched
from jaxgan.runs.config import RunConfig, load_config
from jaxgan.types import GAN


class Run(NamedTuple):
    """A run opened by `open_run`.

    Attributes:
      folder: the run folder.
      experiment: the module of its experiment.
      config: its configuration.
      gan: the GAN, built from the configuration.
      batch: shapes and dtypes of a batch; the data set is not read.
      state: the state in the checkpoint.
      step: the checkpoint's step.
    """

    folder: Path
    experiment: ModuleType
    config: Any
    gan: GAN
    batch: Mapping[str, jax.ShapeDtypeStruct]
    state: Any
    step: int

    def sample(self, inputs: Mapping[str, Any], *, raw: bool = False, at_once: int = 250) -> Mapping[str, np.ndarray]:
        """The outputs of `gan.sample`, for any number of inputs.

        Args:
          inputs: arrays by name, one row for each sample.
          raw: whether to use the raw weights instead of the EMA weights.
          at_once: number of rows in a batch.

        Returns:
          Outputs by name, as NumPy arrays.
        """
        state = self.state.replace(ema_params=None, ema_model_state=None) if raw else self.state
        return batched(partial(self.gan.sample, state), at_once=at_once)(inputs)

    def to_uint8(self, images: ArrayLike) -> np.ndarray:
        """`pixels.to_uint8` of images of this run.

        Raises:
          ValueError: the images are not finite; the message names the checkpoint.
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
    """Opens a run folder and reads one of its checkpoints, independently of the devices that wrote it.

    It does not need the training data, unless `config.json` is of an early version without the shapes of a batch.

    Args:
      folder: the run folder.
      experiments: the allowed experiment modules by name. `config.json` is data: it can select one of these, but cannot
        name other code.
      checkpoint: 'best', 'last' or a step.
      data: new values of the fields `dataset`, `dataset_b` and `data_dir`, for data that has moved; None keeps a value.

    Returns:
      The `Run`.

    Raises:
      ValueError: not a run folder, an unknown experiment, or an invalid configuration.
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
    try:
        gan = experiment.build(config)
    except ValueError as error:  # a value that only the networks can check
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    batch = _batch(record)
    if batch is None:
        batch = jax.eval_shape(lambda batch: batch, experiment.batches(config)(0)[0])
    state, step = _restored(folder, gan, batch, config, checkpoint)
    return Run(folder, experiment, config, gan, batch, state, step)


def restore(folder: str | os.PathLike[str], gan: GAN, *, checkpoint: int | str = "last") -> Any:
    """The state that `fit` saved in a run folder, for `gan.sample`, `gan.train_step` and the like.

    Args:
      folder: the run folder.
      gan: the GAN that was trained, with the same networks and optimizers.
      checkpoint: 'best', 'last' (the newest that is not damaged) or a step.

    Returns:
      The state, on JAX's default device.

    Raises:
      ValueError: not a run folder, or its batches do not fit the networks.
      CheckpointError: no such checkpoint, or one of other networks; the message lists the arrays that differ.
    """
    folder = Path(folder)
    record = load_config(folder)
    if (batch := _batch(record)) is None:
        raise ValueError(f"{folder / 'config.json'} has no shapes of a batch: an early version wrote it")
    best = record["config"].get("best")
    return _restored(folder, gan, batch, RunConfig(best=best if isinstance(best, str) else None), checkpoint)[0]


def _batch(record: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct] | None:
    """Shapes and dtypes of a batch, None if config.json is of an early version without them."""
    if "batch" not in record:
        return None
    return {name: jax.ShapeDtypeStruct(field["shape"], field["dtype"]) for name, field in record["batch"].items()}


def _restored(folder: Path, gan: GAN, batch: Any, config: RunConfig, checkpoint: int | str) -> tuple[Any, int]:
    with Checkpoints(folder / "checkpoints", best=config.best, best_mode=config.best_mode) as checkpoints:
        step = checkpoints.resolve(checkpoint)
        try:
            abstract = jax.eval_shape(gan.init, jax.random.key(0), batch)
        except Exception as error:  # networks raise various errors at a wrong shape
            shapes = ", ".join(f"{name} {list(field.shape)}" for name, field in batch.items())
            raise ValueError(
                f"{folder / 'config.json'}: a batch of {shapes} does not fit its networks ({error})"
            ) from None
        # None: the newest that is not damaged.
        state = checkpoints.restore(None if checkpoint == "last" else step, abstract)
        return state, (checkpoints.latest_step() or step) if checkpoint == "last" else step


def _config(config_class: Any, values: Mapping[str, Any], folder: Path) -> RunConfig:
    known = {field.name for field in dataclasses.fields(config_class)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{folder / 'config.json'} has fields this version does not know: {', '.join(unknown)}")
    try:
        return config_class(**values)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
