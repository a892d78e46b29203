"""Training steps in PyTorch, for `benchmarks.pytorch.reference`."""

# pyright: reportMissingImports=false

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.pytorch import conditional as conditional
from benchmarks.pytorch import networks as networks

LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "non_saturating": (lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(), lambda r, f: F.softplus(-f).mean()),
    "least_squares": (lambda r, f: (r - 1).square().mean() + f.square().mean(), lambda r, f: (f - 1).square().mean()),
    "hinge": (lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda r, f: -f.mean()),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
    "relativistic": (lambda r, f: F.softplus(f - r).mean(), lambda r, f: F.softplus(r - f).mean()),
}
Critic = Callable[[Tensor], Tensor]
Penalty = Callable[[Critic, Tensor, Tensor], Tensor]
Step = Callable[[], None]


def squared_gradient_norms(critic: Critic, inputs: Tensor) -> Tensor:
    inputs = inputs.detach().requires_grad_()
    (gradients,) = torch.autograd.grad(critic(inputs).sum(), inputs, create_graph=True)
    return gradients.square().sum(tuple(range(1, gradients.ndim)))


def penalties(*, gradient: float = 0.0, r1: float = 0.0, r2: float = 0.0) -> Penalty | None:
    """The sum of the penalties whose weight is not 0."""

    def penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        total = torch.zeros((), device=real.device)
        if gradient:
            alpha = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
            norms = (squared_gradient_norms(critic, torch.lerp(real, fake, alpha)) + 1e-12).sqrt()
            total = total + gradient * (norms - 1).square().mean()
        for weight, samples in ((r1, real), (r2, fake)):
            if weight:
                total = total + weight / 2 * squared_gradient_norms(critic, samples).mean()
        return total

    return penalty if gradient or r1 or r2 else None


def adam(parameters: Iterable[Tensor], b1: float, b2: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, 2e-4, betas=(b1, b2), fused=True)


def ema_of(module: nn.Module, decay: float) -> Step:
    """A function that updates the EMA of a module, including batch statistics."""
    if not decay:
        return lambda: None
    ema = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return lambda: ema.update_parameters(module)


class Settings(NamedTuple):
    """Device, variant and precision of a step."""

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


# Two networks.


class Players(NamedTuple):
    """The networks and settings of an experiment's `build`."""

    generator: nn.Module
    discriminator: nn.Module
    loss: str
    penalty: Penalty | None = None
    moments: tuple[float, float] | None = None  # Adam's b1 and b2; None for RMSprop
    clip: float | None = None
    ema_decay: float = 0.0
    num_classes: int = 0  # number of classes, 0 for unconditional networks


def two_player_step(players: Players, c: dict[str, Any], settings: Settings) -> Step:
    g, d = settings.prepared(players.generator), settings.prepared(players.discriminator)
    d_loss, g_loss = LOSSES[players.loss]
    clip = players.clip
    if players.moments is None:
        g_tx, d_tx = (torch.optim.RMSprop(m.parameters(), 5e-5, alpha=0.99, foreach=True) for m in (g, d))
    else:
        g_tx, d_tx = (adam(module.parameters(), *players.moments) for module in (g, d))
    update_ema = ema_of(players.generator, players.ema_decay)
    side = c.get("image_size")
    shape = (c["batch_size"], c["channels"], side, side) if side else (c["batch_size"], 2)
    batches = [settings.samples(*shape) for _ in range(c.get("n_critic", 1))]
    classes, size = players.num_classes, (c["batch_size"],)
    condition = (torch.randint(classes, size, device=settings.device),) if classes else ()

    def step() -> None:
        fake = real = batches[-1]
        for index, real in enumerate(batches):
            latents = torch.randn(len(real), c["latent_dim"], device=settings.device)
            d_tx.zero_grad()
            # The graph of the last pass is kept: the generator's update uses the same images.
            with settings.compute(), torch.set_grad_enabled(index == len(batches) - 1):
                fake = g(latents, *condition)
            shown = fake.detach()
            with settings.compute():
                loss = d_loss(d(real, *condition).float(), d(shown, *condition).float())
            if players.penalty is not None:
                with settings.compute():
                    loss = loss + players.penalty(lambda samples: d(samples, *condition), real, shown)
            loss.backward()
            d_tx.step()
            if clip is not None:
                with torch.no_grad():
                    for parameter in d.parameters():
                        parameter.clamp_(-clip, clip)
        g_tx.zero_grad()
        d.requires_grad_(False)
        with settings.compute():
            real_scores = d(real, *condition).float() if players.loss == "relativistic" else torch.zeros(())
            g_loss(real_scores, d(fake, *condition).float()).backward()
        d.requires_grad_(True)
        g_tx.step()
        update_ema()

    return step


# CycleGAN.


def shown(pool: list[Tensor], images: Tensor, size: int) -> Tensor:
    """The pool of earlier images, updated image by image on the host, as is usual in PyTorch."""
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
    update_ema = ema_of(generators, c["ema_decay"])
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
        update_ema()
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


# Text-to-image.


def text_step(c: dict[str, Any], settings: Settings) -> Step:
    if (c["encoder"], c["conditioning"], c["interpolation_weight"]) != ("attentive", "projection", 0):
        raise ValueError("the PyTorch reference has only the attentive encoder, projection and no interpolation")
    size, count, weight = c["image_size"], c["batch_size"], c["mismatch_weight"]
    options = {"channels": c["channels"], "width": c["width"], "norm_kind": "none"}
    encoder = settings.prepared(conditional.AttentiveEncoder(c["vocabulary_size"]))
    g = settings.prepared(conditional.DCGANGenerator(size, latent_dim=c["latent_dim"], embedding=256, **options))
    features = settings.prepared(conditional.DCGANFeatures(size, **options))
    head = settings.prepared(conditional.ProjectionScore(16 * c["width"] * size // 8, embedding=256))
    d_loss, g_loss = LOSSES[c["loss"]]
    penalty = penalties(r1=c["r1"])
    read = nn.ModuleList([encoder, features, head])
    g_tx, d_tx = (adam(module.parameters(), c["b1"], c["b2"]) for module in (g, read))
    update_ema = ema_of(nn.ModuleList([g, encoder]), c["ema_decay"])
    real = settings.samples(count, c["channels"], size, size)
    lengths = torch.randint(c["max_words"] // 2, c["max_words"] + 1, (count,))
    tokens = torch.randint(2, c["vocabulary_size"], (count, c["max_words"]), device=settings.device)
    half = count // 2
    twice = torch.arange(count, device=settings.device) % (count - half)

    def latents() -> Tensor:
        return torch.randn(count, c["latent_dim"], device=settings.device)

    def step() -> None:
        d_tx.zero_grad()
        with settings.compute():
            embedding = encoder(tokens, lengths)
            with torch.no_grad():
                fake = g(latents(), embedding)
            maps = features(real)
            real_scores, fake_scores = head(maps, embedding).float(), head(features(fake), embedding).float()
            loss = d_loss(real_scores, fake_scores)
            if weight:
                mismatched = head(maps.roll(1, 0), embedding).float()
                loss = (1 - weight) * loss + weight * d_loss(real_scores, mismatched)
            if penalty is not None:
                loss = loss + penalty(lambda samples: head(features(samples), embedding), real, fake)
        loss.backward()
        d_tx.step()
        g_tx.zero_grad()
        read.requires_grad_(False)
        with settings.compute():
            wanted, drawn = encoder(tokens, lengths), latents()
            if c["mode_seeking_weight"]:
                wanted = wanted[twice]
            fake = g(drawn, wanted)
            real_scores = head(features(real), wanted).float() if c["loss"] == "relativistic" else torch.zeros(())
            loss = g_loss(real_scores, head(features(fake), wanted).float())
            if c["mode_seeking_weight"]:
                moved = (fake[:half] - fake[count - half :]).abs().mean()
                distance = moved / (drawn[:half] - drawn[count - half :]).abs().mean()
                loss = loss + c["mode_seeking_weight"] / (distance + 1e-5)
        loss.backward()
        read.requires_grad_(True)
        g_tx.step()
        update_ema()

    return step
