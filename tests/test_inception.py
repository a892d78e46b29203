"""The FID Inception network against one written in PyTorch, with the same random weights.

Recorded 2026-11-26 with PyTorch 2.13.0 (CPU) and NumPy 2.4.6. The PyTorch network was written for this from the
published description (torchvision's layers; average pools with `count_include_pad=False` in the blocks A, C and the
first E, a maximum in the last; 1,008 classes), not from the code under test, and filled by `fill`. The published
weights themselves are not in these tests.
"""

import hashlib
import io
import urllib.error
import urllib.request
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics import inception
from jaxgan.metrics.inception import FIDInception, convert_weights, load_inception

# The smallest images whose last maps are 2 x 2, so that the last pool's kind matters.
SIZE = 107


def fill(name, shape):
    """Weights by their name in PyTorch: kernels that keep the size of what passes, batch norms that do something."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        return random.normal(0.0, np.sqrt(2.0 / np.prod(shape[1:])), shape).astype(np.float32)
    if name.endswith(("bn.weight", "running_var")):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    return random.normal(0.0, 0.1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def tensors():
    """A state dict as PyTorch names and shapes it."""
    shapes = jax.eval_shape(FIDInception().init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))["params"]
    tensors = {"fc.weight": fill("fc.weight", (1008, 2048)), "fc.bias": fill("fc.bias", (1008,))}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        *names, kind = (key.key for key in path)
        if kind == "kernel" and names != ["fc"]:
            layer = ".".join(names)
            kernel = f"{layer}.conv.weight"
            tensors[kernel] = fill(kernel, (leaf.shape[3], leaf.shape[2], *leaf.shape[:2]))
            for name in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{layer}.bn.{name}"] = fill(f"{layer}.bn.{name}", leaf.shape[3:])
    return tensors


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(256, size=(2, SIZE, SIZE, 3), dtype=np.uint8)


# Features 0, 64, ... of the first image and 7, 135, ... of the second; logits 0, 63, ... of the first. The largest
# features are about 25.
FEATURES = [
    2.94605, 1.34177, 0.00000, 0.33974, 2.79379, 1.56755, 3.07428, 0.00000, 0.11450, 0.54339, 7.30493, 0.00000, 0.00000,
    4.49405, 0.00000, 0.00000, 0.00000, 0.14540, 0.07280, 0.09632, 1.32418, 6.90936, 1.78907, 0.98220, 0.00000, 3.11896,
    2.02314, 0.00000, 0.63861, 0.00000, 0.17252, 0.00000,
]  # fmt: skip
SECOND = [
    6.95566, 7.06885, 11.16238, 1.67362, 0.17446, 0.00000, 0.30775, 1.39447, 0.22896, 0.00000, 0.70623, 4.01986,
    0.06976, 2.05804, 1.42993, 0.00000,
]  # fmt: skip
LOGITS = [
    -1.74483, -5.28607, 4.41604, 1.03493, 4.40253, 2.76822, -0.59363, -1.31691, -3.04135, -0.54597, 0.96675, -5.36686,
    -0.19417, 4.38087, -2.37792, -1.48832,
]  # fmt: skip


def test_features_and_probabilities_equal_pytorchs(tensors, images, monkeypatch):
    monkeypatch.setattr(inception, "read_torch_weights", lambda file: tensors)
    monkeypatch.setattr(inception, "SIZE", SIZE)
    network = load_inception("named.pth")
    features = np.asarray(network.features(images))
    probabilities = np.asarray(network.probabilities(features))
    assert features.shape == (2, 2048) and probabilities.shape == (2, 1008)
    np.testing.assert_allclose(features[0, ::64], FEATURES, atol=1e-3)
    np.testing.assert_allclose(features[1, 7::128], SECOND, atol=1e-3)
    assert probabilities.argmax(axis=1).tolist() == [548, 548]
    np.testing.assert_allclose(probabilities.max(axis=1), [0.24539284, 0.32918897], rtol=1e-3)
    logits = np.log(probabilities[0, ::63])
    np.testing.assert_allclose(logits - logits[0], np.array(LOGITS) - LOGITS[0], atol=1e-3)
    assert len(network.weights) == 64 and network.resizer == "antialiased"


# Of each block's maps `[2, H, W, C]`: their sum weighted by default_rng(1).normal of their shape, and their norm.
BLOCKS = {
    "Mixed_5b": (-1085.588, 571.418),
    "Mixed_5c": (-62.469, 650.493),
    "Mixed_5d": (-940.658, 722.983),
    "Mixed_6a": (-1042.646, 669.036),
    "Mixed_6b": (344.561, 642.181),
    "Mixed_6c": (-274.987, 595.393),
    "Mixed_6d": (-935.759, 578.112),
    "Mixed_6e": (-1089.194, 608.387),
    "Mixed_7a": (-359.637, 443.396),
    "Mixed_7b": (-179.361, 491.499),
    "Mixed_7c": (44.632, 483.207),
}


@pytest.mark.slow
def test_every_block_equals_pytorchs(tensors, images):
    params = convert_weights(tensors)
    scaled = (images.astype(np.float32) - 128.0) / 128.0
    run = jax.jit(lambda params, images: FIDInception().apply({"params": params}, images, capture_intermediates=True))
    (_, logits), seen = run(params, scaled)
    np.testing.assert_allclose(logits[0, ::63], LOGITS, atol=1e-3)
    for name, (weighted, norm) in BLOCKS.items():
        maps = np.float64(seen["intermediates"][name]["__call__"][0])
        assert np.sum(maps * np.random.default_rng(1).normal(size=maps.shape)) == pytest.approx(weighted, abs=0.01)
        assert np.linalg.norm(maps) == pytest.approx(norm, abs=0.01)


# Features 0, 128, ... of the first and 5, 261, ... of the second of two 32 x 32 images, brought to 299 by loops over
# pixels (legacy) and by Pillow 13.0.0's bicubic filter on float channels (antialiased); 0, 256, ... of the first's red
# channel as a grey image.
RESIZED = {
    "legacy": (
        [
            7.48691, 0.48579, 0.17072, 6.11804, 0.03350, 6.08104, 0.03416, 0.02486, 7.10282, 1.71940, 5.83541, 0.71214,
            0.00000, 0.65582, 0.96696, 0.00000,
        ],
        [0.00000, 0.00254, 8.79613, 3.66502, 0.00000, 15.39909, 6.78865, 1.98432],
    ),
    "antialiased": (
        [
            9.20088, 0.58496, 0.20996, 7.59913, 0.04499, 7.44127, 0.05440, 0.02693, 8.80431, 2.08094, 7.05900, 0.80635,
            0.00000, 0.77360, 1.14315, 0.00000,
        ],
        [0.00000, 0.00000, 10.85122, 4.12302, 0.00000, 18.66263, 7.95153, 2.28177],
    ),
}  # fmt: skip
LEGACY_GREY = [6.95619, 0.19492, 0.05772, 0.04864, 6.31483, 5.42096, 0.00031, 0.95154]


@pytest.mark.slow
@pytest.mark.parametrize("resizer", RESIZED)
def test_at_299_pixels_by_both_resizers(resizer, tensors, monkeypatch):
    monkeypatch.setattr(inception, "read_torch_weights", lambda file: tensors)
    small = np.random.default_rng(2).integers(256, size=(2, 32, 32, 3), dtype=np.uint8)
    network = load_inception("named.pth", resizer=resizer)
    features = network.features(small)
    np.testing.assert_allclose(features[0, ::128], RESIZED[resizer][0], atol=1e-3)
    np.testing.assert_allclose(features[1, 5::256], RESIZED[resizer][1], atol=1e-3)
    if resizer == "legacy":
        np.testing.assert_allclose(network.features(small[..., :1])[0, ::256], LEGACY_GREY, atol=1e-3)


def test_weights_that_do_not_fit_are_named(tensors, tmp_path):
    without = {name: array for name, array in tensors.items() if name != "Mixed_6b.branch7x7_2.bn.running_var"}
    with pytest.raises(ValueError, match=r"Mixed_6b\.branch7x7_2\.bn\.running_var is missing"):
        convert_weights(without)
    with pytest.raises(ValueError, match=r"fc\.weight has shape \(1000, 2048\), but \(1008, 2048\)"):
        convert_weights({**tensors, "fc.weight": np.zeros((1000, 2048))})  # torchvision's own
    with pytest.raises(ValueError, match=r"no\.pth cannot be read as PyTorch weights: no such file"):
        load_inception(tmp_path / "no.pth")
    with pytest.raises(ValueError, match="unknown resizer 'bicubic': there are antialiased, legacy"):
        load_inception(tmp_path / "no.pth", resizer="bicubic")


def test_a_download_that_fails_or_differs_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))

    def refuse(url, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(
        OSError, match=r"not in .*cache and cannot be downloaded .*no route.*: get https:.*give its path"
    ):
        load_inception()
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(b"something else"))
    with pytest.raises(OSError, match=r"has SHA-256 [0-9a-f]{64}, which does not begin with 6726825d: the download is"):
        load_inception()
    assert not (tmp_path / "cache").exists()


def test_a_download_is_kept_if_it_can_be(tmp_path, monkeypatch, capsys):
    """Once, and again where the file was cut short; without a folder to keep it in, it is used and not kept."""
    data = b"weights"
    digits = hashlib.sha256(data).hexdigest()[:8]
    downloads = []
    monkeypatch.setattr(inception, "URL", f"https://example.org/weights-{digits}.pth")
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: downloads.append(url) or io.BytesIO(data))
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "cache" / f"weights-{digits}.pth"
    assert inception._downloaded() == inception._downloaded() == file.read_bytes() == data
    assert len(downloads) == 1 and not capsys.readouterr().err
    file.write_bytes(data[:3])
    assert inception._downloaded() == file.read_bytes() == data and len(downloads) == 2
    assert capsys.readouterr().err == f"note: {file} is damaged: the FID Inception weights are downloaded again\n"
    monkeypatch.setenv("JAXGAN_CACHE", str(file))
    assert inception._downloaded() == data
    assert "the FID Inception weights are not cached (" in capsys.readouterr().err
