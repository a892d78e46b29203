import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from flax import linen as nn

from jaxgan.algorithms.gan import make_gan
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.devices import sharding
from jaxgan.devices.sharding import batched, by_batch, compile_step, data_mesh, device_put, replicated
from jaxgan.losses import LOSSES
from jaxgan.metrics.extract import extract
from jaxgan.networks.convolutions import conv
from jaxgan.networks.layers import Norm
from jaxgan.networks.linen import from_linen
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.runs.config import RunConfig
from jaxgan.training.step import TrainStep


def test_mesh_takes_all_devices_or_as_many_as_asked():
    assert data_mesh().size == 4
    assert data_mesh(2).axis_names == ("data",)
    with pytest.raises(ValueError, match="num_devices=5, but there are 4"):
        data_mesh(5)
    with pytest.raises(ValueError, match="batch_size=2 does not divide among 4 devices; 4 would"):
        data_mesh(4, batch_size=2)


@pytest.mark.parametrize("devices", [1, 4])
def test_batch_norm_sees_the_global_batch_on_any_number_of_devices(devices):
    # Values 0, 0, 1, 1, 2, 2, 3, 3: mean 1.5, variance 1.25; at momentum 0.9 from (0, 1): 0.15 and 1.025.
    norm = nn.BatchNorm(use_running_average=False, momentum=0.9)
    values = jnp.repeat(jnp.arange(4.0), 2)[:, None]
    state = norm.init(jax.random.key(0), values)

    def step(state, values):
        _, updated = norm.apply(state, values, mutable=["batch_stats"])
        return {**state, **updated}, None

    mesh = data_mesh(devices)
    compiled = compile_step(step, mesh, jax.eval_shape(lambda: state), jax.ShapeDtypeStruct((8, 1), jnp.float32))
    state, _ = compiled(jax.device_put(state, replicated(mesh)), jax.device_put(values, by_batch(mesh)))
    np.testing.assert_allclose(state["batch_stats"]["mean"], [0.15], rtol=1e-5)
    np.testing.assert_allclose(state["batch_stats"]["var"], [1.025], rtol=1e-5)


def test_arrays_are_put_where_they_are_not_yet():
    first, second = jax.devices()[:2]
    there, elsewhere = (jax.device_put(jnp.arange(4.0), device) for device in (first, second))
    one = by_batch(data_mesh(1))
    assert device_put({"x": there}, one)["x"] is there
    for arrays in ({"x": elsewhere}, {"x": np.arange(4.0)}, {"x": there, "y": elsewhere}):
        assert all(array.devices() == {first} for array in device_put(arrays, one).values())
    assert device_put(there, by_batch(data_mesh(4))).sharding.shard_shape((4,)) == (1,)


def test_the_state_is_donated_and_other_shapes_are_refused():
    mesh = data_mesh(1)
    state = jax.device_put({"w": jnp.ones(3)}, replicated(mesh))
    step = lambda state, x: ({"w": state["w"] + x.sum()}, state["w"].sum())
    compiled = compile_step(step, mesh, state, jax.ShapeDtypeStruct((4,), jnp.float32))
    moved, output = compiled(state, jax.device_put(jnp.ones(4), by_batch(mesh)))
    assert float(output) == 3.0
    np.testing.assert_array_equal(moved["w"], 5.0)
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(state["w"])
    with pytest.raises(TypeError, match="differ"):
        compiled(moved, jax.device_put(jnp.ones(8), by_batch(mesh)))


def convolve(kernel, images):
    return kernel, conv(images, kernel)


SHAPES = jax.ShapeDtypeStruct((3, 3, 8, 8), jnp.float32), jax.ShapeDtypeStruct((2, 16, 16, 8), jnp.float32)


def test_on_a_cpu_convolutions_stay_the_compilers_own():
    """They are faster than the library that XLA gives them to by default; see docs/notes/cpu_steps.md."""
    assert " convolution(" in compile_step(convolve, data_mesh(1), *SHAPES).as_text()


def test_an_option_that_the_compiler_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(sharding, "CPU_OPTIONS", {"xla_cpu_of_another_version": "yes"})
    assert compile_step(convolve, data_mesh(1), *SHAPES).cost_analysis()["flops"] > 0


POINTS = np.random.default_rng(0).normal(size=(19, 2))


def tiny_gan():
    return make_gan(
        mlp_generator((4,), features=2),
        mlp_discriminator((4,)),
        loss=LOSSES["non_saturating"],
        g_tx=optax.sgd(0.1),
        d_tx=optax.sgd(0.1),
        latent_dim=2,
    )


@pytest.mark.parametrize(("batch_size", "near"), [(6, "4 or 8 would"), (2, "4 would"), (9, "8 or 12 would")])
def test_a_batch_that_does_not_divide_is_refused_at_the_start(batch_size, near, tmp_path):
    """Physical-Intelligence/openpi#607: it failed in the middle of a run."""
    with pytest.raises(ValueError, match=f"batch_size={batch_size} does not divide among 4 devices; {near}"):
        small.run(small.config(tmp_path / "run", batch_size=batch_size, num_devices=4))
    assert not (tmp_path / "run").exists()


def test_devices_do_not_change_a_step():
    """19 examples in batches of 8 over three epochs, on 1 and on 4 devices."""
    gan, batches, losses = tiny_gan(), DeviceBatches(POINTS, batch_size=8), []
    for devices in (1, 4):
        mesh = data_mesh(devices, batch_size=8)
        state = jax.device_put(gan.init(jax.random.key(0), batches(0)[0]), replicated(mesh))
        train_step = TrainStep(gan, RunConfig(), mesh, state, batches(0))
        found = []
        for step in range(6):
            state = train_step.update(state, batches(step))
            found.append(train_step.read()[0]["d_loss"])
        losses.append(found)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_examples_that_do_not_divide_are_evaluated_once_each():
    """mlcommons/algorithmic-efficiency#119: what the devices do not divide was padded, and the padding counted."""
    rows = np.arange(19, dtype=np.uint8).reshape(19, 1, 1, 1)
    identity = jax.jit(lambda images: images.reshape(len(images), -1).astype(jnp.float32))
    found = extract(rows, identity, batch_size=8, sharding=by_batch(data_mesh(4, batch_size=8)))
    assert found.ravel().tolist() == list(range(19))


def test_five_samples_on_four_devices():
    gan = tiny_gan()
    state = gan.init(jax.random.key(0), {"image": jnp.zeros((4, 2))})
    latents = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    expected = gan.sample(state, {"latents": latents})["samples"]
    everywhere = jax.device_put(state, replicated(data_mesh(4)))
    found = batched(lambda inputs: gan.sample(everywhere, inputs), at_once=4)({"latents": latents})["samples"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_statistics_of_the_global_batch(tmp_path):
    """google/flax#877: statistics of batch norm were those of one device."""

    class Normed(nn.Module):
        @nn.compact
        def __call__(self, values, *, train):
            return Norm("batch", affine=False)(values, train=train)

    network = from_linen(Normed(), mixes_batch=True)
    values = jnp.repeat(jnp.arange(4.0), 2)[:, None]  # 0, 0 on the first device, ... 3, 3 on the last
    after = {}
    for devices in (1, 4):
        mesh = data_mesh(devices)
        _, state = network.init(jax.random.key(0), values)

        def step(state, values):
            outputs, moved = network.apply({}, state, values, train=True)
            return moved, outputs

        compiled = compile_step(step, mesh, state, jax.ShapeDtypeStruct(values.shape, values.dtype))
        moved, outputs = compiled(jax.device_put(state, replicated(mesh)), jax.device_put(values, by_batch(mesh)))
        for leaf, expected in zip(jax.tree.leaves(moved), (0.15, 1.025), strict=True):
            assert len(leaf.addressable_shards) == devices
            for shard in leaf.addressable_shards:
                np.testing.assert_allclose(shard.data, [expected], rtol=1e-6)
        np.testing.assert_allclose(outputs, (values - 1.5) / np.sqrt(1.25 + 1e-5), rtol=1e-5)
        after[devices] = moved
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, after[4])
        stored = checkpoints.restore(1, jax.eval_shape(lambda: after[1]))  # on one device
    outputs, _ = network.apply({}, stored, values, train=False)
    np.testing.assert_allclose(outputs, (values - 0.15) / np.sqrt(1.025 + 1e-5), rtol=1e-5)
