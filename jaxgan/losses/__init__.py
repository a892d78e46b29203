"""Losses: pure functions of the discriminator's scores, and three of images, for translation.

Scores are raw outputs of the discriminator, before any sigmoid. They may have any shape (`[B]`, `[B, 1]`, PatchGAN
scores `[B, H, W, 1]`). Real and fake scores are averaged separately, so their counts may differ. Every loss is
minimised, and is a scalar in at least float32, whatever dtype the network ran in.

To train with one, differentiate it with respect to a network's parameters. To choose one by name, see `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from jax import Array

from jaxgan.losses.adversarial import (
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    relativistic_average_discriminator_loss,
    relativistic_average_generator_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    wasserstein_discriminator_loss,
    wasserstein_estimate,
    wasserstein_generator_loss,
)
from jaxgan.losses.auxiliary import (
    cycle_consistency_loss,
    identity_loss,
    l1_loss,
    matching_aware_discriminator_loss,
    mode_seeking_loss,
)
from jaxgan.types import AdversarialLoss

__all__ = [
    "LOSSES",
    "cycle_consistency_loss",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "identity_loss",
    "l1_loss",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "matching_aware_discriminator_loss",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
    "mode_seeking_loss",
    "non_saturating_generator_loss",
    "relativistic_average_discriminator_loss",
    "relativistic_average_generator_loss",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
    "wasserstein_discriminator_loss",
    "wasserstein_estimate",
    "wasserstein_generator_loss",
]


def _of_fake(generator_loss: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda real_scores, fake_scores: generator_loss(fake_scores)


LossName = Literal[
    "minimax", "non_saturating", "least_squares", "hinge", "wasserstein", "relativistic", "relativistic_average"
]

LOSSES: Mapping[str, AdversarialLoss] = MappingProxyType(
    {
        "minimax": AdversarialLoss(minimax_discriminator_loss, _of_fake(minimax_generator_loss)),
        "non_saturating": AdversarialLoss(minimax_discriminator_loss, _of_fake(non_saturating_generator_loss)),
        "least_squares": AdversarialLoss(least_squares_discriminator_loss, _of_fake(least_squares_generator_loss)),
        "hinge": AdversarialLoss(hinge_discriminator_loss, _of_fake(hinge_generator_loss)),
        "wasserstein": AdversarialLoss(
            wasserstein_discriminator_loss,
            _of_fake(wasserstein_generator_loss),
            lambda real_scores, fake_scores: {"wasserstein_estimate": wasserstein_estimate(real_scores, fake_scores)},
        ),
        "relativistic": AdversarialLoss(relativistic_discriminator_loss, relativistic_generator_loss),
        "relativistic_average": AdversarialLoss(
            relativistic_average_discriminator_loss, relativistic_average_generator_loss
        ),
    }
)
"""The losses of both networks by name, with the default settings of the functions above.

For other settings make a pair: `AdversarialLoss(partial(minimax_discriminator_loss, label_smoothing=0.1), ...)`.
"""
