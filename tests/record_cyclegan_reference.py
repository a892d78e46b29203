"""Records what test_image_to_image.py compares with: networks and losses of CycleGAN and pix2pix, built in PyTorch.

    python tests/record_cyclegan_reference.py

Needs torch and numpy, nothing of jaxgan. Both sides draw every weight from `weights` below, by its place in the order
in which the layers are applied, so nothing has to be stored but the results.
"""

import numpy as np
import torch
from torch import nn


def weights(index, *shape):
    """Weights number `index` of a network: larger than at the start of training, so that nothing is near 0."""
    return (0.1 * np.random.default_rng(1000 + index).standard_normal(shape)).astype(np.float32)


def images(seed, size=32, channels=3):
    return np.random.default_rng(seed).uniform(-1, 1, (2, size, size, channels)).astype(np.float32)


def norm(features):
    return nn.InstanceNorm2d(features)


def generator(width=8, blocks=9, channels=3):
    class Block(nn.Module):
        def __init__(self, features):
            super().__init__()
            layer = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(features, features, 3), norm(features)]
            self.inner = nn.Sequential(*layer(), nn.ReLU(), *layer())

        def forward(self, maps):
            return maps + self.inner(maps)

    def up(inner, outer):
        return [nn.ConvTranspose2d(inner, outer, 3, 2, 1, output_padding=1), norm(outer), nn.ReLU()]

    return nn.Sequential(
        *[nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), norm(width), nn.ReLU()],
        *[nn.Conv2d(width, 2 * width, 3, 2, 1), norm(2 * width), nn.ReLU()],
        *[nn.Conv2d(2 * width, 4 * width, 3, 2, 1), norm(4 * width), nn.ReLU()],
        *[Block(4 * width) for _ in range(blocks)],
        *up(4 * width, 2 * width),
        *up(2 * width, width),
        *[nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh()],
    )


class UNet(nn.Module):
    def __init__(self, width=4, levels=5, channels=3, norm=norm):
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in zip([channels, *widths], widths, strict=False))
        ups = [(widths[-1], widths[-2])] + [(2 * widths[i], widths[i - 1]) for i in range(levels - 2, 0, -1)]
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, 2, 1) for i, o in [*ups, (2 * width, channels)])
        self.norms = nn.ModuleList(norm(features) for features in [*widths[1:-1], *widths[-2::-1]])

    def forward(self, maps):
        passed, norms = [], iter(self.norms)
        for level, layer in enumerate(self.down):
            maps = layer(nn.functional.leaky_relu(maps, 0.2) if level else maps)
            maps = next(norms)(maps) if 0 < level < len(self.down) - 1 else maps
            passed.append(maps)
        for layer, before in zip(self.up[:-1], passed[-2::-1], strict=True):
            maps = torch.cat([before, next(norms)(layer(maps.relu()))], 1)
        return self.up[-1](maps.relu()).tanh()


def patchgan(width=8, layers=3, channels=3, norm=norm):
    sequence = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    inner = width
    for index in range(1, layers + 1):
        outer = width * min(2**index, 8)
        stride = 2 if index < layers else 1
        sequence += [nn.Conv2d(inner, outer, 4, stride, 1), norm(outer), nn.LeakyReLU(0.2)]
        inner = outer
    return nn.Sequential(*sequence, nn.Conv2d(inner, 1, 4, 1, 1))


def pixel(width=8, channels=3):
    return nn.Sequential(
        *[nn.Conv2d(channels, width, 1), nn.LeakyReLU(0.2)],
        *[nn.Conv2d(width, 2 * width, 1), norm(2 * width), nn.LeakyReLU(0.2), nn.Conv2d(2 * width, 1, 1)],
    )


def fill(network):
    """Kernels as `[kh, kw, in, out]`, or `[kh, kw, out, in]` for a transposed one; a bias has the number after."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    for index, layer in enumerate(layers):
        kernel = layer.weight
        with torch.no_grad():
            kernel.copy_(
                torch.from_numpy(weights(2 * index, *kernel.shape[2:], *kernel.shape[1::-1])).permute(3, 2, 0, 1)
            )
            layer.bias.copy_(torch.from_numpy(weights(2 * index + 1, *layer.bias.shape)))
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for index, layer in enumerate(norms):
        with torch.no_grad():
            layer.weight.copy_(1 + torch.from_numpy(weights(500 + 2 * index, *layer.weight.shape)))
            layer.bias.copy_(torch.from_numpy(weights(501 + 2 * index, *layer.bias.shape)))
    return network


def run(network, pictures):
    with torch.no_grad():
        return network(torch.from_numpy(pictures).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()


def numbers(output):
    """A few that no misplaced pixel, channel or sample leaves as they are."""
    output = output.astype(np.float64)
    corners = output[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    return [output.mean(), np.abs(output).mean(), *corners.ravel()[:12], *output[1, output.shape[1] // 2, :8, 0]]


def losses():
    mse, l1 = nn.MSELoss(), nn.L1Loss()
    real, fake = (torch.from_numpy(images(seed, 5, 1)) for seed in (3, 4))
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    pictures, others = (torch.from_numpy(images(seed)) for seed in (5, 6))
    return {
        "generator": mse(fake, ones),
        "discriminator": mse(real, ones) + mse(fake, zeros),
        "cycle": l1(others, pictures),
    }


if __name__ == "__main__":
    print("torch", torch.__version__)
    pictures = images(0)
    networks = {"residual": generator(), "unet": UNet(), "patchgan": patchgan(), "pixel": pixel()}
    for name, network in networks.items():
        print(name, [round(float(number), 6) for number in numbers(run(fill(network), pictures))])
    # pix2pix: the U-Net for 256 pixels and the discriminator of two images, with batch norm's statistics of the batch.
    for name, network, large in (
        ("unet_256", UNet(width=2, levels=8, norm=nn.BatchNorm2d), images(0, 256)),
        ("patchgan_of_pairs", patchgan(channels=6, norm=nn.BatchNorm2d), images(0, 32, 6)),
    ):
        print(name, [round(float(number), 6) for number in numbers(run(fill(network), large))])
    print({name: round(float(value), 6) for name, value in losses().items()})
