"""Two folders of pictures against each other, whoever drew them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxgan.data.base import Source, read_all
from jaxgan.data.sources import open_images
from jaxgan.evaluation.evaluation import SUBSET_SEED, Scores, as_bytes, ratios, some, unit
from jaxgan.evaluation.feature_extractors import (
    NEIGHBOURS,
    feature_scores,
    inception_features,
    inception_opinion,
    kernel_size,
)
from jaxgan.evaluation.image_scores import FEWEST
from jaxgan.metrics.arrays import content_digest, content_order, row_digests
from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.inception import load_inception
from jaxgan.metrics.neighbours import nearest_distances, nearest_neighbours, pairwise_diversity
from jaxgan.metrics.protocol import Stamp, score_name
from jaxgan.transport import sliced_wasserstein

PIXELS = 2**24
"""So many numbers of each folder, at most, are compared all with all."""

FEW = 100
"""So many pictures must fit into these, or they say little."""

AT_ONCE = 512
"""So many pictures are held while their features are computed."""


def compare_pictures(
    pictures: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    *,
    features: Literal["inception", "pixels"] = "inception",
    num_samples: int | None = None,
    image_size: int | None = None,
    resizer: str = "antialiased",
    inception_weights: str | os.PathLike[str] | None = None,
) -> tuple[Scores, Stamp]:
    """Scores the pictures in one folder against those in another.

    Args:
      pictures: folder of those that are scored; it and its sub-folders are read as `folder:PATH` of
        `jaxgan.data.sources.images`.
      reference: folder of what they should look like.
      features: `inception`, or `pixels`: these of at most 10,000 pictures of each folder, and 2^24 numbers of each.
      num_samples: how many pictures of each folder, drawn at random, always the same, but others of the two folders;
        by default all.
      image_size: side that all are brought to, cut square; by default the shorter one of the first reference picture.
      resizer, inception_weights: as for `jaxgan.evaluation.image_scores.image_evaluation`.

    Returns:
      The scores, and how they were made. The scores:
        - of Inception's features `fid`, `inception_score`, `kid` and their `_std`, `inception_precision`,
          `inception_recall`, `inception_density` and `inception_coverage`;
        - of pixels in [0, 1] `pixels_sliced_wasserstein`, `pixels_kernel`, `pixels_precision` and so on; `nearest`: the
          median distance of a picture to the nearest reference picture, over that within the reference; `diversity`:
          the mean distance of two pictures, over that of two of the reference. Both are left out, with a notice, where
          they are 0 over 0.

      They do not depend on the names of the files.

    Raises:
      ValueError: as `images` and `load_inception`, other features, or too few pictures.
      OSError: as `load_inception`.
    """
    if features not in ("inception", "pixels"):
        raise ValueError(f"unknown features {features!r} of two folders: there are inception, pixels")
    first = open_images(f"folder:{reference}").read([0])["image"]
    side, channels = image_size or min(first.shape[1:3]), first.shape[3]
    few = min(NEIGHBOURS, PIXELS // (side * side * channels)) if features == "pixels" else None
    if few is not None and few < FEW:
        raise ValueError(f"pictures of {side} pixels are too large to compare these: give image_size, such as 64")
    most = min((limit for limit in (num_samples, few) if limit is not None), default=None)

    def each(function: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray, str]:
        """A function of the pictures of both folders, and a digest of the reference."""
        (real, digest), (fake, _) = of(reference, "real", function), of(pictures, "fake", function)
        return real, fake, digest

    def of(
        folder: Any, kind: Literal["real", "fake"], function: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, str]:
        source = open_images(f"folder:{folder}", image_size=side, channels=channels)
        if source.size < FEWEST:
            raise ValueError(f"{folder} holds {source.size} pictures: scores need at least {FEWEST}")

        def read(rows: np.ndarray) -> Iterator[np.ndarray]:
            for start in range(0, len(rows), AT_ONCE):
                part = rows[start : start + AT_ONCE]
                found = read_all(Source(len(part), lambda wanted, part=part: source.read(part[wanted])))
                yield as_bytes(found["image"])

        # They are read twice, since the order that they are drawn and scored in depends on what all of them show.
        digests = [digest for images in read(np.arange(source.size)) for digest in row_digests(images)]
        rows = some(content_order(digests), most, kind)
        return np.concatenate([function(images) for images in read(rows)]), content_digest(digests)

    if num_samples is not None and num_samples < FEWEST:
        raise ValueError(
            f"num_samples={num_samples} must be at least {FEWEST}: neighbours are looked for among pictures"
        )
    if features == "inception":
        network = load_inception(inception_weights, resizer=resizer)
        real, fake, digest = each(lambda images: inception_features(network, images))
        scores = {score_name("frechet", features): frechet_distance(real, fake)}
        scores |= inception_opinion(network, fake) | feature_scores(features, real, fake)
        weights, resizer = network.weights, network.resizer
    else:
        real, fake, digest = each(lambda images: unit(images).reshape(len(images), -1))
        scores = {score_name("sliced_wasserstein", features): sliced_wasserstein(real, fake)}
        scores |= feature_scores(features, real, fake)
        within = nearest_neighbours(real, real, k=2)[1][:, 1]  # the nearest of all is the picture itself
        scores |= ratios(
            nearest=(np.median(nearest_distances(fake, real)), np.median(within)),
            diversity=(pairwise_diversity(fake), pairwise_diversity(real)),
        )
        weights, resizer = "", "none"
    return scores, Stamp(
        dataset=Path(reference).resolve().name,
        split="train",
        real_count=len(real),
        real_digest=digest,
        fake_count=len(fake),
        image_size=side,
        features=features,
        feature_weights=weights,
        resizer=resizer,
        quantized=True,
        averaged=False,
        step=0,
        subset_seed=SUBSET_SEED,
        subset_size=min(limit for limit in (NEIGHBOURS, most) if limit),
        kernel_subset_size=kernel_size(len(real), len(fake)),
    )
