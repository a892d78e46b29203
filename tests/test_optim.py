import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import wgan
from jaxgan import optim


def test_linear_decay_is_constant_then_linear_then_zero():
    schedule = optim.linear_decay(2.0, 100, constant_steps=50)
    np.testing.assert_allclose([schedule(s) for s in (0, 49, 50, 75, 100, 150)], [2, 2, 2, 1, 0, 0], rtol=1e-6)


def test_linear_decay_keeps_both_players_at_one_rate():
    g, d = optim.linear_decay(1e-3, 40), optim.linear_decay(1e-3, 40, updates_per_step=5)
    for step in range(40):
        for inner in range(5):
            assert float(d(5 * step + inner)) == float(g(step))


def test_linear_decay_refuses_an_end_before_its_start():
    with pytest.raises(ValueError, match="constant_steps=11"):
        optim.linear_decay(1.0, 10, constant_steps=11)


def test_linear_decay_without_decay_is_constant_to_the_end():
    schedule = optim.linear_decay(2.0, 10, constant_steps=10)
    np.testing.assert_allclose([schedule(s) for s in range(10)], 2.0)


def test_clip_weights_holds_after_every_update():
    tx = optax.chain(optax.rmsprop(0.5), optim.clip_weights(0.01))
    params = {"w": jnp.linspace(-1.0, 1.0, 9), "scale": jnp.ones(3)}
    state = tx.init(params)
    for sign in (1.0, -1.0, 1.0):
        updates, state = tx.update({"w": sign * jnp.ones(9), "scale": -sign * jnp.ones(3)}, state, params)
        params = optax.apply_updates(params, updates)
        for leaf in (params["w"], params["scale"]):
            assert float(jnp.abs(leaf).max()) <= 0.01 * (1 + 1e-4)


def test_clip_weights_needs_a_limit_and_the_parameters():
    with pytest.raises(ValueError, match="positive"):
        optim.clip_weights(0.0)
    with pytest.raises(ValueError, match="parameters"):
        optim.clip_weights(0.1).update({"w": jnp.ones(1)}, optax.EmptyState())


def test_ema_averages_floats_and_copies_the_rest():
    average = {"w": jnp.zeros(2), "half": jnp.zeros(2, jnp.bfloat16), "count": jnp.int32(1)}
    new = {"w": jnp.ones(2), "half": jnp.ones(2, jnp.bfloat16), "count": jnp.int32(7)}
    blended = optim.ema(average, new, 0.75)
    np.testing.assert_allclose(blended["w"], 0.25)
    np.testing.assert_allclose(blended["half"].astype(jnp.float32), 0.25)
    assert blended["half"].dtype == jnp.bfloat16
    assert int(blended["count"]) == 7


def test_adam_first_update_and_its_readable_rate():
    # The first step of Adam is the learning rate, whatever the gradient's size (bias correction cancels both moments).
    tx = optim.adam(optim.linear_decay(0.1, 10))
    params = jnp.zeros(2)
    updates, state = tx.update(jnp.array([3.0, -0.5]), tx.init(params), params)
    np.testing.assert_allclose(updates, [-0.1, 0.1], rtol=1e-5)
    assert float(optim.learning_rate_of(state)) == pytest.approx(0.1)
    _, state = tx.update(jnp.ones(2), state, params)
    assert float(optim.learning_rate_of(state)) == pytest.approx(0.09)


def test_learning_rate_of_an_optimizer_that_hides_it():
    assert optim.learning_rate_of(optax.sgd(0.1).init(jnp.zeros(1))) is None


def test_rmsprop_is_the_one_of_pytorch():
    """Two updates of torch.optim.RMSprop(lr=5e-5, alpha=0.99, eps=1e-8), written out."""
    gradients = np.array([[1.0, 1e-4, -3.0], [0.5, 2e-4, 0.0]])
    params, tx = jnp.zeros(3), optim.rmsprop(5e-5)
    state, expected, second_moment = tx.init(params), np.zeros(3), np.zeros(3)
    for gradient in gradients:
        second_moment = 0.99 * second_moment + 0.01 * gradient**2
        expected -= 5e-5 * gradient / (np.sqrt(second_moment) + 1e-8)
        updates, state = tx.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, expected, rtol=1e-5)
    assert float(optim.learning_rate_of(state)) == pytest.approx(5e-5)


def test_adams_second_moment_can_follow_a_schedule():
    tx = optim.adam(0.1, b1=0.0, b2=lambda update: jnp.where(update == 0, 0.5, 0.9))
    state, params, gradients = tx.init(jnp.zeros(1)), jnp.zeros(1), [2.0, 4.0]
    moments, expected = [0.5 * 4.0], []  # v1 = (1 - .5) 2^2, v2 = .9 v1 + .1 4^2, corrected by 1 - b2^t
    moments.append(0.9 * moments[0] + 0.1 * 16.0)
    for t, (b2, v, g) in enumerate(zip([0.5, 0.9], moments, gradients, strict=True), 1):
        expected.append(-0.1 * g / (np.sqrt(v / (1 - b2**t)) + 1e-8))
    for gradient, update in zip(gradients, expected, strict=True):
        updates, state = tx.update(jnp.array([gradient]), state, params)
        assert float(updates[0]) == pytest.approx(update, rel=1e-5)


def test_the_linear_decay_is_that_of_cyclegans_authors():
    """Their factor for epoch e is 1 - max(0, e + 1 - n) / (n_decay + 1), from n constant epochs and n_decay more."""
    n, n_decay = 6, 5
    rate = optim.linear_decay(1.0, n + n_decay, constant_steps=n - 1)
    expected = [1 - max(0, e + 1 - n) / (n_decay + 1) for e in range(n + n_decay)]
    np.testing.assert_allclose([rate(e) for e in range(n + n_decay)], expected, rtol=1e-6)


def largest(params):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(params))


def test_the_generator_meets_a_clipped_critic():
    """martinarjovsky/WassersteinGAN#50: weights were clipped before the update, so the generator met others."""
    config = wgan.Config(dataset="noise", width=2, batch_size=4, d_learning_rate=0.05)
    gan, data = wgan.build(config), wgan.batches(config)
    state = gan.init(jax.random.key(0), data(0)[0])
    assert largest(state.discriminator.params) > 0.01
    for batch in data(0)[:2]:
        state, _ = gan.d_step(state, batch)
        assert largest(state.discriminator.params) <= 0.01 * (1 + 1e-4)  # norm scales, which start near 1, included


def test_the_first_update_of_rmsprop():
    """google-deepmind/optax#532: RMSProp meant another rule in PyTorch than in optax."""
    first = lambda gradient: float(optim.rmsprop(5e-5).update(jnp.array(gradient), _start(), None)[0])
    _start = lambda: optim.rmsprop(5e-5).init(jnp.zeros(()))
    assert first(1.0) == pytest.approx(-5.0e-4, rel=1e-3)
    assert first(1e-4) == pytest.approx(-4.995e-4, rel=1e-3)  # with eps inside the root it would be 4.98e-5
