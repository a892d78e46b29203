"""Generative adversarial networks as pure functions in JAX.

The map, for use in other projects:

  losses, penalties    pure functions of scores and of a critic
  divergences, augment f-divergences and their losses; what the discriminator sees, changed at random
  optim                clipped weights, schedules, moving average
  make_gan             two networks, a loss, two optimizers -> a GAN: init, d_step, g_step, train_step, sample
  make_text_gan        the same with sentences to draw, make_cyclegan with two domains to translate between
  from_linen           a Flax module -> the Network that make_gan takes
  types                what a network, a loss, a penalty and a GAN are

Networks are in `jaxgan.networks`, data in `jaxgan.data`. `jaxgan.training.loop.fit` trains a GAN with logs and
checkpoints.
"""

from jaxgan import augment, divergences, losses, optim, penalties, types
from jaxgan.algorithms.cyclegan import make_cyclegan
from jaxgan.algorithms.gan import make_gan
from jaxgan.algorithms.state import GANState, TrainState, gradient_step
from jaxgan.algorithms.text_gan import make_text_gan
from jaxgan.divergences import f_gan_loss
from jaxgan.losses import LOSSES
from jaxgan.networks.linen import from_linen
from jaxgan.types import GAN, AdversarialLoss, Network

__version__ = "0.1.0"

__all__ = [
    "GAN",
    "LOSSES",
    "AdversarialLoss",
    "GANState",
    "Network",
    "TrainState",
    "__version__",
    "augment",
    "divergences",
    "f_gan_loss",
    "from_linen",
    "gradient_step",
    "losses",
    "make_cyclegan",
    "make_gan",
    "make_text_gan",
    "optim",
    "penalties",
    "types",
]
