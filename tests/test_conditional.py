"""Networks conditional on labels or vectors, against the papers' formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import class_conditional
from jaxgan.networks.conditional import (
    ConditionalNorm,
    ConditionalScore,
    DCGANFeatures,
    as_vectors,
    check_labels,
    conditional_dcgan_discriminator,
    conditional_dcgan_generator,
)
from jaxgan.networks.dcgan import dcgan_discriminator
from jaxgan.networks.resnet import resnet_discriminator, resnet_generator

MAPS = jax.random.normal(jax.random.key(0), (3, 4, 4, 5))
VECTORS = jax.random.normal(jax.random.key(1), (3, 6))
LABELS = jnp.array([2, 0, 2])
LATENTS = jax.random.normal(jax.random.key(2), (3, 7))


def drawn(init, *inputs):
    """Random numbers in the shapes of what `init` makes, biases too; nothing is compiled for it."""
    random = np.random.default_rng(3)
    draw = lambda leaf: (0.3 * random.normal(size=leaf.shape)).astype(leaf.dtype)
    return jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0), *inputs))


def variables_of(module, *inputs):
    return dict(drawn(lambda key, *inputs: module.init(key, *inputs, train=False), *inputs))


def applied(module, variables, *inputs):
    apply = lambda variables, *inputs: module.apply(variables, *inputs, train=True, mutable=["batch_stats"])[0]
    return jax.jit(apply)(variables, *inputs)


def leaky(values):
    return np.where(values > 0, values, 0.2 * values)


def normalized(kind, maps):
    axes = {"batch": (0, 1, 2), "layer": (1, 2, 3), "none": ()}[kind]
    if not axes:
        return maps
    return (maps - maps.mean(axes, keepdims=True)) / np.sqrt(maps.var(axes, keepdims=True) + 1e-5)


def test_labels_are_one_hot_encoded_and_vectors_unchanged():
    np.testing.assert_array_equal(as_vectors(LABELS, 3), [[0, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert as_vectors(VECTORS, None) is VECTORS
    wrong = as_vectors(jnp.array([-1, 3, 1]), 3)
    np.testing.assert_array_equal(np.isnan(wrong).all(axis=1), [True, True, False])
    with pytest.raises(ValueError, match=r"labels are integers \[B\], not float32 \[3, 6\]"):
        as_vectors(VECTORS, 3)


@pytest.mark.parametrize("kind", ["batch", "layer", "none"])
@pytest.mark.parametrize("condition", [LABELS, VECTORS], ids=["labels", "vectors"])
def test_conditional_norm(kind, condition):
    num_classes = 3 if condition is LABELS else None
    norm = ConditionalNorm(kind, num_classes)
    variables = variables_of(norm, MAPS, condition)
    affine = variables["params"]["affine"]
    assert variables["params"].keys() == {"affine"}  # the norm itself scales nothing
    vectors = np.asarray(as_vectors(condition, num_classes))
    scale, offset = np.split(vectors @ affine["kernel"] + affine.get("bias", np.zeros(10)), 2, axis=1)
    expected = normalized(kind, np.asarray(MAPS)) * (1 + scale[:, None, None]) + offset[:, None, None]
    np.testing.assert_allclose(applied(norm, variables, MAPS, condition), expected, rtol=1e-4, atol=1e-4)


def test_no_class_differs_from_another_before_training():
    norm = ConditionalNorm("none", 3)
    params = jax.jit(lambda key: norm.init(key, MAPS, LABELS, train=False))(jax.random.key(0))["params"]
    assert params["affine"].keys() == {"kernel"}
    np.testing.assert_array_equal(params["affine"]["kernel"], np.zeros((3, 10)))


def test_a_class_has_its_own_scale_and_offset():
    """What one class sends back reaches its own row of the table alone."""
    norm = ConditionalNorm("layer", 4)
    params = variables_of(norm, MAPS, LABELS)
    gradient = jax.grad(lambda params: jnp.sum(jnp.square(applied(norm, params, MAPS, LABELS) - 1)))(params)
    rows = np.abs(gradient["params"]["affine"]["kernel"]).sum(axis=1)
    np.testing.assert_array_equal(rows > 0, [True, False, True, False])


@pytest.mark.parametrize("condition", [LABELS, VECTORS], ids=["labels", "vectors"])
def test_projection(condition):
    """Miyato and Koyama 2018, equation 3: an unconditional score plus the fit to the condition."""
    num_classes = 3 if condition is LABELS else None
    score = ConditionalScore("projection", num_classes)
    params = variables_of(score, MAPS, condition)["params"]
    flat, vectors = np.asarray(MAPS).reshape(3, -1), np.asarray(as_vectors(condition, num_classes))
    expected = flat @ params["score"]["kernel"][:, 0] + params["score"]["bias"]
    expected = expected + np.sum((vectors @ params["projection"]["kernel"]) * flat, axis=1)
    np.testing.assert_allclose(applied(score, {"params": params}, MAPS, condition), expected, rtol=1e-4)


def test_concatenation():
    """Reed et al. 2016: the text through a layer, repeated at every place, a 1x1 convolution over both."""
    score = ConditionalScore("concatenate")
    params = variables_of(score, MAPS, VECTORS)["params"]
    told = leaky(np.asarray(VECTORS) @ params["condition"]["kernel"] + params["condition"]["bias"])
    both = np.concatenate([MAPS, np.broadcast_to(told[:, None, None], (3, 4, 4, 128))], axis=3)
    joint = leaky(both @ params["joint"]["kernel"][0, 0] + params["joint"]["bias"])
    expected = joint.reshape(3, -1) @ params["score"]["kernel"][:, 0] + params["score"]["bias"]
    np.testing.assert_allclose(applied(score, {"params": params}, MAPS, VECTORS), expected, rtol=1e-4)


def test_the_table_of_labels_is_spectrally_normalized_too():
    """With u at the first right singular vector, the largest singular value of the table in use is 1."""
    score = ConditionalScore("projection", 3, spectral_norm=True)
    variables = variables_of(score, MAPS, LABELS)
    table = variables["params"]["projection"]["kernel"]
    variables["spectral"]["projection"]["u"] = np.linalg.svd(table)[2][0]
    variables["params"]["score"] = jax.tree.map(np.zeros_like, variables["params"]["score"])
    scores = applied(score, variables, MAPS, LABELS)
    expected = np.sum((table / np.linalg.norm(table, 2))[LABELS] * np.asarray(MAPS).reshape(3, -1), axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_the_features_are_those_of_the_unconditional_discriminator():
    """Same parameters, same feature maps: the score of `dcgan_discriminator` is one more linear layer."""
    plain = dcgan_discriminator(32, width=2, norm="layer")
    images = jax.random.normal(jax.random.key(4), (2, 32, 32, 3))
    params, _ = drawn(plain.init, images)
    trunk = {name: layer for name, layer in params.items() if name != "score"}
    maps = applied(DCGANFeatures(32, 2, "layer"), {"params": trunk}, images)
    expected = np.asarray(maps).reshape(2, -1) @ params["score"]["kernel"].reshape(-1) + params["score"]["bias"]
    scores = jax.jit(lambda params: plain.apply(params, {}, images, train=True)[0])(params)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-5)


PAIRS = {
    "dcgan": (conditional_dcgan_generator, conditional_dcgan_discriminator),
    "resnet": (resnet_generator, resnet_discriminator),
}


@pytest.mark.parametrize("networks", PAIRS)
@pytest.mark.parametrize(("size", "conditioning"), [(32, "projection"), (64, "concatenate"), (128, "projection")])
def test_shapes(networks, size, conditioning):
    make_generator, make_discriminator = PAIRS[networks]
    generator = make_generator(size, channels=3, width=2, num_classes=3)
    discriminator = make_discriminator(size, width=2, num_classes=3, conditioning=conditioning)

    def run():
        params, state = generator.init(jax.random.key(1), LATENTS, LABELS)
        images, _ = generator.apply(params, state, LATENTS, LABELS, train=True)
        d_params, d_state = discriminator.init(jax.random.key(2), images, LABELS)
        return images, discriminator.apply(d_params, d_state, images, LABELS, train=True)[0]

    images, scores = jax.eval_shape(run)
    assert images.shape == (3, size, size, 3)
    assert scores.shape == (3,)


@pytest.mark.parametrize("networks", PAIRS)
def test_the_label_changes_image_and_score_and_an_unknown_one_gives_nan(networks):
    make_generator, make_discriminator = PAIRS[networks]
    latents, labels = jnp.tile(LATENTS[:1], (4, 1)), jnp.array([0, 0, 1, 2])
    generator = make_generator(32, channels=1, width=2, num_classes=2, norm="layer")
    params, state = drawn(generator.init, latents, labels)
    images, _ = jax.jit(lambda params: generator.apply(params, state, latents, labels, train=False))(params)
    images = np.asarray(images)
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).max() > 1e-3
    np.testing.assert_array_equal(np.isnan(images).any(axis=(1, 2, 3)), [False, False, False, True])
    discriminator = make_discriminator(32, width=2, num_classes=2, norm="none")
    images = np.broadcast_to(images[:1], images.shape)
    params, state = drawn(discriminator.init, images, labels)
    scores, _ = jax.jit(lambda params: discriminator.apply(params, state, images, labels, train=True))(params)
    assert float(scores[0]) == pytest.approx(float(scores[1]))
    assert abs(float(scores[0] - scores[2])) > 1e-4
    np.testing.assert_array_equal(np.isnan(scores), [False, False, False, True])


def test_only_batch_norm_mixes():
    assert conditional_dcgan_generator(32, channels=1, num_classes=2, norm="batch").mixes_batch
    assert not conditional_dcgan_discriminator(32, num_classes=2).mixes_batch
    assert conditional_dcgan_discriminator(32, num_classes=2, norm="batch").mixes_batch


def test_bfloat16_computes_in_it_and_keeps_float32_parameters():
    images = jnp.zeros((3, 32, 32, 1))
    for conditioning in ("projection", "concatenate"):
        options = {"num_classes": 3, "conditioning": conditioning, "width": 2, "dtype": jnp.bfloat16}
        network = conditional_dcgan_discriminator(32, **options)
        shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), images, LABELS))  # noqa: B023
        assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}
        scores = jax.eval_shape(lambda p: network.apply(*p, images, LABELS, train=True)[0], shapes)  # noqa: B023
        assert scores.dtype == jnp.bfloat16


def test_refusals():
    with pytest.raises(ValueError, match="48 pixels"):
        conditional_dcgan_generator(48, channels=1, num_classes=2)
    with pytest.raises(ValueError, match="unknown norm 'group'"):
        conditional_dcgan_generator(32, channels=1, num_classes=2, norm="group")
    for make in (conditional_dcgan_discriminator, resnet_discriminator):
        with pytest.raises(ValueError, match="unknown conditioning 'sum': there are projection, concatenate"):
            make(32, num_classes=2, conditioning="sum")
    discriminator = conditional_dcgan_discriminator(64, num_classes=3)
    with pytest.raises(ValueError, match="64 x 64, not"):
        jax.eval_shape(discriminator.init, jax.random.key(0), jnp.zeros((3, 32, 32, 1)), LABELS)


def test_check_labels():
    np.testing.assert_array_equal(check_labels([[0, 9]], 10), [[0, 9]])
    assert check_labels(np.array([3], np.uint8), 10).dtype == np.int32
    assert check_labels(np.zeros(0, np.int64), 10).shape == (0,)


@pytest.mark.parametrize("label", [10, -1, 57, 3.7])
def test_labels_outside_the_table(label, tmp_path):
    """TimoBolkart/voca#19: a label beyond the classes was accepted, as a vector of zeros."""
    with pytest.raises(ValueError, match=f"0\\.\\.9, not .*{label}"):
        check_labels([3, label], 10)
    np.savez(tmp_path / "set.npz", image=np.zeros((8, 32, 32, 1), np.uint8), label=np.array([label] + [0] * 7))
    config = class_conditional.Config(dataset=str(tmp_path / "set.npz"), batch_size=4, workdir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match=f"label {label}," if isinstance(label, int) else "integers"):
        class_conditional.batches(config)
    assert not (tmp_path / "run").exists()
    if isinstance(label, int):
        assert bool(jnp.isnan(as_vectors(jnp.array([label]), 10)).all())
