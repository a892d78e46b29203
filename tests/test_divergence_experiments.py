"""Each figure about divergences in this process: tiny, its files and exact columns; at full size, what it must show."""

import csv
import math
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from scipy import integrate, stats
from scipy.optimize import linear_sum_assignment

from experiments.divergence import critics, few_samples, figures, generators, plans, segments
from jaxgan.estimates import WassersteinEstimate


def read(folder, name):
    """The CSV file as text by column, after a look at the image."""
    with Image.open(folder / f"{name}.png") as image:
        assert min(image.size) >= 300 and len(np.unique(np.asarray(image))) > 10
    with (folder / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {column: [row[column] for row in rows] for column in rows[0]}


def numbers(columns, name, **where):
    """A column of numbers, of the rows where other columns have these values."""
    kept = [all(columns[key][row] == value for key, value in where.items()) for row in range(len(columns[name]))]
    return np.array([float(value) for value, keep in zip(columns[name], kept, strict=True) if keep])


def jensen_shannon(gap):
    """Of N(0, 1) and N(gap, 1), by SciPy: the mean of both KL to the mixture."""

    def to_the_mixture(x):
        p, q = stats.norm.pdf(x), stats.norm.pdf(x, gap)
        return (p * np.log(2.0 * p / (p + q)) + q * np.log(2.0 * q / (p + q))) / 2.0

    return integrate.quad(to_the_mixture, -12.0, 12.0 + gap, limit=200)[0]


THETA = [0.05, 0.25, 0.5, 1.0, 2.0, 4.0]


def test_segments(tmp_path, capsys, monkeypatch):
    """With estimates that nothing was trained for: what is trained here is trained in `test_critics`, too."""
    found = WassersteinEstimate(value=np.array([0.4, 0.6]), gradient_norm=np.ones(2), history=np.zeros((2, 3)))
    for name in ("estimate_divergence", "estimate_wasserstein"):
        stub = mock.create_autospec(getattr(segments, name), return_value=found)
        monkeypatch.setattr(segments, name, stub)
    rows = segments.main(segments.Config(num_samples=50, num_steps=40, num_seeds=2, output=str(tmp_path)))
    columns = read(tmp_path, "segments")
    assert len(rows) == 12 and list(columns) == list(rows[0])
    assert {"js_estimate_std", "kl_estimate", "penalty_1", "penalty_100", "clipping", "spectral_norm"} < columns.keys()
    for name in ("segments", "Gaussians"):
        assert (
            list(numbers(columns, "theta", distribution=name))
            == list(numbers(columns, "w1", distribution=name))
            == THETA
        )
    assert numbers(columns, "js", distribution="segments") == pytest.approx([math.log(2.0)] * 6)
    assert np.all(np.isinf(numbers(columns, "kl", distribution="segments")))
    assert numbers(columns, "js", distribution="Gaussians") == pytest.approx(
        [jensen_shannon(x) for x in THETA], rel=1e-6
    )
    assert numbers(columns, "kl", distribution="Gaussians") == pytest.approx(np.square(THETA) / 2.0)
    assert numbers(columns, "penalty_10") == pytest.approx([0.5] * 12)
    assert numbers(columns, "penalty_10_std") == pytest.approx([0.1] * 12)
    printed = capsys.readouterr().out
    assert "penalty_10" in printed and "_std" not in printed
    assert printed.endswith(f"figure:  {tmp_path / 'segments.png'}\nnumbers: {tmp_path / 'segments.csv'}\n")


def test_few_samples(tmp_path):
    few_samples.main(few_samples.Config(dimension=2, num_steps=2, num_seeds=1, width=4, output=str(tmp_path)))
    columns = read(tmp_path, "few_samples")
    assert list(columns) == ["gap", "n", "js", "training", "training_std", "fresh", "fresh_std"]
    assert list(numbers(columns, "n")) == [8, 32, 128, 512, 2048, 8192, 32768] * 2
    exact = [0.0] * 7 + [jensen_shannon(2.0)] * 7
    assert numbers(columns, "js") == pytest.approx(exact, rel=1e-6, abs=1e-12)
    assert np.all(numbers(columns, "training") <= math.log(2.0))


def test_few_samples_differ_in_the_first_coordinate_alone(monkeypatch):
    given = {}

    def record(real, fake, divergence, *, fresh, **options):
        given.update(real=real, fake=fake, fresh=fresh)
        raise KeyboardInterrupt

    monkeypatch.setattr(few_samples, "estimate_divergence", record)
    with pytest.raises(KeyboardInterrupt):
        few_samples.estimate(np.zeros((2, 4, 3)), np.ones((2, 5, 3)), 2.0, few_samples.Config(dimension=3))
    np.testing.assert_array_equal(given["real"], np.zeros((4, 3)))
    np.testing.assert_array_equal(given["fake"], np.tile([2.0, 0.0, 0.0], (4, 1)))
    np.testing.assert_array_equal(given["fresh"][1], np.tile([3.0, 1.0, 1.0], (5, 1)))


def test_critics(tmp_path):
    # As many points as a segment has, and as many steps and seeds as above: nothing is compiled twice.
    critics.main(critics.Config(num_points=400, num_steps=40, num_seeds=2, output=str(tmp_path)))
    columns = read(tmp_path, "critics")
    assert list(columns) == ["critic", "points", "step", "w1", "estimate", "estimate_std", "gradient_norm"]
    assert columns["critic"] == [name for name in critics.CRITICS for _ in range(3)]
    assert columns["points"] == ["minibatches", "minibatches", "all"] * 4
    assert list(numbers(columns, "step")) == [20, 40, 40] * 4
    real, fake = critics.clouds(400, 0)
    ways = np.linalg.norm(real[:, None] - fake[None], axis=2)
    assert numbers(columns, "w1") == pytest.approx([ways[linear_sum_assignment(ways)].mean()] * 12)
    assert numbers(columns, "estimate", critic="spectral_norm", points="all")[0] <= numbers(columns, "w1")[0]


def test_plans(tmp_path, capsys):
    plans.main(plans.Config(num_points=6, output=str(tmp_path)))
    columns = read(tmp_path, "plans")
    assert list(columns) == ["plan", "from", "to", "mass", "distance"]
    costs = {}
    for name in ("best", "random"):
        for side in ("from", "to"):  # every point once
            assert sorted(numbers(columns, side, plan=name)) == list(range(6))
        assert numbers(columns, "mass", plan=name) == pytest.approx([1 / 6] * 6)
        costs[name] = numbers(columns, "distance", plan=name).mean()
    assert costs["best"] < costs["random"]
    assert f"Wasserstein distance {costs['best']:.4f}, 6! = 720 permutations" in capsys.readouterr().out
    with pytest.raises(ValueError, match="num_points=1: expected an integer from 2 to 170"):
        plans.main(plans.Config(num_points=1, output=str(tmp_path / "none")))
    assert not (tmp_path / "none").exists()


# Closed forms for N(0, 1) and N(m, 1): loss and its derivative.
CLOSED = {
    "total_variation": (lambda m: 2 * stats.norm.cdf(m / 2) - 1, lambda m: stats.norm.pdf(m / 2)),
    "squared_hellinger": (lambda m: 2 - 2 * np.exp(-(m**2) / 8), lambda m: m / 2 * np.exp(-(m**2) / 8)),
    "kl": (lambda m: m**2 / 2, lambda m: m),
    "reverse_kl": (lambda m: m**2 / 2, lambda m: m),
    "pearson": (lambda m: np.expm1(m**2), lambda m: 2 * m * np.exp(m**2)),
    "wasserstein": (lambda m: m, lambda m: np.ones_like(m)),
}


def test_generators(tmp_path):
    generators.main(generators.Config(num_steps=20, output=str(tmp_path)))
    columns = read(tmp_path, "generators")
    assert list(columns) == ["objective", "step", "location", "loss", "gradient"]
    locations = numbers(columns, "location", objective="kl", step="")
    assert locations == pytest.approx(np.arange(1, 81) / 10)
    for name, formulas in CLOSED.items():
        for column, formula in zip(("loss", "gradient"), formulas, strict=True):
            measured = numbers(columns, column, objective=name, step="")
            assert measured == pytest.approx(formula(locations), rel=2e-4), (name, column)
    js = numbers(columns, "loss", objective="jensen_shannon", step="")
    assert js[[9, 39]] == pytest.approx([2 * jensen_shannon(1.0), 2 * jensen_shannon(4.0)], rel=1e-6)
    assert numbers(columns, "gradient", objective="jensen_shannon", step="")[20] == pytest.approx(
        (js[21] - js[19]) / 0.2, rel=1e-2
    )
    # -E[log D] = E_Q[log(1 + q / p)], and the reparametrised gradient of that under a fixed D: E_Q[(1 - D) m].
    m, loss = 3.0, lambda x: np.logaddexp(0.0, 3.0 * x - 4.5)
    pull = lambda x: m / (1.0 + np.exp(4.5 - 3.0 * x))
    for column, function in (("loss", loss), ("gradient", pull)):
        expected = integrate.quad(lambda x, function=function: stats.norm.pdf(x, m) * function(x), -9.0, 15.0)[0]
        assert numbers(columns, column, objective="non_saturating", step="")[29] == pytest.approx(expected, rel=1e-5)
    # The first step: as long as the gradient, and at most 1, times the learning rate.
    for name in generators.STYLES:
        steps = [numbers(columns, "location", objective=name, step=str(step))[0] for step in (0, 1)]
        gradient = numbers(columns, "gradient", objective=name, step="0")[0]
        assert steps[0] == 8.0 and steps[0] - steps[1] == pytest.approx(0.05 * min(gradient, 1.0), rel=1e-9)
    with pytest.raises(ValueError, match=r"start=20\.0: expected a number from 0\.001 to 10"):
        generators.main(generators.Config(start=20.0))


def test_a_table_s_columns_are_aligned(tmp_path, capsys):
    figure, axes = figures.subplots(2, 3)
    assert axes.shape == (2, 3)
    rows = [{"name": "a", "value": 1 / 3}, {"name": "long", "value": math.inf}]
    folder = figures.output_folder(str(tmp_path / "new"), "thing")
    figures.save(folder, "thing", figure, rows, shown=rows[1:])
    assert (tmp_path / "new/thing.csv").read_text().splitlines() == ["name,value", f"a,{1 / 3}", "long,inf"]
    with Image.open(tmp_path / "new/thing.png") as image:
        assert image.size == (1080, 640)
    assert capsys.readouterr().out.splitlines()[:2] == ["name  value", "long    inf"]


def test_a_figure_replaces_a_figure_and_nothing_else(tmp_path, capsys):
    figure, rows = figures.subplots(1, 1)[0], [{"name": "a"}]
    for _ in range(2):
        figures.save(figures.output_folder(str(tmp_path), "thing"), "thing", figure, rows)
    (tmp_path / "note.txt").write_text("mine")  # which no figure overwrites
    figures.output_folder(str(tmp_path), "thing")
    for name in ("other.png", "other.csv"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ValueError, match=rf"{name} exists and was not written by this command"):
            figures.output_folder(str(tmp_path), "other")
        (tmp_path / name).unlink()
    with pytest.raises(NotADirectoryError):
        figures.output_folder(str(tmp_path / "note.txt"), "thing")


@pytest.mark.slow
def test_what_the_figures_must_show(tmp_path):
    folder = {"output": str(tmp_path)}
    for module in (segments, few_samples, critics, plans, generators):
        module.main(module.Config(**folder))

    columns = read(tmp_path, "segments")
    js = numbers(columns, "js_estimate", distribution="segments")
    assert js == pytest.approx([math.log(2.0)] * 6, rel=0.02)
    # V + log 4 = 2 JSD within 2%, at 1, 2 and 4 standard deviations.
    gaussian = numbers(columns, "js_estimate", distribution="Gaussians")[3:]
    assert gaussian == pytest.approx([jensen_shannon(gap) for gap in (1.0, 2.0, 4.0)], rel=0.02)
    theta = np.array(THETA)
    assert numbers(columns, "penalty_100", distribution="segments")[1:] == pytest.approx(theta[1:], rel=0.05)
    for weight in (1, 10, 100):
        line = theta * (1.0 + theta / (2.0 * weight))
        assert numbers(columns, f"penalty_{weight}", distribution="segments")[1:] == pytest.approx(line[1:], rel=0.02)
    assert numbers(columns, "spectral_norm", distribution="segments") == pytest.approx(theta, rel=0.01)
    assert np.all(numbers(columns, "clipping", distribution="segments") < 0.01)

    columns = read(tmp_path, "few_samples")
    for gap in ("0.0", "2.0"):
        exact = numbers(columns, "js", gap=gap)
        training, fresh = (numbers(columns, name, gap=gap) for name in ("training", "fresh"))
        assert training[:3] == pytest.approx([math.log(2.0)] * 3, rel=0.02) and np.all(fresh[:3] < 0.0)
        assert training[-1] == pytest.approx(exact[-1], abs=0.005) and fresh[-1] == pytest.approx(exact[-1], abs=0.005)
        assert np.all(np.diff(training) < 1e-6)

    columns = read(tmp_path, "critics")
    exact = numbers(columns, "w1")[0]
    trained = {name: numbers(columns, "estimate", critic=name, points="all")[0] for name in critics.CRITICS}
    assert trained["gradient_penalty"] == pytest.approx(exact, rel=0.08)
    assert 0.4 * exact < trained["spectral_norm"] <= exact
    assert trained["clipping"] < 0.01 * exact and 0.3 * exact < trained["clipping_by_gradient_norm"] < exact

    columns = read(tmp_path, "generators")
    last = {name: numbers(columns, "location", objective=name, step="300")[0] for name in generators.STYLES}
    stuck = {name for name, location in last.items() if location > 7.9}
    assert stuck == {"total_variation", "squared_hellinger", "jensen_shannon"}
    assert all(abs(location) < 0.06 for name, location in last.items() if name not in stuck)
