"""benchmarks.memory: what it counts, and which card holds it."""

import pytest

from benchmarks import memory


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
