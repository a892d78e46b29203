"""A finished run, opened from its folder: its configuration, its experiment and its state."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan.checkpoint import Checkpoints
from jaxgan.config import RunConfig, load_config
from jaxgan.types import GAN, Batches


class Run(NamedTuple):
    """What `open_run` found.

    Attributes:
      folder: the run folder.
      experiment: the module that made it.
      config: its configuration.
      gan: built from the configuration.
      batches: its training data.
      state: the checkpoint.
      step: the checkpoint's step.
    """

    folder: Path
    experiment: ModuleType
    config: Any
    gan: GAN
    batches: Batches
    state: Any
    step: int

    def sample(self, inputs: Mapping[str, Any], *, live: bool = False, at_once: int = 250) -> dict[str, np.ndarray]:
        """The outputs of `gan.sample`, for any number of inputs.

        Args:
          inputs: arrays by name, one row a sample.
          live: whether to use the weights as they were trained last, not their moving average.
          at_once: rows computed together.

        Returns:
          Outputs by name, on the host.
        """
        state = self.state
        if live and state.ema_params is not None:
            state = state.replace(ema_params=state.generator.params, ema_model_state=state.generator.model_state)
        count = len(next(iter(inputs.values())))
        parts = [
            jax.device_get(self.gan.sample(state, {name: rows[i : i + at_once] for name, rows in inputs.items()}))
            for i in range(0, count, at_once)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def open_run(
    folder: str | os.PathLike[str], experiments: Mapping[str, ModuleType], *, checkpoint: int | str = "last"
) -> Run:
    """Opens a run folder and reads one of its checkpoints, whatever devices it was written on.

    Args:
      folder: the run folder.
      experiments: the modules a run may come from, by name. `config.json` is data: it chooses among these and names
        no code of its own.
      checkpoint: 'best', 'last' or a step.

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
    with Checkpoints(folder / "checkpoints", best=config.best, best_mode=config.best_mode) as checkpoints:
        step = checkpoints.resolve(checkpoint)
        gan, batches = experiment.build(config), experiment.batches(config)
        abstract = jax.eval_shape(gan.init, jax.random.key(0), batches(0)[0])
        state = checkpoints.restore(step, abstract)
    return Run(folder, experiment, config, gan, batches, state, step)


def _config(config_class: Any, values: Mapping[str, Any], folder: Path) -> RunConfig:
    known = {field.name for field in dataclasses.fields(config_class)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{folder / 'config.json'} has fields this version does not know: {', '.join(unknown)}")
    return config_class(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
