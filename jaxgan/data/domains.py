"""Batches of two domains for translation between them: unpaired, or paired where the data set is."""

from __future__ import annotations

from typing import Any

from jaxgan.data.pipeline import DeviceBatches, StreamedBatches, image_batches
from jaxgan.types import Batch

ImageBatches = DeviceBatches | StreamedBatches


class TwoDomains:
    """`Batches` of the fields `a` and `b`, the images of two data sets of any two sizes.

    An epoch is one pass through the larger set. The smaller one is gone through as often as that takes, each time in
    another order, and begins anew with each epoch: its images come equally often, or once more than others.

    Attributes:
      size: number of examples of the larger set.
      batch_size: number of examples of each domain in a batch.
      notice: how long an epoch is, and what each domain's batches have to say.

    >>> a, b = (image_batches("noise", split, batch_size=4, image_size=8, channels=3) for split in ("train", "test"))
    >>> (batch,) = TwoDomains(a, b)(0)
    >>> {field: images.shape for field, images in batch.items()}
    {'a': (4, 8, 8, 3), 'b': (4, 8, 8, 3)}
    """

    def __init__(self, a: ImageBatches, b: ImageBatches, *, paired: bool = False):
        """Combines the batches of two domains.

        Args:
          a: batches of the field `image`, one a step.
          b: the same, of the other domain. Its seed must be another than a's, or else, in two sets of one size, an
            image of a meets the same image of b in every epoch.
          paired: whether that is wanted, because row i of a and row i of b belong together: with one seed for both they
            are read, cropped and flipped alike.

        Raises:
          ValueError: unequal batches, or unequal sets that are said to be paired.
        """
        if a.batch_size != b.batch_size:
            raise ValueError(f"a batch takes as many of a as of b, not {a.batch_size} and {b.batch_size}")
        if paired and a.size != b.size:
            raise ValueError(f"paired domains have as many images each, not {a.size} of a and {b.size} of b")
        self.size = max(a.size, b.size)
        self.batch_size = a.batch_size
        self._domains = {"a": a, "b": b}
        epoch = self.size // self.batch_size
        notices = [
            f"{a.size:,} images of a, {b.size:,} of b{', paired' if paired else ''}: an epoch is {epoch:,} steps"
        ]
        notices += [f"{name}: {domain.notice}" for name, domain in self._domains.items() if domain.notice]
        self.notice = "; ".join(notices)

    def __call__(self, step: int, /) -> tuple[Batch, ...]:
        """The batch of a step, counted from 0; the same bits however the step is reached."""
        batch = {}
        for name, domain in self._domains.items():
            (one,) = domain(self._step_of(domain, step))
            batch[name] = one["image"]
        return (batch,)

    @property
    def identity(self) -> dict[str, str]:
        """What tells these data from others, of both domains."""
        known = {name: domain.identity or {} for name, domain in self._domains.items()}
        return {f"{part} of domain {name}": value for name, found in known.items() for part, value in found.items()}

    def _step_of(self, domain: ImageBatches, step: int) -> int:
        """The domain's own step: at the start of an epoch it begins a new pass, however far it was in the last."""
        epoch, row = divmod(step, self.size // self.batch_size)
        own = domain.size // self.batch_size
        passes = -(-(self.size // self.batch_size) // own)
        return epoch * passes * own + row


def configured_domains(config: Any) -> TwoDomains:
    """The `TwoDomains` that an experiment's flags ask for.

    Domain a is read in the order of `seed`, domain b in another; paired domains in one.

    Args:
      config: a `DomainsConfig`, or anything with its fields.

    Raises:
      ValueError: as `image_batches` and `TwoDomains`.
    """
    fields = ("batch_size", "data_dir", "image_size", "load_size", "flip", "resident_mib")
    flags = {name: getattr(config, name) for name in fields}
    usual = ("trainA", "trainB") if config.dataset_b is None else ("train", "train")
    other = config.seed if config.paired else config.seed ^ 2**31  # far from the seed of any run beside this one
    domains = (
        (config.dataset, config.split_a or usual[0], config.channels_a, config.seed),
        (config.dataset_b or config.dataset, config.split_b or usual[1], config.channels_b, other),
    )
    a, b = (
        image_batches(name, split, channels=channels, seed=seed, **flags) for name, split, channels, seed in domains
    )
    return TwoDomains(a, b, paired=config.paired)
