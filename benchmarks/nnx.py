"""Times one training iteration of the same DCGAN in NNX and in Linen, with Flax's layers in both, alternating.

python -m benchmarks.nnx --iterations 15
"""

import argparse
import itertools

import flax
import jax
import jax.numpy as jnp
from flax import linen, nnx

from benchmarks.convolutions import alternate, compiled_step
from jaxgan import GAN, LOSSES, Network, from_linen, from_nnx, make_gan, optim
from jaxgan.devices.memory import keep_freed_memory
from jaxgan.networks.dcgan import DCGANDiscriminator, DCGANGenerator, stage_widths


class Generator(nnx.Module):
    """`DCGANGenerator` with batch norm, in NNX."""

    def __init__(self, size: int, channels: int, width: int, latent_dim: int, *, rngs: nnx.Rngs):
        widths = [latent_dim, *stage_widths(size, width)[::-1], channels]
        self.num_norms = len(widths) - 2
        for index, (before, after) in enumerate(itertools.pairwise(widths)):
            last = index == self.num_norms
            strides, padding = ((1, 1), "VALID") if index == 0 else ((2, 2), "SAME")
            layer = nnx.ConvTranspose(before, after, (4, 4), strides, padding=padding, use_bias=last, rngs=rngs)
            setattr(self, f"layer_{index}", layer)
            if not last:
                setattr(self, f"norm_{index}", nnx.BatchNorm(after, momentum=0.9, rngs=rngs))

    def __call__(self, latents: jax.Array) -> jax.Array:
        hidden = latents[:, None, None, :]
        for index in range(self.num_norms):
            hidden = getattr(self, f"layer_{index}")(hidden)
            hidden = nnx.relu(getattr(self, f"norm_{index}")(hidden))
        return jnp.tanh(getattr(self, f"layer_{self.num_norms}")(hidden))


class Discriminator(nnx.Module):
    """`DCGANDiscriminator` without norms, in NNX."""

    def __init__(self, size: int, channels: int, width: int, *, rngs: nnx.Rngs):
        widths = [channels, *stage_widths(size, width)]
        self.num_layers = len(widths) - 1
        for index, (before, after) in enumerate(itertools.pairwise(widths)):
            setattr(self, f"layer_{index}", nnx.Conv(before, after, (4, 4), (2, 2), padding=1, rngs=rngs))
        self.score = nnx.Conv(widths[-1], 1, (4, 4), padding="VALID", rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        hidden = images
        for index in range(self.num_layers):
            hidden = nnx.leaky_relu(getattr(self, f"layer_{index}")(hidden), 0.2)
        return self.score(hidden)[:, 0, 0, 0]


def networks(kind: str, size: int, channels: int, width: int, latent_dim: int) -> tuple[Network, Network]:
    """Generator and discriminator, equal for the kinds `nnx` and `linen` but for their initial weights."""
    if kind == "nnx":
        return (
            from_nnx(lambda rngs: Generator(size, channels, width, latent_dim, rngs=rngs)),
            from_nnx(lambda rngs: Discriminator(size, channels, width, rngs=rngs)),
        )
    return (
        from_linen(DCGANGenerator(size, channels, width, conv_transpose=linen.ConvTranspose)),
        from_linen(DCGANDiscriminator(size, width, "none", conv=linen.Conv)),
    )


def build(kind: str, *, size: int = 32, channels: int = 3, width: int = 64, latent_dim: int = 100) -> GAN:
    generator, discriminator = networks(kind, size, channels, width, latent_dim)
    options = {"loss": LOSSES["non_saturating"], "g_tx": optim.adam(2e-4), "d_tx": optim.adam(2e-4)}
    return make_gan(generator, discriminator, latent_dim=latent_dim, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=15, help="timed iterations of each, after a warm-up")
    arguments = parser.parse_args()

    print(f"jax {jax.__version__}, flax {flax.__version__}, {jax.devices()[0].device_kind}; {arguments}")
    shape = (arguments.batch_size, 32, 32, 3)
    batch = {"image": jax.random.uniform(jax.random.key(1), shape, minval=-1.0)}
    runs = {}
    for kind in ("nnx", "linen"):
        runs[kind], seconds = compiled_step(build(kind, width=arguments.width), batch)
        print(f"{kind}: compiled in {seconds:.1f} s")
    by_median, by_minimum = (one["nnx"] / one["linen"] for one in alternate(runs, arguments.iterations))
    print(f"nnx takes {by_median:.3f} of linen's time by median, {by_minimum:.3f} by minimum")


if __name__ == "__main__":
    keep_freed_memory()
    main()
