"""Records what test_df_gan.py compares with: DF-GAN's networks and its gradient penalty, built in PyTorch.

    python tests/record_df_gan_reference.py

Layers, their order and their biases are those of models/GAN.py and `MA_GP` of lib/modules.py of tobran/DF-GAN. Needs
torch and numpy, nothing of jaxgan. Both sides draw every weight from `weights` below, by its name.
"""

import zlib

import numpy as np
import torch
from torch.nn import functional as F

SIZE, WIDTH, LATENT, TEXT = 32, 4, 5, 6


def weights(name, *shape):
    """Larger than at the start of training, so that nothing is near 0 and the gains count."""
    return (0.2 * np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)).astype(np.float32)


def inputs(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def numbers(output):
    output = np.asarray(output, np.float64)
    return [output.mean(), np.abs(output).mean(), *output.ravel()[:: max(output.size // 12, 1)][:12]]


KERNELS = {}  # of convolutions, by name


def conv(name, maps, features, size, stride=1, padding=0, bias=True):
    if name not in KERNELS:
        KERNELS[name] = torch.tensor(weights(f"{name}/kernel", size, size, maps.shape[1], features)).requires_grad_()
    offset = torch.tensor(weights(f"{name}/bias", features)) if bias else None
    return F.conv2d(maps, KERNELS[name].permute(3, 2, 0, 1), offset, stride, padding)


def dense(name, vectors, features):
    kernel = torch.tensor(weights(f"{name}/kernel", vectors.shape[1], features))
    return vectors @ kernel + torch.tensor(weights(f"{name}/bias", features))


def affine(name, maps, condition):
    def mlp(kind):
        hidden = torch.relu(dense(f"{name}/{kind}_0", condition, maps.shape[1]))
        return dense(f"{name}/{kind}_1", hidden, maps.shape[1])[:, :, None, None]

    return mlp("scale") * maps + mlp("offset")


def fusion(name, maps, condition):
    maps = F.leaky_relu(affine(f"{name}/affine_0", maps, condition), 0.2)
    return F.leaky_relu(affine(f"{name}/affine_1", maps, condition), 0.2)


def widths():
    return [WIDTH * min(2**index, 8) for index in range(int(np.log2(SIZE)) - 1)]


def generator(latents, text):
    condition = torch.cat([latents, text], 1)
    channels = widths()[::-1]
    # The dense layer's output is read as 4x4 positions of channels, as images are laid out in JAX.
    maps = dense("layer_0", latents, 16 * channels[0]).reshape(-1, 4, 4, channels[0]).permute(0, 3, 1, 2)
    for index, features in enumerate(channels[1:]):
        name = f"block_{index}"
        maps = F.interpolate(maps, scale_factor=2)
        hidden = conv(f"{name}/layer_0", fusion(f"{name}/fusion_0", maps, condition), features, 3, padding=1)
        hidden = conv(f"{name}/layer_1", fusion(f"{name}/fusion_1", hidden, condition), features, 3, padding=1)
        if maps.shape[1] != features:
            maps = conv(f"{name}/shortcut", maps, features, 1)
        maps = maps + hidden
    return torch.tanh(conv("image", F.leaky_relu(maps, 0.2), 3, 3, padding=1))


def features(images):
    maps = conv("layer_0", images, WIDTH, 3, padding=1)
    for index, number in enumerate(widths()[1:]):
        name = f"block_{index}"
        hidden = F.leaky_relu(conv(f"{name}/layer_0", maps, number, 4, 2, 1, bias=False), 0.2)
        hidden = F.leaky_relu(conv(f"{name}/layer_1", hidden, number, 3, padding=1, bias=False), 0.2)
        if maps.shape[1] != number:
            maps = conv(f"{name}/shortcut", maps, number, 1)
        maps = F.avg_pool2d(maps, 2) + torch.tensor(weights(f"{name}/gain")) * hidden
    return maps


def score(maps, text):
    joint = torch.cat([maps, text[:, :, None, None].repeat(1, 1, 4, 4)], 1)
    hidden = F.leaky_relu(conv("joint", joint, maps.shape[1] // 4, 3, padding=1, bias=False), 0.2)
    return conv("score", hidden, 1, 4, bias=False)[:, 0, 0, 0]


def penalty(images, text):
    gradients = torch.autograd.grad(score(features(images), text).sum(), (images, text), create_graph=True)
    norms = torch.sqrt(torch.cat([part.flatten(1) for part in gradients], 1).square().sum(1))
    return (norms**6).mean()


def main():
    latents, text = torch.tensor(inputs(0, 3, LATENT)), torch.tensor(inputs(1, 3, TEXT)).requires_grad_()
    images = torch.tensor(inputs(2, 3, SIZE, SIZE, 3)).permute(0, 3, 1, 2).requires_grad_()
    drawn = generator(latents, text)
    KERNELS.clear()
    value = penalty(images, text)
    again = torch.autograd.grad(value, KERNELS["block_0/layer_0"])[0]
    found = {
        "generator": drawn.permute(0, 2, 3, 1),
        "features": features(images).permute(0, 2, 3, 1),
        "scores": score(features(images), text),
        "penalty's gradient": again,
    }
    for name, output in found.items():
        print(f'    "{name}": {[float(f"{number:.6g}") for number in numbers(output.detach().numpy())]},')
    print(f"PENALTY = {float(value.detach()):.6g}")


if __name__ == "__main__":
    main()
