"""from_nnx: against Linen twins with equal weights, and every rule of the adapter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from flax import nnx
from jax import export

from benchmarks.nnx import build
from jaxgan import DeviceBatches, from_nnx, make_gan, optim
from jaxgan.losses import LOSSES
from jaxgan.penalties import r1_penalty
from jaxgan.training.loop import fit

INPUTS = jax.random.normal(jax.random.key(9), (5, 3))


class Everything(nnx.Module):
    """A shared layer, a list, statistics, a random stream and power iteration."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)])
        self.shared = self.layers[1]
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.spectral = nnx.SpectralNorm(nnx.Linear(4, 2, rngs=rngs), rngs=rngs)

    def __call__(self, inputs):
        hidden = self.shared(self.layers[1](self.layers[0](inputs)))
        return self.spectral(self.dropout(self.norm(hidden)))


def started(make):
    network = from_nnx(make)
    return network, *network.init(jax.random.key(0), INPUTS)


def test_the_parts_of_a_module():
    network, params, model_state = started(Everything)
    assert network.mixes_batch
    assert jax.tree.map(jnp.shape, params) == {
        "layers": {"0": {"bias": (4,), "kernel": (3, 4)}, "1": {"bias": (4,), "kernel": (4, 4)}},
        "norm": {"bias": (4,), "scale": (4,)},
        "spectral": {"layer_instance": {"bias": (2,), "kernel": (4, 2)}},
    }
    assert jax.tree.map(jnp.shape, model_state) == {
        "norm": {"mean": (4,), "var": (4,)},
        "spectral": {"batch_stats": {"kernel.sigma": (), "kernel.u": (1, 2)}},
    }
    other, _ = network.init(jax.random.key(1), INPUTS)
    assert not np.array_equal(other["layers"]["0"]["kernel"], params["layers"]["0"]["kernel"])


def test_training_and_inference():
    network, params, model_state = started(Everything)
    apply = jax.jit(network.apply, static_argnames="train")
    once, after = apply(params, model_state, INPUTS, train=False)
    np.testing.assert_array_equal(once, apply(params, model_state, INPUTS, train=False)[0])
    jax.tree.map(np.testing.assert_array_equal, after, model_state)
    first, after = apply(params, model_state, INPUTS, train=True, key=jax.random.key(1))
    again, _ = apply(params, model_state, INPUTS, train=True, key=jax.random.key(1))
    other, _ = apply(params, model_state, INPUTS, train=True, key=jax.random.key(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    hidden, params = np.asarray(INPUTS), jax.tree.map(np.asarray, params)
    for index in (0, 1, 1):
        hidden = hidden @ params["layers"][str(index)]["kernel"] + params["layers"][str(index)]["bias"]
    np.testing.assert_allclose(after["norm"]["mean"], 0.01 * hidden.mean(0), rtol=1e-5)  # momentum 0.99, from 0


def test_inference_is_the_module_in_eval_mode():
    network = from_nnx(Everything)
    params, model_state = network.init(jax.random.key(4), INPUTS)
    module = Everything(nnx.Rngs(jax.random.key(4)))
    module.eval()
    np.testing.assert_allclose(network.apply(params, model_state, INPUTS, train=False)[0], module(INPUTS), rtol=1e-6)


def test_a_shared_layer_has_the_gradient_of_both_uses():
    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.first = self.second = nnx.Linear(3, 3, use_bias=False, rngs=rngs)

        def __call__(self, inputs):
            return self.second(self.first(inputs))

    network, params, model_state = started(Twice)
    assert jax.tree.map(jnp.shape, params) == {"first": {"kernel": (3, 3)}}
    value = lambda params: network.apply(params, model_state, INPUTS, train=True)[0].sum()
    kernel = np.asarray(params["first"]["kernel"])
    column = np.asarray(INPUTS).sum(0)[:, None]
    expected = column @ kernel.sum(1)[None, :] + kernel.T @ column @ np.ones((1, 3))  # of x W W, summed
    np.testing.assert_allclose(jax.grad(value)(params)["first"]["kernel"], expected, rtol=1e-4, atol=1e-5)


class Wrong(nnx.Module):
    def __init__(self, rngs, how):
        self.weight, self.calls, self.how = nnx.Param(jnp.ones(2)), nnx.Variable(jnp.zeros(())), how
        self.rngs = rngs

    def __call__(self, inputs):
        if self.how == "counts":
            self.calls[...] += 1
        if self.how == "grows":
            self.more = nnx.Variable(jnp.ones(()))
        if self.how == "learns":
            self.more = nnx.Param(jnp.ones(()))
        return inputs[:, :2] * self.weight[None]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("counts", "Wrong changes its state calls outside of training"),
        ("grows", "Wrong makes or deletes the variable"),
        ("learns", "Wrong makes or deletes the variable"),
    ],
)
def test_what_cannot_be_pure_is_refused_before_anything_is_created(how, message, tmp_path):
    network = from_nnx(lambda rngs: Wrong(rngs, how))
    gan = small.small_gan(generator=network)
    with pytest.raises(ValueError, match=message):
        fit(gan, DeviceBatches(np.ones((40, 2)), batch_size=8), small.config(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_array_may_be_an_attribute():
    class Scaled(nnx.Module):
        def __init__(self, rngs):
            self.scale, self.layer = jnp.full(3, 2.0), nnx.Linear(3, 3, use_bias=False, rngs=rngs)

        def __call__(self, inputs):
            return self.layer(inputs * self.scale[None])

    network = from_nnx(Scaled)
    params, model_state = network.init(jax.random.key(0), INPUTS)
    assert jax.tree.map(jnp.shape, (params, model_state)) == ({"layer": {"kernel": (3, 3)}}, {"scale": (3,)})
    output, _ = network.apply(params, model_state, INPUTS, train=True)
    np.testing.assert_allclose(output, 2 * np.asarray(INPUTS) @ np.asarray(params["layer"]["kernel"]), rtol=1e-4)


def test_what_is_no_function_that_makes_a_module_is_refused():
    with pytest.raises(ValueError, match="not the module itself"):
        from_nnx(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"returns an nnx\.Module, not int"):
        from_nnx(lambda rngs: 3)
    sizes = iter((2, 3))
    network = from_nnx(lambda rngs: nnx.Linear(2, next(sizes), rngs=rngs))
    with pytest.raises(ValueError, match="other variables or shapes"):
        network.init(jax.random.key(0))


def test_a_penalty_on_batch_norm_is_refused():
    options = {"loss": LOSSES["non_saturating"], "g_tx": optim.adam(1e-3), "d_tx": optim.adam(1e-3), "latent_dim": 3}
    with pytest.raises(ValueError, match="mixes its batch"):
        make_gan(from_nnx(Everything), from_nnx(Everything), penalty=r1_penalty, **options)
    assert not from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs)).mixes_batch
    assert not from_nnx(Everything, mixes_batch=False).mixes_batch


SIZES = {"size": 32, "channels": 1, "width": 4, "latent_dim": 6}


@pytest.mark.slow
def test_a_dcgan_trains_as_its_linen_twin():
    """20 steps from equal weights: losses within 1e-5; and the statistics of batch norm."""
    batch = {"image": jax.random.uniform(jax.random.key(1), (8, 32, 32, 1), minval=-1.0)}
    nnx_gan, linen_gan = build("nnx", **SIZES), build("linen", **SIZES)
    ours, theirs = nnx_gan.init(jax.random.key(0), batch), linen_gan.init(jax.random.key(0), batch)

    def renamed(tree):
        return {name: {"BatchNorm_0": part} if name.startswith("norm") else part for name, part in tree.items()}

    given = theirs.generator.replace(params=renamed(ours.generator.params))
    assert jax.tree.structure(given) == jax.tree.structure(theirs.generator)
    theirs = theirs.replace(
        generator=given, discriminator=theirs.discriminator.replace(params=ours.discriminator.params)
    )
    theirs, ours = jax.tree.map(jnp.copy, (theirs, ours))
    for _ in range(20):
        ours, metrics = nnx_gan.train_step(ours, (batch,))
        theirs, expected = linen_gan.train_step(theirs, (batch,))
        for name in ("d_loss", "g_loss"):
            assert float(metrics[name]) == pytest.approx(float(expected[name]), abs=1e-5)
    statistics = {"batch_stats": renamed(ours.generator.model_state)}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), statistics, theirs.generator.model_state
    )

    # One exported program for any batch size, as `experiments.export` writes it.
    latents = jax.ShapeDtypeStruct((*export.symbolic_shape("batch"), 6), jnp.float32)
    program = export.export(jax.jit(lambda latents: nnx_gan.sample(ours, {"latents": latents})))(latents)
    inputs = jax.random.normal(jax.random.key(3), (3, 6))
    expected = nnx_gan.sample(ours, {"latents": inputs})["samples"]
    np.testing.assert_allclose(program.call(inputs)["samples"], expected, rtol=1e-5, atol=1e-6)


def test_a_run_resumes_bit_for_bit(tmp_path):
    class Noisy(nnx.Module):
        def __init__(self, rngs):
            self.hidden, self.norm = nnx.Linear(2, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs)
            self.dropout, self.last = nnx.Dropout(0.2, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, latents):
            return self.last(self.dropout(nnx.relu(self.norm(self.hidden(latents)))))

    gan = small.small_gan(generator=from_nnx(Noisy), latent_dim=2)
    data = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    options = {"draw": None}
    run = lambda name, steps: fit(
        gan, DeviceBatches(data, batch_size=8), small.config(tmp_path / name, num_steps=steps), **options
    )[0]
    unbroken = run("a", 6)
    run("b", 3)
    small.assert_same(run("b", 6), unbroken)
