"""Batches of two domains for image-to-image translation, unpaired or paired."""

from __future__ import annotations

from typing import Any

from jaxgan.data.pairs import check_has_pairs, check_pairs
from jaxgan.data.pipeline import DeviceBatches, StreamedBatches, image_batches
from jaxgan.data.sources import stored_folder
from jaxgan.types import Batch

ImageBatches = DeviceBatches | StreamedBatches


class TwoDomains:
    """`Batches` of the fields `a` and `b`: images of two data sets, which may have different sizes.

    An epoch is one pass through the larger set. The smaller set is repeated, each time in a new order, and restarts
    with each epoch, so the numbers of times its images occur in an epoch differ by at most one.

    Attributes:
      size: number of examples of the larger set.
      batch_size: number of examples of each domain in a batch.
      notice: the length of an epoch, and the notices of both domains' batches.

    >>> a, b = (image_batches("noise", split, batch_size=4, image_size=8, channels=3) for split in ("train", "test"))
    >>> (batch,) = TwoDomains(a, b)(0)
    >>> {field: images.shape for field, images in batch.items()}
    {'a': (4, 8, 8, 3), 'b': (4, 8, 8, 3)}
    """

    def __init__(self, a: ImageBatches, b: ImageBatches, *, paired: bool = False):
        """Combines the batches of two domains.

        Args:
          a: batches of the field `image`, one per step.
          b: the same for the other domain. For unpaired domains its seed must differ from a's; otherwise, in two sets
            of equal size, an image of a meets the same image of b in every epoch.
          paired: whether row i of a and row i of b are a pair. With the same seed both are read, cropped and flipped
            alike.

        Raises:
          ValueError: unequal batch sizes, or paired domains of unequal sizes.
        """
        if a.batch_size != b.batch_size:
            raise ValueError(f"a and b need equal batch sizes, not {a.batch_size} and {b.batch_size}")
        if paired and a.size != b.size:
            raise ValueError(f"paired domains need equal numbers of images, not {a.size} of a and {b.size} of b")
        self.size = max(a.size, b.size)
        self.batch_size = a.batch_size
        self._domains = {"a": a, "b": b}
        epoch = self.size // self.batch_size
        notices = [
            f"{a.size:,} images of a, {b.size:,} of b{', paired' if paired else ''}: an epoch is {epoch:,} steps"
        ]
        if a.notice and a.notice == b.notice:
            notices.append(f"a and b: {a.notice}")
        else:
            notices += [f"{name}: {domain.notice}" for name, domain in self._domains.items() if domain.notice]
        self.notice = "; ".join(notices)

    def __call__(self, step: int, /) -> tuple[Batch, ...]:
        """The batch of a step, counted from 0: a deterministic function of the step."""
        batch = {}
        for name, domain in self._domains.items():
            (one,) = domain(self._step_of(domain, step))
            batch[name] = one["image"]
        return (batch,)

    @property
    def identity(self) -> dict[str, str]:
        """The identity of the data of both domains, see `jaxgan.data.identity`."""
        known = {name: domain.identity or {} for name, domain in self._domains.items()}
        return {f"{part} of domain {name}": value for name, found in known.items() for part, value in found.items()}

    def _step_of(self, domain: ImageBatches, step: int) -> int:
        """The step of one domain's batches: every epoch starts a new pass, even if the last pass is incomplete."""
        epoch, row = divmod(step, self.size // self.batch_size)
        own = domain.size // self.batch_size
        passes = -(-(self.size // self.batch_size) // own)
        return epoch * passes * own + row


def configured_domains(config: Any) -> TwoDomains:
    """The `TwoDomains` of an experiment's configuration.

    The order of domain a depends on `seed`, that of domain b on another seed; paired domains have the same order.

    Args:
      config: a `DomainsConfig`, or an object with its fields.

    Raises:
      ValueError: both domains are the same split; as `image_batches`, `TwoDomains` and, if the domains are paired,
        `check_paired`.
    """
    fields = ("batch_size", "data_dir", "image_size", "load_size", "flip", "resident_mib", "num_workers")
    flags = {name: getattr(config, name) for name in fields}
    usual = ("trainA", "trainB") if config.dataset_b is None else ("train", "train")
    other = config.seed if config.paired else config.seed ^ 2**31  # unlike the seeds of other runs, which are small
    domains = (
        (config.dataset, config.split_a or usual[0], config.channels_a, config.seed),
        (config.dataset_b or config.dataset, config.split_b or usual[1], config.channels_b, other),
    )
    if config.dataset_b is None and domains[0][:2] == domains[1][:2]:
        raise ValueError(f"both domains are {config.dataset} {domains[0][1]}: give another --split-a or --split-b")
    if config.paired:
        check_paired(*((name, split) for name, split, *_ in domains))
    a, b = (
        image_batches(name, split, channels=channels, seed=seed, **flags) for name, split, channels, seed in domains
    )
    return TwoDomains(a, b, paired=config.paired)


def check_paired(a: tuple[str, str], b: tuple[str, str]) -> None:
    """Checks that the rows of two domains are pairs, as far as file names and known data sets tell.

    Args:
      a: data set and split of domain a.
      b: those of domain b.

    Raises:
      ValueError: a known data set without pairs; files without a partner of the same name and size.
    """
    for name, split in (a, b):
        check_has_pairs(name, split)
    if all(name.startswith("folder:") for name, _ in (a, b)):
        check_pairs(stored_folder(*a), stored_folder(*b))
