"""The page of the lecture: divergences of two distributions that one moves, and a generator that one watches learn."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.scipy.stats import norm

from experiments.explorer.serving import COMPUTING, WAITING, blocks, gradio, picture, side_by_side
from jaxgan import optim
from jaxgan.algorithms.gan import make_gan
from jaxgan.divergences import gaussian_divergence, integrated_divergence
from jaxgan.files import import_extra
from jaxgan.losses import LOSSES
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.penalties import gradient_penalty
from jaxgan.runs.images import png_bytes
from jaxgan.transport import wasserstein_1d
from jaxgan.types import GAN

RANKS = (np.arange(500) + 0.5) / 500  # of the quantiles that stand for a distribution
RANKS_OF_P = np.array([NormalDist().inv_cdf(rank) for rank in RANKS])
MOVED = 25  # lines of the transport plan that are drawn
CRITIC_STEPS = 20  # of the critic in one tick
GENERATOR_STEPS = 10  # of the generator in one tick
BATCH = 128
GRID = 40  # scores in each direction
REACH = 3.2
TICK = 0.5  # seconds
LOSS_NAMES = ("minimax", "non_saturating", "wasserstein")

_critic = mlp_discriminator((32, 32))
_critic_tx = optim.adam(5e-3)


def page() -> Any:
    """A page with both parts, in a tab each. Every visitor has a critic and a generator of their own."""
    gr = gradio()
    with blocks("Why GANs learn, and why they fail") as found:
        with gr.Tab("Two distributions"):
            gr.HTML("<p>p is N(0, 1). Move and spread q; the critic goes on learning while you do.</p>")
            shift = gr.Slider(-6.0, 6.0, 2.0, step=0.1, label="Mean of q")
            spread = gr.Slider(0.1, 3.0, 1.0, step=0.05, label="Standard deviation of q")
            compared, critic = gr.HTML(WAITING), gr.State(None)
            ticks = gr.Timer(TICK)
            _on(gr, [shift.change, spread.change], compare, [shift, spread, critic], [compared, critic], "compare")
            _on(gr, [ticks.tick], compare, [shift, spread, critic], [compared, critic], "learn")
        with gr.Tab("A generator"):
            gr.HTML("<p>A generator of points learns eight clusters; colours are the discriminator's score.</p>")
            loss = gr.Radio(list(LOSS_NAMES), value="non_saturating", label="Loss; the last has a gradient penalty")
            with gr.Row():
                run, one, anew = (gr.Button(name) for name in ("Start", "Step", "Reset"))
            drawn, state = gr.HTML(WAITING), gr.State(None)
            clock = gr.Timer(TICK, active=False)
            running = gr.State(False)
            _on(gr, [one.click, clock.tick], advance, [loss, state], [drawn, state], "step")
            _on(gr, [anew.click, loss.change], restart, [loss], [drawn, state], "reset")
            run.click(toggle, running, [running, run, clock], queue=False, api_visibility="private")
            found.first = lambda: (compare(shift.value, spread.value, None), restart(loss.value))
            found.load(restart, [loss], [drawn, state], queue=False, show_progress="hidden", api_visibility="private")
    return found


def _on(gr: Any, triggers: list[Any], function: Any, inputs: list[Any], outputs: list[Any], name: str) -> None:
    gr.on(
        triggers,
        function,
        inputs,
        outputs,
        api_name=name,
        queue=False,
        show_progress="hidden",
        trigger_mode="always_last",
    )


def toggle(running: bool) -> tuple[Any, ...]:
    gr = gradio()
    return not running, gr.Button("Start" if running else "Pause"), gr.Timer(active=not running)


def exact(shift: float, spread: float) -> dict[str, float]:
    """Divergences of q = N(shift, spread) from p = N(0, 1), and their Wasserstein distance.

    Returns:
      `kl`: KL(p | q); `jensen_shannon`, at most log 2; `wasserstein`: W1 of 500 quantiles of each.
    """
    p, q = RANKS_OF_P, shift + spread * RANKS_OF_P
    reach = 12.0 + abs(shift)
    densities = norm.pdf, lambda x: norm.pdf(x, shift, spread)
    twice_js = integrated_divergence("jensen_shannon", *densities, -reach, reach, num_cells=4000)
    return {
        "kl": float(gaussian_divergence("kl", 0.0, 1.0, shift, spread)),
        "jensen_shannon": twice_js / 2,
        "wasserstein": wasserstein_1d(p, q),
    }


def compare(shift: float, spread: float, critic: Any) -> tuple[str, Any]:
    """HTML of both distributions, their divergences, and the critic's estimate after a few more steps."""
    shift, spread = _between(shift, -6.0, 6.0), _between(spread, 0.1, 3.0)
    with COMPUTING:
        critic = _new_critic() if critic is None else critic
        critic, estimate = _learned(critic, shift, spread)
        values = exact(shift, spread)
    rows = {
        "KL(p | q)": f"{values['kl']:.3f}",
        "Jensen-Shannon, at most 0.693": f"{values['jensen_shannon']:.3f}",
        "Wasserstein, exact": f"{values['wasserstein']:.3f}",
        f"Wasserstein, by the critic after {int(critic[2])} steps": f"{float(estimate):.3f}",
    }
    cells = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows.items())
    figure = picture(png_bytes(_densities(shift, spread, critic[0])), "distributions.png")
    return side_by_side([figure, f'<div class="picture facts"><table>{cells}</table></div>']), critic


def _densities(shift: float, spread: float, params: Any) -> Any:
    figure = import_extra("matplotlib.figure").Figure(figsize=(7, 4.2), dpi=80, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    x = np.linspace(-9.0, 9.0, 300)
    for name, mean, std, color in (("p", 0.0, 1.0, "tab:blue"), ("q", shift, spread, "tab:red")):
        above.fill_between(
            x, np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * 2.5066), alpha=0.4, color=color, label=name
        )
    score = np.asarray(_scores(params, jnp.asarray(x[:, None], jnp.float32)))
    critic = above.twinx()
    critic.plot(x, score, color="black", linewidth=1, label="critic")
    critic.set_yticks([])
    above.legend(loc="upper left", fontsize="small")
    above.set_yticks([])
    chosen = RANKS_OF_P[len(RANKS) // MOVED // 2 :: len(RANKS) // MOVED]
    for point in chosen:  # in one dimension the optimal plan keeps the order
        below.plot([point, shift + spread * point], [1, 0], color="0.6", linewidth=0.8)
    below.scatter(chosen, np.ones(len(chosen)), s=8, color="tab:blue")
    below.scatter(shift + spread * chosen, np.zeros(len(chosen)), s=8, color="tab:red")
    below.set_yticks([0, 1], ["q", "p"])
    below.set_title("the optimal transport plan", fontsize="small")
    return figure


def _new_critic() -> Any:
    params, _ = _critic.init(jax.random.key(0), jnp.zeros((1, 1)))
    return params, _critic_tx.init(params), jnp.int32(0)


@jax.jit
def _scores(params: Any, points: Array) -> Array:
    return _critic.apply(params, {}, points, train=False)[0]


@jax.jit
def _learned(critic: Any, shift: float, spread: float) -> tuple[Any, Array]:
    loss = LOSSES["wasserstein"]

    def objective(params: Any, key: Array) -> Array:
        scores = lambda points: _critic.apply(params, {}, points, train=True)[0]
        keys = jax.random.split(key, 3)
        real = jax.random.normal(keys[0], (BATCH, 1))
        fake = shift + spread * jax.random.normal(keys[1], (BATCH, 1))
        penalty = gradient_penalty(scores, real, fake, keys[2])
        return loss.discriminator(scores(real), scores(fake)) + 10.0 * penalty

    def step(carry: Any, _: Any) -> tuple[Any, None]:
        params, opt_state, count = carry
        gradient = jax.grad(objective)(params, jax.random.fold_in(jax.random.key(1), count))
        updates, opt_state = _critic_tx.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, count + 1), None

    critic, _ = jax.lax.scan(step, critic, length=CRITIC_STEPS)
    quantiles = jnp.asarray(RANKS_OF_P, jnp.float32)[:, None]
    scores = lambda points: _critic.apply(critic[0], {}, points, train=False)[0].mean()
    return critic, scores(quantiles) - scores(shift + spread * quantiles)


@functools.cache
def _gan(loss: str) -> GAN:
    wasserstein = loss == "wasserstein"
    return make_gan(
        mlp_generator((64, 64), features=2),
        mlp_discriminator((64, 64)),
        loss=LOSSES[loss],
        penalty=gradient_penalty if wasserstein else None,
        penalty_weight=1.0,
        g_tx=optim.adam(1e-3, b1=0.5),
        d_tx=optim.adam(1e-3, b1=0.5),
        latent_dim=4,
        d_steps=5 if wasserstein else 1,
    )


def _points(key: Array) -> Array:
    which, noise = jax.random.split(key)
    angle = jax.random.randint(which, (BATCH,), 0, 8) * (math.pi / 4)
    return 2.0 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1) + 0.05 * jax.random.normal(noise, (BATCH, 2))


@functools.partial(jax.jit, static_argnums=0)
def _trained(loss: str, state: Any) -> Any:
    gan = _gan(loss)

    def step(state: Any, _: Any) -> tuple[Any, None]:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(2), state.step), gan.d_steps)
        return gan.train_step(state, tuple({"image": _points(key)} for key in keys))[0], None

    return jax.lax.scan(step, state, length=GENERATOR_STEPS)[0]


def restart(loss: str) -> tuple[str, Any]:
    """HTML of an untrained generator, and its state."""
    with COMPUTING:
        state = _gan(_known(loss)).init(jax.random.key(0), {"image": jnp.zeros((BATCH, 2))})
        return _figure(loss, state), (loss, state)


def advance(loss: str, before: Any) -> tuple[str, Any]:
    """HTML of the generator after a few more steps, and its state."""
    if before is None or before[0] != loss:
        return restart(loss)
    with COMPUTING:
        state = _trained(_known(loss), before[1])
        return _figure(loss, state), (loss, state)


def _figure(loss: str, state: Any) -> str:
    axis = np.linspace(-REACH, REACH, GRID, dtype=np.float32)
    places = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    scores, samples = (np.asarray(values) for values in _seen(loss, state, places))
    data = np.asarray(_points(jax.random.key(3)))
    figure = import_extra("matplotlib.figure").Figure(figsize=(5, 5), dpi=80, layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlim=(-REACH, REACH), ylim=(-REACH, REACH))
    extent = (-REACH, REACH, -REACH, REACH)
    axes.imshow(scores.reshape(GRID, GRID), extent=extent, origin="lower", cmap="viridis", alpha=0.6)
    axes.scatter(data[:, 0], data[:, 1], s=6, color="0.2", linewidths=0, label="data")
    axes.scatter(samples[:, 0], samples[:, 1], s=6, color="tab:red", linewidths=0, label="samples")
    axes.legend(loc="upper right", fontsize="small")
    return picture(png_bytes(figure), "generator.png", title=f"{loss}, step {int(state.step)}")


@functools.partial(jax.jit, static_argnums=0)
def _seen(loss: str, state: Any, places: Array) -> tuple[Array, Array]:
    scores, _ = mlp_discriminator((64, 64)).apply(state.discriminator.params, {}, places, train=False)
    latents = jax.random.normal(jax.random.key(4), (300, 4))
    return scores, _gan(loss).sample(state, {"latents": latents})["samples"]


def _known(loss: str) -> str:
    if loss not in LOSS_NAMES:
        raise ValueError(f"loss={loss!r}: {', '.join(LOSS_NAMES)} expected")
    return loss


def _between(value: float, low: float, high: float) -> float:
    return min(max(float(value), low), high)
