"""What is counted beside the steps, on a GAN of a few numbers whose batches say what goes wrong."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxgan.algorithms.state import GANState, TrainState
from jaxgan.devices.sharding import data_mesh
from jaxgan.runs.config import RunConfig
from jaxgan.training.step import GIVES_UP, NonFiniteError, TrainStep
from jaxgan.types import GAN

GOOD = {"loss": 1.0, "kernel": 1.0, "moment": 1.0}


def batch(**changes):
    return ({name: jnp.full(1, value) for name, value in (GOOD | changes).items()},)


def player(step):
    params = {"layer_0": {"bias": jnp.zeros(2), "kernel": jnp.ones((2, 2))}}
    return TrainState(step=jnp.int32(step), params=params, model_state={}, opt_state={"moment": jnp.ones(2)})


def train_step(state, batches):
    said = {name: value[0] for name, value in batches[0].items()}
    g = state.generator
    layer = g.params["layer_0"]
    params = {"layer_0": layer | {"kernel": layer["kernel"] * said["kernel"]}}
    opt_state = {"moment": g.opt_state["moment"] * said["moment"]}
    g = g.replace(step=g.step + 1, params=params, opt_state=opt_state)
    d = state.discriminator.replace(step=state.discriminator.step + 1)
    metrics = {"a_score": said["loss"] * 2, "g_loss": jnp.log(said["loss"]), "g_grad_norm": said["kernel"]}
    metrics["moment"] = said["moment"]
    return state.replace(generator=g, discriminator=d), metrics


def init(key, batch):
    return GANState(key, player(0), player(0))


_unused: Any = None
GAN_OF_NUMBERS = GAN(init, _unused, _unused, train_step, _unused, _unused)


def start(**options):
    state = init(jax.random.key(0), {})
    return TrainStep(GAN_OF_NUMBERS, RunConfig(**options), data_mesh(1), state, batch()), state


def test_means_since_the_last_reading():
    compiled, state = start()
    for loss in (1.0, np.e):
        state = compiled.update(state, batch(loss=loss, kernel=3.0))
    metrics, count = compiled.read()
    assert count == 2
    assert metrics == pytest.approx({"g_loss": 0.5, "a_score": 1 + np.e, "g_grad_norm": 3.0, "moment": 1.0})
    compiled.update(state, batch(loss=np.e))
    assert compiled.read()[0]["g_loss"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"kernel": np.inf},
            "g_grad_norm is not finite, after this step neither is generator/params/layer_0/kernel. Lower",
        ),
        ({"moment": np.nan}, "moment is not finite, after this step neither is generator/opt_state/moment. Lower"),
        ({"loss": -1.0}, "g_loss is not finite. Lower"),  # a metric alone
        (
            {"loss": np.nan, "kernel": np.nan, "moment": np.nan},  # a loss tells most, parameters before the optimizer
            "g_loss is not finite, after this step neither is generator/params/layer_0/kernel and 1 more of 6 arrays",
        ),
    ],
)
def test_the_first_that_was_not_finite_is_named(changes, complaint):
    compiled, state = start()
    for values in ({}, changes, {"moment": np.nan}):  # what comes later is not told
        state = compiled.update(state, batch(**values))
    with pytest.raises(NonFiniteError) as error:
        compiled.read()
    assert f"step 2: {complaint}" in str(error.value)
    assert "--debug-nans names the operation; --on-nonfinite skip" in str(error.value)


@pytest.mark.parametrize("part", ["ema_params", "ema_model_state"])
def test_an_average_that_is_not_finite_stops_the_run(part):
    """No metric shows it, but it is what samples are drawn with."""

    def averaging(state, batches):
        moved, metrics = train_step(state, batches)
        new = {"layer_0": {"kernel": getattr(state, part)["layer_0"]["kernel"] * batches[0]["average"][0]}}
        return moved.replace(**{part: new}), metrics

    gan = GAN_OF_NUMBERS._replace(train_step=averaging)

    def after(averages, **options):
        state = init(jax.random.key(0), {}).replace(**{part: {"layer_0": {"kernel": jnp.ones((2, 2))}}})
        compiled = TrainStep(gan, RunConfig(**options), data_mesh(1), state, batch(average=1.0))
        for average in averages:
            state = compiled.update(state, batch(average=average))
        return compiled, state

    compiled, _ = after((2.0, np.inf))
    with pytest.raises(NonFiniteError, match=f"^step 2: {part}/layer_0/kernel is not finite. Lower"):
        compiled.read()
    compiled, state = after((2.0, np.nan, 3.0), on_nonfinite="skip")
    np.testing.assert_array_equal(getattr(state, part)["layer_0"]["kernel"], np.full((2, 2), 6.0))
    assert compiled.read()[0]["skipped"] == 1.0


def test_a_skipped_update_moves_only_the_counts():
    compiled, state = start(on_nonfinite="skip")
    state = compiled.update(state, batch(kernel=2.0))
    state = compiled.update(state, batch(kernel=np.nan, loss=5.0))
    assert (int(state.step), int(state.discriminator.step)) == (2, 2)
    np.testing.assert_array_equal(state.generator.params["layer_0"]["kernel"], np.full((2, 2), 2.0))
    metrics, count = compiled.read()
    assert (metrics["skipped"], metrics["g_loss"], count) == (1.0, 0.0, 2)
    compiled.update(state, batch(loss=-1.0))
    assert compiled.read() == ({"skipped": 1.0}, 1)  # of no update there is no mean


def test_it_gives_up_where_no_update_helps():
    def skip(count):
        nonlocal state
        for _ in range(count):
            state = compiled.update(state, batch(loss=-1.0))

    compiled, state = start(on_nonfinite="skip")
    skip(GIVES_UP - 1)
    state = compiled.update(state, batch())
    skip(GIVES_UP - 1)  # not in a row with those before
    assert compiled.read() == (
        {"g_loss": 0.0, "a_score": 2.0, "g_grad_norm": 1.0, "moment": 1.0, "skipped": 2.0 * GIVES_UP - 2},
        2 * GIVES_UP - 1,
    )
    skip(1)  # but with these, over the reading
    state = compiled.update(state, batch())
    with pytest.raises(NonFiniteError, match=f"step 200: g_loss is not finite.*{GIVES_UP} skipped updates in a row"):
        compiled.read()


def test_the_operation_is_named_and_the_state_of_before_is_still_there():
    compiled, state = start(debug_nans=True)
    state = compiled.update(state, batch())
    with pytest.raises(FloatingPointError, match=r"invalid value \(nan\) encountered in log") as error:
        compiled.update(state, batch(loss=-1.0))
    assert "in step 2 of the generator" in error.value.__notes__
    assert any(entry.name == "train_step" for entry in error.traceback)
    assert int(state.step) == 1


def test_debugging_and_skipping_exclude_each_other():
    with pytest.raises(ValueError, match="debug_nans stops at a NaN, on_nonfinite=skip does not"):
        RunConfig(debug_nans=True, on_nonfinite="skip")


def test_several_steps_in_one_call_are_the_same_steps():
    losses = (1.0, np.e, 2.0, 3.0)
    compiled, state = start()
    for loss in losses:
        state = compiled.update(state, batch(loss=loss, kernel=2.0))
    together, moved = start(steps_per_call=2)
    for pair in (losses[:2], losses[2:]):
        moved = together.update(moved, *(batch(loss=loss, kernel=2.0) for loss in pair))
    small.assert_same(moved, state)
    assert together.read() == compiled.read()
    with pytest.raises(TypeError):
        together.update(moved, batch())


def test_the_step_that_went_wrong_is_named_within_a_call():
    compiled, state = start(steps_per_call=2)
    for pair in ((1.0, 1.0), (1.0, -1.0)):
        state = compiled.update(state, *(batch(loss=loss) for loss in pair))
    with pytest.raises(NonFiniteError, match="step 4: g_loss is not finite"):
        compiled.read()
