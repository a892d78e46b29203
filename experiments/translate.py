"""Translates pictures with a finished run: any number of them, of any size and shape, each by itself.

    python -m experiments.translate --run runs/cyclegan --input photos --output paintings
    python -m experiments.translate --run runs/cyclegan --input paintings --output photos --direction b_to_a

Only the run folder is needed: neither the data it was trained on nor pictures of the other domain. `photos/x/1.jpg`
becomes `paintings/x/1.png`; where two would become the same file, as `1.jpg` and `1.png`, both keep their endings:
`1.jpg.png` and `1.png.png`. The same command writes the same bytes again.

A picture is brought to the size that the networks were trained at, by its shorter side (the longer one is rounded to
sixteenths of it, so that a few sizes serve all pictures), translated whole, and brought back to its own size.
`--size native` translates its own pixels; each new size then costs a compilation. What cannot be translated, as a file
that is no image or one that is too long and thin, is named at the end, with exit status 2; the others are done. Files
that do not end as images do (.bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp) are left out and counted; of an
animation the first frame is translated.

The output folder may hold nothing but what `translate` wrote there for pictures of these names, which is replaced. It
and the input do not overlap, by links neither.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
from PIL import Image

from experiments import cyclegan
from jaxgan.data.folder import SUFFIXES, Content, content, has_frames, read_image
from jaxgan.pixels import from_uint8, to_uint8
from jaxgan.runs import cli
from jaxgan.runs.flags import Flags, PathName, Pixels, Range
from jaxgan.runs.open_run import open_run
from jaxgan.runs.outputs import earlier, write_image

EXPERIMENTS = {module.Config.experiment: module for module in (cyclegan,)}
SIXTEENTHS = 16  # steps in which the longer side may exceed the shorter one
MOST_LONGER = 16  # times the shorter side
MOST_PIXELS = 2**24  # to be translated together: networks take 200 bytes and more for each
COMMAND = "translate"


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    run: PathName  # run folder
    input: PathName  # folder of pictures; those in its sub-folders are translated too
    output: PathName  # folder to write them to, under the same names
    direction: Literal["a_to_b", "b_to_a"] = "a_to_b"  # which of the run's two translations
    checkpoint: str = "last"  # best, last or a step
    batch_size: Annotated[int, Range(1, 1024)] = 1  # pictures of one size to translate together
    # pixels of a picture's shorter side while it is translated, by default as in training; native for its own size
    size: Pixels | Literal["native"] | None = None


def main(config: Config) -> Path:
    source, target = Path(config.input), Path(config.output)
    found = content(source)
    files = found.files
    if not files and not found.broken:
        raise ValueError(f"{source} holds 0 images: no file ends in {', '.join(SUFFIXES)}")
    check_apart(source, target, found)
    names = output_names([Path(file).relative_to(source).as_posix() for file in files])
    old = earlier(target, COMMAND, known=set(names).__contains__)

    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    domain = config.direction[0]
    side, channels = run.batch[domain].shape[2:]
    # Compiled for this one output, so that the translation back and whatever else `sample` gives are left out.
    translate = jax.jit(lambda state, images: run.gan.sample(state, {domain: from_uint8(images)})[config.direction])

    def write(pictures: list[tuple[str, tuple[int, int], np.ndarray]]) -> None:
        images = np.stack([image for *_, image in pictures])
        filled = np.concatenate([images, images[-1:].repeat(config.batch_size - len(images), axis=0)])
        translated = run.to_uint8(translate(run.state, filled))
        while old:
            old.pop().unlink()
        for (name, size, _), image in zip(pictures, translated, strict=False):
            write_image(target / name, resized(image, *size), COMMAND, inside=target)

    print(f"run         {run.folder} at step {run.step}")
    print(f"direction   {config.direction}", flush=True)
    waiting, fitting, animated = defaultdict(list), set(), []
    failed = [f"{path} is {reason}" for path, reason in sorted(found.broken.items())]
    for file, name in zip(files, names, strict=True):
        if file in found.broken:
            continue
        try:
            pixels = read_image(file, channels=channels)
            pixels = pixels if pixels.dtype == np.uint8 else to_uint8(pixels)
            size = pixels.shape[0], pixels.shape[1]
            shown = size if config.size == "native" else working_size(*size, shorter=config.size or side)
            check_shape(shown, config.batch_size)
            if shown not in fitting:  # a network may refuse it, too
                jax.eval_shape(translate, run.state, np.empty((config.batch_size, *shown, channels), np.uint8))
                fitting.add(shown)
        except ValueError as error:
            failed.append(str(error) if file in str(error) else f"{file}: {error}")
            continue
        if has_frames(file):
            animated.append(file)
        waiting[shown].append((name, size, resized(pixels, *shown)))
        if len(waiting[shown]) == config.batch_size:
            write(waiting.pop(shown))
        elif sum(len(rest) * height * width for (height, width), rest in waiting.items()) > MOST_PIXELS:
            write(waiting.pop(max(waiting, key=lambda shape: len(waiting[shape]) * shape[0] * shape[1])))
    for rest in waiting.values():
        write(rest)
    everything = len({*files, *found.broken})
    print(f"translated  {_counted(everything - len(failed), 'picture')} of {source} into {target}")
    if animated:
        print(f"            of {_counted(len(animated), 'animation')} ({_some(animated)}) the first frame")
    if found.others:
        endings = sorted({os.path.splitext(file)[1].lower() or "none" for file in found.others})
        print(f"            {_counted(len(found.others), 'file')} with other endings left out ({_some(endings)})")
    if failed:
        shown = "".join(f"\n  {line}" for line in failed[:20]) + ("\n  ..." if len(failed) > 20 else "")
        raise ValueError(f"{len(failed)} of {_counted(everything, 'picture')} were not translated:{shown}")
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


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if names[5:] else "")


def check_apart(source: Path, target: Path, found: Content) -> None:
    """Refuses an output that would be translated itself the next time, or be written over what is translated.

    Raises:
      ValueError: the output lies in the input, or a picture of the input, by a link perhaps, in the output.
    """
    real = os.path.realpath(target)
    if Path(real).is_relative_to(os.path.realpath(source)):
        raise ValueError(f"output {target} lies in input {source}: it would be translated itself the next time")
    for link, leads in found.links.items():
        if Path(real).is_relative_to(leads):
            raise ValueError(
                f"output {target} would be translated itself the next time, as the link {link} leads to {leads}: "
                "remove the link, or give an output elsewhere"
            )
    for file in found.files:
        if Path(os.path.realpath(file)).is_relative_to(real):
            raise ValueError(f"{file} lies in output {target}: give an output of its own")


def check_shape(size: tuple[int, int], batch_size: int) -> None:
    """Refuses what would take gigabytes.

    Raises:
      ValueError: the height and width at which a picture would be translated are too large.
    """
    if batch_size * size[0] * size[1] > MOST_PIXELS:
        shape = f"{size[1]} x {size[0]} pixels" + (f", {batch_size} times" if batch_size > 1 else "")
        raise ValueError(f"{shape} would be translated together, at most {MOST_PIXELS:,} are: give a smaller --size")


def working_size(height: int, width: int, *, shorter: int) -> tuple[int, int]:
    """Height and width at which a picture is translated.

    Raises:
      ValueError: it is longer than 16 times its shorter side.

    >>> working_size(600, 1000, shorter=64)
    (64, 108)
    """
    if max(height, width) > MOST_LONGER * min(height, width):
        raise ValueError(f"{width} x {height} pixels, but one side may be at most {MOST_LONGER} times the other")
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
