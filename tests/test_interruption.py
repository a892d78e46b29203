"""Real training processes, hit at random moments, end as if nothing had happened: tests/stress/faults.py in small."""

import signal

import pytest

from experiments import gaussians_2d
from jaxgan.runs.interruption import Interruption
from tests.stress import faults


def test_the_signals_that_ask_a_run_to_end():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Interruption() as interruption:
            assert interruption.signal is None
            signal.raise_signal(signal.SIGHUP)
            assert interruption.signal is None
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
                signal.raise_signal(number)
                assert interruption.signal == number
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    life = faults.Life(tmp_path / "killed", num_steps=80)
    life.wait_for(lambda: len(faults.steps_in(tmp_path / "killed")) > 1)
    life.process.kill()
    assert life.end() == -signal.SIGKILL
    left = faults.steps_in(tmp_path / "killed")
    assert 0 < left[-1] < 80, "the process was not killed in time"
    faults.check_files(tmp_path / "killed")
    for name in ("killed", "unbroken"):
        settings = faults.SETTINGS | {"num_steps": 80, "num_devices": 1, "workdir": str(tmp_path / name)}
        gaussians_2d.main(gaussians_2d.Config(**settings))
    faults.check_same(tmp_path / "killed", tmp_path / "unbroken")


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [(*faults.SIGNALS, "interrupt_twice"), faults.PLACED, ("full", *faults.DAMAGES)])
def test_whatever_happens_a_run_ends_as_the_unbroken_one(tmp_path, kinds):
    table = faults.run_faults(tmp_path, kinds, count=8, verbose=True)
    assert {kind: lost for kind, (_, lost) in table.items() if lost} == {}
    assert sum(survived for kind, (survived, _) in table.items() if kind != "runs") == 8
    assert table["runs"][0] > 0


@pytest.mark.slow
def test_the_comparison_finds_what_differs(tmp_path):
    """Else all of the above would prove nothing."""
    settings = faults.SETTINGS | {"num_steps": 20, "num_devices": 1}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        gaussians_2d.main(gaussians_2d.Config(workdir=str(tmp_path / name), seed=seed, **settings))
    faults.check_same(tmp_path / "a", tmp_path / "b")
    with pytest.raises(faults.Lost, match="differs from the uninterrupted run"):
        faults.check_same(tmp_path / "c", tmp_path / "a")

    lines = (tmp_path / "a/metrics.jsonl").read_text().splitlines(keepends=True)
    for wrong, complaint in (
        ([*lines, lines[-1]], "steps in metrics.jsonl"),
        (lines[1:], "steps missing"),
        ([lines[0].replace('"d_loss": ', '"d_loss": 1'), *lines[1:]], "metrics of the steps"),
    ):
        (tmp_path / "b/metrics.jsonl").write_text("".join(wrong))
        with pytest.raises(faults.Lost, match=complaint):
            faults.check_same(tmp_path / "b", tmp_path / "a")
    (tmp_path / "b/metrics.jsonl").write_text("".join(lines))
    picture = tmp_path / "b/samples/00000020.png"
    picture.write_bytes(picture.read_bytes()[:-100])
    with pytest.raises(OSError, match="truncated"):
        faults.check_files(tmp_path / "b")
