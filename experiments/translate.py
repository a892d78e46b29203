"""Translates a folder of images, of any sizes, with a finished run of CycleGAN or pix2pix, or with published weights.

    python -m experiments.translate --run runs/cyclegan --input photos --output paintings
    python -m experiments.translate --run runs/cyclegan --input paintings --output photos --direction b_to_a
    python -m experiments.translate --run runs/pix2pix --input labels --output photos --noise 0
    python -m experiments.translate --weights latest_net_G_A.pth --input horses --output zebras

Only the run folder is needed, no training data and no images of the other domain. `photos/x/1.jpg` becomes
`paintings/x/1.png`. If two images would get the same name, such as `1.jpg` and `1.png`, both keep their endings:
`1.jpg.png` and `1.png.png`. The output is deterministic. With `--noise` a pix2pix translates as in its paper: with
dropout, and batch norm with the statistics of the image; another seed gives another translation.

`--weights` takes a generator of junyanz/pytorch-CycleGAN-and-pix2pix: resnet_9blocks, resnet_6blocks, unet_128 or
unet_256 of any width and norm, found from the file, which is read without PyTorch. It translates without dropout and
with batch norm's running statistics, as their test.py does with --eval.

Each image is resized so that its shorter side has the training size (the longer one is rounded to sixteenths of that,
so that few sizes are compiled), translated as a whole, and resized back to its original size. `--size native`
translates at the original size; every new size then needs a compilation. Files that cannot be translated, such as
damaged ones or images that are too long and thin, are listed at the end with exit status 2; all others are translated.
Files without the ending of an image (.bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp) are skipped and counted. Of an
animation the first frame is translated.

The output folder may only contain earlier output of `translate` for the same images, which is replaced. Input and
output must not overlap, including links.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import jax
import numpy as np
from PIL import Image

from experiments import cyclegan, pix2pix
from jaxgan.data.folder import SUFFIXES, Content, content, has_frames, read_image
from jaxgan.messages import printable
from jaxgan.networks.published_generators import read_published_generator
from jaxgan.pixels import NonFiniteSamplesError, from_uint8, to_uint8
from jaxgan.runs import cli
from jaxgan.runs.flags import Flags, PathName, Pixels, Range, Seed
from jaxgan.runs.open_run import Run, open_run
from jaxgan.runs.outputs import earlier, write_image

EXPERIMENTS = {module.Config.experiment: module for module in (cyclegan, pix2pix)}
NOISY = (pix2pix,)  # those that can keep their dropout
SIXTEENTHS = 16  # the longer side is rounded to sixteenths of the shorter one
MOST_LONGER = 16  # largest ratio of the sides
MOST_PIXELS = 2**24  # largest number of pixels in a batch: networks need 200 bytes and more for each
COMMAND = "translate"


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    run: PathName | None = None  # run folder
    weights: PathName | None = None  # file of a published generator (.pth), in place of --run
    input: PathName  # folder of images to translate, including its sub-folders
    output: PathName  # folder to write the translations to, with the same names
    # direction of translation, by default a_to_b; a pix2pix has only the one it was trained for
    direction: Literal["a_to_b", "b_to_a"] | None = None
    checkpoint: str = "last"  # checkpoint to load: best, last or a step
    # images of equal size to translate in one batch; larger values are faster and need more memory
    batch_size: Annotated[int, Range(1, 1024)] = 1
    # resize the shorter side to this many pixels for the translation, or native for no resizing; by default the image
    # size in training
    size: Pixels | Literal["native"] | None = None
    noise: Seed | None = None  # random seed of the dropout of a pix2pix; by default it is switched off

    def __post_init__(self):
        super().__post_init__()
        if (self.run is None) == (self.weights is None):
            raise ValueError("give either --run FOLDER or --weights FILE.pth")


def main(config: Config) -> Path:
    source, target = Path(config.input), Path(config.output)
    found = content(source)
    files = found.files
    if not files and not found.broken:
        raise ValueError(f"{source} holds 0 images: no file ends in {', '.join(SUFFIXES)}")
    check_apart(source, target, found)
    names = output_names([Path(file).relative_to(source).as_posix() for file in files])
    old = earlier(target, COMMAND, known=set(names).__contains__)

    translator = _of_run(config) if config.run else _of_weights(config)
    side, channels, translate = translator.side, translator.channels, translator.translate

    def write(batch: list[tuple[str, tuple[int, int], np.ndarray]]) -> None:
        images = np.stack([image for *_, image in batch])
        filled = np.concatenate([images, images[-1:].repeat(config.batch_size - len(images), axis=0)])
        try:
            translated = to_uint8(translate(filled))
        except NonFiniteSamplesError as error:
            raise ValueError(f"{translator.name}: {error}") from None
        while old:
            old.pop().unlink()
        for (name, size, _), image in zip(batch, translated, strict=False):
            write_image(target / name, resized(image, *size), COMMAND, inside=target)

    print(translator.told, flush=True)
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
            if shown not in fitting:  # the network may also refuse a size
                jax.eval_shape(translate, np.empty((config.batch_size, *shown, channels), np.uint8))
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
    print(f"translated  {_counted(everything - len(failed), 'image')} of {source} into {target}")
    if animated:
        print(f"            only the first frame of {_counted(len(animated), 'animation')} ({_some(animated)})")
    if found.others:
        endings = sorted({os.path.splitext(file)[1].lower() or "none" for file in found.others})
        print(f"            skipped {_counted(len(found.others), 'file')} with other endings ({_some(endings)})")
    if failed:
        shown = "".join(f"\n  {line}" for line in failed[:20]) + ("\n  ..." if len(failed) > 20 else "")
        raise ValueError(f"{len(failed)} of {_counted(everything, 'image')} were not translated:{shown}")
    return target


class _Translator(NamedTuple):
    """What translates: its name in messages, what is told of it, the side and channels of its images, the function."""

    name: str
    told: str
    side: int
    channels: int
    translate: Callable[[np.ndarray], jax.Array]  # uint8 [B, H, W, C] to floats in [-1, 1]


def _of_run(config: Config) -> _Translator:
    assert config.run is not None
    run = open_run(config.run, EXPERIMENTS, checkpoint=config.checkpoint)
    direction = direction_of(run, config.direction)
    domain = direction[0]
    side, channels = run.batch[domain].shape[2:]
    if config.noise is not None and run.experiment not in NOISY:
        raise ValueError(f"{run.folder} is a run of {run.config.experiment}, which has no dropout: leave --noise out")
    if config.noise is not None and not run.config.dropout and run.config.g_norm != "batch":
        raise ValueError(f"{run.folder} was trained without dropout, so noise changes nothing: leave --noise out")
    noise = {} if config.noise is None else {"noise": np.full(config.batch_size, config.noise, np.uint32)}
    # Compiled for this output only, without the other outputs of `sample`, such as the reconstruction.
    compiled = jax.jit(lambda state, images: run.gan.sample(state, {domain: from_uint8(images), **noise})[direction])
    name = f"{run.folder} at step {run.step}"
    told = f"run         {name}\ndirection   {direction}"
    return _Translator(name, told, side, channels, partial(compiled, run.state))


def _of_weights(config: Config) -> _Translator:
    for flag in ("direction", "noise"):
        if getattr(config, flag) is not None:
            raise ValueError(f"--{flag} is for a --run: published weights translate one way, without dropout")
    if config.checkpoint != Config.checkpoint:
        raise ValueError("--checkpoint is for a --run")
    assert config.weights is not None
    network, params, model_state, channels, size, description = read_published_generator(config.weights)
    if channels not in (1, 3):
        raise ValueError(f"{config.weights} translates images of {channels} channels; there are images of 1 and 3")
    compiled = jax.jit(lambda params, images: network.apply(params, model_state, from_uint8(images), train=False)[0])
    told = f"weights     {printable(config.weights)}\nnetwork     {description}"
    return _Translator(str(config.weights), told, size, channels, partial(compiled, params))


def direction_of(run: Run, wanted: str | None) -> str:
    """The direction in which a run translates.

    Raises:
      ValueError: the run translates in the other direction alone.
    """
    only = getattr(run.config, "direction", None)
    if only and wanted not in (None, only):
        raise ValueError(f"{run.folder} translates {only} alone: leave --direction out, or train another run")
    return wanted or only or "a_to_b"


def output_names(names: Iterable[str]) -> list[str]:
    """The name of the PNG for each image: the ending replaced, or appended if two would have the same name.

    >>> output_names(["a.jpg", "b.jpg", "b.png", "sub/a.jpg"])
    ['a.png', 'b.jpg.png', 'b.png.png', 'sub/a.png']
    """
    names = list(names)
    kept: set[str] = set()  # names that keep their endings; it grows until all results are distinct
    while True:
        found = [(name if name in kept else name.rpartition(".")[0]) + ".png" for name in names]
        count = Counter(result.casefold() for result in found)  # file systems may not distinguish A.png and a.png
        clashing = {name for name, result in zip(names, found, strict=True) if count[result.casefold()] > 1}
        if clashing <= kept:
            return found
        kept |= clashing


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if names[5:] else "")


def check_apart(source: Path, target: Path, found: Content) -> None:
    """Refuses overlapping input and output folders, including links.

    Raises:
      ValueError: the output is inside the input, or an image of the input is inside the output.
    """
    real = os.path.realpath(target)
    if Path(real).is_relative_to(os.path.realpath(source)):
        raise ValueError(f"output {target} is inside input {source}: it would be translated the next time")
    for link, leads in found.links.items():
        if Path(real).is_relative_to(leads):
            raise ValueError(
                f"output {target} would be translated the next time, because the link {link} points to {leads}: "
                "remove the link, or give another output"
            )
    for file in found.files:
        if Path(os.path.realpath(file)).is_relative_to(real):
            raise ValueError(f"{file} is inside output {target}: give another output")


def check_shape(size: tuple[int, int], batch_size: int) -> None:
    """Refuses sizes that would need gigabytes of memory.

    Raises:
      ValueError: a batch at this height and width has too many pixels.
    """
    if batch_size * size[0] * size[1] > MOST_PIXELS:
        shape = f"{size[1]} x {size[0]} pixels" + (f", {batch_size} times" if batch_size > 1 else "")
        raise ValueError(f"a batch of {shape} exceeds the limit of {MOST_PIXELS:,} pixels: give a smaller --size")


def working_size(height: int, width: int, *, shorter: int) -> tuple[int, int]:
    """Height and width at which an image is translated.

    Raises:
      ValueError: the longer side is more than 16 times the shorter side.

    >>> working_size(600, 1000, shorter=64)
    (64, 108)
    """
    if max(height, width) > MOST_LONGER * min(height, width):
        raise ValueError(f"{width} x {height} pixels, but the ratio of the sides may be at most {MOST_LONGER}")
    step = max(1, shorter // SIXTEENTHS)
    longer = max(shorter, step * round(shorter * max(height, width) / (min(height, width) * step)))
    return (shorter, longer) if height <= width else (longer, shorter)


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes uint8 `[H, W, C]` to `[height, width, C]` with Pillow's antialiased bicubic filter."""
    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, -1)


if __name__ == "__main__":
    cli.run(Config, main)
