"""The experiments' training steps in PyTorch, for `python -m benchmarks.step_throughput NAME --compare torch`.

The same networks, batch, losses, penalties, optimizers and averages, as a careful PyTorch script has them: the
generator's last pass serves both players, the discriminator takes no gradient in the generator's update, the optimizer
is fused. What does not change the time is left out: initial values and schedules. This needs nothing but PyTorch, so
it can run under another interpreter:

    echo eager 3 | python -m benchmarks.torch_reference '{"experiment": "gan", "image_size": 32, ...}'

It prints one line of JSON with what it found, then reads lines `VARIANT STEPS` and answers each with the milliseconds
that one of so many steps took.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

try:
    import torch
except ModuleNotFoundError:
    sys.exit("error: the comparison needs PyTorch: pip install -e '.[torch]', or --torch-python PATH")
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks import torch_networks as networks

VARIANTS = ("eager", "channels_last", "compile")

LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "non_saturating": (lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(), lambda r, f: F.softplus(-f).mean()),
    "least_squares": (lambda r, f: (r - 1).square().mean() + f.square().mean(), lambda r, f: (f - 1).square().mean()),
    "hinge": (lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda r, f: -f.mean()),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
    "relativistic": (lambda r, f: F.softplus(f - r).mean(), lambda r, f: F.softplus(r - f).mean()),
}
Penalty = Callable[[nn.Module, Tensor, Tensor], Tensor]
Step = Callable[[], None]


def squared_slopes(critic: nn.Module, inputs: Tensor) -> Tensor:
    inputs = inputs.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(inputs).sum(), inputs, create_graph=True)
    return slopes.square().sum(tuple(range(1, slopes.ndim)))


def penalties(*, gradient: float = 0.0, r1: float = 0.0, r2: float = 0.0) -> Penalty | None:
    """The sum of the penalties whose weight is not 0."""

    def penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        total = torch.zeros((), device=real.device)
        if gradient:
            alpha = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
            slopes = (squared_slopes(critic, torch.lerp(real, fake, alpha)) + 1e-12).sqrt()
            total = total + gradient * (slopes - 1).square().mean()
        for weight, samples in ((r1, real), (r2, fake)):
            if weight:
                total = total + weight / 2 * squared_slopes(critic, samples).mean()
        return total

    return penalty if gradient or r1 or r2 else None


def adam(parameters: Iterable[Tensor], b1: float, b2: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, 2e-4, betas=(b1, b2), fused=True)


def average_of(module: nn.Module, decay: float) -> Step:
    """A function that lets the moving average of a module, batch statistics included, take its next step."""
    if not decay:
        return lambda: None
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return lambda: average.update_parameters(module)


class Settings(NamedTuple):
    """How a step is run."""

    device: str
    variant: str
    autocast: bool

    def prepared(self, module: nn.Module) -> nn.Module:
        module.to(self.device)
        if self.variant != "eager":
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.variant == "compile":
            module.compile()
        return module

    def samples(self, *shape: int) -> Tensor:
        values = torch.rand(shape, device=self.device) * 2 - 1
        is_images = len(shape) == 4 and self.variant != "eager"
        return values.to(memory_format=torch.channels_last) if is_images else values

    def compute(self) -> Any:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.autocast)


# Two players.


class Players(NamedTuple):
    """What an experiment's `build` decides."""

    generator: nn.Module
    discriminator: nn.Module
    loss: str
    penalty: Penalty | None = None
    moments: tuple[float, float] | None = None  # Adam's decays; None for RMSprop
    clip: float | None = None
    ema_decay: float = 0.0


def dcgan(c: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    sizes = {"channels": c["channels"], "width": c["width"]}
    return (
        networks.dcgan_generator(c["image_size"], latent_dim=c["latent_dim"], norm_kind=c["g_norm"], **sizes),
        networks.dcgan_discriminator(c["image_size"], norm_kind=c["d_norm"], **sizes),
    )


def resnet(c: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    size, channels = c["image_size"], c["channels"]
    generator = networks.ResNetGenerator(size, latent_dim=c["latent_dim"], channels=channels, width=c["g_width"])
    return generator, networks.ResNetDiscriminator(size, channels=channels, width=c["d_width"])


def r3gan(c: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    sizes = {"channels": c["channels"], "widths": c["widths"], "blocks": c["blocks"]}
    return networks.R3GANGenerator(latent_dim=c["latent_dim"], **sizes), networks.R3GANDiscriminator(**sizes)


def perceptrons(c: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    hidden = [c["width"]] * 3
    discriminator = networks.mlp([2, *hidden, 1], lambda: nn.LeakyReLU(0.2))
    return networks.mlp([c["latent_dim"], *hidden, 2], nn.ReLU), nn.Sequential(discriminator, nn.Flatten(0))


def moments(c: dict[str, Any]) -> dict[str, Any]:
    return {"moments": (c["b1"], c["b2"]), "ema_decay": c["ema_decay"]}


EXPERIMENTS: dict[str, Callable[[dict[str, Any]], Players]] = {
    "gan": lambda c: Players(*dcgan(c), c["loss"], penalties(r1=c["r1"]), **moments(c)),
    "wgan": lambda c: Players(*dcgan(c), "wasserstein", clip=c["clip"], ema_decay=c["ema_decay"]),
    "wgan_gp": lambda c: Players(*dcgan(c), "wasserstein", penalties(gradient=c["penalty_weight"]), **moments(c)),
    "sngan": lambda c: Players(*resnet(c), "hinge", **moments(c)),
    "relativistic": lambda c: Players(
        *r3gan(c), "relativistic", penalties(r1=c["gamma"], r2=c["gamma"]), (0.0, c["b2"]), ema_decay=0.999
    ),
    "gaussians_2d": lambda c: Players(
        *perceptrons(c), c["loss"], penalties(gradient=c["gradient_penalty"], r1=c["r1"], r2=c["r2"]), **moments(c)
    ),
}


def two_player_step(players: Players, c: dict[str, Any], settings: Settings) -> Step:
    g, d = settings.prepared(players.generator), settings.prepared(players.discriminator)
    d_loss, g_loss = LOSSES[players.loss]
    clip = players.clip
    if players.moments is None:
        g_tx, d_tx = (torch.optim.RMSprop(m.parameters(), 5e-5, alpha=0.99, foreach=True) for m in (g, d))
    else:
        g_tx, d_tx = (adam(module.parameters(), *players.moments) for module in (g, d))
    average = average_of(players.generator, players.ema_decay)
    side = c.get("image_size")
    shape = (c["batch_size"], c["channels"], side, side) if side else (c["batch_size"], 2)
    batches = [settings.samples(*shape) for _ in range(c.get("n_critic", 1))]

    def step() -> None:
        fake = real = batches[-1]
        for index, real in enumerate(batches):
            latents = torch.randn(len(real), c["latent_dim"], device=settings.device)
            d_tx.zero_grad()
            # The last one's graph is kept: the generator moves on the images it has just shown.
            with settings.compute(), torch.set_grad_enabled(index == len(batches) - 1):
                fake = g(latents)
            shown = fake.detach()
            with settings.compute():
                loss = d_loss(d(real).float(), d(shown).float())
            if players.penalty is not None:
                with settings.compute():
                    loss = loss + players.penalty(d, real, shown)
            loss.backward()
            d_tx.step()
            if clip is not None:
                with torch.no_grad():
                    for parameter in d.parameters():
                        parameter.clamp_(-clip, clip)
        g_tx.zero_grad()
        d.requires_grad_(False)
        with settings.compute():
            real_scores = d(real).float() if players.loss == "relativistic" else torch.zeros(())
            g_loss(real_scores, d(fake).float()).backward()
        d.requires_grad_(True)
        g_tx.step()
        average()

    return step


# CycleGAN.


def shown(pool: list[Tensor], images: Tensor, size: int) -> Tensor:
    """The pool of earlier images, picture by picture on the host, as scripts have it."""
    if not size:
        return images
    chosen = []
    for image in images.detach().split(1):
        if len(pool) < size:
            pool.append(image)
        elif random.random() < 0.5:
            place = random.randrange(size)
            pool[place], image = image, pool[place]
        chosen.append(image)
    return torch.cat(chosen)


def cycle_step(c: dict[str, Any], settings: Settings) -> Step:
    side, (a, b) = c["image_size"], (c["channels_a"], c["channels_b"])
    options = {"width": c["width"], "blocks": c["blocks"], "resize": c["upsampling"] == "resize"}
    g_ab, g_ba = (settings.prepared(networks.residual_generator(channels=pair, **options)) for pair in ((a, b), (b, a)))
    d_a, d_b = (
        settings.prepared(networks.patch_discriminator(channels=n, width=c["d_width"], depth=c["patch_layers"]))
        for n in (a, b)
    )
    d_loss, g_loss = LOSSES[c["loss"]]
    penalty = penalties(gradient=c["gradient_penalty"])
    generators, discriminators = nn.ModuleList([g_ab, g_ba]), nn.ModuleList([d_a, d_b])
    g_tx, d_tx = (adam(modules.parameters(), 0.5, 0.999) for modules in (generators, discriminators))
    average = average_of(generators, c["ema_decay"])
    real_a, real_b = (settings.samples(c["batch_size"], n, side, side) for n in (a, b))
    pools: tuple[list[Tensor], list[Tensor]] = ([], [])
    weight = c["cycle_weight"]

    def adversarial(d: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return g_loss(d(real).float() if c["loss"] == "relativistic" else torch.zeros(()), d(fake).float())

    def step() -> None:
        g_tx.zero_grad()
        discriminators.requires_grad_(False)
        with settings.compute():
            fake_a, fake_b = g_ba(real_b), g_ab(real_a)
            loss = adversarial(d_a, real_a, fake_a) + adversarial(d_b, real_b, fake_b)
            if weight:
                loss = loss + weight * (F.l1_loss(g_ba(fake_b), real_a) + F.l1_loss(g_ab(fake_a), real_b))
            if weight * c["identity_weight"]:
                identity = F.l1_loss(g_ba(real_a), real_a) + F.l1_loss(g_ab(real_b), real_b)
                loss = loss + weight * c["identity_weight"] * identity
        loss.backward()
        g_tx.step()
        average()
        discriminators.requires_grad_(True)
        d_tx.zero_grad()
        for d, real, fake, pool in ((d_a, real_a, fake_a, pools[0]), (d_b, real_b, fake_b, pools[1])):
            old = shown(pool, fake.detach(), c["pool_size"])
            with settings.compute():
                loss = d_loss(d(real).float(), d(old).float())
                loss = loss + penalty(d, real, old) if penalty else loss
            (loss / 2).backward()
        d_tx.step()

    return step


def build(c: dict[str, Any], settings: Settings) -> Step:
    """The training step of an experiment.

    Args:
      c: its configuration, and under `experiment` its name.
      settings: how to run it.

    Returns:
      A function without arguments or result that runs one step.

    Raises:
      ValueError: what there is no reference for.
    """
    name = c["experiment"]
    if name not in (*EXPERIMENTS, "cyclegan"):
        raise ValueError(f"no PyTorch reference for {name}: there are {', '.join(EXPERIMENTS)}, cyclegan")
    if c.get("augment"):
        raise ValueError("the PyTorch reference has no augmentation")
    if (loss := c.get("loss", "wasserstein")) not in LOSSES:
        raise ValueError(f"the PyTorch reference has no loss {loss}: there are {', '.join(LOSSES)}")
    return cycle_step(c, settings) if name == "cyclegan" else two_player_step(EXPERIMENTS[name](c), c, settings)


def main() -> None:
    c = json.loads(sys.argv[1])
    device = "cuda" if c.get("platform", "cpu") in ("gpu", "cuda") and torch.cuda.is_available() else "cpu"
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    # What XLA does on a GPU too: products of float32 in TF32.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    finish = torch.cuda.synchronize if device == "cuda" else lambda: None
    steps: dict[str, Step] = {}
    failed: dict[str, str] = {}
    for variant in c.get("variants", VARIANTS):
        try:
            torch.manual_seed(0)
            step = build(c, Settings(device, variant, autocast=c.get("dtype") == "bfloat16"))
            for _ in range(2):  # the first compiles and allocates
                step()
            finish()
            steps[variant] = step
        except Exception as error:  # a variant that does not work is left out, and the reason said
            failed[variant] = f"{type(error).__name__}: {error}".partition("\n")[0]
    name = torch.cuda.get_device_name() if device == "cuda" else device
    found = {"torch": torch.__version__, "device": name, "threads": torch.get_num_threads()}
    print(json.dumps({**found, "variants": list(steps), "failed": failed}), flush=True)
    for line in sys.stdin:
        variant, count = line.split()
        began = time.perf_counter()
        for _ in range(int(count)):
            steps[variant]()
        finish()
        print(1000 * (time.perf_counter() - began) / int(count), flush=True)


if __name__ == "__main__":
    main()
