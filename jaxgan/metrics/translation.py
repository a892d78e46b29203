"""Scores of a translation between two domains whose right result is known: how far from it, beside what costs nothing.

Pictures are `[N, H, W, C]`, uint8 in 0..255 or floats in [0, 1]. Everything is computed in float64 on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jax.typing import ArrayLike
from scipy.ndimage import gaussian_filter

RADIUS = 5  # of SSIM's window, 11 x 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
_HALF_LEVEL = 0.5 / 255.0


def l1(pictures: ArrayLike, truth: ArrayLike, mask: ArrayLike | None = None) -> np.ndarray:
    """`mean(|pictures - truth|)` of each picture.

    Args:
      pictures: `[N, H, W, C]`.
      truth: `[N, H, W, C]`.
      mask: `[N, H, W]` booleans, the pixels to look at; by default all.

    Returns:
      `[N]` in [0, 1]; NaN for a picture without such pixels.

    >>> l1(np.full((1, 2, 2, 1), 255, np.uint8), np.zeros((1, 2, 2, 1), np.uint8)).tolist()
    [1.0]
    """
    pictures, truth = _pair(pictures, truth)
    return _mean(np.abs(pictures - truth), _mask(mask, truth))


def psnr(pictures: ArrayLike, truth: ArrayLike, mask: ArrayLike | None = None) -> np.ndarray:
    """`-10 log10(mean((pictures - truth)^2))` of each picture, in decibels: its peak signal-to-noise ratio.

    The mean is at least that of half a grey level everywhere, which no picture of 8 bits can tell from none, so that
    one perfect picture does not make a mean over pictures infinite.

    Args:
      pictures, truth, mask: as for `l1`.

    Returns:
      `[N]` in [0, 54.2]; NaN for a picture without such pixels.
    """
    pictures, truth = _pair(pictures, truth)
    return -10.0 * np.log10(np.maximum(_mean((pictures - truth) ** 2, _mask(mask, truth)), _HALF_LEVEL**2))


def ssim(pictures: ArrayLike, truth: ArrayLike, mask: ArrayLike | None = None) -> np.ndarray:
    """The structural similarity of each picture to its truth, mean over windows and channels.

    In each window, of 11 x 11 pixels under a Gaussian of 1.5 pixels, with means m, variances v and covariance c,
    (2 m_x m_y + C1) (2 c + C2) / ((m_x^2 + m_y^2 + C1) (v_x + v_y + C2)) where C1 = 0.01^2 and C2 = 0.03^2. Only
    windows that lie wholly in the picture count; with a mask, those around its pixels.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".

    Args:
      pictures, truth, mask: as for `l1`; at least 11 pixels high and wide.

    Returns:
      `[N]` in [-1, 1], 1 for the truth itself; NaN for a picture without such pixels.

    Raises:
      ValueError: as `l1`, or smaller pictures.
    """
    pictures, truth = _pair(pictures, truth)
    height, width = truth.shape[1:3]
    if min(height, width) <= 2 * RADIUS:
        raise ValueError(f"ssim needs pictures of at least {2 * RADIUS + 1} x {2 * RADIUS + 1}, not {height} x {width}")
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

    # One picture at a time, because the maps of thousands would fill the memory.
    rows = [slice(row, row + 1) for row in range(len(truth))]
    return np.concatenate(
        [_mean(similarity(pictures[i], truth[i]), None if chosen is None else chosen[i]) for i in rows]
    )


def median_picture(pictures: ArrayLike) -> np.ndarray:
    """The median of each pixel and channel: of all constant answers the one of least L1.

    Args:
      pictures: `[N, H, W, C]`.

    Returns:
      `[H, W, C]` float64 in [0, 1].
    """
    pictures = np.asarray(pictures)
    if pictures.ndim != 4 or not len(pictures):
        raise ValueError(f"median_picture takes pictures [N, H, W, C], not {list(pictures.shape)}")
    return _unit(np.stack([np.median(pictures[:, row], axis=0) for row in range(pictures.shape[1])]), pictures.dtype)


def wrong_pairs(count: int, *, seed: int = 0) -> np.ndarray:
    """`[count]` rows, each another's than its own and each once: a random cycle through all of them.

    >>> wrong_pairs(4).tolist()
    [1, 3, 0, 2]
    """
    if count < 2:
        raise ValueError(f"a wrong partner takes at least 2 pictures, not {count}")
    order = np.random.RandomState(seed).permutation(count)  # its stream is frozen
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
    """How near a translation comes to the truth, beside answers that need no model.

    These are `unchanged`, the picture as it was; `median`, the median picture of the target domain for every one; and
    `wrong_pair`, the truth of another picture. A model that is no better than each of them has learned nothing.

    Args:
      translated: `[N, H, W, C]`, what the model made of `source`.
      truth: `[N, H, W, C]`, the same pictures in the target domain.
      source: `[N, H, W, C']`, what was translated; with other channels than the truth, it is repeated or made grey.
      target_train: `[M, H, W, C]`, the pictures of the target domain that were trained on.
      mask: `[N, H, W]` booleans, the foreground; adds each score over it alone.
      reconstructed: `[N, H, W, C']`, the translation translated back; adds `cycle_l1`, its distance from the source.

    Returns:
      Means over pictures: `l1`, `psnr`, `ssim` of the model, `unchanged_l1` and so on of each baseline, with a mask
      `foreground_l1`, `unchanged_foreground_l1` and so on (over pictures that have a foreground); and `relative_l1` and
      `relative_foreground_l1`, the model's L1 over that of the best baseline.

    Raises:
      ValueError: shapes that do not fit, values that are not of pictures, or fewer than 2 pictures.
    """
    target = np.asarray(truth)
    answers = {
        "": translated,
        "unchanged_": _with_channels(_unit(source), target.shape[-1]),
        "median_": np.broadcast_to(median_picture(target_train), target.shape),
        "wrong_pair_": target[wrong_pairs(len(target))],
    }
    areas = {"": None} if mask is None else {"": None, "foreground_": mask}
    scores = {}
    for area, chosen in areas.items():
        for baseline, answer in answers.items():
            for name, score in SCORES.items():
                scores[f"{baseline}{area}{name}"] = _over_pictures(score(answer, truth, chosen))
        best = min(scores[f"{baseline}{area}l1"] for baseline in answers if baseline)
        scores[f"relative_{area}l1"] = scores[f"{area}l1"] / best if best else math.inf
    if reconstructed is not None:
        scores["cycle_l1"] = _over_pictures(l1(reconstructed, source))
    return scores


def _over_pictures(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _unit(pictures: ArrayLike, dtype: np.dtype | None = None) -> np.ndarray:
    """Floats in [0, 1]; `dtype` where the values have lost the one that says what they are."""
    pictures = np.asarray(pictures)
    if (dtype or pictures.dtype) == np.uint8:
        return pictures / 255.0
    values = pictures.astype(np.float64)
    if not np.issubdtype(pictures.dtype, np.floating) or not (values.min() >= 0.0 and values.max() <= 1.0):
        raise ValueError(
            f"{pictures.dtype} from {values.min():g} to {values.max():g}, where pictures were expected: uint8 (see "
            "jaxgan.pixels.to_uint8), or floats in [0, 1]"
        )
    return values


def _pair(pictures: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    shapes = [list(np.shape(one)) for one in (pictures, truth)]
    if shapes[0] != shapes[1] or len(shapes[1]) != 4 or 0 in shapes[1]:
        raise ValueError(f"a picture and its truth are of one shape [N, H, W, C], not {shapes[0]} and {shapes[1]}")
    return _unit(pictures), _unit(truth)


def _mask(mask: ArrayLike | None, truth: np.ndarray) -> np.ndarray | None:
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != truth.shape[:3]:
        raise ValueError(f"a mask is bool {list(truth.shape[:3])}, not {mask.dtype} {list(mask.shape)}")
    return mask


def _mean(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Of each picture, over the pixels of its mask and the channels."""
    values = values.mean(axis=3)
    if mask is None:
        return values.mean(axis=(1, 2))
    counts = mask.sum(axis=(1, 2))
    return np.where(counts, (values * mask).sum(axis=(1, 2)) / np.maximum(counts, 1), np.nan)


def _with_channels(pictures: np.ndarray, channels: int) -> np.ndarray:
    if pictures.shape[-1] == channels:
        return pictures
    if channels == 1:
        return pictures @ np.array([[0.299], [0.587], [0.114]])  # luma, as image files are made grey
    return np.repeat(pictures, channels, axis=-1)
