"""Watching a run from outside: tests/stress/soak.py in small, and whether it would notice."""

import pytest

from tests.stress import soak
from tests.stress.soak import Sample


@pytest.mark.slow
def test_a_short_soak(tmp_path):
    run = tmp_path / "run"
    flags = {"num-steps": 10**6, "sample-every": 10**6, "log-every": 10, "width": 8, "num-devices": 1, "workdir": run}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    command = ["experiments.gaussians_2d", *words]
    samples = soak.soak(run, command, minutes=0.05, every=0.1)
    first, last = soak.phases(samples, 300.0)
    for phase in (first, last):
        assert 100 < phase.memory < 10_000
        assert phase.files > 3
        assert phase.threads > 1
        assert phase.steps_per_second > 1
        assert 0 < phase.milliseconds < 1000
    assert list((run / "checkpoints").iterdir())


def test_what_grows_is_seen():
    """At 10 steps a second, of half a second of processor time, then at 5; a line of metrics every 20 steps."""
    samples = []
    for second in range(101):
        step = 10 * min(second, 50) + 5 * max(0, second - 50)
        samples.append(Sample(second, 100.0 + second, 7 + second // 50, 3, 0.5 * second, step // 20 * 20))
    first, last = soak.phases(samples, 20.0)
    assert (first.memory, last.memory) == (110.0, 190.0)
    assert (first.files, last.files) == pytest.approx((7.0, 8 + 1 / 21))
    assert (first.steps_per_second, last.steps_per_second) == (10.0, 5.0)
    assert (first.milliseconds, last.milliseconds) == pytest.approx((50.0, 100.0))
    first, last = soak.phases(samples, 1000.0)  # halves
    assert (first.steps_per_second, last.steps_per_second) == (10.0, 5.0)
    with pytest.raises(ValueError, match="1 lines of metrics in 3 s are too few"):
        soak.phases(samples, 3.0)


def test_a_command_that_does_not_train(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)ended with status 2 after 0 samples: .*num_steps=0"):
        soak.soak(tmp_path, ["experiments.gaussians_2d", "--num-steps", "0"], minutes=1.0, every=0.1)
