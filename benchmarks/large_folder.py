"""A large folder of JPEG files, streamed with random crops and flips: start-up, images per second, memory by epoch.

    python -m benchmarks.large_folder
    python -m benchmarks.large_folder --compare torch --torch-python /path/to/python --num-workers 2

Makes 20,000 files of 256 x 256 pixels in --folder, once. They are resized to 286 pixels, cropped to 256, flipped and
converted to floats in [-1, 1]. PyTorch reads the same files with a DataLoader of as many worker processes, in a process
of its own, in turns of 20 batches with this library.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxgan.data.pipeline import image_batches

BATCHES = 20  # in a turn
PYTORCH = Path(__file__).parent / "pytorch" / "large_folder.py"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="runs/large_folder", help="folder of the files (default: %(default)s)")
    parser.add_argument("--num-images", type=int, default=20_000, help="number of files (default: 20000)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-workers", type=int, default=2, help="threads, or processes of PyTorch (default: 2)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs to read (default: 3)")
    parser.add_argument("--turns", type=int, default=5, help="turns of 20 batches each, if compared (default: 5)")
    parser.add_argument("--compare", choices=["torch"], help="also time a PyTorch DataLoader")
    parser.add_argument("--torch-python", default=sys.executable, help="Python with PyTorch and Pillow")
    arguments = parser.parse_args(argv)

    folder = Path(arguments.folder)
    write_images(folder, arguments.num_images)
    for name in ("first", "second"):
        began = time.perf_counter()
        batches = image_batches(
            f"folder:{folder}",
            batch_size=arguments.batch_size,
            image_size=256,
            load_size=286,
            channels=3,
            flip=True,
            resident_mib=0,
            num_workers=arguments.num_workers,
        )
        known = batches.identity
        jax.block_until_ready(batches(0))
        print(f"{name} opening: {time.perf_counter() - began:.2f} s to the first batch; {len(known or {})} digests")
    if arguments.compare:
        compare(batches, arguments)
    steps = batches.size // arguments.batch_size
    for epoch in range(arguments.epochs):
        began = time.perf_counter()
        for step in range(epoch * steps, (epoch + 1) * steps):
            jax.block_until_ready(batches(step))
        rate = steps * arguments.batch_size / (time.perf_counter() - began)
        print(f"epoch {epoch + 1}: {rate:,.0f} images/s, {resident_mib():,.0f} MiB of memory", flush=True)


def compare(batches, arguments: argparse.Namespace) -> None:
    """Images per second in turns, after each side has read some batches."""
    command = [arguments.torch_python, PYTORCH, arguments.folder, arguments.batch_size, arguments.num_workers]
    ours, theirs = [], []
    with subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as torch:
        assert torch.stdin and torch.stdout
        versions = json.loads(torch.stdout.readline())
        buffered = 2 * arguments.num_workers + 1  # batches that were read during the other's turn are not timed
        for turn in range(arguments.turns + 1):
            first = 1 + turn * (buffered + BATCHES)
            for step in range(first, first + buffered):
                batches(step)
            began = time.perf_counter()
            for step in range(first + buffered, first + buffered + BATCHES):
                jax.block_until_ready(batches(step))
            ours.append(BATCHES * arguments.batch_size / (time.perf_counter() - began))
            print(BATCHES, file=torch.stdin, flush=True)
            theirs.append(float(torch.stdout.readline()))
        torch.stdin.close()
    ours, theirs = ours[1:], theirs[1:]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"{versions}: {statistics.median(theirs):,.0f} images/s; jaxgan: {statistics.median(ours):,.0f}")
    print(f"jaxgan over PyTorch: {statistics.median(ratios):.2f} by median, {min(ratios):.2f} to {max(ratios):.2f}")


def write_images(folder: Path, count: int) -> None:
    """Smooth random colours, about 16 KB each, of which no image is like another."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index // 1000:03d}" / f"{index:06d}.jpg"
        coarse = random.integers(256, size=(16, 16, 3), dtype=np.uint8)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(path, quality=90)


def resident_mib() -> float:
    """Memory of this process, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    main()
