"""A training step compiled with its bookkeeping: running sums of the metrics, and the first number that went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxgan.algorithms.state import GANState
from jaxgan.checkpoints.leaves import leaves
from jaxgan.devices.memory import fill_gaps
from jaxgan.devices.sharding import by_batch, compile_step, device_put, replicated
from jaxgan.runs.config import RunConfig
from jaxgan.types import GAN

GIVES_UP = 100
"""Updates in a row that `on_nonfinite="skip"` leaves out before it gives up."""


class NonFiniteError(FloatingPointError):
    """A loss, a score or a gradient stopped being a finite number."""


class _Carry(NamedTuple):
    sums: Array  # of each metric since the last reading, over the steps where all were finite
    count: Array  # of those steps
    skipped: Array  # of the others
    in_a_row: Array  # of the others, up to now; once it reaches GIVES_UP it stays there
    bad_step: Array  # the first of the others, 0 if none
    bad_metrics: Array  # which metrics were not finite there
    bad_arrays: Array  # which arrays of the players were not finite after it


_COUNTS = ("count", "skipped", "in_a_row")


class Tally:
    """`train_step` compiled together with its running sums, so that the host need not look after every step.

    Attributes:
      compiled: the step, with `cost_analysis()` and `memory_analysis()`.
    """

    def __init__(self, gan: GAN, config: RunConfig, mesh: Mesh, state: GANState, batches: tuple):
        """Compiles the step.

        Args:
          gan: the algorithm.
          config: whether to skip an update that is not finite, or to look for the operation that made it so.
          mesh: the devices.
          state: a state, or its shapes.
          batches: the batches of a step, or their shapes, each with all of its rows.
        """
        metrics = jax.eval_shape(gan.train_step, state, batches)[1]
        # Losses first: where several numbers go wrong in one step, a loss tells more than a gradient's norm.
        self._names = sorted(metrics, key=lambda name: (not name.endswith("loss"), name))
        self._arrays = list(_arrays(state))
        self._skips = config.on_nonfinite == "skip"
        self._debugs = config.debug_nans
        self._batch_sharding = by_batch(mesh)
        zero = _Carry(
            jnp.zeros(len(self._names)),
            *(jnp.int32(0) for _ in range(4)),
            bad_metrics=jnp.zeros(len(self._names), bool),
            bad_arrays=jnp.zeros(len(self._arrays), bool),
        )
        self._zero = device_put(zero, replicated(mesh))
        self._carry = jax.tree.map(jnp.copy, self._zero)

        def one(both: tuple[Any, _Carry], batches: tuple) -> tuple[tuple[Any, _Carry], Array | None]:
            state, carry = both
            moved, metrics = gan.train_step(state, batches)
            values = jnp.stack([metrics[name].astype(jnp.float32) for name in self._names])
            finite = jnp.isfinite(values)
            # The averages are in no metric, and nothing that comes later would show what is wrong with them.
            good = finite.all() & _all_finite((moved.ema_params, moved.ema_model_state))
            is_first = ~good & (carry.bad_step == 0)
            # Only then: reading the whole state again would cost time in every step.
            bad_arrays = jax.lax.cond(
                is_first,
                lambda: ~jnp.stack([_all_finite(array) for array in _arrays(moved).values()]),
                lambda: carry.bad_arrays,
            )
            if self._skips:
                moved = jax.lax.cond(good, lambda: moved, lambda: _only_steps(state, moved))
            carry = _Carry(
                sums=carry.sums + jnp.where(good, values, 0.0),
                count=carry.count + good,
                skipped=carry.skipped + ~good,
                in_a_row=jnp.where(carry.in_a_row == GIVES_UP, GIVES_UP, (carry.in_a_row + 1) * ~good),
                bad_step=jnp.where(is_first, jnp.max(moved.step), carry.bad_step),  # one, also of several seeds
                bad_metrics=jnp.where(is_first, ~finite, carry.bad_metrics),
                bad_arrays=bad_arrays,
            )
            return (moved, carry), values if self._debugs else None  # JAX looks for NaNs in what comes out

        def step(both: tuple[Any, _Carry], calls: tuple) -> tuple[tuple[Any, _Carry], Array | None]:
            if len(calls) == 1:
                return one(both, calls[0])
            return jax.lax.scan(one, both, jax.tree.map(lambda *fields: jnp.stack(fields), *calls))

        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (state, self._zero, batches))
        self._batch_shapes = shapes[2]
        self.compiled = compile_step(step, mesh, shapes[:2], (shapes[2],) * config.steps_per_call)
        # To find the operation JAX computes the step again, bit by bit: that takes a state that was not given away.
        self._step = jax.jit(step) if config.debug_nans else self.compiled

    def update(self, state: Any, *batches: tuple) -> Any:
        """The state `steps_per_call` steps on, on the batches of each; the one before is donated.

        Raises:
          FloatingPointError: under `debug_nans`, an operation gave a NaN; the traceback ends there.
        """
        fill_gaps()
        placed = tuple(device_put(one, self._batch_sharding, self._batch_shapes) for one in batches)
        try:
            with jax.debug_nans(self._debugs):
                (moved, self._carry), _ = self._step((state, self._carry), placed)
        except FloatingPointError as error:
            error.add_note(f"in step {jnp.max(state.step) + 1} of the generator")
            raise
        return moved

    def read(self) -> tuple[dict[str, float], int]:
        """Waits for the device.

        Returns:
          Means since the last reading by name, none where every update was left out; under `skip` the number of those
          as `skipped`. And the number of steps.

        Raises:
          NonFiniteError: a metric was not finite, or under `skip` `GIVES_UP` times in a row.
        """
        carry = jax.device_get(self._carry)
        self._carry = jax.tree.map(jnp.copy, self._zero)._replace(in_a_row=self._carry.in_a_row)
        if carry.skipped and (not self._skips or carry.in_a_row == GIVES_UP):
            raise NonFiniteError(self._what_went_wrong(carry))
        metrics = dict(zip(self._names, (carry.sums / carry.count).tolist(), strict=True)) if carry.count else {}
        if self._skips:
            metrics["skipped"] = float(carry.skipped)
        return metrics, int(carry.count + carry.skipped)

    def unfinished(self) -> dict[str, float]:
        """The running sums and counts since the last reading, exact, for a run that stops in between."""
        carry = jax.device_get(self._carry)
        sums = {f"sum/{name}": float(value) for name, value in zip(self._names, carry.sums, strict=True)}
        return sums | {name: float(getattr(carry, name)) for name in _COUNTS}

    def go_on(self, unfinished: Mapping[str, float]) -> None:
        """Takes up what another process got from `unfinished`, so that the next means are over the same steps."""
        if unfinished:
            sums = np.array([unfinished.get(f"sum/{name}", 0.0) for name in self._names], np.float32)
            counts = {name: np.int32(unfinished.get(name, 0)) for name in _COUNTS}
            carry = jax.device_get(self._zero)._replace(sums=sums, **counts)
            self._carry = device_put(carry, self._zero.sums.sharding)

    def _what_went_wrong(self, carry: _Carry) -> str:
        wrong = [self._names[carry.bad_metrics.argmax()]] if carry.bad_metrics.any() else []
        if count := carry.bad_arrays.sum():
            others = f" and {count - 1} more of {len(self._arrays)} arrays" if count > 1 else ""
            wrong.append(f"{self._arrays[carry.bad_arrays.argmax()]}{others}")
        text = f"step {carry.bad_step}: {' is not finite, nor after it '.join(wrong)}"
        text += " is not finite" if len(wrong) == 1 else ""
        text += ". Lower learning rates or a penalty often help; --debug-nans names the operation; "
        if self._skips:
            return text + f"{GIVES_UP} such updates in a row were left out, which is enough"
        return text + "--on-nonfinite skip leaves such updates out"


def _arrays(state: GANState) -> Mapping[str, Array]:
    """Floating arrays by path, such as `generator/params/layer_0/kernel`: the players', parameters first; averages."""
    players = {"discriminator": state.discriminator, "generator": state.generator}
    parts = {
        f"{name}/{part}": getattr(player, part)
        for part in ("params", "model_state", "opt_state")
        for name, player in players.items()
    }
    parts |= {part: getattr(state, part) for part in ("ema_params", "ema_model_state")}
    return {
        f"{name}/{path}": leaf
        for name, part in parts.items()
        for path, leaf in leaves(part).items()
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }


def _all_finite(arrays: Any) -> Array:
    """Whether all numbers of a pytree are finite."""
    return jnp.all(jnp.array([jnp.isfinite(array).all() for array in jax.tree.leaves(arrays)]))


def _only_steps(state: GANState, moved: GANState) -> GANState:
    """The state from before an update that is left out; only its counts go on, and with them keys and data."""
    return state.replace(
        generator=state.generator.replace(step=moved.generator.step),
        discriminator=state.discriminator.replace(step=moved.discriminator.step),
    )
