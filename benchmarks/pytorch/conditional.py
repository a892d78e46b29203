"""The networks of `jaxgan.networks.conditional` and `.text_to_image` in PyTorch, for `benchmarks.pytorch.reference`."""

# pyright: reportMissingImports=false

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.pytorch.networks import norm


def linear_of(condition: int | None, classes: int | None, features: int) -> nn.Module:
    """A linear layer for vectors, or an embedding table for labels."""
    return nn.Linear(condition or 0, features) if classes is None else nn.Embedding(classes, features)


class ConditionalNorm(nn.Module):
    def __init__(self, kind: str, channels: int, condition: int | None, classes: int | None):
        super().__init__()
        self.norm = norm(kind, channels, affine=False)
        self.affine = linear_of(condition, classes, 2 * channels)

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        scale, offset = self.affine(condition)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(offset, self.norm(maps), 1 + scale)


class DCGANGenerator(nn.Module):
    """Conditional on labels through its norms, or on vectors through norms and input."""

    def __init__(
        self,
        size: int,
        *,
        latent_dim: int,
        channels: int,
        width: int,
        norm_kind: str,
        num_classes: int | None = None,
        embedding: int = 0,
    ):
        super().__init__()
        self.of_vectors = num_classes is None
        widths = [width * size // 8 >> index for index in range(size.bit_length() - 3)]
        self.layer_0 = nn.Linear(latent_dim + embedding, 16 * widths[0])
        self.norms = nn.ModuleList(
            ConditionalNorm(norm_kind, features, latent_dim + embedding, num_classes) for features in widths
        )
        pairs = zip(widths, [*widths[1:], channels], strict=True)
        self.layers = nn.ModuleList(nn.ConvTranspose2d(inputs, features, 4, 2, 1) for inputs, features in pairs)

    def forward(self, latents: Tensor, condition: Tensor) -> Tensor:
        if self.of_vectors:
            latents = condition = torch.cat([latents, condition], dim=1)
        hidden = self.layer_0(latents).view(len(latents), -1, 4, 4)
        for normalize, layer in zip(self.norms, self.layers, strict=True):
            hidden = layer(F.relu(normalize(hidden, condition)))
        return torch.tanh(hidden)


class DCGANFeatures(nn.Sequential):
    def __init__(self, size: int, *, channels: int, width: int, norm_kind: str):
        widths = [channels, *(width << index for index in range(size.bit_length() - 3))]
        layers: list[nn.Module] = []
        for index, features in enumerate(widths[1:]):
            layers.append(nn.Conv2d(widths[index], features, 4, 2, 1))
            layers += [norm(norm_kind, features)] * (index > 0) + [nn.LeakyReLU(0.2)]
        super().__init__(*layers)


class ProjectionScore(nn.Module):
    def __init__(self, features: int, *, embedding: int | None = None, num_classes: int | None = None):
        super().__init__()
        self.projection: nn.Module
        if num_classes is None:
            self.projection = nn.Linear(embedding or 0, features, bias=False)
        else:
            self.projection = nn.Embedding(num_classes, features)
        self.score = nn.Linear(features, 1)

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        flat = maps.flatten(1)
        return self.score(flat)[:, 0] + (self.projection(condition) * flat).sum(1)


class DCGANDiscriminator(nn.Module):
    def __init__(self, size: int, *, channels: int, width: int, norm_kind: str, num_classes: int):
        super().__init__()
        self.features = DCGANFeatures(size, channels=channels, width=width, norm_kind=norm_kind)
        self.head = ProjectionScore(16 * width * size // 8, num_classes=num_classes)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        return self.head(self.features(images), condition)


class AttentiveEncoder(nn.Module):
    def __init__(self, vocabulary_size: int, *, features: int = 256, word_features: int = 64, heads: int = 8):
        super().__init__()
        self.words = nn.Embedding(vocabulary_size, word_features, padding_idx=0)
        self.read = nn.GRU(word_features, word_features, batch_first=True, bidirectional=True)
        self.queries = nn.Linear(2 * word_features, heads)
        self.values = nn.Linear(word_features, features // heads, bias=False)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        words = self.words(tokens)
        packed = nn.utils.rnn.pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        read, _ = nn.utils.rnn.pad_packed_sequence(self.read(packed)[0], batch_first=True, total_length=tokens.shape[1])
        places = torch.arange(tokens.shape[1], device=tokens.device)
        outside = (places >= lengths.to(tokens.device)[:, None])[..., None]
        weights = self.queries(read).masked_fill(outside, -torch.inf).softmax(dim=1)
        return torch.einsum("blk,blf->bkf", weights, self.values(words)).flatten(1)
