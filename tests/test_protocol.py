import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics.frechet import frechet_distance, gather_statistics
from jaxgan.metrics.protocol import (
    Stamp,
    check_comparable,
    load_reference,
    read_stamp,
    save_reference,
    score_name,
    weights_hash,
)

STAMP = Stamp(
    dataset="mnist_5k", split="test", real_count=500, fake_count=1000, image_size=32, features="classifier",
    feature_weights="ab12", resizer="none", quantized=True, averaged=True, step=1000,
)  # fmt: skip

OTHER = {
    "dataset": "mnist", "split": "train", "real_count": 400, "fake_count": 900, "image_size": 28,
    "features": "inception", "feature_weights": "cd34", "resizer": "legacy", "quantized": False, "averaged": False,
    "subset_seed": 1, "subset_size": 10_000, "pixel_subset_size": 1000, "kernel_subset_size": 500,
    "real_digest": "ef56",
}  # fmt: skip


def test_a_stamp_survives_json():
    assert read_stamp(json.loads(json.dumps(dataclasses.asdict(STAMP)))) == STAMP


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subset_size": ...}, "its stamp has no subset_size: it is from an earlier version"),
        ({"colour": 1}, "a stamp has no field colour: there are dataset, split"),
        ({"real_count": "500"}, "real_count is '500', not int"),
        ({"real_count": float("nan"), "averaged": 1}, "real_count is 'nan', not int; averaged is '1', not bool"),
        ({"step": True, "split": None}, "split is 'None', not str; step is 'True', not int"),
        ({"dataset": ["mnist"]}, r"dataset is .*mnist.*, not str"),
    ],
)
def test_what_is_no_stamp(changes, message):
    values = {name: value for name, value in (dataclasses.asdict(STAMP) | changes).items() if value is not ...}
    with pytest.raises(ValueError, match=message):
        read_stamp(values)
    for other in (None, [values], "stamp"):
        with pytest.raises(ValueError, match="a stamp is an object with fields, not"):
            read_stamp(other)


def test_steps_are_compared_and_nothing_else():
    check_comparable(STAMP, dataclasses.replace(STAMP, step=2000))
    assert {*OTHER, "step"} == {field.name for field in dataclasses.fields(Stamp)}
    for name, value in OTHER.items():
        other = dataclasses.replace(STAMP, **{name: value})
        with pytest.raises(ValueError, match=f"cannot be compared: {name} {getattr(STAMP, name)!r} and {value!r}$"):
            check_comparable(STAMP, other)
        check_comparable(STAMP, other, ignore=(name,))


def test_all_differences_are_named():
    with pytest.raises(ValueError, match=r"real_count 500 and 400; step 1000 and 7$"):
        check_comparable(STAMP, dataclasses.replace(STAMP, real_count=400, step=7), ignore=())
    with pytest.raises(ValueError, match="no field weights: there are dataset, split"):
        check_comparable(STAMP, STAMP, ignore=("weights",))


def test_only_inceptions_scores_have_its_names():
    kinds = ("frechet", "kernel", "kernel_std", "score", "score_std", "precision")
    names = ["fid", "kid", "kid_std", "inception_score", "inception_score_std", "inception_precision"]
    assert [score_name(kind, "inception") for kind in kinds] == names
    assert [score_name(kind, "classifier") for kind in kinds] == [f"classifier_{kind}" for kind in kinds]


def test_the_hash_sees_values_names_types_and_shapes():
    weights = {"a": {"kernel": np.ones((2, 3), np.float32)}, "b": np.zeros(2, np.float32)}
    others = [
        {**weights, "b": np.array([0.0, 1.0], np.float32)},
        {"a": weights["a"], "c": weights["b"]},
        {**weights, "b": np.zeros(2, np.int32)},
        {**weights, "a": {"kernel": np.ones((3, 2), np.float32)}},
    ]
    digests = {weights_hash(one) for one in (weights, *others)}
    assert len(digests) == 5 and all(len(digest) == 64 for digest in digests)
    on_device = {"a": {"kernel": jnp.ones((2, 3))}, "b": jnp.zeros(2)}
    transposed = {**weights, "a": {"kernel": np.ones((3, 2), np.float32).T}}
    assert weights_hash(weights) == weights_hash(on_device) == weights_hash(transposed)


def test_a_reference_is_read_back_for_any_generator(tmp_path):
    features = np.random.default_rng(0).normal(size=(30, 4))
    save_reference(tmp_path / "reference.npz", gather_statistics([features]), STAMP)
    later = dataclasses.replace(STAMP, fake_count=7, step=9, averaged=False, quantized=False, subset_size=9)
    statistics = load_reference(tmp_path / "reference.npz", later)
    assert statistics.count == 30 and frechet_distance(statistics, features) == pytest.approx(0.0, abs=1e-12)
    assert [file.name for file in tmp_path.iterdir()] == ["reference.npz"]


def test_a_reference_made_otherwise_is_refused_by_name(tmp_path):
    file = tmp_path / "reference.npz"
    save_reference(file, gather_statistics([np.eye(3)]), STAMP)
    for name in ("dataset", "split", "real_count", "image_size", "features", "feature_weights", "resizer"):
        with pytest.raises(ValueError, match=f"computed with {name} {getattr(STAMP, name)}, not {OTHER[name]}$"):
            load_reference(file, dataclasses.replace(STAMP, **{name: OTHER[name]}))
    for content in (b"", b"no archive"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is not a reference"):
            load_reference(file, STAMP)
    with pytest.raises(ValueError, match="does not exist"):
        load_reference(tmp_path / "none.npz", STAMP)


def test_a_reference_of_another_size_resizer_or_network_is_refused(tmp_path):
    """GaParmar/clean-fid#2: whether sets of other resolutions can be compared was not said."""
    stamp = Stamp(
        dataset="folder:x", split="train", real_count=3, fake_count=3, image_size=32, features="inception",
        feature_weights="ab", resizer="antialiased", quantized=True, averaged=True, step=1,
    )  # fmt: skip
    save_reference(tmp_path / "reference.npz", gather_statistics([np.eye(3)]), stamp)
    for name, value in (("image_size", 64), ("resizer", "legacy"), ("features", "classifier")):
        with pytest.raises(ValueError, match=f"computed with {name} {getattr(stamp, name)}, not {value}"):
            load_reference(tmp_path / "reference.npz", dataclasses.replace(stamp, **{name: value}))
