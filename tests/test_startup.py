import pytest

from benchmarks import startup


def test_a_phase_within_another_is_not_counted_twice(monkeypatch):
    now = iter([10.0, 11.0, 13.0, 16.0, 20.0, 25.0])
    monkeypatch.setattr(startup.time, "time", lambda: next(now))
    clock = startup.Clock(0.5)
    inner = clock.timed("inner", lambda: None)
    clock.timed("outer", inner)()
    clock.turn()
    assert clock.seconds == {"Python itself": 0.5, "the rest": 6.0, "outer": 6.0, "inner": 3.0}


@pytest.mark.slow
def test_the_first_step_of_an_experiment(capsys):
    flags = ["--width", "8", "--batch-size", "8", "--dataset", "noise"]
    startup.main(["gan", *flags])
    printed = capsys.readouterr().out
    for phase in ("Python itself", "import jax", "compile the step", "first step", "checkpoints", "data", "total"):
        assert f"| {phase} |" in printed
    rows = [line.split("|")[1:4] for line in printed.splitlines() if "compile the step" in line]
    assert float(rows[0][2]) < float(rows[0][1])  # warm, where it is found, is shorter
