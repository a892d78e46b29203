"""The residual networks against the papers' order of operations, written with Flax's layers and NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from test_resampling import pooled, repeated

from jaxgan.networks.resnet import (
    DownBlock,
    UpBlock,
    resnet_discriminator,
    resnet_generator,
)
from jaxgan.penalties import gradient_penalty

LATENTS = jax.random.normal(jax.random.key(0), (2, 5))
MAPS = jax.random.normal(jax.random.key(1), (2, 4, 6, 3))


def flax_conv(params, maps):
    size, features = params["kernel"].shape[:2], params["kernel"].shape[3]
    return nn.Conv(features, size, use_bias="bias" in params).apply({"params": params}, maps)


def draw(module, maps):
    """Parameters with biases that are not zero."""
    params = module.init(jax.random.key(2), maps, train=False)["params"]
    return jax.tree.map(lambda leaf: leaf + 0.1 if leaf.ndim == 1 else leaf, params)


def test_up_block_as_in_the_papers():
    block = UpBlock(5, "none")
    params = draw(block, MAPS)
    hidden = flax_conv(params["layer_0"], repeated(nn.relu(MAPS)))
    expected = flax_conv(params["layer_1"], nn.relu(hidden)) + flax_conv(params["shortcut"], repeated(MAPS))
    np.testing.assert_allclose(block.apply({"params": params}, MAPS, train=True), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_down_block_as_in_the_papers(first):
    block = DownBlock(5, "none", first=first)
    params = draw(block, MAPS)
    hidden = flax_conv(params["layer_0"], MAPS if first else nn.relu(MAPS))
    assert hidden.shape[3] == (5 if first else 3)
    hidden = pooled(flax_conv(params["layer_1"], nn.relu(hidden)))
    expected = hidden + pooled(flax_conv(params["shortcut"], MAPS))
    np.testing.assert_allclose(block.apply({"params": params}, MAPS, train=True), expected, rtol=1e-4, atol=1e-5)


def test_a_block_that_keeps_its_size_adds_to_its_input():
    block = DownBlock(3, "none", halves=False)
    params = draw(block, MAPS)
    assert params.keys() == {"layer_0", "layer_1"}
    expected = MAPS + flax_conv(params["layer_1"], nn.relu(flax_conv(params["layer_0"], nn.relu(MAPS))))
    np.testing.assert_allclose(block.apply({"params": params}, MAPS, train=True), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_the_score_is_linear_in_the_sum_over_all_places(pooling):
    """With the last block's convolutions at zero, what enters it reaches the sum; a bias of its own is added once.

    The sum is SNGAN's (dis_models/snresnet_32.py), the mean WGAN-GP's (gan_cifar_resnet.py).
    """
    network = resnet_discriminator(32, width=2, pooling=pooling)
    images = jax.random.normal(jax.random.key(4), (2, 32, 32, 1))
    params, state = jax.jit(network.init)(jax.random.key(5), images)
    for index in (2, 3):
        params[f"block_{index}"] = jax.tree.map(jnp.zeros_like, params[f"block_{index}"])
    hidden = images
    for index in (0, 1):
        block = DownBlock(2, "none", first=index == 0)
        hidden = block.apply({"params": params[f"block_{index}"]}, hidden, train=True)
    params["score"]["bias"] = jnp.array([0.25])
    pooled_maps = getattr(np.maximum(hidden, 0), pooling)((1, 2))
    expected = pooled_maps @ np.asarray(params["score"]["kernel"])[:, 0] + 0.25
    np.testing.assert_allclose(network.apply(params, state, images, train=True)[0], expected, rtol=1e-4, atol=1e-4)


# Widths at 4x4 and after each block, and after each of the discriminator's blocks, for width 2; from the authors' code.
SIZES = {
    32: ([2, 2, 2, 2], [2, 2, 2, 2]),
    64: ([32, 16, 8, 4, 2], [2, 4, 8, 16, 32]),
    128: ([32, 32, 16, 8, 4, 2], [2, 4, 8, 16, 32, 32]),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_at_every_size(size, channels):
    generator, discriminator = resnet_generator(size, channels=channels, width=2), resnet_discriminator(size, width=2)
    g_params, state = jax.eval_shape(generator.init, jax.random.key(1), LATENTS)
    images, _ = jax.eval_shape(partial(generator.apply, train=True), g_params, state, LATENTS)
    assert images.shape == (2, size, size, channels)
    d_params, d_state = jax.eval_shape(discriminator.init, jax.random.key(2), images)
    scores, _ = jax.eval_shape(partial(discriminator.apply, train=True), d_params, d_state, images)
    assert scores.shape == (2,)

    up, down = SIZES[size]
    assert g_params["base"]["kernel"].shape == (5, 16 * up[0])
    assert [g_params[f"block_{index}"]["layer_1"]["bias"].shape[0] for index in range(len(up) - 1)] == up[1:]
    assert [d_params[f"block_{index}"]["layer_1"]["bias"].shape[0] for index in range(len(down))] == down
    assert d_params["block_0"]["layer_0"]["kernel"].shape == (3, 3, channels, 2)


def test_initialisers_of_both_papers():
    """Uniform, up to sqrt(12 / (fan in + fan out)) in the 3x3 convolutions of a block and sqrt(6 / ...) elsewhere."""
    params, _ = jax.jit(resnet_generator(32, channels=3, width=32).init)(jax.random.key(1), LATENTS)
    kernels = {
        "block_0/layer_0": (params["block_0"]["layer_0"]["kernel"], 12, 9 * 64),
        "block_0/layer_1": (params["block_0"]["layer_1"]["kernel"], 12, 9 * 64),
        "block_0/shortcut": (params["block_0"]["shortcut"]["kernel"], 6, 64),
        "base": (params["base"]["kernel"], 6, 5 + 16 * 32),
        "image": (params["image"]["kernel"], 6, 9 * 35),
    }
    for name, (kernel, numerator, fans) in kernels.items():
        limit = np.sqrt(numerator / fans)
        assert 0.98 * limit < float(jnp.abs(kernel).max()) <= limit, name
        assert float(kernel.std()) == pytest.approx(limit / np.sqrt(3), rel=0.05), name
    # tflib/ops/batchnorm.py and chainer's BatchNormalization: scales start at 1.
    for place in (params["norm"], params["block_0"]["norm_0"], params["block_2"]["norm_1"]):
        np.testing.assert_array_equal(place["BatchNorm_0"]["scale"], np.ones(32))


def test_labels_start_as_the_authors_have_them():
    """pfnet-research/sngan_projection: Glorot's uniform for the table and the score, and no label at the last norm."""
    labels, classes = jnp.zeros(2, jnp.int32), 40
    generator = resnet_generator(32, channels=1, width=2, num_classes=classes)
    params = jax.eval_shape(generator.init, jax.random.key(1), LATENTS, labels)[0]
    assert params["norm"].keys() == {"BatchNorm_0"}
    assert params["block_2"]["norm_1"].keys() == {"affine"}
    discriminator = resnet_discriminator(32, width=24, num_classes=classes)
    images = jnp.zeros((2, 32, 32, 1))
    score = jax.jit(lambda key: discriminator.init(key, images, labels)[0]["score"])(jax.random.key(2))
    for layer, fans in (("projection", classes + 24), ("score", 24 + 1)):
        kernel, limit = score[layer]["kernel"], np.sqrt(6 / fans)
        assert 0.9 * limit < float(jnp.abs(kernel).max()) <= limit, layer
        assert float(kernel.std()) == pytest.approx(limit / np.sqrt(3), rel=0.2), layer


def test_what_has_a_norm_and_mixes_its_batch():
    images = jnp.zeros((1, 32, 32, 3))
    create = lambda network, inputs: jax.eval_shape(network.init, jax.random.key(1), inputs)
    params, state = create(resnet_generator(32, channels=3, width=2), LATENTS)
    assert state["batch_stats"].keys() == {"block_0", "block_1", "block_2", "norm"}
    assert "bias" not in params["block_0"]["layer_0"] and "bias" in params["block_0"]["layer_1"]
    params, state = create(resnet_discriminator(32, width=2, norm="batch"), images)
    assert state["batch_stats"].keys() == {"block_1", "block_2", "block_3"}
    assert "bias" in params["block_0"]["layer_0"] and "bias" not in params["block_1"]["layer_0"]
    assert resnet_generator(32, channels=1).mixes_batch
    assert not resnet_generator(32, channels=1, norm="none").mixes_batch
    assert resnet_discriminator(32, norm="batch").mixes_batch
    for norm in ("layer", "none"):
        network = resnet_discriminator(32, width=2, norm=norm)
        assert not network.mixes_batch
        params, state = create(network, images)
        assert state == {} and "bias" in params["block_1"]["layer_0"]
        assert ("norm_0" in params["block_1"]) == (norm == "layer")


def test_batch_statistics_change_in_training_only():
    generator = resnet_generator(32, channels=1, width=2)
    params, state = jax.jit(generator.init)(jax.random.key(1), LATENTS)
    images, after = generator.apply(params, state, LATENTS, train=True)
    assert float(jnp.abs(images).max()) <= 1.0
    assert not jnp.array_equal(after["batch_stats"]["norm"]["BatchNorm_0"]["mean"], jnp.zeros(2))
    _, same = generator.apply(params, state, LATENTS, train=False)
    jax.tree.map(np.testing.assert_array_equal, same, state)


def test_spectral_norm_is_on_every_kernel_of_the_discriminator():
    network = resnet_discriminator(32, width=4, spectral_norm=True)
    images = jax.random.normal(jax.random.key(4), (2, 32, 32, 3))
    params, state = jax.jit(network.init)(jax.random.key(5), images)
    layers = lambda tree: {
        path[:-1] for path, leaf in jax.tree.leaves_with_path(tree) if path[-1].key in ("kernel", "u")
    }
    assert layers(params) == layers(state["spectral"]) and len(layers(params)) == 11
    # Ten times the weights are the same network, since all biases are zero.
    training_pass = jax.jit(partial(network.apply, train=True))
    scores, after = training_pass(params, state, images)
    same, _ = training_pass(jax.tree.map(lambda leaf: 10.0 * leaf, params), state, images)
    np.testing.assert_allclose(same, scores, rtol=1e-3, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, after, state)


@pytest.mark.parametrize("options", [{"norm": "layer", "spectral_norm": True}, {"norm": "none"}])
def test_a_gradient_penalty_reaches_every_kernel(options):
    network = resnet_discriminator(32, width=2, **options)
    real, fake = (jax.random.normal(jax.random.key(seed), (2, 32, 32, 1)) for seed in (6, 7))

    def penalty(params, state):
        critic = lambda images: network.apply(params, state, images, train=True)[0]
        return gradient_penalty(critic, real, fake, jax.random.key(8))

    def create_and_differentiate(key):
        params, state = network.init(key, real)
        return jax.value_and_grad(penalty)(params, state)

    value, gradient = jax.jit(create_and_differentiate)(jax.random.key(5))
    assert value > 0 and jnp.isfinite(value)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all()
        if path[-1].key == "kernel":
            assert np.any(np.asarray(leaf) != 0), jax.tree_util.keystr(path)


def test_bfloat16_computes_in_it_and_keeps_float32_parameters():
    images = jnp.zeros((2, 32, 32, 1))
    for network, inputs in (
        (resnet_generator(32, channels=1, width=2, dtype=jnp.bfloat16), LATENTS),
        (resnet_discriminator(32, width=2, spectral_norm=True, dtype=jnp.bfloat16), images),
    ):
        params, state = jax.eval_shape(network.init, jax.random.key(1), inputs)
        assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype(jnp.float32)}
        output, _ = jax.eval_shape(partial(network.apply, train=True), params, state, inputs)
        assert output.dtype == jnp.bfloat16


def test_unknown_sizes_and_norms_are_refused():
    with pytest.raises(ValueError, match="32, 64, 128 pixels, not 48"):
        resnet_generator(48, channels=1)
    with pytest.raises(ValueError, match="32, 64, 128 pixels, not 28"):
        resnet_discriminator(28)
    with pytest.raises(ValueError, match="'group': there are batch, instance, layer, none"):
        resnet_discriminator(32, norm="group")
    with pytest.raises(ValueError, match="unknown pooling 'max': there are sum, mean"):
        resnet_discriminator(32, pooling="max")
    with pytest.raises(ValueError, match="64 x 64, not"):
        resnet_discriminator(64, width=2).init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
