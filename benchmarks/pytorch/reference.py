"""The experiments' training steps in PyTorch, for `python -m benchmarks.step_throughput NAME --compare torch`.

The same networks, batch, losses, penalties, optimizers and EMA, as in an optimized PyTorch script: the last forward
pass of the generator is shared by both updates, the discriminator has no gradient in the generator's update, and the
optimizer is fused. Initial values and schedules, which do not affect the time, are left out. It needs only PyTorch, so
it can run under another interpreter:

    echo eager 3 | python -m benchmarks.pytorch.reference '{"experiment": "gan", "image_size": 32, ...}'

It prints one line of JSON with its description, then reads lines `VARIANT STEPS` and answers each with the milliseconds
per step.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

try:
    import torch
except ModuleNotFoundError:
    sys.exit("error: the comparison needs PyTorch: pip install -e '.[torch]', or --torch-python PATH")
from torch import nn

from benchmarks.pytorch import conditional as conditional
from benchmarks.pytorch import networks as networks
from benchmarks.pytorch.steps import LOSSES, Players, Settings, Step, cycle_step, penalties, text_step, two_player_step

VARIANTS = ("eager", "channels_last", "compile")


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


def labelled(c: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    if c["networks"] != "dcgan" or c["conditioning"] != "projection":
        raise ValueError("the PyTorch reference has labels only for the networks dcgan with projection")
    size, classes, sizes = c["image_size"], c["num_classes"], {"channels": c["channels"], "width": c["width"]}
    generator = conditional.DCGANGenerator(
        size, latent_dim=c["latent_dim"], num_classes=classes, norm_kind=c["g_norm"], **sizes
    )
    return generator, conditional.DCGANDiscriminator(size, num_classes=classes, norm_kind=c["d_norm"], **sizes)


def mlps(c: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
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
    "class_conditional": lambda c: Players(
        *labelled(c), c["loss"], penalties(r1=c["r1"]), **moments(c), num_classes=c["num_classes"]
    ),
    "gaussians_2d": lambda c: Players(
        *mlps(c), c["loss"], penalties(gradient=c["gradient_penalty"], r1=c["r1"], r2=c["r2"]), **moments(c)
    ),
}


STEPS = {"cyclegan": cycle_step, "text_to_image": text_step}


def build(c: dict[str, Any], settings: Settings) -> Step:
    """The training step of an experiment.

    Args:
      c: its configuration, with its name under `experiment`.
      settings: device, variant and precision.

    Returns:
      A function without arguments or result that runs one step.

    Raises:
      ValueError: there is no reference for this configuration.
    """
    name = c["experiment"]
    if name not in (*EXPERIMENTS, *STEPS):
        raise ValueError(f"no PyTorch reference for {name}: there are {', '.join([*EXPERIMENTS, *STEPS])}")
    if c.get("augment"):
        raise ValueError("the PyTorch reference has no augmentation")
    if (loss := c.get("loss", "wasserstein")) not in LOSSES:
        raise ValueError(f"the PyTorch reference has no loss {loss}: there are {', '.join(LOSSES)}")
    return STEPS[name](c, settings) if name in STEPS else two_player_step(EXPERIMENTS[name](c), c, settings)


def main() -> None:
    c = json.loads(sys.argv[1])
    device = "cuda" if c.get("platform", "cpu") in ("gpu", "cuda") and torch.cuda.is_available() else "cpu"
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    # As XLA on a GPU: float32 products in TF32.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    finish = torch.cuda.synchronize if device == "cuda" else lambda: None
    steps: dict[str, Step] = {}
    failed: dict[str, str] = {}
    for variant in c.get("variants", VARIANTS):
        try:
            torch.manual_seed(0)
            step = build(c, Settings(device, variant, autocast=c.get("dtype") == "bfloat16"))
            for _ in range(2):  # warm-up: compiles and allocates
                step()
            finish()
            steps[variant] = step
        except Exception as error:  # a variant that does not work is reported and left out
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
