"""benchmarks.memory: what it counts, and which card holds it."""

import jax
import pytest

from benchmarks import memory
from experiments import gan


def test_the_smallest_card():
    """A tenth of a card is left for the libraries: 8 GB hold 7.2e9 bytes."""
    sizes = (7.2e9, 7.3e9, 10.8e9, 21.6e9, 72e9, 72.1e9)
    assert [memory.smallest_card(int(size)) for size in sizes] == ["8 GB", "12 GB", "12 GB", "24 GB", "80 GB", "none"]


@pytest.mark.slow
def test_parts_need_less(capsys):
    memory.main(["gan", "--width", "8", "--batch-size", "64", "--parts", "1", "8"])
    one, remat, eight = (line.split("|") for line in capsys.readouterr().out.splitlines()[2:])
    assert [row[1].strip() for row in (one, remat, eight)] == ["`--microbatches 1`", "`--remat`", "`--microbatches 8`"]
    assert float(eight[2].replace(",", "")) < 0.6 * float(one[2].replace(",", ""))
    assert one[3].strip() == "8 GB"
    with pytest.raises(SystemExit):
        memory.main(["gan", "--batch-size", "0"])


def test_a_topology_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        memory.main(["gan", "--topology", "v0:9x9"])
    assert "v0:9x9" in capsys.readouterr().err


def test_a_step_that_the_device_does_not_hold(monkeypatch):
    """As libtpu 0.0.52 says it of `relativistic --preset paper` on a v5e."""
    said = "RESOURCE_EXHAUSTED: the total memory required for HLO temporaries (75.26G) exceeds available HBM (15.75G)"

    def compile(self):
        raise jax.errors.JaxRuntimeError(said)

    config = gan.Config(width=4, batch_size=2)
    monkeypatch.setattr(jax.stages.Lowered, "compile", compile)
    assert memory.step_bytes(gan, config) == int(75.26 * 2**30)
    said = "INTERNAL: another"
    with pytest.raises(jax.errors.JaxRuntimeError, match="another"):
        memory.step_bytes(gan, config)
