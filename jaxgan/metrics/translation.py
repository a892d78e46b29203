"""Scores of paired image-to-image translation: the error against the ground truth, compared with trivial baselines.

Images are `[N, H, W, C]`, uint8 in 0..255 or floats in [0, 1]. All scores are computed in float64 on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jax.typing import ArrayLike
from scipy.ndimage import gaussian_filter

RADIUS = 5  # radius of SSIM's 11 x 11 window
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
_HALF_LEVEL = 0.5 / 255.0


def l1(images: ArrayLike, truth: ArrayLike, mask: ArrayLike | None = None) -> np.ndarray:
    """The L1 error of each image, `mean(|images - truth|)`.

    Args:
      images: `[N, H, W, C]`.
      truth: `[N, H, W, C]`.
      mask: pixels to evaluate, bool `[N, H, W]`; by default all.

    Returns:
      `[N]` in [0, 1]; NaN for an image with an empty mask.

    >>> l1(np.full((1, 2, 2, 1), 255, np.uint8), np.zeros((1, 2, 2, 1), np.uint8)).tolist()
    [1.0]
    """
    images, truth = _pair(images, truth)
    return _mean(np.abs(images - truth), _mask(mask, truth))


def psnr(images: ArrayLike, truth: ArrayLike, mask: ArrayLike | None = None) -> np.ndarray:
    """The peak signal-to-noise ratio of each image in decibels, `-10 log10(mean((images - truth)^2))`.

    The mean squared error is clipped from below at half a grey level squared, the rounding error of 8 bits, so that a
    perfect image does not make the mean over images infinite.

    Args:
      images, truth, mask: as for `l1`.

    Returns:
      `[N]` in [0, 54.2]; NaN for an image with an empty mask.
    """
    images, truth = _pair(images, truth)
    return -10.0 * np.log10(np.maximum(_mean((images - truth) ** 2, _mask(mask, truth)), _HALF_LEVEL**2))


def ssim(images: ArrayLike, truth: ArrayLike, mask: ArrayLike | None = None) -> np.ndarray:
    """The structural similarity of each image to its ground truth, the mean over windows and channels.

    For each 11 x 11 window, weighted by a Gaussian with standard deviation 1.5 pixels, with means m, variances v and
    covariance c: (2 m_x m_y + C1) (2 c + C2) / ((m_x^2 + m_y^2 + C1) (v_x + v_y + C2)) where C1 = 0.01^2 and
    C2 = 0.03^2. Only windows inside the image count; with a mask, only those centred on its pixels.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".

    Args:
      images, truth, mask: as for `l1`; at least 11 pixels high and wide.

    Returns:
      `[N]` in [-1, 1], 1 for the ground truth itself; NaN for an image with an empty mask.

    Raises:
      ValueError: as `l1`, or smaller images.
    """
    images, truth = _pair(images, truth)
    height, width = truth.shape[1:3]
    if min(height, width) <= 2 * RADIUS:
        raise ValueError(f"ssim needs images of at least {2 * RADIUS + 1} x {2 * RADIUS + 1}, not {height} x {width}")
    if (chosen := _mask(mask, truth)) is not None:
        chosen = chosen[:, RADIUS:-RADIUS, RADIUS:-RADIUS]

    def blurred(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, _SIGMA, radius=RADIUS, axes=(1, 2))[:, RADIUS:-RADIUS, RADIUS:-RADIUS]

    def similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x_mean, y_mean = blurred(x), blurred(y)
        variances = blurred(x * x) - x_mean**2 + blurred(y * y) - y_mean**2
        covariance = blurred(x * y) - x_mean * y_mean
        luminance = (2 * x_mean * y_mean + _K1**2) / (x_mean**2 + y_mean**2 + _K1**2)
        return luminance * (2 * covariance + _K2**2) / (variances + _K2**2)

    # One image at a time, because the similarity maps of thousands would not fit in memory.
    rows = [slice(row, row + 1) for row in range(len(truth))]
    return np.concatenate([_mean(similarity(images[i], truth[i]), None if chosen is None else chosen[i]) for i in rows])


def median_image(images: ArrayLike) -> np.ndarray:
    """The median of each pixel and channel: the constant prediction with the smallest L1 error.

    Args:
      images: `[N, H, W, C]`.

    Returns:
      `[H, W, C]` float64 in [0, 1].
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"median_image takes images [N, H, W, C], not {list(images.shape)}")
    return _unit(np.stack([np.median(images[:, row], axis=0) for row in range(images.shape[1])]), images.dtype)


def mismatched_pairs(count: int, *, seed: int = 0) -> np.ndarray:
    """A random permutation `[count]` without fixed points: one cycle through all rows.

    >>> mismatched_pairs(4).tolist()
    [1, 3, 0, 2]
    """
    if count < 2:
        raise ValueError(f"mismatched pairs need at least 2 images, not {count}")
    order = np.random.RandomState(seed).permutation(count)  # the legacy generator, whose stream never changes
    partners = np.empty(count, int)
    partners[order] = np.roll(order, 1)
    return partners


SCORES: dict[str, Callable[..., np.ndarray]] = {"l1": l1, "psnr": psnr, "ssim": ssim}


def translation_scores(
    translated: ArrayLike,
    truth: ArrayLike,
    *,
    source: ArrayLike,
    target_train: ArrayLike,
    mask: ArrayLike | None = None,
    reconstructed: ArrayLike | None = None,
) -> dict[str, float]:
    """Scores of translations against the ground truth, and of baselines without a model.

    The baselines are `unchanged`, the source image; `median`, the median image of the target domain; and `mismatched`,
    the ground truth of another image (a mismatched pair). A model that does not beat all of them has learned nothing.

    Args:
      translated: `[N, H, W, C]`, the model's translations of `source`.
      truth: `[N, H, W, C]`, the same images in the target domain.
      source: `[N, H, W, C']`, the source images; if their channels differ from those of the truth, they are repeated or
        converted to grey.
      target_train: `[M, H, W, C]`, the training images of the target domain.
      mask: the foreground, bool `[N, H, W]`; adds every score over the foreground only.
      reconstructed: `[N, H, W, C']`, the translations translated back; adds `cycle_l1`, their L1 error to the source.

    Returns:
      Means over images: `l1`, `psnr`, `ssim` of the model; `unchanged_l1` etc. of each baseline; with a mask
      `foreground_l1`, `unchanged_foreground_l1` etc. over images with a foreground; and `relative_l1` and
      `relative_foreground_l1`, the model's L1 error divided by that of the best baseline.

    Raises:
      ValueError: shapes that do not match, values out of range, or fewer than 2 images.
    """
    target = np.asarray(truth)
    answers = {
        "": translated,
        "unchanged_": _with_channels(_unit(source), target.shape[-1]),
        "median_": np.broadcast_to(median_image(target_train), target.shape),
        "mismatched_": target[mismatched_pairs(len(target))],
    }
    areas = {"": None} if mask is None else {"": None, "foreground_": mask}
    scores = {}
    for area, chosen in areas.items():
        for baseline, answer in answers.items():
            for name, score in SCORES.items():
                scores[f"{baseline}{area}{name}"] = _mean_over_images(score(answer, truth, chosen))
        best = min(scores[f"{baseline}{area}l1"] for baseline in answers if baseline)
        scores[f"relative_{area}l1"] = scores[f"{area}l1"] / best if best else math.inf
    if reconstructed is not None:
        scores["cycle_l1"] = _mean_over_images(l1(reconstructed, source))
    return scores


def _mean_over_images(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _unit(images: ArrayLike, dtype: np.dtype | None = None) -> np.ndarray:
    """Floats in [0, 1]; `dtype` is the original dtype of images that were converted."""
    images = np.asarray(images)
    if (dtype or images.dtype) == np.uint8:
        return images / 255.0
    values = images.astype(np.float64)
    if not np.issubdtype(images.dtype, np.floating) or not (values.min() >= 0.0 and values.max() <= 1.0):
        raise ValueError(
            f"{images.dtype} from {values.min():g} to {values.max():g}, but images must be uint8 (see "
            "jaxgan.pixels.to_uint8) or floats in [0, 1]"
        )
    return values


def _pair(images: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    shapes = [list(np.shape(one)) for one in (images, truth)]
    if shapes[0] != shapes[1] or len(shapes[1]) != 4 or 0 in shapes[1]:
        raise ValueError(f"images and truth need the same shape [N, H, W, C], not {shapes[0]} and {shapes[1]}")
    return _unit(images), _unit(truth)


def _mask(mask: ArrayLike | None, truth: np.ndarray) -> np.ndarray | None:
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != truth.shape[:3]:
        raise ValueError(f"the mask must be bool {list(truth.shape[:3])}, not {mask.dtype} {list(mask.shape)}")
    return mask


def _mean(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The mean of each image over the pixels of its mask and over channels."""
    values = values.mean(axis=3)
    if mask is None:
        return values.mean(axis=(1, 2))
    counts = mask.sum(axis=(1, 2))
    return np.where(counts, (values * mask).sum(axis=(1, 2)) / np.maximum(counts, 1), np.nan)


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    if images.shape[-1] == channels:
        return images
    if channels == 1:
        return images @ np.array([[0.299], [0.587], [0.114]])  # luma, as in `jaxgan.data.folder`
    return np.repeat(images, channels, axis=-1)
