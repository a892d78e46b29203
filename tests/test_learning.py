"""Minutes of training: a text GAN that draws what is said, a CycleGAN that exchanges what it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import optim
from jaxgan.algorithms.cyclegan import make_cyclegan
from jaxgan.algorithms.text_gan import make_text_gan
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.data.vocabulary import Vocabulary
from jaxgan.losses import LOSSES
from jaxgan.networks.conditional import conditional_dcgan_generator
from jaxgan.networks.image_to_image import residual_generator
from jaxgan.networks.patchgan import patch_discriminator
from jaxgan.networks.text_to_image import slot_encoder, text_discriminator
from jaxgan.penalties import r1_penalty

COLOURS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "yellow": (1, 1, -1)}
SIDES = ("left", "right")


def coloured_squares(number):
    """Squares of four colours on either side of a white picture, captions in three wordings, colour and side."""
    random = np.random.default_rng(0)
    truth = np.stack([random.integers(4, size=number), random.integers(2, size=number)], axis=1)
    images, captions = np.ones((number, 32, 32, 3), np.float32), []
    for image, (colour, side) in zip(images, truth, strict=True):
        top, left, size = random.integers(2, 20), random.integers(1, 5) + 16 * side, random.integers(7, 11)
        image[top : top + size, left : left + size] = list(COLOURS.values())[colour]
        name, place = list(COLOURS)[colour], SIDES[side]
        wordings = (
            f"a {name} square on the {place}",
            f"{place}: a square in {name}",
            f"on the {place} a {name} square",
        )
        captions.append(wordings[random.integers(3)])
    return images, captions, truth


def colour_and_side(images):
    """What is in a picture: the colour nearest to the mean of what is not white, and where most of it is."""
    ink = np.maximum(1 - images, 0).sum(axis=3)
    mean = (images * ink[..., None]).sum(axis=(1, 2)) / ink.sum(axis=(1, 2))[:, None]
    distances = np.square(mean[:, None] - np.array(list(COLOURS.values()))).sum(axis=2)
    return np.stack([distances.argmin(axis=1), ink[:, :, 16:].sum((1, 2)) > ink[:, :, :16].sum((1, 2))], axis=1)


@pytest.mark.slow
def test_a_text_gan_learns_to_draw_what_is_said():
    images, captions, truth = coloured_squares(2000)
    assert (colour_and_side(images) == truth).all()
    vocabulary = Vocabulary.of(captions)
    tokens = vocabulary.encode(captions, max_len=8)
    gan = make_text_gan(
        conditional_dcgan_generator(32, channels=3, num_classes=None, width=8),
        text_discriminator(32, width=8),
        encoder=slot_encoder(vocabulary.size, features=64),
        loss=LOSSES["non_saturating"],
        g_tx=optim.adam(2e-3, b1=0.0, b2=0.99),
        d_tx=optim.adam(2e-3, b1=0.0, b2=0.99),
        latent_dim=8,
        mode_seeking_weight=0.01,
        penalty=r1_penalty,
        penalty_weight=0.5,
        ema_decay=0.98,
    )
    batches = DeviceBatches({"image": images, "text": tokens, "meaning": truth @ [2, 1]}, batch_size=32)
    state = gan.init(jax.random.key(0), batches(0)[0])
    for step in range(600):
        state, _ = gan.train_step(state, batches(step))
    draw = lambda key: np.asarray(
        gan.sample(state, {"latents": jax.random.normal(jax.random.key(key), (200, 8)), "text": tokens[:200]})[
            "samples"
        ]
    )
    first, second = draw(1), draw(2)
    right = (colour_and_side(first) == truth[:200]).mean(axis=0)
    assert right.min() > 0.9, right  # chance is 1/4 and 1/2
    assert np.abs(first - second).mean() > 0.05  # other latents, other places and sizes


@pytest.mark.slow
def test_a_cyclegan_learns_to_exchange_the_ground_with_the_networks_of_the_paper():
    """a: a grey square on black; b: a grey square on white, elsewhere. Both ways the ground changes, the square stays.

    The error of the best constant picture is 1 by this measure; recorded at this seed: 0.06 and 0.08.
    """
    rng = np.random.default_rng(0)

    def pictures(number, ground):
        images = np.full((number, 16, 16, 1), ground, np.float32)
        for image in images:
            row, column = rng.integers(1, 9, 2)
            image[row : row + 6, column : column + 6] = 0.0
        return jnp.asarray(images)

    network, judge = residual_generator(channels=1, width=8, blocks=1), patch_discriminator(width=8, layers=2)
    gan = make_cyclegan(
        {"a_to_b": network, "b_to_a": network},
        {"a": judge, "b": judge},
        loss=LOSSES["least_squares"],
        g_tx=optim.adam(1e-3),
        d_tx=optim.adam(1e-3),
        ema_decay=0.98,
    )
    step = jax.jit(gan.train_step, donate_argnums=0)
    state = gan.init(jax.random.key(0), {"a": pictures(4, -1), "b": pictures(4, 1)})
    for _ in range(600):
        state, _ = step(state, ({"a": pictures(4, -1), "b": pictures(4, 1)},))
    a = pictures(16, -1)
    outputs = gan.sample(state, {"a": a, "b": -a})
    constant = float(jnp.abs(a + 1.0).mean())
    assert float(jnp.abs(outputs["a_to_b"] + a).mean()) < 0.4 * constant
    assert float(jnp.abs(outputs["b_to_a"] - a).mean()) < 0.4 * constant
