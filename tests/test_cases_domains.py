"""Bugs that others met in public code, by number, where two domains and translation come in."""

import shutil

import numpy as np
import pytest
import small_domains
from small_domains import save
from test_domains import SMALL, arrays, folder, shown

from experiments import translate
from jaxgan.data.domains import configured_domains
from jaxgan.data.folder import read_image
from jaxgan.runs.config import DomainsConfig


@pytest.mark.parametrize("resident_mib", [0, 1])
def test_case_41_unequal_sets(tmp_path, resident_mib):
    """Pairs by zip used only as many as the smaller set has; drawing at random left images out."""
    config = DomainsConfig(dataset=folder(tmp_path, trainA=3, trainB=7), resident_mib=resident_mib, **SMALL)
    batches = configured_domains(config)
    epochs = [shown(batches, range(7 * epoch, 7 * epoch + 7)) for epoch in range(2)]
    for a, b in epochs:
        assert sorted(b) == list(range(7))
        assert set(np.bincount(a, minlength=3)) <= {2, 3}
    assert set(zip(*epochs[0], strict=True)) != set(zip(*epochs[1], strict=True))


def test_case_41_one_image_against_seven(tmp_path):
    batches = configured_domains(DomainsConfig(dataset=folder(tmp_path, trainA=1, trainB=7), **SMALL))
    for epoch in range(2):
        a, b = shown(batches, range(7 * epoch, 7 * epoch + 7))
        assert a == [0] * 7 and sorted(b) == list(range(7))


def test_case_41_paired_sets_are_of_one_size(tmp_path):
    name = folder(tmp_path, trainA=3, trainB=7, testA=4, testB=4)
    with pytest.raises(ValueError, match="paired domains need equal numbers of images, not 3 of a and 7 of b"):
        configured_domains(DomainsConfig(dataset=name, paired=True, **SMALL))
    config = DomainsConfig(dataset=name, split_a="testA", split_b="testB", paired=True, **SMALL)
    a, b = shown(configured_domains(config), range(8))
    assert a == b and sorted(a[:4]) == [0, 1, 2, 3]


@pytest.mark.parametrize(("a", "b"), [(3, 7), (7, 3), (2, 9), (5, 6)])
def test_case_41_holds_for_many_epochs(a, b):
    batches = arrays(a, b)
    for epoch in range(20):
        found = shown(batches, range(epoch * max(a, b), (epoch + 1) * max(a, b)))
        for size, numbers in zip((a, b), found, strict=True):
            assert set(np.bincount(numbers, minlength=size)) <= {max(a, b) // size, -(-max(a, b) // size)}


def test_case_41_the_length_of_an_epoch_is_printed_at_the_start(tmp_path, capsys):
    small_domains.train(tmp_path / "run", tmp_path / "data")
    assert "3 images of a, 4 of b: an epoch is 2 steps" in capsys.readouterr().out


def test_case_46_a_folder_of_120_images(tmp_path, monkeypatch, capsys):
    """It stopped at 50 files, needed the other domain, wrote other bytes each time, and lost a.jpg to a.png."""
    monkeypatch.setattr(translate, "EXPERIMENTS", {"small_domains": small_domains})
    small_domains.train(tmp_path / "run", tmp_path / "data")
    shutil.rmtree(tmp_path / "data")  # neither what it was trained on nor the other domain is there
    folder = tmp_path / "pile/testA"
    names = ["a.jpg", "a.png", "sub/a.jpg", "1.jpg", "2.jpg", "10.jpg", *(f"{number:03d}.png" for number in range(114))]
    for place, name in enumerate(names):
        save(folder / name, (16, 16 + place % 2 * 8))
    capsys.readouterr()

    def translated(output, **options):
        config = translate.Config(
            run=str(tmp_path / "run"), input=str(folder), output=str(tmp_path / output), **options
        )
        translate.main(config)
        return {path.relative_to(tmp_path / output).as_posix(): path for path in (tmp_path / output).rglob("*.png")}

    for direction in ("a_to_b", "b_to_a"):
        first, again, eight = (
            translated(f"{direction}{run}", direction=direction, batch_size=size)
            for run, size in (("first", 1), ("again", 1), ("eight", 8))
        )
        printed = capsys.readouterr().out
        assert printed.count(f"direction   {direction}") == printed.count("translated  120 images of") == 3
        expected = [name.rpartition(".")[0] + ".png" for name in names]
        expected[:2] = ["a.jpg.png", "a.png.png"]
        assert set(first) == set(again) == set(eight) == set(expected) and len(set(expected)) == 120
        for source, name in zip(names, expected, strict=True):
            assert first[name].read_bytes() == again[name].read_bytes()
            pictures = [read_image(path).astype(int) for path in (first[name], eight[name])]
            assert abs(pictures[0] - pictures[1]).max() <= 1
            assert pictures[0].shape[:2] == read_image(folder / source).shape[:2]
    # Each output is its own input's: no two images of noise become the same.
    assert len({path.read_bytes() for path in first.values()}) == 120
