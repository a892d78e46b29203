"""Folders of images against each other: what is known of a folder and itself, closed forms, and other sizes."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from experiments import evaluate
from jaxgan.evaluation import image_folders
from jaxgan.evaluation.image_folders import compare_folders
from jaxgan.metrics.inception import Inception
from jaxgan.runs.images import save_image

RANDOM = np.random.default_rng(0)
REFERENCE = RANDOM.integers(256, size=(30, 8, 8, 3), dtype=np.uint8)
OTHERS = RANDOM.integers(128, size=(20, 8, 8, 3), dtype=np.uint8)


def folder(path, images):
    for index, image in enumerate(images):
        save_image(path / f"{index:02}.png", image)
    return path


@pytest.fixture
def reference(tmp_path):
    return folder(tmp_path / "reference", REFERENCE)


@pytest.fixture
def others(tmp_path):
    return folder(tmp_path / "others", OTHERS)


def test_a_folder_against_itself(reference):
    scores, stamp = compare_folders(reference, reference, features="pixels")
    for name in ("pixels_precision", "pixels_recall", "pixels_coverage", "diversity"):
        assert scores[name] == pytest.approx(1.0), name
    assert scores["pixels_sliced_wasserstein"] == scores["nearest"] == 0.0
    assert scores["pixels_kernel"] <= 0.0  # unbiased, and without the pairs of an image with itself
    assert (stamp.dataset, stamp.real_count, stamp.fake_count, stamp.image_size) == ("reference", 30, 30, 8)
    assert (stamp.features, stamp.resizer, stamp.averaged) == ("pixels", "none", False)


def test_pixels_of_two_folders_against_scipy(others, reference, monkeypatch):
    monkeypatch.setattr(image_folders, "AT_ONCE", 7)
    scores, _ = compare_folders(others, reference, features="pixels")
    real, fake = (images.reshape(len(images), -1) / 255 for images in (REFERENCE, OTHERS))
    assert scores["diversity"] == pytest.approx(pdist(fake).mean() / pdist(real).mean(), rel=1e-6)
    within = np.sort(cdist(real, real), axis=1)[:, 1]
    expected = np.median(cdist(fake, real).min(axis=1)) / np.median(within)
    assert scores["nearest"] == pytest.approx(expected, rel=1e-6)


def test_a_folder_with_copies_of_one_image(tmp_path, reference):
    copies = folder(tmp_path / "copies", REFERENCE[[3] * 10])
    scores, _ = compare_folders(copies, reference, features="pixels")
    assert scores["diversity"] == scores["nearest"] == 0.0
    assert scores["pixels_precision"] == 1.0  # all of them are a reference image
    back, _ = compare_folders(reference, copies, features="pixels")
    assert back["diversity"] == back["nearest"] == np.inf


def test_other_sizes_and_grey_are_resized_to_the_first_reference_image(tmp_path, reference):
    """Larger copies, reduced again, are near their originals."""
    large = folder(tmp_path / "large", REFERENCE.repeat(4, axis=1).repeat(4, axis=2))
    scores, stamp = compare_folders(large, reference, features="pixels")
    assert stamp.image_size == 8 and scores["nearest"] < 0.3
    grey = folder(tmp_path / "grey", REFERENCE[..., 0])
    assert compare_folders(grey, reference, features="pixels", image_size=4)[1].image_size == 4


def test_a_random_subset_of_each_folder(tmp_path, reference):
    """Others of both: a copy of the reference under other names would else be scored otherwise than the reference."""
    renamed = folder(tmp_path / "renamed", np.random.default_rng(1).permutation(REFERENCE))
    (few, stamp), (others, _) = (
        compare_folders(one, reference, features="pixels", num_samples=6) for one in (reference, renamed)
    )
    assert (stamp.real_count, stamp.fake_count, stamp.subset_size, stamp.kernel_subset_size) == (6, 6, 6, 6)
    for scores in (few, others):
        assert scores["nearest"] == pytest.approx(1.0, abs=0.1) and scores["diversity"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("num_samples", [None, 10])
def test_no_score_depends_on_the_names_of_files(tmp_path, others, reference, num_samples):
    shuffle = np.random.default_rng(1).permutation
    renamed = folder(tmp_path / "a" / "reference", shuffle(REFERENCE)), folder(tmp_path / "b", shuffle(OTHERS))
    options = {"features": "pixels", "num_samples": num_samples}
    found = compare_folders(others, reference, **options)
    assert found == compare_folders(renamed[1], f"{tmp_path}/b/../a/reference/", **options)
    assert ("pixels_kernel_std" in found[0]) == (num_samples is None)


def test_scores_against_other_images_are_not_comparable(tmp_path, others, reference):
    config = evaluate.Config(pictures=str(others), reference=str(reference), features="pixels")
    evaluate.main(replace(config, output=str(tmp_path / "scores.jsonl")))
    changed = REFERENCE.copy()
    changed[7, 0, 0, 0] ^= 1
    another = folder(tmp_path / "x" / "reference", changed)
    with pytest.raises(ValueError, match=r"cannot be compared: real_digest '\w{32}' and '\w{32}'$"):
        evaluate.main(replace(config, reference=str(another), against=str(tmp_path / "scores.jsonl")))


def test_images_that_are_all_the_same(tmp_path, capsys):
    same = folder(tmp_path / "same", REFERENCE[[3] * 10])
    file = str(tmp_path / "scores.jsonl")
    config = evaluate.Config(pictures=str(same), reference=str(same), features="pixels", output=file)
    scores = evaluate.main(config)
    assert scores["pixels_kernel"] == 0.0 and not {"nearest", "diversity", "pixels_kernel_std"} & scores.keys()
    assert np.isfinite(list(scores.values())).all()
    assert "there is no score nearest: it is the ratio of two distances" in capsys.readouterr().err
    # Infinite ones are kept, and read again.
    config = replace(config, pictures=str(folder(tmp_path / "others", OTHERS)))
    assert evaluate.main(config)["nearest"] == np.inf
    evaluate.main(replace(config, against=file))
    assert capsys.readouterr().out.count("inf") == 6


def test_by_inception_features(others, reference, monkeypatch):
    """A network whose features are the mean and the first pixel: the Frechet distance against SciPy's formula."""

    def network(file, *, resizer):
        assert file == "weights.pth"
        features = lambda images: jnp.stack([images.mean(axis=(1, 2, 3)), images[:, 0, 0, 0]], axis=1)
        return Inception(features, lambda features: np.full((len(features), 4), 0.25), "w", resizer)

    monkeypatch.setattr(image_folders, "load_inception", network)
    scores, stamp = compare_folders(others, reference, inception_weights="weights.pth", resizer="legacy")
    real, fake = (
        np.stack([images.mean(axis=(1, 2, 3)), images[:, 0, 0, 0]], axis=1).astype(float)
        for images in (REFERENCE, OTHERS)
    )
    a, b = np.cov(real.T), np.cov(fake.T)
    common = np.sqrt(np.linalg.eigvals(a @ b)).sum()
    expected = np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(a) + np.trace(b) - 2 * common
    assert scores["fid"] == pytest.approx(expected, rel=1e-5)
    assert scores["inception_score"] == pytest.approx(1.0)
    assert "kid" in scores and "inception_precision" in scores and "nearest" not in scores
    assert (stamp.features, stamp.feature_weights, stamp.resizer) == ("inception", "w", "legacy")


def test_refusals(tmp_path, others, reference):
    with pytest.raises(ValueError, match="unknown features 'vgg' of two folders: there are inception, pixels"):
        compare_folders(others, reference, features="vgg")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="none does not exist, but a folder was expected"):
        compare_folders(tmp_path / "none", reference, features="pixels")
    three = folder(tmp_path / "three", REFERENCE[:3])
    for pair in ((others, three), (three, reference)):
        with pytest.raises(ValueError, match="three holds 3 images: scores need at least 6"):
            compare_folders(*pair, features="pixels")
    with pytest.raises(ValueError, match="num_samples=5 must be at least 6"):
        compare_folders(others, reference, features="pixels", num_samples=5)
    with pytest.raises(ValueError, match="images of 256 pixels are too large for scores of pixels: give image_size"):
        compare_folders(others, reference, features="pixels", image_size=256)
    with pytest.raises(ValueError, match="no such file"):
        compare_folders(others, reference, inception_weights=tmp_path / "no.pth")


def test_from_the_command(tmp_path, others, reference, capsys):
    config = evaluate.Config(pictures=str(others), reference=str(reference), features="pixels")
    file = tmp_path / "made" / "scores.jsonl"
    scores = evaluate.main(replace(config, output=str(file)))
    assert "20 against 30 of reference train, features: pixels, 8 pixels" in capsys.readouterr().out
    evaluate.main(replace(config, against=str(file)))
    assert capsys.readouterr().out.count(f"{scores['nearest']:.4f}") == 2
    with pytest.raises(ValueError, match="cannot be compared: fake_count 10 and 20: use equal numbers"):
        evaluate.main(replace(config, against=str(file), num_samples=10))
    assert capsys.readouterr().out == ""  # before anything is computed
    evaluate.main(replace(config, num_samples=10))
    printed = capsys.readouterr().out
    assert (
        "10 against 10 of reference train" in printed
        and "of a single subset of all 10 samples: it has no standard" in printed
    )
    for wrong, message in (
        ({"reference": None}, "give --run FOLDER, or --pictures FOLDER and --reference FOLDER"),
        ({"run": "runs/gan"}, "give --run FOLDER, or"),
        ({"pictures": None}, "give --run FOLDER, or"),
        ({"features": "classifier"}, "there is no classifier for two folders: give --features inception or pixels"),
        ({"num_samples": 1}, "num_samples=1: expected an integer from 2 to 1e6"),
        ({"num_samples": 10**9}, "num_samples=1000000000: expected an integer from 2 to 1e6"),
        ({"image_size": 10**9}, "image_size=1000000000: expected an integer from 1 to 4096"),
        ({"seed": 2**64}, "seed=18446744073709551616: expected an integer from 0 to "),
        ({"output": str(file / "x")}, r"scores cannot be appended to .*x \(File exists\): give --output FILE"),
        ({"output": str(tmp_path)}, r"scores cannot be appended to .* \(Is a directory\): give --output FILE"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate.main(replace(config, **wrong))
