import math
import re

import numpy as np
import pytest

from jaxgan.runs.alarm import Alarm


def run(lines, *, every=10, **thresholds):
    """The alarms of lines logged every so many steps: `(step, sentence)`."""
    return Alarm(**thresholds).replay({"step": every * number, **line} for number, line in enumerate(lines, 1))


def scores(*, gap, d_loss):
    return {"real_score": gap / 2, "fake_score": -gap / 2, "d_loss": d_loss}


def logistic(gap):
    """Discriminator loss where every score lies at half the gap on the right side: 2 log(1 + exp(-gap / 2))."""
    return 2 * math.log1p(math.exp(-gap / 2))


def test_a_saturated_discriminator():
    lines = [scores(gap=0.5, d_loss=logistic(0.5))] * 5
    lines += [scores(gap=18.0, d_loss=logistic(18.0)) | {"g_grad_norm": 3e-4}] * 20
    ((step, sentence),) = run(lines)  # once, however long it lasts
    assert step == 150  # the tenth line of it
    assert sentence.startswith("The discriminator has told real from fake without error since step 60")
    assert "its scores are 18 apart, its loss 0.00025, the generator's gradient norm 0.0003." in sentence
    assert "lower the discriminator's learning rate" in sentence


@pytest.mark.parametrize(
    ("gap", "d_loss", "alarms"),
    [
        (18.0, logistic(18.0), 1),
        (9.0, logistic(9.0), 0),  # a DCGAN with batch norm goes through this and comes back
        (0.0, 2 * math.log(2), 0),
        (1.0, 0.0005, 1),  # least squares: scores at their targets 0 and 1
        (0.5, 0.125, 0),
        (2.5, 0.0, 1),  # hinge: all beyond the margin
        (2.0, 0.1, 0),
        (12.0, math.log1p(math.exp(-12.0)), 1),  # relativistic
        (1.0, math.log1p(math.exp(-1.0)), 0),
        (50.0, -50.0, 0),  # a Wasserstein critic's loss is minus the gap
        (50.0, -49.0, 0),
        (-20.0, 1e-9, 0),
    ],
)
def test_saturation_for_every_loss(gap, d_loss, alarms):
    assert len(run([scores(gap=gap, d_loss=d_loss)] * 30)) == alarms


def test_saturation_must_last():
    saturated, even = scores(gap=18.0, d_loss=1e-4), scores(gap=0.5, d_loss=1.2)
    assert run(([saturated] * 9 + [even]) * 5) == []
    assert run([saturated] * 40, every=1, steps=50) == []  # ten lines, but of few updates
    assert [step for step, _ in run([saturated] * 60, every=1, steps=50)] == [51]


def test_each_discriminator_has_its_own_scores():
    line = {"real_score_a": 0.2, "fake_score_a": 0.1, "d_loss_a": 1.3}
    bad = {"real_score_b": 9.0, "fake_score_b": -9.0, "d_loss_b": 1e-4}
    assert run([line | {"real_score_b": 0.2, "fake_score_b": 0.1, "d_loss_b": 1.3}] * 30) == []
    assert len(run([line | bad] * 30)) == 1
    assert run([{"real_score": 9.0, "fake_score": -9.0}] * 30) == run([{"real_score": 9.0, "d_loss": 0.0}] * 30) == []


@pytest.mark.parametrize("name", ["coverage", "classifier_recall", "preview_diversity", "modes"])
def test_falling_diversity(name):
    values = [0.3, 0.6, 0.8, 0.5, 0.3, 0.5, 0.39, 0.3, 0.2, 0.1]  # below half of 0.8: once, and then three times
    lines = [{name: value} for value in values]
    ((step, sentence),) = run(lines, every=100)
    assert step == 900
    assert sentence.startswith(f"{name} has fallen from 0.8 to 0.2 since step 700. The generator is collapsing")
    assert run(lines, every=100, fall=0.2) == []
    assert run([{"classifier_frechet": value} for value in values], every=100) == []  # a distance may fall


def test_lines_between_evaluations_do_not_count():
    lines = [line for value in (0.8, 0.3, 0.3, 0.3) for line in ({"coverage": value}, {"d_loss": 1.0})]
    assert [step for step, _ in run(lines)] == [70]


def test_samples_all_alike_from_the_start():
    lines = [{"preview_diversity": 0.05}] * 10
    ((step, sentence),) = run(lines, every=500)
    assert step == 3000  # the third reading from step 2000 on
    assert "differed at most 0.1 times as much as real images since step 2000, now 0.05 times" in sentence
    assert run(lines, every=100) == []  # an average of young weights
    assert run([{"coverage": 0.05}] * 10, every=500) == []  # of which nobody knows what is much


@pytest.mark.parametrize("name", ["penalty", "d_grad_norm", "g_grad_norm"])
def test_an_exploding_norm(name):
    usual = np.random.default_rng(0).lognormal(size=40)
    values = [*usual, 500.0, *usual, 300.0, 900.0, 5e4, 1e7]
    ((step, sentence),) = run([{name: value} for value in values])
    assert step == 840  # the third line in a row: one spike is none
    assert re.match(rf"{name} has been over 100 times its median of [01]\.\d+ since step 820, now 5e\+04", sentence)
    assert run([{name: value} for value in values], growth=1e6) == []


def test_what_is_no_explosion():
    assert run([{"penalty": value} for value in [1e-5] * 5 + [0.1] * 30]) == []  # a penalty finds its size
    assert run([{"penalty": value} for value in [0.0] * 30 + [1.0] * 5]) == []  # a median of zero says nothing
    assert run([{"d_loss": value} for value in [1.0] * 30 + [1e4] * 5]) == []  # the scores of a critic have no scale
    decade = [{"g_grad_norm": 10 ** (number / 100)} for number in range(400)]
    assert run(decade) == []  # over the median of its last hundred values, not of all


def test_a_vanished_gradient():
    lines = [{"g_grad_norm": value} for value in [5.0, 1.0, 1e-3, 2.0] + [1e-4] * 20]
    ((step, sentence),) = run(lines)
    assert step == 140
    assert "g_grad_norm has been below 0.0001 of its largest value 5 since step 50, now 0.0001" in sentence
    assert run([{"d_grad_norm": line["g_grad_norm"]} for line in lines]) == []


def test_numbers_that_are_none():
    line = scores(gap=math.nan, d_loss=math.inf) | {"coverage": math.nan, "penalty": math.inf, "g_grad_norm": -math.inf}
    assert run([line] * 50) == []
    assert run([{}] * 3) == []
    falls = [{"coverage": value} for value in (0.8, 0.1, math.nan, 0.1, 0.1)]
    assert [step for step, _ in run(falls)] == [50]  # passed over, not an end of the fall


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped():
    saturated = scores(gap=18.0, d_loss=1e-4)
    entries = [{"step": 10 * n, **saturated, "coverage": 0.9 if n < 15 else 0.1} for n in range(1, 40)]
    unbroken = Alarm().replay(entries)
    assert [step for step, _ in unbroken] == [100, 170]
    for stop in (5, 10, 16, 30):
        alarm = Alarm()
        before = alarm.replay(entries[:stop])
        after = [
            (entry["step"], sentence) for entry in entries[stop:] for sentence in alarm.update(entry["step"], entry)
        ]
        assert before + after == unbroken
