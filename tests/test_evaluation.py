import types

import numpy as np
import pytest

from jaxgan.evaluation import evaluation
from jaxgan.pixels import to_uint8
from jaxgan.runs.image_config import ImageConfig


def test_while_training_there_are_scores_only_where_they_are_asked_for():
    gan = types.SimpleNamespace(sample=lambda state, inputs: {"samples": inputs["x"] + state})
    make = lambda config: evaluation.Evaluation(
        lambda sample: {"mean": float(sample({"x": np.zeros((3, 1))})["samples"].mean())}, {}
    )
    assert evaluation.while_training(make, gan, ImageConfig()) is None
    for asked in ({"evaluate_every": 5}, {"best": "mean"}):
        assert evaluation.while_training(make, gan, ImageConfig(**asked))(2.0) == {"mean": 2.0}


def test_samples_that_are_not_finite_end_a_run_or_have_no_scores(capsys):
    gan = types.SimpleNamespace(sample=lambda state, inputs: {"samples": inputs["x"] / state})
    x = np.float32([[0.0], [1.0], [0.0], [0.0]])
    make = lambda config: evaluation.Evaluation(
        lambda sample: {"mean": to_uint8(sample({"x": x})["samples"]).mean()}, {"kernel_subset_size": 500}
    )
    stops, skips = (
        evaluation.while_training(make, gan, ImageConfig(evaluate_every=5, on_nonfinite=what))
        for what in ("stop", "skip")
    )
    said = "note: the kernel distance is of subsets of 500 samples, not 1,000: its standard deviation is larger"
    assert capsys.readouterr().err.splitlines() == [said] * 2
    zero = np.float32(0.0)
    with np.errstate(all="ignore"):
        with pytest.raises(
            FloatingPointError, match=r"evaluation: 4 of 4 samples are not finite .* --on-nonfinite skip"
        ):
            stops(zero)
        assert skips(zero) == {"nonfinite_samples": 1.0}
    assert "note: evaluation: 4 of 4 samples are not finite (NaN or infinity), so" in capsys.readouterr().err
    assert skips(1.0) == stops(1.0) == {"mean": (3 * 128 + 255) / 4}


def test_a_subset_is_random_the_same_each_time_and_others_of_both_kinds():
    rows = np.arange(100)
    real, fake = evaluation.some(rows, 30, "real"), evaluation.some(rows, 30, "fake")
    assert len(set(real)) == len(set(fake)) == 30 and real.tolist() == evaluation.some(rows, 30, "real").tolist()
    assert 0 < len(set(real) & set(fake)) < 30
    assert sorted(evaluation.some(rows, 500, "real")) == sorted(evaluation.some(rows, None, "fake")) == rows.tolist()
