"""Translates pictures with a finished run: any number of them, of any size and shape, each by itself.

python -m experiments.translate --run runs/cyclegan --input photos --output paintings
python -m experiments.translate --run runs/cyclegan --input paintings --output photos --direction b_to_a

Only the run folder is needed: neither the data it was trained on nor pictures of the other domain. `photos/x/1.jpg`
becomes `paintings/x/1.png`; where two would become the same file, as `1.jpg` and `1.png`, both keep their endings:
`1.jpg.png` and `1.png.png`. The same command writes the same bytes again.

A picture is brought to the size that the networks were trained at, by its shorter side (the longer one is rounded to
sixteenths of it, so that a few sizes serve all pictures), translated whole, and brought back to its own size.
`--size native` translates its own pixels; each new size then costs a compilation.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from PIL import Image

from experiments import cyclegan
from jaxgan import cli, report
from jaxgan.data.folder import image_files, read_image
from jaxgan.pixels import from_uint8, to_uint8
from jaxgan.run import open_run

EXPERIMENTS = {module.Config.experiment: module for module in (cyclegan,)}
SIXTEENTHS = 16  # steps in which the longer side may exceed the shorter one


@dataclass(frozen=True, kw_only=True)
class Config:
    run: str  # run folder
    input: str  # folder of pictures; those in its sub-folders are translated too
    output: str  # folder to write them to, under the same names
    direction: Literal["a_to_b", "b_to_a"] = "a_to_b"  # which of the run's two translations
    checkpoint: str = "last"  # best, last or a step
    batch_size: int = 1  # pictures of one size to translate together
    # pixels of a picture's shorter side while it is translated, by default as in training; native for its own size
    size: int | Literal["native"] | None = None


def main(config: Config) -> Path:
    if config.batch_size < 1:
        raise ValueError(f"batch_size={config.batch_size} must be at least 1")
    if isinstance(config.size, int) and config.size < 1:
        raise ValueError(f"size={config.size} must be at least 1")
    source, target = Path(config.input).expanduser(), Path(config.output).expanduser()
    files = image_files(source)
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"output {target} lies in input {source}: it would be translated itself the next time")
    names = output_names([Path(file).relative_to(source).as_posix() for file in files])
    check_inside(target, names)

    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    domain = config.direction[0]
    side, channels = run.batch[domain].shape[2:]
    # Compiled for this one output, so that the translation back and whatever else `sample` gives are left out.
    translate = jax.jit(lambda state, images: run.gan.sample(state, {domain: from_uint8(images)})[config.direction])

    def write(pictures: list[tuple[str, tuple[int, int], np.ndarray]]) -> None:
        images = np.stack([image for *_, image in pictures])
        filled = np.concatenate([images, images[-1:].repeat(config.batch_size - len(images), axis=0)])
        translated = to_uint8(translate(run.state, filled))
        for (name, size, _), image in zip(pictures, translated, strict=False):
            report.save_image(target / name, resized(image, *size))

    print(f"run         {run.folder} at step {run.step}")
    print(f"direction   {config.direction}", flush=True)
    waiting = defaultdict(list)
    for file, name in zip(files, names, strict=True):
        pixels = read_image(file, channels=channels)
        pixels = pixels if pixels.dtype == np.uint8 else to_uint8(pixels)
        size = pixels.shape[0], pixels.shape[1]
        shown = size if config.size == "native" else working_size(*size, shorter=config.size or side)
        waiting[shown].append((name, size, resized(pixels, *shown)))
        if len(waiting[shown]) == config.batch_size:
            write(waiting.pop(shown))
    for rest in waiting.values():
        write(rest)
    print(f"translated  {len(files)} pictures of {source} into {target}")
    return target


def output_names(names: Iterable[str]) -> list[str]:
    """A PNG for each picture: its name with another ending, or behind its ending where two would be one file.

    >>> output_names(["a.jpg", "b.jpg", "b.png", "sub/a.jpg"])
    ['a.png', 'b.jpg.png', 'b.png.png', 'sub/a.png']
    """
    names = list(names)
    kept: set[str] = set()  # names that keep their endings: more and more, until no two of the results are the same
    while True:
        found = [(name if name in kept else name.rpartition(".")[0]) + ".png" for name in names]
        count = Counter(result.casefold() for result in found)  # on some disks A.png and a.png are one file
        clashing = {name for name, result in zip(names, found, strict=True) if count[result.casefold()] > 1}
        if clashing <= kept:
            return found
        kept |= clashing


def check_inside(folder: Path, names: Iterable[str]) -> None:
    """Refuses to write through a link that leads out of the folder, as one could lie in a sub-folder of its name.

    Raises:
      ValueError: with the sub-folder and where it leads.
    """
    root = folder.resolve()
    for parent in sorted({(folder / name).parent for name in names}):
        if not (real := parent.resolve()).is_relative_to(root):
            raise ValueError(f"{parent} leads out of output {folder}, to {real}")


def working_size(height: int, width: int, *, shorter: int) -> tuple[int, int]:
    """Height and width at which a picture is translated.

    >>> working_size(600, 1000, shorter=64)
    (64, 108)
    """
    step = max(1, shorter // SIXTEENTHS)
    longer = max(shorter, step * round(shorter * max(height, width) / (min(height, width) * step)))
    return (shorter, longer) if height <= width else (longer, shorter)


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 `[H, W, C]` to `[height, width, C]`, by Pillow's bicubic filter, antialiased."""
    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, -1)


if __name__ == "__main__":
    cli.run(Config, main)
