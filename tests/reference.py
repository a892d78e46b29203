"""The papers' formulas in NumPy float64, written from the papers and not from the code that they check.

They are as naive as the papers print them, so they hold for moderate scores only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def sigmoid(scores):
    return 1.0 / (1.0 + np.exp(-np.asarray(scores, np.float64)))


# --- adversarial losses: (real_scores, fake_scores) -> what each player minimises ---


def minimax_discriminator(real, fake, *, real_target=1.0):
    """Goodfellow et al. 2014, equation 1, and Salimans et al. 2016, section 3.4, for the smoothed target."""
    d_real, d_fake = sigmoid(real), sigmoid(fake)
    cross_entropy = real_target * np.log(d_real) + (1.0 - real_target) * np.log(1.0 - d_real)
    return -np.mean(cross_entropy) - np.mean(np.log(1.0 - d_fake))


def minimax_generator(real, fake):
    """Goodfellow et al. 2014, equation 1, the generator's side."""
    return np.mean(np.log(1.0 - sigmoid(fake)))


def non_saturating_generator(real, fake):
    """Goodfellow et al. 2014, end of section 3: maximise log D(G(z))."""
    return -np.mean(np.log(sigmoid(fake)))


def least_squares_discriminator(real, fake, *, a=0.0, b=1.0):
    """Mao et al. 2016, equation 2, twice."""
    return 2.0 * (0.5 * np.mean((np.float64(real) - b) ** 2) + 0.5 * np.mean((np.float64(fake) - a) ** 2))


def least_squares_generator(real, fake, *, c=1.0):
    """Mao et al. 2016, equation 2, twice."""
    return 2.0 * 0.5 * np.mean((np.float64(fake) - c) ** 2)


def hinge_discriminator(real, fake):
    """Miyato et al. 2018, equation 16: E[min(0, -1 + D(x))] + E[min(0, -1 - D(G(z)))], maximised."""
    return -np.mean(np.minimum(0.0, -1.0 + np.float64(real))) - np.mean(np.minimum(0.0, -1.0 - np.float64(fake)))


def hinge_generator(real, fake):
    """Miyato et al. 2018, equation 17."""
    return -np.mean(np.float64(fake))


def wasserstein_discriminator(real, fake):
    """Arjovsky et al. 2017, equation 3, maximised."""
    return -(np.mean(np.float64(real)) - np.mean(np.float64(fake)))


def wasserstein_generator(real, fake):
    """Arjovsky et al. 2017, algorithm 1, line 10."""
    return -np.mean(np.float64(fake))


def relativistic_discriminator(real, fake):
    """Jolicoeur-Martineau 2018 (RSGAN)."""
    return -np.mean(np.log(sigmoid(np.float64(real) - np.float64(fake))))


def relativistic_generator(real, fake):
    return -np.mean(np.log(sigmoid(np.float64(fake) - np.float64(real))))


def relativistic_average_discriminator(real, fake):
    """Jolicoeur-Martineau 2018 (RaSGAN), divided by 2 as the author's code does."""
    real_is_real = sigmoid(np.float64(real) - np.mean(np.float64(fake)))
    fake_is_real = sigmoid(np.float64(fake) - np.mean(np.float64(real)))
    return (-np.mean(np.log(real_is_real)) - np.mean(np.log(1.0 - fake_is_real))) / 2.0


def relativistic_average_generator(real, fake):
    real_is_real = sigmoid(np.float64(real) - np.mean(np.float64(fake)))
    fake_is_real = sigmoid(np.float64(fake) - np.mean(np.float64(real)))
    return (-np.mean(np.log(fake_is_real)) - np.mean(np.log(1.0 - real_is_real))) / 2.0


ADVERSARIAL: Mapping[str, tuple[Callable, Callable]] = {
    "minimax": (minimax_discriminator, minimax_generator),
    "non_saturating": (minimax_discriminator, non_saturating_generator),
    "least_squares": (least_squares_discriminator, least_squares_generator),
    "hinge": (hinge_discriminator, hinge_generator),
    "wasserstein": (wasserstein_discriminator, wasserstein_generator),
    "relativistic": (relativistic_discriminator, relativistic_generator),
    "relativistic_average": (relativistic_average_discriminator, relativistic_average_generator),
}


# --- penalties, for a critic whose gradient is known: `slope(x)` maps one sample to its gradient ---


def gradient_penalty(slope, real, fake, alpha, *, target=1.0, one_sided=False):
    """Gulrajani et al. 2017, algorithm 1, one sample at a time; one-sided as in Petzka et al. 2017."""
    terms = []
    for x, x_generated, epsilon in zip(
        np.asarray(real, np.float64), np.asarray(fake, np.float64), np.ravel(alpha), strict=True
    ):
        # The paper's epsilon weighs the real sample, our alpha the generated one.
        norm = np.linalg.norm(np.ravel(slope((1.0 - epsilon) * x + epsilon * x_generated)))
        terms.append(max(0.0, norm - target) ** 2 if one_sided else (norm - target) ** 2)
    return np.mean(terms)


def zero_centred_penalty(slope, samples):
    """Mescheder et al. 2018, equation 9 (R1, at real samples) and 10 (R2, at generated ones), with gamma = 1."""
    return 0.5 * np.mean([np.sum(np.square(slope(x))) for x in np.asarray(samples, np.float64)])


def dragan_penalty(slope, real, uniform_noise, alpha):
    """The authors' notebook: perturb by .5 std U[0, 1], then penalise between the two."""
    perturbed = real + 0.5 * np.std(real) * uniform_noise
    return gradient_penalty(slope, real, perturbed, alpha)
