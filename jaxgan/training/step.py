"""The compiled training step, with running sums of the metrics and a check for values that are not finite."""

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
"""Number of updates in a row that `on_nonfinite="skip"` skips before it stops the run."""


class NonFiniteError(FloatingPointError):
    """A loss, a score, a gradient or a weight is not finite."""


class _Carry(NamedTuple):
    sums: Array  # of each metric since the last `read`, over finite steps: those whose metrics and EMA are all finite
    count: Array  # number of finite steps since the last `read`
    skipped: Array  # number of other steps since the last `read`
    in_a_row: Array  # number of steps since the last finite one; once it reaches GIVES_UP it stays there
    bad_step: Array  # the first step that was not finite, 0 if none
    bad_metrics: Array  # which metrics were not finite in that step
    bad_arrays: Array  # which arrays of the state were not finite after that step


_COUNTS = ("count", "skipped", "in_a_row")


class TrainStep:
    """`train_step`, compiled together with running sums of its metrics, so that the host need not read every step's.

    Attributes:
      compiled: the compiled step, with `cost_analysis()` and `memory_analysis()`.
    """

    def __init__(self, gan: GAN, config: RunConfig, mesh: Mesh, state: GANState, batches: tuple):
        """Compiles the step.

        Args:
          gan: the algorithm.
          config: configuration; read are `on_nonfinite`, `debug_nans` and `steps_per_call`.
          mesh: the devices.
          state: a state, or its shapes.
          batches: the batches of a step, or their shapes, with the rows of all processes.
        """
        metrics = jax.eval_shape(gan.train_step, state, batches)[1]
        # Losses first: an error names the first bad metric, and a loss says more than a gradient norm.
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
            updated, metrics = gan.train_step(state, batches)
            values = jnp.stack([metrics[name].astype(jnp.float32) for name in self._names])
            finite = jnp.isfinite(values)
            # No metric depends on the EMA, so it is checked by itself.
            good = finite.all() & _all_finite((updated.ema_params, updated.ema_model_state))
            is_first = ~good & (carry.bad_step == 0)
            # Only in the first bad step: to check the whole state in every step would cost time.
            bad_arrays = jax.lax.cond(
                is_first,
                lambda: ~jnp.stack([_all_finite(array) for array in _arrays(updated).values()]),
                lambda: carry.bad_arrays,
            )
            if self._skips:
                updated = jax.lax.cond(good, lambda: updated, lambda: _skip_update(state, updated))
            carry = _Carry(
                sums=carry.sums + jnp.where(good, values, 0.0),
                count=carry.count + good,
                skipped=carry.skipped + ~good,
                in_a_row=jnp.where(carry.in_a_row == GIVES_UP, GIVES_UP, (carry.in_a_row + 1) * ~good),
                bad_step=jnp.where(is_first, jnp.max(updated.step), carry.bad_step),  # all seeds have the same step
                bad_metrics=jnp.where(is_first, ~finite, carry.bad_metrics),
                bad_arrays=bad_arrays,
            )
            return (updated, carry), values if self._debugs else None  # jax.debug_nans checks outputs only

        def step(both: tuple[Any, _Carry], calls: tuple) -> tuple[tuple[Any, _Carry], Array | None]:
            if len(calls) == 1:
                return one(both, calls[0])
            return jax.lax.scan(one, both, jax.tree.map(lambda *fields: jnp.stack(fields), *calls))

        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (state, self._zero, batches))
        self._batch_shapes = shapes[2]
        self.compiled = compile_step(step, mesh, shapes[:2], (shapes[2],) * config.steps_per_call)
        # To find the operation, jax.debug_nans runs the step again, which needs a state that was not donated.
        self._step = jax.jit(step) if config.debug_nans else self.compiled

    def update(self, state: Any, *batches: tuple) -> Any:
        """Takes `steps_per_call` steps; the given state is donated.

        Args:
          state: the state before.
          batches: the batches of each step.

        Returns:
          The state after these steps.

        Raises:
          FloatingPointError: with `debug_nans`, an operation returned a NaN; the traceback ends there.
        """
        fill_gaps()
        placed = tuple(device_put(one, self._batch_sharding, self._batch_shapes) for one in batches)
        try:
            with jax.debug_nans(self._debugs):
                (updated, self._carry), _ = self._step((state, self._carry), placed)
        except FloatingPointError as error:
            error.add_note(f"in step {jnp.max(state.step) + 1} of the generator")
            raise
        return updated

    def read(self) -> tuple[dict[str, float], int]:
        """Reads the running sums and resets them; waits for the device.

        Returns:
          Means of the metrics since the last `read`, none if every update was skipped, and with `on_nonfinite="skip"`
          the number of skipped updates as `skipped`. And the number of steps.

        Raises:
          NonFiniteError: a metric or the EMA was not finite; with `skip`, `GIVES_UP` times in a row.
        """
        carry = jax.device_get(self._carry)
        self._carry = jax.tree.map(jnp.copy, self._zero)._replace(in_a_row=self._carry.in_a_row)
        if carry.skipped and (not self._skips or carry.in_a_row == GIVES_UP):
            raise NonFiniteError(self._error(carry))
        metrics = dict(zip(self._names, (carry.sums / carry.count).tolist(), strict=True)) if carry.count else {}
        if self._skips:
            metrics["skipped"] = float(carry.skipped)
        return metrics, int(carry.count + carry.skipped)

    def unfinished(self) -> dict[str, float]:
        """The running sums and counts since the last `read`, for a checkpoint that is saved between two log lines."""
        carry = jax.device_get(self._carry)
        sums = {f"sum/{name}": float(value) for name, value in zip(self._names, carry.sums, strict=True)}
        return sums | {name: float(getattr(carry, name)) for name in _COUNTS}

    def resume(self, unfinished: Mapping[str, float]) -> None:
        """Restores the result of `unfinished`, so that the next means include the steps before the stop."""
        if unfinished:
            sums = np.array([unfinished.get(f"sum/{name}", 0.0) for name in self._names], np.float32)
            counts = {name: np.int32(unfinished.get(name, 0)) for name in _COUNTS}
            carry = jax.device_get(self._zero)._replace(sums=sums, **counts)
            self._carry = device_put(carry, self._zero.sums.sharding)

    def _error(self, carry: _Carry) -> str:
        wrong = [self._names[carry.bad_metrics.argmax()]] if carry.bad_metrics.any() else []
        if count := carry.bad_arrays.sum():
            others = f" and {count - 1} more of {len(self._arrays)} arrays" if count > 1 else ""
            wrong.append(f"{self._arrays[carry.bad_arrays.argmax()]}{others}")
        text = f"step {carry.bad_step}: {' is not finite, after this step neither is '.join(wrong)}"
        text += " is not finite" if len(wrong) == 1 else ""
        text += ". Lower learning rates or a penalty often help; --debug-nans names the operation; "
        if self._skips:
            return text + f"stopped after {GIVES_UP} skipped updates in a row"
        return text + "--on-nonfinite skip skips such updates"


def _arrays(state: GANState) -> Mapping[str, Array]:
    """Floating-point arrays of the state by path, such as `generator/params/layer_0/kernel`, parameters first."""
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
    """Whether all arrays of a pytree are finite."""
    return jnp.all(jnp.array([jnp.isfinite(array).all() for array in jax.tree.leaves(arrays)]))


def _skip_update(state: GANState, updated: GANState) -> GANState:
    """The state before an update, with the step counts after it, so that the next step uses new keys and data."""
    return state.replace(
        generator=state.generator.replace(step=updated.generator.step),
        discriminator=state.discriminator.replace(step=updated.discriminator.step),
    )
