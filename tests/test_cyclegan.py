"""make_cyclegan with networks small enough to follow by hand, and every rule of its steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan.algorithms.cyclegan import make_cyclegan
from jaxgan.devices.sharding import by_batch, compile_step, data_mesh, replicated
from jaxgan.losses import LOSSES
from jaxgan.networks.linen import from_linen
from jaxgan.penalties import gradient_penalty, r1_penalty
from jaxgan.types import Network


def translator(scale, shift, seen=None, channels=None):
    """`scale * images + shift`, of the first channel where the channels change."""

    def apply(params, model_state, images, *, train, key=None):
        if seen is not None:
            seen.append(key)
        images = images if channels is None else jnp.repeat(images[..., :1], channels, axis=-1)
        return params["scale"] * images + params["shift"], model_state

    return Network(lambda key, images: ({"scale": jnp.float32(scale), "shift": jnp.float32(shift)}, {}), apply)


def critic(weight, seen=None):
    """A score for each row of pixels: `weight` times its mean."""

    def apply(params, model_state, images, *, train, key=None):
        if seen is not None:
            seen.append(key)
        return params["weight"] * images.mean((2, 3)), model_state

    return Network(lambda key, images: ({"weight": jnp.float32(weight)}, {}), apply)


def noise(seed, channels=2, number=4):
    return jax.random.uniform(jax.random.key(seed), (number, 3, 2, channels), minval=-1.0)


BATCH = {"a": noise(1), "b": noise(2)}


def small_cyclegan(loss="least_squares", generators=None, discriminators=None, **changes):
    options = {"g_tx": optax.sgd(0.01), "d_tx": optax.sgd(0.01), "pool_size": 3, **changes}
    return make_cyclegan(
        generators or {"a_to_b": translator(1.0, 0.1), "b_to_a": translator(1.0, -0.2)},
        discriminators or {"a": critic(2.0), "b": critic(3.0)},
        loss=LOSSES[loss],
        **options,
    )


def same(a, b):
    return all(jnp.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), a, b)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_all_four_networks(loss):
    gan = small_cyclegan(loss)
    state = gan.init(jax.random.key(0), BATCH)
    moved, metrics = gan.train_step(state, (BATCH,))
    for player in ("generator", "discriminator"):
        before, after = getattr(state, player).params, getattr(moved, player).params
        assert not any(same(before[name], after[name]) for name in before)
    domains = lambda name: {f"{name}_a", f"{name}_b"}
    assert metrics.keys() == {
        *("d_loss", "g_loss", "cycle_loss", "identity_loss", "adversarial_a_to_b", "adversarial_b_to_a"),
        *(domains("d_loss") | domains("real_score") | domains("fake_score") | domains("cycle") | domains("identity")),
        *("d_grad_norm", "g_grad_norm"),
        *(domains("wasserstein_estimate") if loss == "wasserstein" else ()),
    }
    assert all(jnp.isfinite(value) and value.shape == () for value in metrics.values())


def test_a_step_by_hand():
    """a = 1, b = 2, a_to_b adds s = 0.5, b_to_a adds t = -1; D_a(x) = 2 x, D_b(x) = 3 x; least squares, cycle 10,
    identity 5, gradient descent with rate 0.01.

    Fakes: b' = 1.5, a' = 1. Back: 1.5 - 1 = 0.5 (cycle a: 0.5), 1 + 0.5 = 1.5 (cycle b: 0.5). Identity of b through
    a_to_b: 0.5; of a through b_to_a: 1. Adversarial: a_to_b (3 * 1.5 - 1)^2 = 12.25, b_to_a (2 * 1 - 1)^2 = 1.
    g_loss = 12.25 + 1 + 10 (0.5 + 0.5) + 5 (0.5 + 1) = 30.75. Its slope in s: 2 * 3.5 * 3 - 10 - 10 + 5 = 6.
    d_loss_b = ((3 * 2 - 1)^2 + (3 * 1.5)^2) / 2 = 22.625, slope 5 * 2 + 4.5 * 1.5 = 16.75;
    d_loss_a = ((2 - 1)^2 + 2^2) / 2 = 2.5, slope 1 * 1 + 2 * 1 = 3.
    """
    gan = small_cyclegan(generators={"a_to_b": translator(1.0, 0.5), "b_to_a": translator(1.0, -1.0)})
    batch = {"a": jnp.ones((4, 3, 2, 1)), "b": jnp.full((4, 3, 2, 1), 2.0)}
    state, metrics = gan.train_step(gan.init(jax.random.key(0), batch), (batch,))
    expected = {
        "adversarial_a_to_b": 12.25, "adversarial_b_to_a": 1.0, "cycle_a": 0.5, "cycle_b": 0.5, "identity_a": 1.0,
        "identity_b": 0.5, "cycle_loss": 10.0, "identity_loss": 7.5, "g_loss": 30.75, "d_loss_a": 2.5,
        "d_loss_b": 22.625, "d_loss": 25.125, "real_score_a": 2.0, "real_score_b": 6.0, "fake_score_a": 2.0,
        "fake_score_b": 4.5, "d_grad_norm": np.hypot(16.75, 3.0),
    }  # fmt: skip
    for name, value in expected.items():
        assert float(metrics[name]) == pytest.approx(value, rel=1e-5), name
    assert float(state.generator.params["a_to_b"]["shift"]) == pytest.approx(0.5 - 0.06)
    assert float(state.discriminator.params["b"]["weight"]) == pytest.approx(3.0 - 0.1675)
    assert float(state.discriminator.params["a"]["weight"]) == pytest.approx(2.0 - 0.03)
    # The pools hold what was made before the generators moved.
    close(state.pools["b"].images, jnp.full((3, 3, 2, 1), 1.5))
    close(state.pools["a"].images, jnp.full((3, 3, 2, 1), 1.0))


def test_train_step_is_its_halves_from_one_state():
    gan = small_cyclegan(ema_decay=0.9)
    state, _ = gan.train_step(gan.init(jax.random.key(0), BATCH), (BATCH,))
    batch = {"a": noise(3), "b": noise(4)}
    whole, metrics = gan.train_step(state, (batch,))
    after_g, g_metrics = gan.g_step(state, batch)
    after_d, d_metrics = gan.d_step(state, batch)
    close((whole.generator, whole.ema_params), (after_g.generator, after_g.ema_params))
    close((whole.discriminator, whole.pools), (after_d.discriminator, after_d.pools))
    close(metrics, g_metrics | d_metrics)
    assert same((after_g.discriminator, after_g.pools), (state.discriminator, state.pools))
    assert same((after_d.generator, after_d.ema_params), (state.generator, state.ema_params))
    assert int(whole.step) == int(whole.discriminator.step) == 2
    with pytest.raises(ValueError, match="takes 1 batch, not 2"):
        gan.train_step(state, (batch, batch))


def test_the_discriminators_are_shown_what_the_pools_give_out():
    """With a pool of one image, a domain's fake score is the mean over an earlier image or the new one."""
    frozen = {"g_tx": optax.sgd(0.0), "d_tx": optax.sgd(0.0)}
    gan = small_cyclegan(pool_size=1, **frozen)
    steps = [{name: jnp.full((1, 3, 2, 1), 10.0 * step) for name in "ab"} for step in range(12)]
    state = gan.init(jax.random.key(0), steps[0])
    held, seen = None, set()
    for step, batch in enumerate(steps):
        state, metrics = gan.train_step(state, (batch,))
        shown = float(metrics["fake_score_b"]) / 3.0 - 0.1
        assert round(shown) in (10 * step, held)
        seen.add(round(shown) == 10 * step)
        held = round(float(state.pools["b"].images[0, 0, 0, 0]) - 0.1)
    assert seen == {True, False}
    without = small_cyclegan(pool_size=0, **frozen)
    _, metrics = without.train_step(without.init(jax.random.key(0), steps[0]), (steps[5],))
    assert float(metrics["fake_score_b"]) == pytest.approx(3.0 * 50.1)


@pytest.mark.parametrize(
    ("changes", "passes"),
    [({}, 6), ({"identity_weight": 0.0}, 4), ({"cycle_weight": 0.0}, 2), ({"cycle_weight": {"a": 1.0, "b": 0.0}}, 4)],
)
def test_a_term_of_weight_zero_costs_no_pass(changes, passes):
    seen = []
    generators = {"a_to_b": translator(1.0, 0.1, seen), "b_to_a": translator(1.0, -0.2, seen)}
    gan = small_cyclegan(generators=generators, **changes)
    state = jax.eval_shape(gan.init, jax.random.key(0), BATCH)
    seen.clear()
    jax.eval_shape(gan.train_step, state, (BATCH,))
    assert len(seen) == passes


def test_each_domain_may_have_its_own_cycle_weight():
    gan = small_cyclegan(cycle_weight={"a": 3.0, "b": 7.0}, identity_weight=2.0)
    _, metrics = gan.g_step(gan.init(jax.random.key(0), BATCH), BATCH)
    metrics = {name: float(value) for name, value in metrics.items()}
    assert metrics["cycle_loss"] == pytest.approx(3 * metrics["cycle_a"] + 7 * metrics["cycle_b"])
    assert metrics["identity_loss"] == pytest.approx(6 * metrics["identity_a"] + 14 * metrics["identity_b"])
    terms = ("adversarial_a_to_b", "adversarial_b_to_a", "cycle_loss", "identity_loss")
    assert metrics["g_loss"] == pytest.approx(sum(metrics[name] for name in terms))


def test_no_key_is_used_twice():
    seen = []

    class Spy(list):
        def append(self, key):
            jax.debug.callback(lambda data: seen.append(data.tobytes()), jax.random.key_data(key))

    gan = small_cyclegan(
        generators={"a_to_b": translator(1.0, 0.1, Spy()), "b_to_a": translator(1.0, -0.2, Spy())},
        discriminators={"a": critic(2.0, Spy()), "b": critic(3.0, Spy())},
    )
    state = small_cyclegan().init(jax.random.key(0), BATCH)
    for _ in range(3):
        state, _ = gan.train_step(state, (BATCH,))
    jax.effects_barrier()
    assert len(set(seen)) == len(seen) == 3 * (6 + 4 + 4)  # translations, scores for the generators, scores in d


def test_the_networks_start_apart():
    def drawn(network, *names):
        return network._replace(init=lambda key, images: ({name: jax.random.normal(key) for name in names}, {}))

    generator, discriminator = drawn(translator(1.0, 0.0), "scale", "shift"), drawn(critic(1.0), "weight")
    both = {"a_to_b": generator, "b_to_a": generator}, {"a": discriminator, "b": discriminator}
    state = small_cyclegan("least_squares", *both).init(jax.random.key(0), BATCH)
    assert len({float(start) for start in jax.tree.leaves((state.generator.params, state.discriminator.params))}) == 4


class BatchNormNet(nn.Module):
    """Batch norm and nothing else."""

    mixes_batch = True

    @nn.compact
    def __call__(self, images, *, train):
        return nn.BatchNorm(use_running_average=not train, momentum=0.9)(images)


def test_statistics_belong_to_the_moving_players_in_the_order_of_their_passes():
    network = from_linen(BatchNormNet())
    generators, discriminators = {"a_to_b": network, "b_to_a": network}, {"a": network, "b": network}
    gan = small_cyclegan(generators=generators, discriminators=discriminators, pool_size=0)
    batch = {"a": noise(1, 1) + 3.0, "b": noise(2, 1) - 2.0}
    state = gan.init(jax.random.key(0), batch)
    after_g, _ = gan.g_step(state, batch)
    after_d, _ = gan.d_step(state, batch)
    assert same(after_g.discriminator.model_state, state.discriminator.model_state)
    assert same(after_d.generator.model_state, state.generator.model_state)
    # a_to_b sees a, then what b_to_a makes of b (mean 0), then b.
    running = after_g.generator.model_state["a_to_b"]["batch_stats"]["BatchNorm_0"]["mean"]
    mean_a, mean_b = float(batch["a"].mean()), float(batch["b"].mean())
    np.testing.assert_allclose(running, 0.1 * (0.81 * mean_a + mean_b), rtol=1e-4)
    # D_b sees b, then the fakes of mean 0.
    running = after_d.discriminator.model_state["b"]["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(running, 0.09 * mean_b, rtol=1e-3, atol=1e-6)


def test_a_penalty_is_put_on_each_discriminator_and_halved_with_its_loss():
    penalty = lambda judge, real, fake, key: 10.0 * gradient_penalty(judge, real, fake, key) + r1_penalty(judge, real)
    plain, punished = small_cyclegan("wasserstein"), small_cyclegan("wasserstein", penalty=penalty)
    state = plain.init(jax.random.key(0), BATCH)
    _, without = plain.d_step(state, BATCH)
    _, metrics = punished.d_step(state, BATCH)
    # D(x) is `weight` times the mean of a row of 4 numbers, summed over 3 rows: each of 12 slopes is weight / 4.
    for domain, weight in (("a", 2.0), ("b", 3.0)):
        norm = weight / 4 * np.sqrt(12)
        expected = 10.0 * (norm - 1) ** 2 + norm**2 / 2
        assert float(metrics[f"penalty_{domain}"]) == pytest.approx(expected, rel=1e-4)
        added = metrics[f"d_loss_{domain}"] - without[f"d_loss_{domain}"]
        assert float(added) == pytest.approx(expected / 2, rel=1e-4)
        assert float(without[f"d_loss_{domain}"]) == pytest.approx(
            -float(without[f"wasserstein_estimate_{domain}"]) / 2, rel=1e-4, abs=1e-6
        )


def test_a_penalty_on_a_discriminator_that_mixes_its_batch_is_refused():
    penalty = r1_penalty
    discriminators = {"a": critic(1.0), "b": from_linen(BatchNormNet())}
    with pytest.raises(ValueError, match="a norm of single samples"):
        small_cyclegan(discriminators=discriminators, penalty=penalty)
    silent = {"a": critic(1.0), "b": from_linen(BatchNormNet(), mixes_batch=False)}
    with pytest.raises(ValueError, match="a norm of single samples"):
        small_cyclegan(discriminators=silent, penalty=penalty).init(jax.random.key(0), BATCH)


def test_the_average_is_what_sample_uses_and_can_be_donated():
    gan = small_cyclegan(ema_decay=lambda update: 0.5 + 0.0 * update)
    state = gan.init(jax.random.key(0), BATCH)
    moved, _ = jax.jit(gan.train_step, donate_argnums=0)(state, (BATCH,))
    state = gan.init(jax.random.key(0), BATCH)
    expected = jax.tree.map(lambda old, new: 0.5 * (old + new), state.generator.params, moved.generator.params)
    close(moved.ema_params, expected)
    outputs = gan.sample(moved, {"a": BATCH["a"]})
    close(outputs["a_to_b"], moved.ema_params["a_to_b"]["scale"] * BATCH["a"] + moved.ema_params["a_to_b"]["shift"])
    without = small_cyclegan()
    state, _ = without.train_step(without.init(jax.random.key(0), BATCH), (BATCH,))
    params = state.generator.params["b_to_a"]
    close(without.sample(state, {"b": BATCH["b"]})["b_to_a"], params["scale"] * BATCH["b"] + params["shift"])


def test_sample_draws_both_ways_in_order_and_needs_one_domain_only():
    gan = small_cyclegan()
    state = gan.init(jax.random.key(0), BATCH)
    outputs = gan.sample(state, gan.preview(jax.random.key(1), BATCH))
    assert list(outputs) == [
        *("a", "a_to_b", "a_to_b_to_a", "a_identity"),
        *("b", "b_to_a", "b_to_a_to_b", "b_identity"),
    ]
    a, b = BATCH["a"], BATCH["b"]
    close(outputs, {"a": a, "a_to_b": a + 0.1, "a_to_b_to_a": a - 0.1, "a_identity": a - 0.2,
                    "b": b, "b_to_a": b - 0.2, "b_to_a_to_b": b - 0.1, "b_identity": b + 0.1})  # fmt: skip
    alone = gan.sample(state, {"b": b[:1]})
    assert list(alone) == ["b", "b_to_a", "b_to_a_to_b", "b_identity"]
    close(alone["b_to_a"], outputs["b_to_a"][:1])
    for inputs, given in (({}, "nothing"), ({"latents": a}, "latents")):
        with pytest.raises(ValueError, match=f"'a', 'b' or both, not {given}"):
            gan.sample(state, inputs)


def test_an_output_by_itself_costs_one_pass():
    gan = small_cyclegan()
    state = gan.init(jax.random.key(0), BATCH)

    def flops(choose):
        program = jax.jit(lambda state, a: choose(gan.sample(state, {"a": a}))).lower(state, BATCH["a"]).compile()
        return program.cost_analysis()["flops"]

    assert flops(lambda outputs: outputs["a_to_b"]) <= flops(lambda outputs: outputs) / 2


def test_domains_may_differ_in_channels():
    generators = {"a_to_b": translator(1.0, 0.1, channels=3), "b_to_a": translator(1.0, 0.1, channels=1)}
    gan = small_cyclegan(generators=generators, identity_weight=0.0)
    batch = {"a": noise(1, 1), "b": noise(2, 3)}
    state, _ = gan.train_step(gan.init(jax.random.key(0), batch), (batch,))
    assert {name: pool.images.shape for name, pool in state.pools.items()} == {"a": (3, 3, 2, 1), "b": (3, 3, 2, 3)}
    assert list(gan.sample(state, batch)) == ["a", "a_to_b", "a_to_b_to_a", "b", "b_to_a", "b_to_a_to_b"]


def test_what_does_not_fit_is_refused_in_one_line():
    with pytest.raises(ValueError, match="generators has a_to_b, but needs a_to_b and b_to_a"):
        small_cyclegan(generators={"a_to_b": translator(1.0, 0.0)})
    with pytest.raises(ValueError, match="discriminators has a, c, but needs a and b"):
        small_cyclegan(discriminators={"a": critic(1.0), "c": critic(1.0)})
    with pytest.raises(ValueError, match="cycle_weight has a, but needs a and b"):
        small_cyclegan(cycle_weight={"a": 1.0})
    for changes in ({"cycle_weight": -1.0}, {"identity_weight": -0.5}, {"pool_size": -1}, {"identity_weight": np.nan}):
        with pytest.raises(ValueError, match=r"=(-[0-9.]+|nan).*0 or more expected"):
            small_cyclegan(**changes)
    with pytest.raises(ValueError, match=r"ema_decay=2 is not in \[0, 1\)"):
        small_cyclegan(ema_decay=2)
    gan = small_cyclegan()
    with pytest.raises(ValueError, match=r"b_to_a makes \(3, 3, 2, 2\) of b's \(3, 3, 2, 2\), but a is \(4, 3, 2, 2\)"):
        gan.init(jax.random.key(0), {"a": noise(1), "b": noise(2, number=3)})


def test_equal_on_one_device_and_on_two():
    gan = small_cyclegan(ema_decay=0.9)
    state = gan.init(jax.random.key(0), BATCH)
    for _ in range(3):  # the pools are full, so that images move between the halves of a batch
        state, _ = gan.train_step(state, (BATCH,))
    batch = {"a": noise(5), "b": noise(6)}

    def on(devices):
        mesh = data_mesh(devices, batch_size=4)
        placed, shared = jax.device_put(state, replicated(mesh)), jax.device_put((batch,), by_batch(mesh))
        return compile_step(gan.train_step, mesh, placed, shared)(jax.tree.map(jnp.copy, placed), shared)

    (one, one_metrics), (two, two_metrics) = on(1), on(2)
    close(one_metrics, two_metrics, atol=0.0)
    close(one.replace(key=0), two.replace(key=0))
    assert not same(one.pools, state.pools)
