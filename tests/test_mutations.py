"""Mistakes made on purpose, tests/stress/mutations.py in small: each can be made, and one that is made is noticed."""

import shutil

import pytest

from tests.stress.mutation_table import MUTATIONS, Mutation
from tests.stress.mutations import ROOT, noticed_by


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_mistake_can_be_made(mutation):
    assert (ROOT / "jaxgan" / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.new != mutation.old
    assert all((ROOT / f"tests/test_{name}.py").exists() for name in mutation.tests.split())


def test_the_names_differ():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 60


@pytest.mark.slow
def test_a_mistake_is_noticed_or_survives(tmp_path):
    for name in ("jaxgan", "tests", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    wrong = Mutation("scale", "pixels.py", "* 2.0 - 255.0) / 255.0", "* 2.0 - 256.0) / 256.0", "pixels")
    assert noticed_by(wrong, tmp_path) == "test_pixels.py::test_every_byte_survives_the_way_there_and_back"
    harmless = wrong._replace(new="* 2.0 - 255.0) / 255.0 + 0.0")
    assert noticed_by(harmless, tmp_path) is None
    with pytest.raises(RuntimeError, match=r"scale: pixels\.py holds 'nothing' 0 times"):
        noticed_by(wrong._replace(old="nothing"), tmp_path)
