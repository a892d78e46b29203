"""Scores of one folder of images against another, independent of any run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxgan.data.base import Source, read_all
from jaxgan.data.sources import open_images
from jaxgan.evaluation.evaluation import SUBSET_SEED, Scores, quantized, ratios, some, unit
from jaxgan.evaluation.feature_extractors import (
    NEIGHBOURS,
    feature_scores,
    inception_features,
    inception_scores,
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
"""Largest number of pixel values of each folder for nearest-neighbour scores of pixels."""

FEW = 100
"""Smallest number of images that must fit into `PIXELS`."""

AT_ONCE = 512
"""Number of images in memory while their features are computed."""


def compare_folders(
    images: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    *,
    features: Literal["inception", "pixels"] = "inception",
    num_samples: int | None = None,
    image_size: int | None = None,
    resizer: str = "antialiased",
    inception_weights: str | os.PathLike[str] | None = None,
) -> tuple[Scores, Stamp]:
    """Scores the images in one folder against those in another.

    Args:
      images: folder of the images to score, read with its sub-folders as `folder:PATH` of
        `jaxgan.data.sources.images`.
      reference: folder of the reference images.
      features: `inception`, or `pixels` of at most 10,000 images and 2^24 pixel values of each folder.
      num_samples: number of images of each folder, a fixed random subset; by default all.
      image_size: side in pixels to which all images are center-cropped and resized; by default the shorter side of the
        first reference image.
      resizer, inception_weights: as for `jaxgan.evaluation.image_scores.image_evaluation`.

    Returns:
      The scores and their `Stamp`. The scores:
        - of Inception's features `fid`, `inception_score`, `kid` and their `_std`, `inception_precision`,
          `inception_recall`, `inception_density` and `inception_coverage`;
        - of pixels in [0, 1] `pixels_sliced_wasserstein`, `pixels_kernel`, `pixels_precision` etc.; `nearest`: the
          median distance of an image to the nearest reference image, relative to that within the reference;
          `diversity`: the mean distance of two images, relative to that of two reference images. Both are left out,
          with a note, if they are 0 / 0.

      They do not depend on file names.

    Raises:
      ValueError: as `jaxgan.data.sources.images` and `load_inception`, unknown features, or too few images.
      OSError: as `load_inception`.
    """
    if features not in ("inception", "pixels"):
        raise ValueError(f"unknown features {features!r} of two folders: there are inception, pixels")
    first = open_images(f"folder:{reference}").read([0])["image"]
    side, channels = image_size or min(first.shape[1:3]), first.shape[3]
    few = min(NEIGHBOURS, PIXELS // (side * side * channels)) if features == "pixels" else None
    if few is not None and few < FEW:
        raise ValueError(f"images of {side} pixels are too large for scores of pixels: give image_size, such as 64")
    most = min((limit for limit in (num_samples, few) if limit is not None), default=None)

    def each(function: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray, str]:
        """A function applied to the images of both folders, and a digest of the reference."""
        (real, digest), (fake, _) = of(reference, "real", function), of(images, "fake", function)
        return real, fake, digest

    def of(
        folder: Any, kind: Literal["real", "fake"], function: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, str]:
        source = open_images(f"folder:{folder}", image_size=side, channels=channels)
        if source.size < FEWEST:
            raise ValueError(f"{folder} holds {source.size} images: scores need at least {FEWEST}")

        def read(rows: np.ndarray) -> Iterator[np.ndarray]:
            for start in range(0, len(rows), AT_ONCE):
                part = rows[start : start + AT_ONCE]
                found = read_all(Source(len(part), lambda wanted, part=part: source.read(part[wanted])))
                yield quantized(found["image"])

        # Images are read twice, because the random subset and the order of scoring depend on the content of all.
        digests = [digest for part in read(np.arange(source.size)) for digest in row_digests(part)]
        rows = some(content_order(digests), most, kind)
        return np.concatenate([function(part) for part in read(rows)]), content_digest(digests)

    if num_samples is not None and num_samples < FEWEST:
        raise ValueError(f"num_samples={num_samples} must be at least {FEWEST}, for nearest-neighbour scores")
    if features == "inception":
        network = load_inception(inception_weights, resizer=resizer)
        real, fake, digest = each(lambda part: inception_features(network, part))
        scores = {score_name("frechet", features): frechet_distance(real, fake)}
        scores |= inception_scores(network, fake) | feature_scores(features, real, fake)
        weights, resizer = network.weights, network.resizer
    else:
        real, fake, digest = each(lambda part: unit(part).reshape(len(part), -1))
        scores = {score_name("sliced_wasserstein", features): sliced_wasserstein(real, fake)}
        scores |= feature_scores(features, real, fake)
        within = nearest_neighbours(real, real, k=2)[1][:, 1]  # the nearest image is the image itself
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
