import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.algorithms.state import create_player, gradient_step
from jaxgan.networks.mlp import mlp_discriminator


def test_gradient_step_against_the_closed_form():
    # loss = |w - 3|^2, gradient 2 (w - 3): from 0 with rate 0.1 to 0.6, gradient norm sqrt(2 * 36).
    network = mlp_discriminator((4,))
    player = create_player(network, optax.sgd(0.1), jax.random.key(0), jnp.zeros((1, 2)))
    player = player.replace(params=jnp.zeros(2), opt_state=optax.sgd(0.1).init(jnp.zeros(2)))

    def loss_fn(params):
        return jnp.sum((params - 3.0) ** 2), ({"seen": jnp.int32(1)}, {"extra": params.sum()})

    moved, metrics = gradient_step(player, loss_fn, optax.sgd(0.1))
    np.testing.assert_allclose(moved.params, 0.6, rtol=1e-6)
    assert int(moved.step) == 1
    assert int(moved.model_state["seen"]) == 1
    assert float(metrics["loss"]) == 18.0
    assert float(metrics["grad_norm"]) == pytest.approx(72**0.5)
    assert float(metrics["extra"]) == 0.0
    assert float(player.params.sum()) == 0.0  # the old state is untouched


def test_gradient_step_moves_a_network():
    network, tx = mlp_discriminator((8,)), optax.sgd(0.1)
    points = jax.random.normal(jax.random.key(1), (16, 2))
    player = create_player(network, tx, jax.random.key(0), points)

    def loss_fn(params):
        scores, model_state = network.apply(params, {}, points, train=True)
        return jnp.mean((scores - 1.0) ** 2), (model_state, {})

    step = jax.jit(lambda player: gradient_step(player, loss_fn, tx))
    _, first = step(player)
    for _ in range(20):
        player, metrics = step(player)
    assert float(metrics["loss"]) < 0.5 * float(first["loss"])
