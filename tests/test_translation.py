"""Scores of translations whose right result is known."""

import numpy as np
import pytest

from jaxgan.metrics.translation import l1, median_image, mismatched_pairs, psnr, ssim, translation_scores

RANDOM = np.random.default_rng(0)

# By scikit-image 0.26.0, 2026-11-26, of the two pairs of images below divided by 255: structural_similarity(a, b,
# data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, full=True) and
# peak_signal_noise_ratio(b, a, data_range=1); with the mask, the mean of the full map 5 pixels from the edge, over
# channels and the mask's pixels, and the ratio of the mask's pixels alone.
SSIM = [0.5433520004679403, -0.0245448235323998]
PSNR = [12.540266780428777, 8.120024777961047]
MASKED_SSIM = [0.5407804652489684, -0.026459851649872457]
MASKED_PSNR = [12.670891407145579, 8.137127194916195]


def pairs():
    y, x, c = np.mgrid[0:24, 0:20, 0:3]
    a = [(7 * x + 13 * y + 50 * c + 31 * n) % 256 for n in range(2)]
    b = [(7 * x + 12 * y + 45 * c + 3 * x * y * n) % 256 for n in range(2)]
    mask = np.stack([(x + y)[..., 0] % 3 == 0] * 2)
    return np.array(a, np.uint8), np.array(b, np.uint8), mask


def test_against_scikit_image():
    a, b, mask = pairs()
    np.testing.assert_allclose(ssim(a, b), SSIM, atol=1e-12)
    np.testing.assert_allclose(psnr(a, b), PSNR, atol=1e-12)
    np.testing.assert_allclose(ssim(a, b, mask), MASKED_SSIM, atol=1e-12)
    np.testing.assert_allclose(psnr(a, b, mask), MASKED_PSNR, atol=1e-12)


def test_l1_by_hand():
    pictures = np.array([0, 51, 102, 255], np.uint8).reshape(1, 2, 2, 1)
    truth = np.zeros_like(pictures)
    np.testing.assert_allclose(l1(pictures, truth), [0.4])  # (0 + .2 + .4 + 1) / 4
    mask = np.array([[[False, True], [True, False]]])
    np.testing.assert_allclose(l1(pictures, truth, mask), [0.3])
    # Of three channels, one is wrong by everything.
    colours = np.zeros((1, 2, 2, 3), np.uint8)
    colours[..., 1] = 255
    np.testing.assert_allclose(l1(colours, np.zeros_like(colours), mask), [1 / 3])


@pytest.mark.parametrize("score", [l1, psnr, ssim])
def test_bytes_and_floats_agree_and_images_stand_alone(score):
    a, b, mask = pairs()
    np.testing.assert_allclose(score(a / 255, (b / 255).astype(np.float32), mask), score(a, b, mask), atol=1e-5)
    np.testing.assert_allclose(score(a[1:], b[1:]), score(a, b)[1:], atol=1e-12)
    np.testing.assert_allclose(score(a, b, np.ones_like(mask)), score(a, b), atol=1e-12)
    np.testing.assert_allclose(score(b, a), score(a, b), atol=1e-12)


def test_the_truth_itself():
    a, _, _ = pairs()
    assert l1(a, a).tolist() == [0, 0]
    np.testing.assert_allclose(ssim(a, a), 1.0, atol=1e-12)
    np.testing.assert_allclose(psnr(a, a), 20 * np.log10(510))  # half a grey level
    np.testing.assert_allclose(psnr(np.zeros_like(a), np.full_like(a, 255)), 0.0, atol=1e-12)


def test_an_image_without_foreground_is_left_out():
    a, b, mask = pairs()
    mask[0] = False
    for score in (l1, psnr, ssim):
        assert np.isnan(score(a, b, mask)[0]) and np.isfinite(score(a, b, mask)[1])
    scores = translation_scores(a, b, source=a, target_train=b, mask=mask)
    assert scores["foreground_l1"] == pytest.approx(l1(a, b, mask)[1])


def test_the_median_image():
    pictures = np.array([[0, 255], [51, 255], [255, 0]], np.uint8).reshape(3, 1, 2, 1)
    np.testing.assert_allclose(median_image(pictures), np.array([0.2, 1.0]).reshape(1, 2, 1))
    np.testing.assert_allclose(median_image(pictures / 255), np.array([0.2, 1.0]).reshape(1, 2, 1))
    with pytest.raises(ValueError, match=r"images \[N, H, W, C\], not \[0, 4, 4, 3\]"):
        median_image(np.zeros((0, 4, 4, 3), np.uint8))


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_mismatched_pairs_are_one_cycle(count):
    partners = mismatched_pairs(count)
    seen = [0]
    while (following := int(partners[seen[-1]])) != 0:
        seen.append(following)
    assert sorted(seen) == list(range(count))  # so nobody is their own partner, and everybody is somebody's
    np.testing.assert_array_equal(mismatched_pairs(count), partners)
    with pytest.raises(ValueError, match="at least 2 images, not 1"):
        mismatched_pairs(1)


def test_model_and_baselines():
    """Truth is black but for one white quarter an image, the source its negative."""
    truth = np.zeros((4, 16, 16, 3), np.uint8)
    mask = np.zeros((4, 16, 16), bool)
    for row in range(4):
        y, x = 8 * (row // 2), 8 * (row % 2)
        truth[row, y : y + 8, x : x + 8] = 255
        mask[row, y : y + 8, x : x + 8] = True
    source = 255 - truth
    near = np.where(truth > 0, 204, 51).astype(np.uint8)  # wrong by a fifth everywhere
    scores = translation_scores(
        near, truth, source=source, target_train=truth, mask=mask, reconstructed=source // 5 * 4
    )
    assert scores["l1"] == pytest.approx(0.2) and scores["psnr"] == pytest.approx(20 * np.log10(5))
    assert scores["unchanged_l1"] == pytest.approx(1.0) and scores["unchanged_psnr"] == pytest.approx(0.0)
    assert scores["median_l1"] == pytest.approx(0.25)  # a black image: the white quarter is missing
    assert scores["mismatched_l1"] == pytest.approx(0.5)
    assert scores["foreground_l1"] == pytest.approx(0.2)
    assert scores["median_foreground_l1"] == scores["mismatched_foreground_l1"] == pytest.approx(1.0)
    assert scores["relative_l1"] == pytest.approx(0.8) and scores["relative_foreground_l1"] == pytest.approx(0.2)
    assert scores["cycle_l1"] == pytest.approx(0.75 * 0.2)
    assert scores["ssim"] > max(scores[f"{name}_ssim"] for name in ("unchanged", "median", "mismatched"))

    without = translation_scores(near, truth, source=source, target_train=truth)
    assert without == {name: value for name, value in scores.items() if "foreground" not in name and name != "cycle_l1"}
    perfect = translation_scores(truth, truth, source=truth, target_train=truth)
    assert perfect["relative_l1"] == np.inf  # what is unchanged is right as it is


def test_domains_of_other_channels():
    """A grey source is repeated for a colour truth, and colour becomes grey by its luma."""
    grey, colour = np.full((2, 12, 12, 1), 102, np.uint8), np.zeros((2, 12, 12, 3), np.uint8)
    colour[..., 1] = 255
    scores = translation_scores(colour, colour, source=grey, target_train=colour)
    assert scores["unchanged_l1"] == pytest.approx((0.4 + 0.6 + 0.4) / 3)
    scores = translation_scores(grey, grey, source=colour, target_train=grey)
    assert scores["unchanged_l1"] == pytest.approx(0.587 - 0.4)


def test_what_cannot_be_scored():
    a, b, mask = pairs()
    for score in (l1, psnr, ssim):
        with pytest.raises(ValueError, match=r"same shape \[N, H, W, C\], not \[2, 24, 20, 3\] and \[2, 24, 20, 1\]"):
            score(a, b[..., :1])
        with pytest.raises(ValueError, match="the same shape"):
            score(a[0], b[0])
        with pytest.raises(ValueError, match=r"float64 from -1 to 1, but images must be uint8 \(see jaxgan"):
            score(np.where(a > 99, 1.0, -1.0), b)
        with pytest.raises(ValueError, match="int64 from 0 to 255"):
            score(a, b.astype(np.int64))
        with pytest.raises(ValueError, match="float64 from nan"):
            score(a, np.full(b.shape, np.nan))
        with pytest.raises(ValueError, match=r"the mask must be bool \[2, 24, 20\], not uint8 \[2, 24, 20\]"):
            score(a, b, mask.astype(np.uint8))
    with pytest.raises(ValueError, match="ssim needs images of at least 11 x 11, not 10 x 20"):
        ssim(a[:, :10], b[:, :10])
    with pytest.raises(ValueError, match="at least 2 images"):
        translation_scores(a[:1], b[:1], source=a[:1], target_train=b)
