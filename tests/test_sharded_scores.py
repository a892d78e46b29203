"""Scores are of all samples, however many batches and devices share the work."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_extract import flattened

from jaxgan.devices.sharding import by_batch, data_mesh
from jaxgan.metrics.extract import extract, extract_batches
from jaxgan.metrics.frechet import frechet_distance, gather_statistics
from jaxgan.metrics.kernel import kernel_distance


def test_a_distance_is_of_all_shards_together():
    """google/flax#262: means of parts were averaged, where the whole was meant."""
    values = np.array([0, 2, 4, 6], np.uint8).reshape(4, 1, 1, 1)
    on_two = extract(values, jax.jit(flattened), batch_size=4, sharding=by_batch(data_mesh(2)))
    assert frechet_distance([0, 2, 4, 6], on_two) == pytest.approx(0.0, abs=1e-12)
    mean_of_shards = np.mean([frechet_distance([0, 2, 4, 6], part) for part in np.split(on_two, 2)])
    assert mean_of_shards == pytest.approx(5.3637, abs=1e-4)  # what was reported


def test_a_short_batch_counts_as_what_it_is():
    """google/flax#527: one image of a last batch weighed as much as a whole batch."""
    values = np.array([1, 1, 1, 1, 0], np.uint8).reshape(5, 1, 1, 1)
    statistics = gather_statistics(extract_batches(values, flattened, batch_size=4))
    assert statistics.count == 5 and statistics.mean.tolist() == [0.8]  # 0.5 as a mean of means


def scores(devices):
    """Frechet and kernel distance of 19 and of 30 images, on so many devices."""
    random = np.random.default_rng(0)
    real, fake = (random.integers(256, size=(count, 4, 4, 1), dtype=np.uint8) for count in (30, 19))
    weights = jnp.asarray(random.normal(size=(16, 3)), jnp.float32)
    features = jax.jit(lambda images: jnp.tanh(flattened(images) @ weights / 255.0))
    real, fake = (
        extract(one, features, batch_size=8, sharding=by_batch(data_mesh(devices, batch_size=8)))
        for one in (real, fake)
    )
    assert len(fake) == 19
    return [frechet_distance(real, fake), kernel_distance(real, fake, subset_size=10, subsets=5).mean]


@pytest.mark.parametrize("devices", [2, 4])
def test_devices_do_not_change_a_score(devices):
    """google/flax#527: scores moved with the number of devices."""
    np.testing.assert_allclose(scores(devices), scores(1), rtol=1e-4)


@pytest.mark.slow
def test_eight_devices_do_not_change_a_score():
    code = (
        "import jax; jax.config.update('jax_platforms', 'cpu'); jax.config.update('jax_num_cpu_devices', 8); "
        "import test_sharded_scores; print(*test_sharded_scores.scores(8))"
    )
    tests = Path(__file__).parent
    output = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tests)!r}, {str(tests.parent)!r}]; {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    np.testing.assert_allclose([float(value) for value in output.stdout.split()], scores(1), rtol=1e-4)
