"""Opens a run folder: configuration, experiment, trained state, and samples."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgan import pixels
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.data.classes import find_label
from jaxgan.data.trust import check_trusted_paths
from jaxgan.data.vocabulary import Vocabulary
from jaxgan.devices.sharding import batched
from jaxgan.files import expanded
from jaxgan.runs.config import RunConfig, class_names, load_config
from jaxgan.runs.flags import Count, Seed, check
from jaxgan.types import GAN

VOCABULARY = "vocabulary.json"
TEXT_ENCODER = "text_encoder.json"
"""File in the folder of a run with texts: the words that have token ids."""


class Run(NamedTuple):
    """A run opened by `restore` or `open_run`.

    Attributes:
      folder: the run folder.
      experiment: the module of its experiment; None for a GAN of one's own.
      config: its configuration.
      gan: the GAN.
      batch: shapes and dtypes of a batch; the data set is not read.
      state: the state in the checkpoint.
      step: the checkpoint's step.
    """

    folder: Path
    experiment: ModuleType | None
    config: Any
    gan: GAN
    batch: Mapping[str, jax.ShapeDtypeStruct]
    state: Any
    step: int

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.config.experiment}, step {self.step})"

    def sample(
        self,
        seed: int | ArrayLike = 0,
        *,
        count: int | None = None,
        label: int | str | Sequence[int | str] | None = None,
        prompt: str | Sequence[str] | ArrayLike | None = None,
        raw: bool = False,
    ) -> np.ndarray:
        """Samples of the generator.

        Args:
          seed: a random seed, or latents `[N, latent_dim]`, which are standard normal in training.
          count: number of samples N from a seed; by default one for each label or prompt if several are given, else 16.
          label: for runs with classes: a name or number for all samples, or one for each; by default 0, 1, 2, ...
          prompt: for runs with texts: a text for all samples, or one for each. Unknown words are warned of. For runs on
            embeddings of texts: one for all samples, `[E]`, or one for each, `[N, E]`.
          raw: whether to use the raw weights instead of the EMA weights.

        Returns:
          Images uint8 `[N, H, W, C]`; other samples, such as points, as they are, float32.

        Raises:
          ValueError: a run that does not sample from latents, latents, labels or prompts that do not fit it, or samples
            that are not finite.
        """
        expected = jax.eval_shape(self.gan.preview, jax.random.key(0), self.batch)
        if "latents" not in expected:
            raise ValueError(f"{self.folder} does not sample from latents: give `outputs` its {', '.join(expected)}")
        for name, given, of in (("label", label, "condition"), ("prompt", prompt, "text")):
            if given is not None and of not in expected:
                raise ValueError(f"{self.folder} was not trained on {name}s")
        embedded = "text" in expected and jnp.issubdtype(expected["text"].dtype, jnp.floating)
        given = label if prompt is None else prompt
        if embedded:
            conditions = list(self._embeddings(given, expected["text"].shape[1]))
        else:
            conditions: list[Any] = [] if given is None else list(np.atleast_1d(np.array(given, object)))
        if given is not None and not conditions:
            raise ValueError(f"{'label' if prompt is None else 'prompt'}={given!r} is empty: give one, or leave it out")
        if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
            raise ValueError("seed is a key of jax.random: give an integer, or latents")
        if np.iscomplexobj(seed):
            raise ValueError("the latents are complex numbers: give real ones")
        size = expected["latents"].shape[1]
        if np.ndim(seed) == 0:
            given_count = (len(conditions) if len(conditions) > 1 else 16) if count is None else count
            if isinstance(given_count, np.integer):
                given_count = int(given_count)
            number = check("count", given_count, Count)
            key = jax.random.key(check("seed", np.asarray(seed).item(), Seed))
            latents = np.asarray(jax.random.normal(key, (number, size)))
        elif count is not None:
            raise ValueError("give latents or count: there is one sample for each row of the latents")
        else:
            latents = np.asarray(seed, np.float32)
        if latents.shape[1:] != (size,) or not len(latents):
            raise ValueError(f"latents {list(latents.shape)}: the generator of {self.folder} takes [N, {size}]")
        if len(conditions) not in (0, 1, len(latents)):
            raise ValueError(
                f"{len(conditions)} labels or prompts for {len(latents)} samples: give one, or one for each"
            )
        inputs = {"latents": latents}
        if "condition" in expected:
            if not jnp.issubdtype(expected["condition"].dtype, jnp.integer):
                raise ValueError(f"the condition of {self.folder} is no label: give `outputs` both inputs")
            inputs["condition"] = np.resize(self._labels(conditions, len(latents)), len(latents))
        if embedded:
            inputs["text"] = np.broadcast_to(np.stack(conditions), (len(latents), len(conditions[0])))
        elif "text" in expected:
            tokens = self._token_ids(conditions, self.batch["text"].shape[1])
            inputs["text"] = np.broadcast_to(tokens, (len(latents), tokens.shape[1]))
        samples = self.outputs(inputs, raw=raw)["samples"]
        return self.to_uint8(samples) if samples.ndim == 4 else samples

    def _labels(self, given: Sequence[int | str], count: int) -> np.ndarray:
        """Labels of names or numbers; without any, one after the other."""
        record = load_config(self.folder)
        classes = class_names(record)
        number = record["config"].get("num_classes") or len(classes or ())
        if not number and (not given or any(isinstance(one, str) for one in given)):  # a GAN of one's own
            raise ValueError(f"the classes of {self.folder} are not recorded: give label a number, or one for each")
        if not number:
            return np.array(given, np.int32)
        labels = given or list(range(min(count, number)))
        # A text is the name of a class, or else its number; a number is never a name.
        for one in labels:
            if isinstance(one, bool) or not isinstance(one, str | int | np.integer):
                raise ValueError(f"label {one!r} is neither the name nor the number of a class")
        find = lambda one: find_label(str(one), classes if isinstance(one, str) else None, number)
        return np.array([find(one) for one in labels], np.int32)

    def _embeddings(self, given: Any, size: int) -> np.ndarray:
        try:
            found = np.atleast_2d(np.asarray(given, np.float32))
        except (TypeError, ValueError):
            found = np.zeros((0, 0))
        if found.ndim != 2 or found.shape[1] != size or not len(found) or not np.isfinite(found).all():
            raise ValueError(
                f"{self.folder} was trained on embeddings of texts: give prompt finite numbers, [{size}] or [N, {size}]"
            )
        return found

    def _token_ids(self, given: Sequence[int | str], max_len: int) -> np.ndarray:
        if not given or not all(isinstance(one, str) for one in given):
            raise ValueError(f"{self.folder} is a text-to-image run: give a prompt, or one for each sample")
        words, texts = Vocabulary.load(self.folder / VOCABULARY), [str(one) for one in given]
        if lost := words.read(texts, max_len=max_len).notice:
            warnings.warn(lost, stacklevel=3)
        return words.encode(texts, max_len=max_len)

    def outputs(self, inputs: Mapping[str, Any], *, raw: bool = False, at_once: int = 250) -> Mapping[str, np.ndarray]:
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


def restore(
    folder: str | os.PathLike[str],
    gan: GAN | None = None,
    batch: Mapping[str, Any] | None = None,
    *,
    checkpoint: int | str = "last",
) -> Run:
    """Reads what `fit` saved in a run folder: `run.state`, `run.config`, and `run.sample(...)` for images.

    Args:
      folder: the run folder.
      gan: the GAN that was trained, with the same networks and optimizers. None for a run of an experiment, whose
        module is found beside this package by the name in `config.json`.
      batch: a batch, of which only shapes and dtypes matter; by default as recorded in `config.json`.
      checkpoint: 'best', 'last' (the newest that is not damaged) or a step.

    Returns:
      The `Run`, its state on JAX's default device.

    Raises:
      ValueError: not a run folder, a run of no experiment without its `gan`, or batches that do not fit the networks.
      ImportError: the experiments are not installed.
      CheckpointError: no such checkpoint, or one of other networks; the message lists the arrays that differ.
    """
    folder = expanded(folder)
    record = load_config(folder)
    if gan is None:
        return open_run(folder, _experiments(folder, record["experiment"]), checkpoint=checkpoint)
    if batch is None and (batch := _batch(record)) is None:
        raise ValueError(f"{folder / 'config.json'} has no shapes of a batch: an early version wrote it")
    shapes = jax.eval_shape(lambda batch: batch, dict(batch))
    names = {field.name for field in dataclasses.fields(RunConfig)}
    config = _config(RunConfig, {name: value for name, value in record["config"].items() if name in names}, folder)
    state, step = _restored(folder, gan, shapes, config, checkpoint)
    return Run(folder, None, config, gan, shapes, state, step)


def _experiments(folder: Path, name: str) -> dict[str, ModuleType]:
    """The module of an experiment by its name. Only those that stand beside this package can be selected."""
    root = Path(__file__).resolve().parents[2] / "experiments"
    names = sorted(path.stem for path in root.glob("[a-z]*.py"))
    if not names:
        raise ImportError(f"the experiments are not installed beside jaxgan: give restore the GAN of {folder}")
    if name not in names:
        raise ValueError(f"{folder} is a run of {name!r}, not of an experiment of jaxgan: give restore its GAN")
    package = importlib.util.find_spec("experiments")
    found = [Path(place).resolve() for place in (package and package.submodule_search_locations) or ()]
    if found != [root]:
        named = ", ".join(map(str, found)) or "nothing"
        raise ImportError(
            f"the name experiments leads to {named}, jaxgan's are in {root}: put {root.parent} first in sys.path"
        )
    module = importlib.import_module(f"experiments.{name}")
    if getattr(getattr(module, "Config", None), "experiment", None) != name:
        raise ValueError(f"{folder} is a run of {name!r}, which trains nothing")
    return {name: module}


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
