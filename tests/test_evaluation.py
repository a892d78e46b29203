import types

import numpy as np

from jaxgan.config import ImageConfig
from jaxgan.evaluation import base


def test_while_training_there_are_scores_only_where_they_are_asked_for():
    gan = types.SimpleNamespace(sample=lambda state, inputs: {"samples": inputs["x"] + state})
    make = lambda config: base.Evaluation(
        lambda sample: {"mean": float(sample({"x": np.zeros((3, 1))})["samples"].mean())}, {}
    )
    assert base.while_training(make, gan, ImageConfig()) is None
    for asked in ({"evaluate_every": 5}, {"best": "mean"}):
        assert base.while_training(make, gan, ImageConfig(**asked))(2.0) == {"mean": 2.0}
