"""Image-to-image generators and patch discriminators: against recorded outputs of PyTorch, and at every size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.losses import (
    cycle_consistency_loss,
    identity_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)
from jaxgan.networks.convolutions import Conv, ConvTranspose
from jaxgan.networks.image_to_image import reflection_pad, residual_generator, unet_generator
from jaxgan.networks.patchgan import patch_discriminator, pixel_discriminator, receptive_field, smallest_image

# Recorded with torch 2.13.0 (CPU) on 2026-11-26 by record_cyclegan_reference.py, which builds the networks from
# torch.nn's layers and draws the same weights.
RECORDED = {
    "residual": [
        0.113649, 0.630261, 0.67699, -0.832771, -0.448768, -0.925226, 0.91324, 0.846251, 0.244643, -0.226156, 0.256648,
        0.026142, 0.772432, 0.344799, 0.985015, -0.746427, 0.293521, -0.561385, 0.601706, 0.881602, -0.938599, 0.289167,
    ],
    "unet": [
        -0.100882, 0.222638, -0.129151, 0.078141, -0.114856, -0.016153, 0.039064, -0.162508, -0.141056, -0.123084,
        -0.180907, -0.051343, 0.088545, -0.04874, -0.079812, -0.146295, -0.018969, -0.008163, -0.270302, -0.179209,
        0.103714, -0.110625,
    ],
    "patchgan": [
        0.373402, 0.64212, -1.074875, 0.066062, 0.179037, 2.048669, 0.017228, 0.053782, 0.833696, 0.863614, 0.833696,
        0.863614,
    ],
    "pixel": [
        -0.023574, 0.216477, -0.234215, -0.137531, -0.322527, 0.320282, -0.210797, -0.101808, 0.050529, -0.155853,
        0.108426, -0.280789, 0.210533, 0.15236, 0.391208, -0.050951, -0.312405, -0.135861,
    ],
    "unet_256": [
        -0.008926, 0.154711, -0.155732, 0.074063, 0.031705, -0.069841, 0.058174, 0.077473, -0.073446, 0.057799,
        0.103635, -0.030436, 0.007994, 0.08188, -0.044223, -0.032327, -0.040054, -0.027734, -0.135578,
        -0.057161, 0.046187, -0.314136,
    ],
    "patchgan_of_pairs": [
        0.286205, 0.724854, -1.532006, 0.34303, 0.294574, 0.988433, 2.392878, 0.025319, -0.13737, -0.085219,
        -0.13737, -0.085219,
    ],
}  # fmt: skip
RECORDED_LOSSES = {"generator": 1.017385, "discriminator": 1.582726, "cycle": 0.660057}

BLOCKS = [("block_" + str(block), "layer_" + str(layer)) for block in range(9) for layer in range(2)]
NETWORKS = {  # each with its layers in the order in which they are applied
    "residual": (
        residual_generator(channels=3, width=8, blocks=9),
        [("layer_0",), ("layer_1",), ("layer_2",), *BLOCKS, ("layer_3",), ("layer_4",), ("image",)],
    ),
    "unet": (
        unet_generator(channels=3, width=4, levels=5),
        [*((f"down_{level}",) for level in range(5)), *((f"up_{level}",) for level in (4, 3, 2, 1)), ("image",)],
    ),
    "patchgan": (
        patch_discriminator(width=8),
        [*((f"layer_{index}",) for index in range(4)), ("score",)],
    ),
    "pixel": (pixel_discriminator(width=8), [("layer_0",), ("layer_1",), ("score",)]),
}
# Those of pix2pix, with their batch norms in the order in which they are applied.
BATCH_NORMED = {
    "unet_256": (
        unet_generator(channels=3, width=2, levels=8, norm="batch"),
        [*(f"down_{level}" for level in range(8)), *(f"up_{level}" for level in range(7, 0, -1)), "image"],
        [*(f"norm_down_{level}" for level in range(1, 7)), *(f"norm_up_{level}" for level in range(7, 0, -1))],
        {"size": 256},
    ),
    "patchgan_of_pairs": (
        patch_discriminator(width=8, norm="batch"),
        [*(f"layer_{index}" for index in range(4)), "score"],
        [f"norm_{index}" for index in range(1, 4)],
        {"channels": 6},
    ),
}


def weights(index, *shape):
    return (0.1 * np.random.default_rng(1000 + index).standard_normal(shape)).astype(np.float32)


def images(seed, size=32, channels=3):
    return np.random.default_rng(seed).uniform(-1, 1, (2, size, size, channels)).astype(np.float32)


def numbers(output):
    output = np.asarray(output, np.float64)
    corners = output[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    return [output.mean(), np.abs(output).mean(), *corners.ravel()[:12], *output[1, output.shape[1] // 2, :8, 0]]


def shapes(network, *inputs):
    """Of parameters and outputs, nothing computed."""

    def both():
        params, model_state = network.init(jax.random.key(0), *inputs)
        return params, network.apply(params, model_state, *inputs, train=True)[0]

    return jax.eval_shape(both)


def filled(network, *inputs):
    """Parameters that need no compiled initialiser."""
    leaves, structure = jax.tree.flatten(shapes(network, *inputs)[0])
    return structure.unflatten(weights(index, *leaf.shape) for index, leaf in enumerate(leaves))


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_the_same_network_in_pytorch(name):
    network, layers = NETWORKS[name]
    params, _ = shapes(network, images(0))
    count = 0
    for index, path in enumerate(layers):
        place = params
        for part in path:
            place = place[part]
        assert place.keys() <= {"kernel", "bias"}
        # Where instance norm follows there is no bias: PyTorch's are not 0, and change nothing.
        for offset, kind in enumerate(("kernel", "bias")):
            if kind in place:
                place[kind] = weights(2 * index + offset, *place[kind].shape)
                count += 1
    assert count == len(jax.tree.leaves(params))
    output, _ = jax.jit(lambda params, images: network.apply(params, {}, images, train=True))(params, images(0))
    np.testing.assert_allclose(numbers(output), RECORDED[name], atol=1e-4)


@pytest.mark.parametrize("name", BATCH_NORMED)
def test_the_networks_of_pix2pix_equal_those_in_pytorch(name):
    """In training, where batch norm has the statistics of the batch, as pix2pix has in tests too."""
    network, layers, norms, kind = BATCH_NORMED[name]
    inputs = images(0, **kind)
    params, model_state = jax.eval_shape(network.init, jax.random.key(0), inputs)
    for index, layer in enumerate(layers):
        for offset, part in enumerate(("kernel", "bias")):
            if part in params[layer]:
                params[layer][part] = weights(2 * index + offset, *params[layer][part].shape)
    for index, norm in enumerate(norms):
        (place,) = params[norm].values()
        place["scale"] = 1 + weights(500 + 2 * index, *place["scale"].shape)
        place["bias"] = weights(501 + 2 * index, *place["bias"].shape)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(params))
    model_state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model_state)
    output, _ = jax.jit(lambda params, inputs: network.apply(params, model_state, inputs, train=True))(params, inputs)
    np.testing.assert_allclose(numbers(output), RECORDED[name], atol=1e-4)


def test_losses_equal_pytorchs():
    real, fake, pictures, others = images(3, 5, 1), images(4, 5, 1), images(5), images(6)
    values = {
        "generator": least_squares_generator_loss(fake),
        "discriminator": least_squares_discriminator_loss(real, fake),
        "cycle": cycle_consistency_loss(pictures, others),
    }
    assert {name: pytest.approx(float(value), abs=1e-5) for name, value in values.items()} == RECORDED_LOSSES
    assert float(identity_loss(pictures, others)) == pytest.approx(RECORDED_LOSSES["cycle"], abs=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (99, 101), (50, 500), (17, 33), (5, 6)], ids=str)
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_a_residual_generator_keeps_every_size(size, upsampling):
    """junyanz/pytorch-CycleGAN-and-pix2pix#237: sizes that 4 does not divide came back as others."""
    network = residual_generator(channels=1, width=2, blocks=1, upsampling=upsampling)
    assert shapes(network, jnp.zeros((2, *size, 3)))[1].shape == (2, *size, 1)


@pytest.mark.parametrize(
    ("levels", "size"), [(5, (64, 64)), (6, (99, 101)), (5, (50, 500)), (5, (17, 33)), (2, (3, 4))], ids=str
)
def test_a_unet_keeps_every_size(levels, size):
    """junyanz/pytorch-CycleGAN-and-pix2pix#237: sizes that 4 does not divide came back as others."""
    network = unet_generator(channels=1, width=2, levels=levels)
    assert shapes(network, jnp.zeros((2, *size, 3)))[1].shape == (2, *size, 1)


def test_what_cannot_be_extended_is_refused_with_the_nearest_size():
    with pytest.raises(ValueError, match="U-Net of 7 levels takes images of at least 65 x 65, not 50 x 500: 65 x 500"):
        shapes(unet_generator(channels=3, levels=7), jnp.zeros((1, 50, 500, 3)))
    with pytest.raises(ValueError, match="at least 5 x 5, not 4 x 64: 5 x 64 is the nearest"):
        shapes(residual_generator(channels=3), jnp.zeros((1, 4, 64, 3)))


def test_what_is_added_is_a_reflection_and_is_cut_off_where_it_was_added():
    """A 30 x 31 image is translated as its extension to 32 x 32 is."""
    network = residual_generator(channels=1, width=2, blocks=0, norm="none")
    small = images(1)[:, :30, :31]
    params = filled(network, small)

    @jax.jit
    def both(small, extended):
        return [network.apply(params, {}, pictures, train=False)[0] for pictures in (small, extended)]

    ours, extended = both(small, small[:, [*range(30), 28, 27]][:, :, [*range(31), 29]])
    np.testing.assert_allclose(ours, extended[:, :30, :31], atol=1e-6)


def test_reflection_does_not_repeat_the_edge():
    picture = np.arange(24.0, dtype=np.float32).reshape(1, 4, 3, 2)
    expected = picture[:, [2, 1, 0, 1, 2, 3, 2]][:, :, [1, 0, 1, 2, 1, 0]]
    np.testing.assert_array_equal(reflection_pad(picture, height=(2, 1), width=(1, 2)), expected)


def test_resized_upsampling_leaves_no_checkerboard():
    """A constant image through equal weights: away from the edges, overlapping kernels of stride 2 are seen."""
    constant = jnp.ones((1, 32, 32, 1))

    def ripple(upsampling):
        network = residual_generator(channels=1, width=2, blocks=0, upsampling=upsampling, norm="none")
        params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.02), shapes(network, constant)[0])
        output, _ = jax.jit(network.apply, static_argnames="train")(params, {}, constant, train=False)
        return np.ptp(output[0, 14:18, 14:18])

    assert ripple("resize") < 1e-6
    assert ripple("transposed") > 1e-3


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_score_sees_its_receptive_field_and_no_more(layers):
    """The gradient of one score reaches a square of that size; norms, which see everything, are left out."""
    field = receptive_field(layers)
    network = patch_discriminator(width=2, layers=layers, norm="none")
    picture = np.ones((1, 2 * field, 2 * field, 1), np.float32)
    params, scores = shapes(network, picture)
    params = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, np.float32), params)  # nothing cancels
    middle = scores.shape[1] // 2
    score = lambda picture: network.apply(params, {}, picture, train=False)[0][0, middle, middle, 0]
    reached = np.asarray(jax.jit(jax.grad(score))(picture))[0, :, :, 0] != 0
    assert np.ptp(np.nonzero(reached.any(0))[0]) + 1 == np.ptp(np.nonzero(reached.any(1))[0]) + 1 == field


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
def test_the_smallest_image_has_one_score_and_a_smaller_one_is_refused(layers):
    network, least = patch_discriminator(width=2, layers=layers), smallest_image(layers)
    assert shapes(network, jnp.zeros((2, least, 256, 3)))[1].shape == (2, 1, 256 // 2**layers - 2, 1)
    with pytest.raises(
        ValueError, match=f"{layers} layers takes images of at least {least} x {least}, not {least - 1}"
    ):
        network.init(jax.random.key(0), jnp.zeros((2, least - 1, 256, 3)))


def test_a_refusal_names_the_layers_that_would_fit():
    with pytest.raises(ValueError, match="not 16 x 32; layers=2 would fit"):
        shapes(patch_discriminator(), jnp.zeros((1, 16, 32, 3)))


def test_pixels_are_scored_each_by_itself():
    network = pixel_discriminator(width=4, norm="none")
    picture = images(0, 6)
    params = filled(network, picture)
    apply = jax.jit(lambda picture: network.apply(params, {}, picture, train=False)[0])
    scores = apply(picture)
    assert scores.shape == (2, 6, 6, 1)
    one = apply(picture[:1, 2:3, 4:5])
    np.testing.assert_allclose(one[0, 0, 0], scores[0, 2, 4], rtol=1e-5, atol=1e-7)


def test_initialisers():
    """Of every layer of every network: kernels N(0, 0.02), biases 0; and instance norm has no parameters."""
    seen = set()

    def look(function, arguments, options, context):
        if isinstance(context.module, Conv | ConvTranspose):
            seen.add((context.module.kernel_init, context.module.bias_init))
        return function(*arguments, **options)

    for network, layers in NETWORKS.values():
        with nn.intercept_methods(look):
            params, _ = shapes(network, images(0))
        assert len([leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 4]) == len(layers)
        assert {leaf.ndim for leaf in jax.tree.leaves(params)} == {1, 4}
    for kernel_init, bias_init in seen:
        kernel = kernel_init(jax.random.key(0), (4, 4, 32, 32))
        assert float(kernel.std()) == pytest.approx(0.02, rel=0.05)
        assert abs(float(kernel.mean())) < 0.001
        assert not bias_init(jax.random.key(0), (4,)).any()


def test_a_bias_is_kept_if_no_norm_cancels_it():
    params, _ = shapes(patch_discriminator(width=2, layers=1, norm="none"), jnp.zeros((1, 8, 8, 1)))
    assert "bias" in params["layer_1"]
    params, _ = shapes(unet_generator(channels=1, width=2, levels=3), jnp.zeros((1, 8, 8, 1)))
    assert [name for name in params if "bias" in params[name]] == ["down_0", "down_2", "image"]


def test_bfloat16_computes_in_it_and_keeps_float32_parameters():
    for network in (
        residual_generator(channels=1, width=2, blocks=1, dtype=jnp.bfloat16),
        unet_generator(channels=1, width=2, levels=2, dtype=jnp.bfloat16),
        patch_discriminator(width=2, layers=1, dtype=jnp.bfloat16),
        pixel_discriminator(width=2, dtype=jnp.bfloat16),
    ):
        params, output = shapes(network, jnp.zeros((2, 8, 8, 1)))
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
        assert output.dtype == jnp.bfloat16


def test_batch_norm_says_that_it_mixes_the_batch():
    assert residual_generator(channels=1, norm="batch").mixes_batch
    assert unet_generator(channels=1, norm="batch").mixes_batch
    assert patch_discriminator(norm="batch").mixes_batch
    assert pixel_discriminator(norm="batch").mixes_batch
    assert not any(network.mixes_batch for network, _ in NETWORKS.values())


def test_dropout_is_after_the_three_smallest_layers_up_in_training_alone():
    """phillipi/pix2pix models.lua: d1_, d2_ and d3_ of its U-Nets, those of 256 and those of 128 pixels."""
    network = unet_generator(channels=1, width=2, levels=5, dropout=0.5)
    inputs = images(0, channels=1)
    params = filled(unet_generator(channels=1, width=2, levels=5), inputs)

    def without(level):
        """Parameters in which the layers up from smaller sizes give zeros, of which dropout leaves zeros."""
        return params | {
            f"up_{above}": jax.tree.map(np.zeros_like, params[f"up_{above}"]) for above in range(level + 1, 5)
        }

    draw = jax.jit(lambda params, key: network.apply(params, {}, inputs, train=True, key=key)[0])
    first, second = (np.asarray(draw(params, jax.random.key(seed))) for seed in (0, 1))
    assert np.abs(first - second).max() > 1e-4
    # With the three smallest layers up at zero nothing random is left.
    three = without(1)
    np.testing.assert_array_equal(draw(three, jax.random.key(0)), draw(three, jax.random.key(1)))
    two = without(2)  # the third of them is left
    assert np.abs(np.asarray(draw(two, jax.random.key(0))) - np.asarray(draw(two, jax.random.key(1)))).max() > 1e-4
    evaluated = jax.jit(lambda params: network.apply(params, {}, inputs, train=False)[0])  # takes no key
    np.testing.assert_allclose(evaluated(three), draw(three, jax.random.key(0)), rtol=1e-5, atol=1e-6)
    assert np.abs(evaluated(params) - first).max() > 1e-4
    with pytest.raises(ValueError, match=r"dropout=1.5 is not in \[0, 1\)"):
        unet_generator(channels=1, dropout=1.5)


def test_bad_arguments():
    with pytest.raises(ValueError, match="'bilinear': there are transposed, resize"):
        residual_generator(channels=1, upsampling="bilinear")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="at least 2 levels, not 1"):
        unet_generator(channels=1, levels=1)
    with pytest.raises(ValueError, match="1 to 5 layers, not 0"):
        patch_discriminator(layers=0)
    with pytest.raises(ValueError, match="'group': there are batch, instance, layer, none"):
        pixel_discriminator(norm="group")
