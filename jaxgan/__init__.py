"""Generative adversarial networks as pure functions in JAX.

A GAN of your own, from networks to a trained state and back from the run folder:

  from_linen, from_nnx            a Flax module, in Linen or NNX -> a Network
  AdversarialLoss, LOSSES, f_gan_loss   the two networks' losses, of your own or by name
  make_gan, make_text_gan, make_cyclegan, make_pix2pix   networks, a loss, optimizers -> a GAN: init, train_step, ...
  DeviceBatches, StreamedBatches  arrays on the device, or examples read as they are needed -> batches
  fit, RunConfig, Stopped         trains with logs, checkpoints, images; how long and where to; how a stop is said
  Writer                          what fit reports metrics and images to, such as a logger of yours
  restore                         a run folder -> the trained state, its configuration, and samples
  GANState, TrainState, gradient_step   for a training step of your own

And the modules of functions to reuse in other JAX code: losses, penalties, divergences, augment, optim, types. Networks
are in `jaxgan.networks`, named data sets in `jaxgan.data`, scores in `jaxgan.metrics`.
"""

from typing import TYPE_CHECKING, Any

from jaxgan import augment, divergences, losses, optim, penalties, types
from jaxgan.algorithms.cyclegan import make_cyclegan
from jaxgan.algorithms.gan import make_gan
from jaxgan.algorithms.pix2pix import make_pix2pix
from jaxgan.algorithms.state import GANState, TrainState, gradient_step
from jaxgan.algorithms.text_gan import make_text_gan
from jaxgan.data.pipeline import DeviceBatches, StreamedBatches
from jaxgan.divergences import f_gan_loss
from jaxgan.losses import LOSSES
from jaxgan.networks.linen import from_linen
from jaxgan.runs.config import RunConfig
from jaxgan.runs.interruption import Stopped
from jaxgan.runs.open_run import restore
from jaxgan.runs.writers import Writer
from jaxgan.training.loop import fit
from jaxgan.types import GAN, AdversarialLoss, Network

if TYPE_CHECKING:
    from jaxgan.networks.nnx import from_nnx

__version__ = "0.1.0"

__all__ = [
    "GAN",
    "LOSSES",
    "AdversarialLoss",
    "DeviceBatches",
    "GANState",
    "Network",
    "RunConfig",
    "Stopped",
    "StreamedBatches",
    "TrainState",
    "Writer",
    "__version__",
    "augment",
    "divergences",
    "f_gan_loss",
    "fit",
    "from_linen",
    "from_nnx",
    "gradient_step",
    "losses",
    "make_cyclegan",
    "make_gan",
    "make_pix2pix",
    "make_text_gan",
    "optim",
    "penalties",
    "restore",
    "types",
]


def __getattr__(name: str) -> Any:
    if name == "from_nnx":  # imports flax.nnx, which takes as long as all of this package
        from jaxgan.networks.nnx import from_nnx

        return from_nnx
    raise AttributeError(f"module 'jaxgan' has no attribute {name!r}")
