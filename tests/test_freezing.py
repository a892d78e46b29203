"""FreezeD: which weights stay, and that everything else is as without it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from experiments import class_conditional, gan, pix2pix, relativistic, sngan, text_to_image, wgan, wgan_gp
from jaxgan import from_linen, make_gan
from jaxgan.checkpoints.leaves import leaves
from jaxgan.losses import LOSSES
from jaxgan.networks.conditional import conditional_dcgan_discriminator
from jaxgan.networks.dcgan import dcgan_discriminator
from jaxgan.networks.freezing import freeze_stages, freeze_updates
from jaxgan.networks.mlp import mlp_generator
from jaxgan.networks.patchgan import patch_discriminator
from jaxgan.networks.r3gan import r3gan_discriminator
from jaxgan.networks.resnet import resnet_discriminator
from jaxgan.optim import clip_weights
from jaxgan.penalties import r1_penalty

IMAGES = jax.random.uniform(jax.random.key(0), (4, 32, 32, 3), minval=-1.0)
LABELS = jnp.arange(4) % 3

DISCRIMINATORS = {
    "dcgan": (dcgan_discriminator(32, width=4, norm="layer"), ()),
    "conditional": (conditional_dcgan_discriminator(32, width=4, num_classes=3), (LABELS,)),
    "resnet": (resnet_discriminator(32, width=4, spectral_norm=True), ()),
    "resnet of classes": (resnet_discriminator(32, width=4, num_classes=3), (LABELS,)),
    "patchgan": (patch_discriminator(width=4, layers=2, norm="batch"), ()),
    "r3gan": (r3gan_discriminator(32, width=(8, 16, 16, 8), group_size=8), ()),
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_stages_cover_all_but_the_score_from_the_image_on(name):
    """The first stages see the image: those parameters reach the activations of no other stage before theirs."""
    network, condition = DISCRIMINATORS[name]
    params, _ = jax.eval_shape(network.init, jax.random.key(1), IMAGES, *condition)
    names = list(leaves(params))
    within = lambda stage: {name for name in names if any(name.startswith(f"{part}/") for part in stage)}
    assert all(map(within, network.stages))
    assert sum(len(within(stage)) for stage in network.stages) == len(set().union(*map(within, network.stages)))
    rest = set(names).difference(*map(within, network.stages))
    assert all(one.split("/")[0] in ("score", "basis") for one in rest)
    assert rest


@pytest.mark.parametrize("name", ["dcgan", "conditional"])
def test_frozen_stages_have_no_gradient_and_all_others_are_unchanged(name):
    network, condition = DISCRIMINATORS[name]
    params, model_state = network.init(jax.random.key(1), IMAGES, *condition)
    leaf_keys = jax.random.split(jax.random.key(2), len(jax.tree.leaves(params)))
    moved = [
        leaf + 0.1 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(jax.tree.leaves(params), leaf_keys, strict=True)
    ]
    params = jax.tree.unflatten(jax.tree.structure(params), moved)

    def gradients(network):
        def total(params, images):
            return network.apply(params, model_state, images, *condition, train=True)[0].sum()

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(params, IMAGES)

    score, whole = gradients(network)
    assert freeze_stages(network, 0) is network
    for count in (1, len(network.stages)):
        value, (by_params, by_images) = gradients(freeze_stages(network, count))
        assert float(value) == pytest.approx(float(score), rel=1e-5)
        np.testing.assert_allclose(by_images, whole[1], rtol=1e-4, atol=1e-6)
        parts = sum(network.stages[:count], ())
        for path, leaf in leaves(by_params).items():
            if any(path.startswith(f"{part}/") for part in parts):
                assert not leaf.any()
            else:
                np.testing.assert_allclose(leaf, leaves(whole[0])[path], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(0.1)])
def test_a_step_moves_the_rest_only_penalties_included(optimizer):
    discriminator = freeze_stages(dcgan_discriminator(32, width=4, norm="none"), 2)
    generator = from_linen(_Painter())
    algorithm = make_gan(
        generator,
        discriminator,
        loss=LOSSES["non_saturating"],
        penalty=r1_penalty,
        g_tx=optimizer,
        d_tx=optimizer,
        latent_dim=3,
    )
    before = algorithm.init(jax.random.key(0), {"image": IMAGES})
    after, _ = algorithm.train_step(before, ({"image": IMAGES},))
    moved = {
        name: bool((leaf != leaves(before.discriminator.params)[name]).any())
        for name, leaf in leaves(after.discriminator.params).items()
    }
    assert moved == {name: not name.startswith(("layer_0/", "layer_1/")) for name in moved}


def test_clipping_leaves_frozen_weights_alone():
    """As in experiments.wgan, whose source may have larger weights than its clip."""
    network, _ = DISCRIMINATORS["dcgan"]
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5), network.init(jax.random.key(0), IMAGES)[0])
    tx = freeze_updates(optax.chain(optax.sgd(0.1), clip_weights(0.01)), network, 1)
    gradient = jax.tree.map(jnp.ones_like, params)
    updates, _ = tx.update(gradient, tx.init(params), params)
    after = leaves(optax.apply_updates(params, updates))
    for name, leaf in after.items():
        np.testing.assert_allclose(leaf, 0.5 if name.startswith("layer_0/") else 0.01, rtol=1e-5)


class _Painter(nn.Module):
    @nn.compact
    def __call__(self, latents, *, train):
        return jnp.tanh(nn.Dense(32 * 32 * 3)(latents).reshape(-1, 32, 32, 3))


def test_a_network_of_ones_own_names_its_stages():
    network = mlp_generator((8,), features=2)
    with pytest.raises(ValueError, match="1 stages cannot be frozen: this network has 0"):
        freeze_stages(network, 1)
    with pytest.raises(ValueError, match="-1 stages cannot be frozen"):
        freeze_stages(network, -1)
    latents = jnp.ones((2, 3))
    params, _ = network.init(jax.random.key(0), latents)
    named = freeze_stages(network._replace(stages=(("Dense_0",),)), 1)
    gradient = jax.grad(lambda params: named.apply(params, {}, latents, train=True)[0].sum())(params)
    assert {name: bool(leaf.any()) for name, leaf in leaves(gradient).items() if name.startswith("Dense_0/")} == {
        "Dense_0/bias": False,
        "Dense_0/kernel": False,
    }
    absent = freeze_stages(network._replace(stages=(("conv", "norm"),)), 1)
    with pytest.raises(ValueError, match="there are no parameters called conv or norm to freeze"):
        absent.apply(params, {}, latents, train=True)


@pytest.mark.parametrize(
    "experiment", [class_conditional, gan, pix2pix, relativistic, sngan, text_to_image, wgan, wgan_gp]
)
def test_the_flag_is_heard_by_every_image_experiment(experiment):
    with pytest.raises(ValueError, match=r"freeze_d=1 keeps the weights of another run: give --init-from RUN"):
        experiment.Config(freeze_d=1)
    config = experiment.Config(freeze_d=99, init_from="runs/other")
    with pytest.raises(ValueError, match="99 stages cannot be frozen: this network has "):
        experiment.build(config)
