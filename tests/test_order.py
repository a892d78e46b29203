"""The order of the data: a permutation an epoch, a function of seed and update alone."""

import numpy as np
import pytest

from jaxgan.data.order import batch_indices


def epoch_of(seed, epoch, size, batch_size):
    count = size // batch_size
    return np.concatenate([batch_indices(seed, epoch * count + i, size, batch_size) for i in range(count)])


@pytest.mark.parametrize(("size", "batch_size"), [(20, 4), (60_000, 128), (7, 7), (5, 1)])
def test_an_epoch_shows_no_example_twice(size, batch_size):
    for epoch in range(3):
        shown = epoch_of(1, epoch, size, batch_size)
        assert len(shown) == size // batch_size * batch_size
        assert len(np.unique(shown)) == len(shown)
        assert shown.min() >= 0 and shown.max() < size


def test_the_order_is_recorded():
    """A run that is resumed under another NumPy must go on in the same order. Recorded with NumPy 2.4.6 and 2.5.5."""
    assert batch_indices(0, 0, 10, 4).tolist() == [3, 7, 6, 4]
    assert batch_indices(0, 2, 10, 4).tolist() == [9, 4, 0, 8]
    assert batch_indices(7, 10**6, 60_000, 128)[:4].tolist() == [55007, 25820, 55892, 52380]


def test_epochs_and_seeds_differ():
    orders = {tuple(epoch_of(seed, epoch, 20, 4)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_the_same_update_however_reached():
    sequence = [batch_indices(0, update, 100, 8).copy() for update in range(60)]
    for update in (59, 0, 30, 11, 12):
        np.testing.assert_array_equal(batch_indices(0, update, 100, 8), sequence[update])


def test_every_example_is_as_likely_to_be_left_out():
    """10 examples in batches of 4 leave 2 out of each epoch: over 2,000 epochs each of them about 400 times."""
    shown = np.bincount(np.concatenate([epoch_of(0, epoch, 10, 4) for epoch in range(2000)]), minlength=10)
    assert shown.sum() == 16_000
    np.testing.assert_allclose(2000 - shown, 400, atol=5 * np.sqrt(2000 * 0.2 * 0.8))


def test_the_cached_order_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        batch_indices(0, 0, 10, 4)[0] = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 3, 8), "3 examples, fewer than one batch of 8"),
        ((0, 0, 0, 8), "0 examples"),
        ((0, 0, 3, 0), "batch_size=0"),
        ((0, -1, 3, 1), "not -1"),
        ((-1, 0, 3, 1), "seed=-1"),
        ((2**32, 0, 3, 1), "seed=4294967296"),
    ],
)
def test_refusals_name_the_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        batch_indices(*arguments)
