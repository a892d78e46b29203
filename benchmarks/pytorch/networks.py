"""The networks of `jaxgan.networks` in PyTorch: the same layers in the same order."""

# pyright: reportMissingImports=false

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


def norm(kind: str, channels: int, *, affine: bool = True) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels, affine=affine)
    if kind == "layer":
        return nn.GroupNorm(1, channels, affine=affine)
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.Identity()


def mlp(widths: Sequence[int], activation: Callable[[], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, features in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, features), activation()]
    return nn.Sequential(*layers[:-1])


def dcgan_generator(size: int, *, latent_dim: int, channels: int, width: int, norm_kind: str) -> nn.Module:
    widths = [width * size // 8 >> index for index in range(size.bit_length() - 3)]
    bias = norm_kind != "batch"
    layers: list[tuple[str, nn.Module]] = [
        ("latents", nn.Unflatten(1, (-1, 1, 1))),
        ("layer_0", nn.ConvTranspose2d(latent_dim, widths[0], 4, bias=bias)),
    ]
    for index, features in enumerate([*widths[1:], channels]):
        layers += [(f"norm_{index}", norm(norm_kind, widths[index])), (f"relu_{index}", nn.ReLU(inplace=True))]
        layer = nn.ConvTranspose2d(widths[index], features, 4, 2, 1, bias=bias or index == len(widths) - 1)
        layers.append((f"layer_{index + 1}", layer))
    return nn.Sequential(OrderedDict([*layers, ("tanh", nn.Tanh())]))


def dcgan_discriminator(size: int, *, channels: int, width: int, norm_kind: str) -> nn.Module:
    widths = [channels, *(width << index for index in range(size.bit_length() - 3))]
    layers: list[tuple[str, nn.Module]] = []
    for index, features in enumerate(widths[1:]):
        layer = nn.Conv2d(widths[index], features, 4, 2, 1, bias=index == 0 or norm_kind != "batch")
        layers.append((f"layer_{index}", layer))
        if index:
            layers.append((f"norm_{index}", norm(norm_kind, features)))
        layers.append((f"relu_{index}", nn.LeakyReLU(0.2, inplace=True)))
    return nn.Sequential(OrderedDict([*layers, ("score", nn.Conv2d(widths[-1], 1, 4)), ("flat", nn.Flatten(0))]))


def upsample(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2.0)


class UpBlock(nn.Module):
    def __init__(self, inputs: int, features: int, norm_kind: str):
        super().__init__()
        self.norm_0 = norm(norm_kind, inputs)
        self.layer_0 = nn.Conv2d(inputs, features, 3, padding=1, bias=norm_kind != "batch")
        self.norm_1 = norm(norm_kind, features)
        self.layer_1 = nn.Conv2d(features, features, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, features, 1)

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.layer_0(upsample(F.relu(self.norm_0(maps))))
        return upsample(self.shortcut(maps)) + self.layer_1(F.relu(self.norm_1(hidden)))


class DownBlock(nn.Module):
    def __init__(self, inputs: int, features: int, *, first: bool, halves: bool):
        super().__init__()
        between = features if first else inputs
        self.first, self.halves = first, halves
        self.layer_0 = spectral_norm(nn.Conv2d(inputs, between, 3, padding=1))
        self.layer_1 = spectral_norm(nn.Conv2d(between, features, 3, padding=1))
        if halves:
            self.shortcut = spectral_norm(nn.Conv2d(inputs, features, 1))

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.layer_1(F.relu(self.layer_0(maps if self.first else F.relu(maps))))
        return self.shortcut(F.avg_pool2d(maps, 2)) + F.avg_pool2d(hidden, 2) if self.halves else maps + hidden


class ResNetGenerator(nn.Module):
    def __init__(self, size: int, *, latent_dim: int, channels: int, width: int):
        super().__init__()
        wide = {32: (1, 1, 1, 1), 64: (16, 8, 4, 2, 1), 128: (16, 16, 8, 4, 2, 1)}[size]
        self.base = nn.Linear(latent_dim, 16 * width * wide[0])
        pairs = itertools.pairwise(wide)
        blocks = [UpBlock(width * inputs, width * features, "batch") for inputs, features in pairs]
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.image = norm("batch", width * wide[-1]), nn.Conv2d(width * wide[-1], channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        hidden = self.base(latents)
        hidden = self.blocks(hidden.view(len(hidden), -1, 4, 4))
        return torch.tanh(self.image(F.relu(self.norm(hidden))))


class ResNetDiscriminator(nn.Module):
    def __init__(self, size: int, *, channels: int, width: int):
        super().__init__()
        halving, keeping = {32: ((1, 1), (1, 1)), 64: ((1, 2, 4, 8, 16), ()), 128: ((1, 2, 4, 8, 16), (16,))}[size]
        widths = [channels, *(width * wide for wide in halving + keeping)]
        pairs = enumerate(itertools.pairwise(widths))
        self.blocks = nn.Sequential(
            *(DownBlock(a, b, first=index == 0, halves=index < len(halving)) for index, (a, b) in pairs)
        )
        self.score = spectral_norm(nn.Linear(widths[-1], 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.score(F.relu(self.blocks(images)).sum((2, 3)))[:, 0]


def resample(up: bool) -> Callable[[Tensor], Tensor]:
    """R3GAN's bilinear down- or upsampling with zero padding, as a depthwise convolution."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (line[:, None] * line)[None, None] / (16.0 if up else 64.0)
    function = F.conv_transpose2d if up else F.conv2d

    def apply(maps: Tensor) -> Tensor:
        kernels = kernel.to(maps).expand(maps.shape[1], 1, 4, 4)
        return function(maps, kernels, stride=2, padding=1, groups=maps.shape[1])

    return apply


class R3GANBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        inside = 2 * channels
        self.layer_0 = nn.Conv2d(channels, inside, 1)
        self.layer_1 = nn.Conv2d(inside, inside, 3, padding=1, groups=inside // 16)
        self.layer_2 = nn.Conv2d(inside, channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.layer_1(F.leaky_relu(self.layer_0(maps), 0.2)), 0.2)
        return maps + self.layer_2(hidden)


class Resampled(nn.Module):
    def __init__(self, up: bool):
        super().__init__()
        self.resample = resample(up)

    def forward(self, maps: Tensor) -> Tensor:
        return self.resample(maps)


class R3GANGenerator(nn.Module):
    def __init__(self, *, latent_dim: int, channels: int, widths: Sequence[int], blocks: int):
        super().__init__()
        self.basis, self.base = nn.Parameter(torch.randn(widths[0], 4, 4)), nn.Linear(latent_dim, widths[0], bias=False)
        layers: list[nn.Module] = []
        for stage, width in enumerate(widths):
            if stage and width != widths[stage - 1]:
                layers.append(nn.Conv2d(widths[stage - 1], width, 1, bias=False))
            layers += [Resampled(True)] * (stage > 0) + [R3GANBlock(width) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 1, bias=False))

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(self.basis * self.base(latents)[:, :, None, None])


class R3GANDiscriminator(nn.Module):
    def __init__(self, *, channels: int, widths: Sequence[int], blocks: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[-1], 1, bias=False)]
        for stage in reversed(range(len(widths))):
            layers += [R3GANBlock(widths[stage]) for _ in range(blocks)] + [Resampled(False)] * (stage > 0)
            if stage and widths[stage - 1] != widths[stage]:
                layers.append(nn.Conv2d(widths[stage], widths[stage - 1], 1, bias=False))
        self.layers = nn.Sequential(*layers)
        self.basis, self.score = nn.Parameter(torch.randn(widths[0], 4, 4)), nn.Linear(widths[0], 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.score((self.layers(images) * self.basis).sum((2, 3)))[:, 0]


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.layer_0, self.layer_1 = (nn.Conv2d(channels, channels, 3, bias=False) for _ in range(2))
        self.norm = norm("instance", channels)

    def forward(self, maps: Tensor) -> Tensor:
        hidden = F.relu(self.norm(self.layer_0(F.pad(maps, (1, 1, 1, 1), mode="reflect"))))
        return maps + self.norm(self.layer_1(F.pad(hidden, (1, 1, 1, 1), mode="reflect")))


def residual_generator(*, channels: tuple[int, int], width: int, blocks: int, resize: bool) -> nn.Module:
    """`channels` are those of input and output; `resize` is jaxgan's `upsampling="resize"`."""

    def normed(layer: nn.Module, features: int) -> list[nn.Module]:
        return [layer, norm("instance", features), nn.ReLU(inplace=True)]

    def doubled(features: int) -> list[nn.Module]:
        if resize:
            before = [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1)]
            return before + normed(nn.Conv2d(2 * features, features, 3, bias=False), features)
        return normed(nn.ConvTranspose2d(2 * features, features, 3, 2, 1, 1, bias=False), features)

    layers = [nn.ReflectionPad2d(3), *normed(nn.Conv2d(channels[0], width, 7, bias=False), width)]
    for features in (2 * width, 4 * width):
        layers += normed(nn.Conv2d(features // 2, features, 3, 2, 1, bias=False), features)
    layers += [ResidualBlock(4 * width) for _ in range(blocks)]
    layers += doubled(2 * width) + doubled(width)
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels[1], 7), nn.Tanh())


def patch_discriminator(*, channels: int, width: int, depth: int) -> nn.Module:
    """`depth` is jaxgan's `layers`: the number of layers of stride 2."""
    layers: list[nn.Module] = []
    widths = [channels, *(width * min(2**index, 8) for index in range(depth + 1))]
    for index, (inputs, features) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Conv2d(inputs, features, 4, 2 if index < depth else 1, 1, bias=index == 0))
        layers += [norm("instance", features)] * (index > 0) + [nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))
