"""Additions to optax: weight clipping, schedules that count generator updates, and the EMA of parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxgan.types import Params


def adam(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.5,
    b2: optax.ScalarOrSchedule = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """`optax.adam` with DCGAN's `b1`. `learning_rate_of` reads the current learning rate from its state.

    Args:
      learning_rate: a number or a schedule over this optimizer's updates.
      b1: decay of the first moment (Radford et al. 2015, arXiv:1511.06434, use 0.5; WGAN-GP uses 0 or 0.5).
      b2: decay of the second moment, a number or a schedule (R3GAN, Huang et al. 2025, arXiv:2501.05441).
      eps: added to the square root of the second moment.

    Returns:
      The gradient transformation.
    """
    fixed = ("b1", "eps") if callable(b2) else ("b1", "b2", "eps")
    return optax.inject_hyperparams(optax.adam, static_args=fixed)(learning_rate, b1=b1, b2=b2, eps=eps)


def rmsprop(
    learning_rate: optax.ScalarOrSchedule, *, decay: float = 0.99, eps: float = 1e-8
) -> optax.GradientTransformation:
    """`optax.rmsprop` with PyTorch's formula and defaults, as WGAN's authors used it.

    `v = decay * v + (1 - decay) * g^2` from v = 0; the update is `-learning_rate * g / (sqrt(v) + eps)`. The first
    update is therefore `learning_rate / sqrt(1 - decay)`: ten times the learning rate at a decay of 0.99, 3.2 times at
    optax's default of 0.9. `learning_rate_of` reads the current learning rate from its state.

    Args:
      learning_rate: a number or a schedule over this optimizer's updates.
      decay: decay of the second moment.
      eps: added to the square root of the second moment.

    Returns:
      The gradient transformation.

    Paper: Arjovsky et al. 2017, arXiv:1701.07875.

    >>> tx = rmsprop(5e-5)
    >>> updates, _ = tx.update(jnp.array([1.0, -1e-4]), tx.init(jnp.zeros(2)))
    >>> [f"{float(u):.3e}" for u in updates]
    ['-5.000e-04', '4.995e-04']
    """
    return optax.inject_hyperparams(optax.rmsprop, static_args=("decay", "eps", "eps_in_sqrt"))(
        learning_rate, decay=decay, eps=eps, eps_in_sqrt=False
    )


def learning_rate_of(opt_state: optax.OptState) -> Array | None:
    """The learning rate of the last update if the optimizer was made with `optax.inject_hyperparams`, else None."""
    # The state of a schedule has the same name; the learning rate is the array.
    return optax.tree.get(opt_state, "learning_rate", filtering=lambda path, value: isinstance(value, Array))


def linear_decay(
    learning_rate: float, num_steps: int, *, constant_steps: int = 0, updates_per_step: int = 1
) -> optax.Schedule:
    """A learning rate that is constant, then decays linearly to zero at `num_steps`, counted in generator updates.

    `rate(u) = learning_rate * min(1, (num_steps - s) / (num_steps - constant_steps))`, `s = u // updates_per_step`,
    at least zero.

    Args:
      learning_rate: the initial learning rate.
      num_steps: generator updates until the learning rate is zero.
      constant_steps: generator updates before the decay starts; `num_steps` for no decay.
      updates_per_step: updates of this optimizer per generator update: `d_steps` for the discriminator's optimizer, so
        that both learning rates have decayed equally far at every step.

    Returns:
      A schedule over the optimizer's own update count.

    >>> schedule = linear_decay(1.0, 10, constant_steps=5, updates_per_step=2)
    >>> [round(float(schedule(update)), 1) for update in (0, 9, 10, 14, 15, 20)]
    [1.0, 1.0, 1.0, 0.6, 0.6, 0.0]
    """
    if not 0 <= constant_steps <= num_steps:
        raise ValueError(f"constant_steps={constant_steps} must lie in 0..num_steps={num_steps}")

    def schedule(update):
        step = jnp.asarray(update) // updates_per_step
        fraction = (num_steps - step) / max(num_steps - constant_steps, 1)
        return learning_rate * jnp.clip(fraction, 0.0, 1.0)

    return schedule


def clip_weights(limit: float) -> optax.GradientTransformation:
    """Keeps every parameter in [-limit, limit] after the update. Put it last in an `optax.chain`.

    Arjovsky et al. 2017 (arXiv:1701.07875) clip all parameters of the critic, norm scales and offsets included.

    Args:
      limit: the largest absolute value, positive.

    Returns:
      The gradient transformation; its update needs the parameters.

    >>> tx = optax.chain(optax.sgd(1.0), clip_weights(0.01))
    >>> params = {"w": jnp.array([0.5, -0.002])}
    >>> updates, _ = tx.update({"w": jnp.zeros(2)}, tx.init(params), params)
    >>> [round(float(w), 4) for w in optax.apply_updates(params, updates)["w"]]
    [0.01, -0.002]
    """
    if not limit > 0:
        raise ValueError(f"clip_weights needs a positive limit, not {limit}")

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("clip_weights needs the parameters: tx.update(updates, state, params)")
        clipped = jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params)
        return clipped, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def check_decay(ema_decay: float | optax.Schedule | None) -> None:
    """Refuses an EMA decay outside [0, 1); schedules and None are accepted."""
    if ema_decay is not None and not callable(ema_decay) and not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay={ema_decay} is not in [0, 1): give a number such as 0.999, or None for no EMA")


def ema(average: Params, new: Params, decay: float) -> Params:
    """One update of an exponential moving average (EMA) of parameters.

    `decay * average + (1 - decay) * new` for floating-point leaves; other leaves are copied from `new`. There is no
    bias correction: start from a copy of the raw parameters.

    Args:
      average: the EMA so far, any pytree.
      new: the raw values, same structure.
      decay: in [0, 1).

    Returns:
      The updated EMA.

    >>> float(ema(jnp.array(0.0), jnp.array(1.0), 0.75))
    0.25
    """

    def blend(a, n):
        return decay * a + (1.0 - decay) * n if jnp.issubdtype(n.dtype, jnp.floating) else n

    return jax.tree.map(blend, average, new)
