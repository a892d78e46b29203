"""Reading drawn scenes, and scores of what was read."""

import numpy as np
import pytest

from jaxgan.data.builders.scenes import ATTRIBUTES, attributes_of, draw, place
from jaxgan.metrics.attributes import (
    attribute_accuracy,
    caption_diversity,
    caption_log_probabilities,
    chance_accuracy,
    likeliest,
    r_precision,
    scene_classifier,
)
from jaxgan.metrics.features import train_attribute_classifier

COLUMNS = list(ATTRIBUTES)


def scenes_of(count, seed):
    return attributes_of(np.random.RandomState(seed).randint(1152, size=count))


def sure(attributes, confidence=0.9):
    """The probabilities of a classifier that is fairly confident of these attributes."""
    columns = []
    for column, values in enumerate(ATTRIBUTES.values()):
        probabilities = np.full((len(attributes), len(values)), (1 - confidence) / (len(values) - 1), np.float32)
        probabilities[np.arange(len(attributes)), attributes[:, column]] = confidence
        columns.append(probabilities)
    return columns


def test_accuracy_against_counting():
    truth = scenes_of(200, 0)
    predicted = np.where(np.random.default_rng(0).random(truth.shape) < 0.3, scenes_of(200, 1), truth)
    found = attribute_accuracy(predicted, truth)
    pairs = list(zip(predicted.tolist(), truth.tolist(), strict=True))
    share = lambda right: sum(map(right, *zip(*pairs, strict=True))) / len(pairs)
    for column, name in enumerate(COLUMNS):
        assert found[name] == pytest.approx(share(lambda p, t, c=column: p[c] == t[c]))
    assert found["exact"] == pytest.approx(share(lambda p, t: p == t))
    assert found["attributes"] == pytest.approx(sum(found[name] for name in COLUMNS) / 7)
    assert found["colour"] == pytest.approx((found["first_colour"] + found["second_colour"]) / 2)
    objects = share(lambda p, t: p[1:3] == t[1:3]) + share(lambda p, t: p[4:6] == t[4:6])
    assert found["objects"] == pytest.approx(objects / 2)


@pytest.mark.parametrize(
    ("predicted", "relation"),
    [
        ([0, 1, 2, 1, 0, 3, 0], 1),  # as asked for
        ([1, 1, 2, 1, 0, 3, 0], 0),  # beside instead of above
        ([0, 0, 3, 0, 1, 2, 1], 0),  # below instead of above
        ([0, 1, 2, 0, 0, 3, 1], 1),  # other sizes, and each still more like its own
        ([0, 1, 3, 0, 0, 3, 0], 1),  # one turned into almost the other
    ],
)
def test_relations(predicted, relation):
    assert attribute_accuracy([predicted], [[0, 1, 2, 1, 0, 3, 0]])["relation"] == relation


def test_chance():
    """Of all combinations alike, each attribute is right by chance in 1 / its number of values, all in 1 / 1152."""
    everything = attributes_of(np.arange(1152))
    found = chance_accuracy(everything[::3])
    for name, values in ATTRIBUTES.items():
        assert found[name] == pytest.approx(1 / len(values), abs=0.01)
    assert found["attributes"] == pytest.approx((1 / 2 + 2 * (1 / 3 + 1 / 4 + 1 / 2)) / 7, abs=0.005)
    assert found["exact"] == 0  # two different rows are never the same here
    assert chance_accuracy([[0] * 7, [0] * 7, [1] * 7])["exact"] == pytest.approx(1 / 3)


def test_shapes_that_are_refused():
    for predicted, truth in (([[0] * 7], [[0] * 6]), ([[0] * 6], [[0] * 6]), (np.zeros((0, 7)), np.zeros((0, 7)))):
        with pytest.raises(ValueError, match=r"two arrays \[N, 7\] expected"):
            attribute_accuracy(predicted, truth)
    with pytest.raises(ValueError, match="at least 2 scenes are needed, not 1"):
        chance_accuracy([[0] * 7])


def test_how_well_captions_fit():
    wanted = np.array([[0, 1, 2, 0, 2, 3, 1]])
    fits = caption_log_probabilities(sure(wanted), [wanted[0], [1, 1, 2, 0, 2, 3, 1], [0, 2, 2, 0, 2, 3, 1]])
    right = 7 * np.log(0.9)
    np.testing.assert_allclose(fits, [[right, right + np.log(0.1 / 0.9), right + np.log(0.05 / 0.9)]], rtol=1e-6)
    none = [np.array([[1.0, 0.0]], np.float32)]
    assert np.isfinite(caption_log_probabilities(none, [[0], [1]])).all()
    with pytest.raises(ValueError, match=r"attributes \[M, 7\] expected, not \(1, 6\)"):
        caption_log_probabilities(sure(wanted), [[0] * 6])


def test_r_precision():
    wanted = scenes_of(300, 0)
    assert r_precision(sure(wanted), wanted) == 1.0
    # One attribute wrong: a caption that says it as it is fits better, if it is among the others.
    assert r_precision(sure(wanted, confidence=0.4), wanted[::-1]) < 0.1
    even = [np.full((300, len(values)), 1 / len(values)) for values in ATTRIBUTES.values()]
    assert r_precision(even, wanted) == 0.0  # what fits all alike has not found the right one
    assert r_precision(sure(wanted), wanted, seed=1) == r_precision(sure(wanted), wanted, seed=1)


def test_r_precision_of_chance():
    random = np.random.default_rng(0)
    wanted = scenes_of(600, 0)
    guesses = [random.dirichlet(np.ones(len(values)), size=600) for values in ATTRIBUTES.values()]
    assert r_precision(guesses, wanted, mismatched=3) == pytest.approx(0.25, abs=0.06)


def test_captions_with_equal_attributes_are_never_mismatched():
    wanted = np.array([[0] * 7] * 9 + [[1] * 7])
    assert r_precision(sure(wanted), wanted, mismatched=50) == 1.0
    with pytest.raises(ValueError, match="all captions have the same attributes"):
        r_precision(sure(wanted[:9]), wanted[:9])
    with pytest.raises(ValueError, match="9 images and 10 captions"):
        r_precision(sure(wanted[:9]), wanted)


def test_diversity_against_all_pairs():
    random = np.random.default_rng(0)
    images, meaning = random.normal(size=(12, 4, 4, 3)), np.array([0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 0, 5])
    means = []
    for own in range(4):
        group = images[meaning == own]
        pairs = [(i, j) for i in range(len(group)) for j in range(i)]
        means.append(np.mean([np.abs(group[i] - group[j]).mean() for i, j in pairs]))
    assert caption_diversity(images, meaning) == pytest.approx(np.mean(means), rel=1e-12)
    assert caption_diversity(np.ones((4, 2)), [0, 0, 1, 1]) == 0.0


def test_diversity_that_cannot_be_told():
    with pytest.raises(ValueError, match="no two images have the same caption"):
        caption_diversity(np.zeros((2, 3)), [0, 1])
    with pytest.raises(ValueError, match=r"not uint8 \(2, 3\) and \(2,\)"):
        caption_diversity(np.zeros((2, 3), np.uint8), [0, 0])
    with pytest.raises(ValueError, match=r"not float64 \(2, 3\) and \(3,\)"):
        caption_diversity(np.zeros((2, 3)), [0, 0, 0])


def test_what_is_not_finite_reads_as_nothing():
    read = [np.array([[0.2, 0.8], [np.nan, np.nan]])]
    for call in (lambda: likeliest(read), lambda: caption_log_probabilities(read, [[0]])):
        with pytest.raises(ValueError, match="probabilities holds NaN or infinity in 1 of 2 samples"):
            call()
    with pytest.raises(ValueError, match="images holds NaN or infinity in 1 of 2 samples"):
        caption_diversity(np.array([[0.0], [np.inf]]), [0, 0])


def test_a_classifier_of_several_attributes():
    """Brightness and the side that is dark, of 8x8 pixels."""
    random = np.random.default_rng(0)
    level, side = random.integers(3, size=600), random.integers(2, size=600)
    images = np.repeat((60 + 70 * level).astype(np.uint8)[:, None, None, None], 64, axis=1).reshape(600, 8, 8, 1)
    for image, left in zip(images, side, strict=True):
        image[:, :2] = 0 if left else image[:, :2]
        image[:, -2:] = image[:, -2:] if left else 0
    attributes = np.stack([level, side], axis=1)
    read = train_attribute_classifier(images[:500], attributes[:500], epochs=3)
    probabilities = read.probabilities(images[500:])
    assert [values.shape for values in probabilities] == [(100, 3), (100, 2)]
    np.testing.assert_allclose([values.sum(axis=1) for values in probabilities], 1.0, rtol=1e-5)
    assert (likeliest(probabilities) == attributes[500:]).mean() > 0.95


def test_an_unknown_style_of_scenes():
    with pytest.raises(ValueError, match="unknown style 'oil'"):
        scene_classifier("oil", num_scenes=10)


@pytest.mark.slow
def test_a_short_training_reads_something():
    read = scene_classifier(num_scenes=960, epochs=2)
    truth = scenes_of(300, 99)
    found = attribute_accuracy(likeliest(read.probabilities(draw(place(truth, np.random.RandomState(99)), 32))), truth)
    assert found["axis"] > 0.65 and found["attributes"] > 0.42  # by chance 0.5 and 0.38


@pytest.mark.slow
@pytest.mark.parametrize(("style", "image_size"), [("flat", 32), ("chalk", 32), ("chalk", 64)])
def test_the_classifier_reads_the_attributes(style, image_size):
    read = scene_classifier(style, image_size=image_size)
    truth = scenes_of(5_000, 99)
    found = attribute_accuracy(
        likeliest(read.probabilities(draw(place(truth, np.random.RandomState(99)), image_size, style=style))), truth
    )
    assert min(found[name] for name in COLUMNS) >= 0.999 and found["exact"] >= 0.995
