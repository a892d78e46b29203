"""The flags that experiments on images share."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from jaxgan.runs.config import RunConfig, runtime
from jaxgan.runs.flags import Few, PathName, Pixels, Range

Mebibytes = Annotated[int, Range(0, 2**30)]
Workers = Annotated[int, Range(1, 1024)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConfig(RunConfig):
    """Further flags of all experiments on images."""

    # data set: mnist_5k, noise, fashion_mnist, mnist, cifar10, cifar100, another that TFDS has prepared, folder:PATH,
    # PATH.npy or PATH.npz, or stacked:NAME, which stacks grey images of NAME as red, green and blue; see docs/data.md
    dataset: str = "mnist_5k"
    split: str = "train"  # split to train on, in TFDS's syntax: train, train[:90%], train+test
    data_dir: PathName | None = runtime(None)  # folder of prepared data sets, by default that of tensorflow-datasets
    # side of the images in pixels: 32, 64 or 128 (relativistic: a power of two from 8; --networks df_gan: to 256);
    # images are center-cropped to a square and resized
    image_size: Pixels = 32
    channels: Literal[1, 3] = 1  # 1: grey, 3: RGB; other images are converted
    # resize the shorter side to this many pixels, then take a random crop of --image-size; None for no random crop
    load_size: Pixels | None = None
    flip: bool = False  # flip each image left to right with probability 1/2
    # differentiable augmentation of all that the discriminator sees, for few images: color, translation, cutout or
    # several with commas between; with ada: in front (ada:color,cutout) its probability adapts to overfitting
    augment: str | None = None
    # FreezeD: discriminator stages, from the image on, that keep the weights of --init-from; a stage is one resolution
    freeze_d: Annotated[int, Range(0, 100)] = 0
    resident_mib: Mebibytes = runtime(1024)  # largest data set to keep on the device, in MiB; a larger one is streamed
    num_workers: Workers | None = runtime(None)  # threads that read a streamed data set, by default one for each core
    # parts of a batch in which the networks are computed one after the other, to save memory on a GPU (on a CPU steps
    # are ten times slower); must divide the batch
    microbatches: Few = runtime(1)
    # compute the activations of each network again in the backward pass instead of keeping them, to save memory on a
    # GPU or TPU, for about a third more computation (no effect on a CPU)
    remat: bool = runtime(False)

    def __post_init__(self):
        super().__post_init__()
        check_freezing(self)


def check_freezing(config: Any) -> None:
    """Refuses frozen stages of weights that no other run has trained."""
    if config.freeze_d and config.init_from is None:
        raise ValueError(f"freeze_d={config.freeze_d} keeps the weights of another run: give --init-from RUN")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationConfig(RunConfig):
    """Further flags of experiments that translate between two domains; the sizes are those of CycleGAN's authors."""

    # data set with the splits trainA and trainB: shapes_styles, emoji, cycle_gan/horse2zebra once it is prepared,
    # folder:PATH with folders of these names, or pairs:PATH with a folder train of images side by side; with
    # --dataset-b any data set, as domain a
    dataset: str = "shapes_styles"
    dataset_b: str | None = None  # data set of domain b, by default the same as domain a
    split_a: str | None = None  # split of domain a to train on, by default trainA, or train with --dataset-b
    split_b: str | None = None  # split of domain b to train on, by default trainB, or train with --dataset-b
    data_dir: PathName | None = runtime(None)  # folder of prepared data sets, by default that of tensorflow-datasets
    image_size: Pixels = 256  # side of the images in pixels; images are center-cropped to a square and resized
    channels_a: Literal[1, 3] = 3  # of domain a, 1: grey, 3: RGB; other images are converted
    channels_b: Literal[1, 3] = 3  # of domain b, likewise
    # resize the shorter side to this many pixels, then take a random crop of --image-size; None for no random crop
    load_size: Pixels | None = 286
    flip: bool = True  # flip each image left to right with probability 1/2
    resident_mib: Mebibytes = runtime(1024)  # largest data set to keep on the device, in MiB; a larger one is streamed
    num_workers: Workers | None = runtime(None)  # threads that read a streamed data set, by default one for each core
    # parts of a batch in which the networks are computed one after the other, to save memory on a GPU (on a CPU steps
    # are ten times slower); must divide the batch
    microbatches: Few = runtime(1)
    # compute the activations of each network again in the backward pass instead of keeping them, to save memory on a
    # GPU or TPU, for about a third more computation (no effect on a CPU)
    remat: bool = runtime(False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DomainsConfig(TranslationConfig):
    """Further flags of experiments on two domains, which need no pairs."""

    paired: bool = False  # show image i of a together with image i of b; for data sets of pairs
