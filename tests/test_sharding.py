import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.devices import sharding
from jaxgan.devices.sharding import by_batch, compile_step, data_mesh, device_put, replicated
from jaxgan.networks.convolutions import conv


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
    """They are faster than the library that XLA gives them to by default; see benchmarks/README.md."""
    assert " convolution(" in compile_step(convolve, data_mesh(1), *SHAPES).as_text()


def test_an_option_that_the_compiler_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(sharding, "CPU_OPTIONS", {"xla_cpu_of_another_version": "yes"})
    assert compile_step(convolve, data_mesh(1), *SHAPES).cost_analysis()["flops"] > 0
