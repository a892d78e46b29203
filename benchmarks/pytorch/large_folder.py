"""PyTorch's side of benchmarks.large_folder: reads numbers of batches from stdin and prints images per second.

It is started as a script: this file imports nothing of jaxgan.
"""

import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from PIL import Image


class Folder(torch.utils.data.Dataset):
    """The files, resized to 286 pixels, cropped to 256 and flipped at random, as floats in [-1, 1]."""

    def __init__(self, folder: str):
        self.files = sorted(map(str, Path(folder).rglob("*.jpg")))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.files[index]) as opened:
            image = opened.convert("RGB").resize((286, 286), Image.Resampling.BICUBIC)
        left, top = random.randint(0, 30), random.randint(0, 30)
        image = image.crop((left, top, left + 256, top + 256))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.float().div_(127.5).sub_(1)


def main() -> None:
    folder, batch_size, num_workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(
        Folder(folder), batch_size, shuffle=True, num_workers=num_workers, drop_last=True, persistent_workers=True
    )
    print(json.dumps({"torch": torch.__version__}), flush=True)
    batches = iter(loader)
    for line in sys.stdin:
        for _ in range(2 * num_workers + 1):  # batches that were read during the other's turn
            next(batches)
        began = time.perf_counter()
        count = int(line)
        for _ in range(count):
            next(batches)
        print(count * batch_size / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
