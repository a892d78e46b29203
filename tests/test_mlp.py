import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.networks.mlp import mlp_discriminator, mlp_generator


def test_shapes_and_a_numpy_recomputation():
    network = mlp_generator((5, 6), features=2)
    latents = jax.random.normal(jax.random.key(0), (4, 3))
    params, model_state = jax.device_get(network.init(jax.random.key(1), latents))
    output, new_state = network.apply(params, model_state, latents, train=True)
    assert model_state == new_state == {}
    assert not network.mixes_batch

    hidden = np.asarray(latents)
    for name in ("Dense_0", "Dense_1"):
        hidden = np.maximum(hidden @ params[name]["kernel"] + params[name]["bias"], 0.0)
    np.testing.assert_allclose(output, hidden @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"], atol=1e-6)


def test_discriminator_gives_one_raw_score_a_row():
    network = mlp_discriminator((5,), dtype=jnp.bfloat16)
    params, model_state = network.init(jax.random.key(1), jnp.zeros((4, 2)))
    scores, _ = network.apply(params, model_state, jnp.zeros((4, 2)), train=False)
    assert scores.shape == (4,)
    assert scores.dtype == jnp.bfloat16
    assert params["Dense_0"]["kernel"].dtype == jnp.float32
