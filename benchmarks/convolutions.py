"""Times one training iteration of DCGAN with jaxgan's convolutions and with Flax's, alternating in one process.

python -m benchmarks.convolutions --experiment dcgan
python -m benchmarks.convolutions --experiment wgan_gp --iterations 9
"""

import argparse
import statistics
import time
from functools import partial

import flax
import jax
from flax import linen as nn

from jaxgan import LOSSES, from_linen, make_gan, optim
from jaxgan.devices.memory import fill_gaps, keep_freed_memory
from jaxgan.devices.sharding import compile_step, data_mesh, replicated
from jaxgan.networks.convolutions import Conv, ConvTranspose
from jaxgan.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxgan.penalties import gradient_penalty

LAYERS = {"ours": (Conv, ConvTranspose), "flax": (nn.Conv, partial(nn.ConvTranspose, transpose_kernel=True))}


def build(experiment: str, layers: str, arguments: argparse.Namespace):
    conv, conv_transpose = LAYERS[layers]
    wasserstein = experiment == "wgan_gp"
    size, width = arguments.size, arguments.width
    return make_gan(
        from_linen(DCGANGenerator(size, arguments.channels, width, conv_transpose=conv_transpose)),
        from_linen(DCGANDiscriminator(size, width, "none" if wasserstein else "batch", conv=conv)),
        loss=LOSSES["wasserstein" if wasserstein else "non_saturating"],
        penalty=gradient_penalty if wasserstein else None,
        penalty_weight=10.0,
        g_tx=optim.adam(2e-4),
        d_tx=optim.adam(2e-4),
        latent_dim=100,
        d_steps=5 if wasserstein else 1,
    )


def compiled_step(gan, batch):
    """A function that runs one iteration and returns its milliseconds, and the compilation time in seconds."""
    mesh, batches = data_mesh(1), (batch,) * gan.d_steps
    state = jax.device_put(gan.init(jax.random.key(0), batch), replicated(mesh))
    began = time.perf_counter()
    step = compile_step(gan.train_step, mesh, state, batches)
    seconds = time.perf_counter() - began

    def run():
        nonlocal state
        fill_gaps()
        began = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batches))
        return 1000 * (time.perf_counter() - began)

    return run, seconds


def alternate(runs, iterations: int) -> tuple[dict[str, float], dict[str, float]]:
    """Times steps in turn, after one of each to warm up; prints and returns medians and minima in milliseconds."""
    times = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(iterations):
        for name, run in runs.items():
            times[name].append(run())
    medians, minima = ({name: of(found) for name, found in times.items()} for of in (statistics.median, min))
    for name in runs:
        print(f"{name}: median {medians[name]:.1f} ms, minimum {minima[name]:.1f} ms")
    return medians, minima


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=("dcgan", "wgan_gp"), default="dcgan")
    parser.add_argument("--size", type=int, choices=(32, 64, 128), default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=15, help="timed iterations of each, after a warm-up")
    arguments = parser.parse_args()

    device = jax.devices()[0]
    print(f"jax {jax.__version__}, flax {flax.__version__}, {device.device_kind}; {arguments}")
    shape = (arguments.batch_size, arguments.size, arguments.size, arguments.channels)
    batch = {"image": jax.random.uniform(jax.random.key(1), shape, minval=-1.0)}
    runs = {}
    for layers in LAYERS:
        runs[layers], seconds = compiled_step(build(arguments.experiment, layers, arguments), batch)
        print(f"{layers}: compiled in {seconds:.1f} s")
    by_median, by_minimum = (one["flax"] / one["ours"] for one in alternate(runs, arguments.iterations))
    print(f"ours is {by_median:.2f} times as fast by median, {by_minimum:.2f} by minimum")


if __name__ == "__main__":
    keep_freed_memory()
    main()
