"""Records what test_published_generators.py compares with: generators of pytorch-CycleGAN-and-pix2pix, in PyTorch.

    python tests/record_published_reference.py > tests/published_generators.json
    python tests/record_published_reference.py FOLDER

Needs torch and numpy, nothing of jaxgan. The modules are nested as the authors' are, so that the tensors of their state
dicts have the same names and shapes. Every tensor is drawn by its place in the order of the names, so nothing has to be
stored but names, shapes and results. With a folder the networks are of the authors' width, and their weights are
written in all three formats of files, with the images that they make.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from published_values import numbers, size_of, value
from torch import nn


def images(seed, size, channels=3):
    return np.random.default_rng(seed).uniform(-1, 1, (1, size, size, channels)).astype(np.float32)


def batch(features):
    return nn.BatchNorm2d(features)


def instance(features):
    return nn.InstanceNorm2d(features)


def tracked(features):
    """As PyTorch before 0.4 kept it: with running statistics, which were not used."""
    return nn.InstanceNorm2d(features, track_running_stats=True)


class Block(nn.Module):
    def __init__(self, features, norm, dropout):
        super().__init__()
        conv = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(features, features, 3, bias=norm is not batch), norm(features)]
        self.conv_block = nn.Sequential(*conv(), nn.ReLU(True), *([nn.Dropout(0.5)] if dropout else []), *conv())

    def forward(self, maps):
        return maps + self.conv_block(maps)


class Resnet(nn.Module):
    def __init__(self, blocks, norm, *, width=8, inputs=3, outputs=3, dropout=False):
        super().__init__()
        bias = norm is not batch
        model = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7, bias=bias), norm(width), nn.ReLU(True)]
        for features in (width, 2 * width):
            layer = nn.Conv2d(features, 2 * features, 3, 2, 1, bias=bias)
            model += [layer, norm(2 * features), nn.ReLU(True)]
        model += [Block(4 * width, norm, dropout) for _ in range(blocks)]
        for features in (4 * width, 2 * width):
            layer = nn.ConvTranspose2d(features, features // 2, 3, 2, 1, output_padding=1, bias=bias)
            model += [layer, norm(features // 2), nn.ReLU(True)]
        model += [nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh()]
        self.model = nn.Sequential(*model)

    def forward(self, pictures):
        return self.model(pictures)


class Skip(nn.Module):
    """A level of the U-Net around the next one; each but the outermost passes on what it is given, too."""

    def __init__(self, outer, inner, norm, inside=None, *, inputs=None, outermost=False, dropout=False):
        super().__init__()
        self.outermost, bias = outermost, norm is not batch
        down = nn.Conv2d(inputs or outer, inner, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(inner * (2 if inside else 1), outer, 4, 2, 1, bias=bias or outermost)
        if outermost:
            model = [down, inside, nn.ReLU(), up, nn.Tanh()]
        elif inside is None:
            model = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm(outer)]
        else:
            model = [nn.LeakyReLU(0.2), down, norm(inner), inside, nn.ReLU(), up, norm(outer)]
            model += [nn.Dropout(0.5)] if dropout else []
        self.model = nn.Sequential(*model)

    def forward(self, maps):
        found = self.model(maps)
        return found if self.outermost else torch.cat([maps, found], 1)


class UNet(nn.Module):
    def __init__(self, levels, norm, *, width=8, inputs=3, outputs=3, dropout=False):
        super().__init__()
        level = Skip(8 * width, 8 * width, norm)
        for _ in range(levels - 5):
            level = Skip(8 * width, 8 * width, norm, level, dropout=dropout)
        for factor in (4, 2, 1):
            level = Skip(factor * width, 2 * factor * width, norm, level)
        self.model = Skip(outputs, width, norm, level, inputs=inputs, outermost=True)

    def forward(self, pictures):
        return self.model(pictures)


NETWORKS = {
    "resnet_9blocks, instance norm": lambda **options: Resnet(9, instance, **options),
    "resnet_6blocks, instance norm": lambda **options: Resnet(6, tracked, **options),
    "resnet_6blocks, batch norm": lambda **options: Resnet(6, batch, dropout=True, **options),
    "unet_128, instance norm": lambda **options: UNet(7, instance, **options),
    "unet_256, batch norm": lambda **options: UNet(8, batch, dropout=True, **options),
}


def filled(network):
    state = network.state_dict()
    for index, (name, tensor) in enumerate(sorted(state.items())):
        if tensor.dim():
            tensor.copy_(torch.from_numpy(value(index, name, tuple(tensor.shape))))
    network.load_state_dict(state)
    for module in network.modules():  # what was kept before PyTorch 0.4 was not used
        if isinstance(module, nn.InstanceNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    return network.eval(), state


def run(network, pictures):
    with torch.no_grad():
        return network(torch.from_numpy(pictures).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()


def main():
    found = {}
    for name, make in NETWORKS.items():
        channels = {"inputs": 1, "outputs": 3} if "6blocks, batch" in name else {}
        network, state = filled(make(**channels))
        output = run(network, images(0, size_of(name), channels.get("inputs", 3)))
        shapes = {key: list(tensor.shape) for key, tensor in sorted(state.items())}
        found[name] = {"numbers": [round(x, 6) for x in numbers(output)], "shapes": shapes}
    print(json.dumps(found))


def write(folder):
    for name, make in NETWORKS.items():
        network, state = filled(make(width=64))
        stem = folder / name.replace(", ", "_").replace(" ", "_")
        torch.save(state, f"{stem}.zip.pth")
        torch.save(state, f"{stem}.legacy.pth", _use_new_zipfile_serialization=False)
        np.save(f"{stem}.npy", run(network, images(0, 256 if "resnet" in name else size_of(name))))


if __name__ == "__main__":
    write(Path(sys.argv[1])) if sys.argv[1:] else main()
