"""Batches of two domains."""

import numpy as np
import pytest
import small_domains
import tensorflow_datasets as tfds
from PIL import Image
from tiny_tfds import numbered, prepare

from jaxgan.data.domains import TwoDomains, configured_domains
from jaxgan.data.pipeline import DeviceBatches, image_batches
from jaxgan.pixels import to_uint8
from jaxgan.runs.image_config import DomainsConfig

SMALL = {"batch_size": 1, "image_size": 8, "load_size": None, "flip": False}


def save(path, level, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).convert(mode).save(path)


def folder(path, **splits):
    """Images by split, each of one level: its number."""
    for split, count in splits.items():
        for number in range(count):
            save(path / split / f"{number}.png", number)
    return f"folder:{path}"


def levels(images):
    """Which image each one is."""
    return to_uint8(images)[:, 4, 4, 0].tolist()


def arrays(a, b, *, batch_size=1, seeds=(0, 1), paired=False):
    """Two domains of `a` and `b` images, each of one level: its number."""
    images = [np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2) for count in (a, b)]
    domains = [DeviceBatches(one, batch_size=batch_size, seed=seed) for one, seed in zip(images, seeds, strict=True)]
    return TwoDomains(*domains, paired=paired)


def shown(batches, steps):
    """The numbers of the images of a and of b, over some steps."""
    found = [batches(step)[0] for step in steps]
    return tuple([level for batch in found for level in levels(batch[name])] for name in ("a", "b"))


@pytest.mark.parametrize(
    ("a", "b", "batch_size"), [(3, 7, 1), (7, 3, 1), (5, 5, 1), (6, 13, 2), (4, 31, 4), (9, 11, 3)]
)
def test_an_epoch_shows_the_larger_set_once_and_the_smaller_evenly(a, b, batch_size):
    batches = arrays(a, b, batch_size=batch_size)
    assert batches.size == max(a, b)
    steps = batches.size // batch_size
    for epoch in range(5):
        found = shown(batches, range(epoch * steps, (epoch + 1) * steps))
        for size, numbers in zip((a, b), found, strict=True):
            own = size // batch_size  # steps to one pass, each without what does not fill a batch
            for start in range(0, steps, own):
                one_pass = numbers[start * batch_size : (start + own) * batch_size]
                assert len(set(one_pass)) == len(one_pass)
            counts = np.bincount(numbers, minlength=size)
            if size % batch_size == 0:
                assert counts.max() - counts.min() <= 1


def test_a_step_is_the_same_however_it_is_reached():
    batches, again = arrays(3, 7), arrays(3, 7)
    forwards = [shown(batches, [step]) for step in range(20)]
    assert [shown(again, [step]) for step in reversed(range(20))] == forwards[::-1]
    with pytest.raises(ValueError, match="steps count from 0"):
        batches(-1)


def test_pairs_change_from_epoch_to_epoch_unless_the_data_are_paired(tmp_path):
    config = DomainsConfig(dataset=folder(tmp_path, trainA=6, trainB=6), **SMALL)
    apart, together = configured_domains(config), arrays(6, 6, seeds=(3, 3), paired=True)
    epochs = [set(zip(*shown(apart, range(6 * epoch, 6 * epoch + 6)), strict=True)) for epoch in range(4)]
    assert all(epochs[i] != epochs[j] for i in range(4) for j in range(i))
    assert {a == b for a, b in zip(*shown(together, range(24)), strict=True)} == {True}
    assert shown(together, range(6)) != shown(together, range(6, 12))


def test_what_cannot_be_combined():
    with pytest.raises(ValueError, match="paired domains need equal numbers of images, not 3 of a and 7 of b"):
        arrays(3, 7, paired=True)
    a, b = (DeviceBatches(np.zeros((8, 4, 4, 1), np.uint8), batch_size=size) for size in (2, 4))
    with pytest.raises(ValueError, match="a and b need equal batch sizes, not 2 and 4"):
        TwoDomains(a, b)
    same = DomainsConfig(dataset="noise", split_a="test[:9]", split_b="test[:9]", **SMALL)
    with pytest.raises(ValueError, match=r"both domains are noise test\[:9\]: give another --split-a or --split-b"):
        configured_domains(same)


def test_the_notice():
    assert arrays(6, 14, batch_size=2).notice == "6 images of a, 14 of b: an epoch is 7 steps"
    assert arrays(4, 4, seeds=(0, 0), paired=True).notice == "4 images of a, 4 of b, paired: an epoch is 4 steps"
    assert "; a: batch_size=2 leaves 1 of 3 examples out" in arrays(3, 4, batch_size=2).notice
    assert arrays(3, 3, seeds=(0, 0), batch_size=2, paired=True).notice.count("; a and b: batch_size=2 leaves 1") == 1
    many = [image_batches("noise", split, batch_size=1, image_size=1, channels=1) for split in ("train", "test")]
    assert TwoDomains(*many).notice == "1,024 images of a, 256 of b: an epoch is 1,024 steps"


@pytest.mark.parametrize("resident_mib", [0, 1])
def test_a_folder_of_two_domains(tmp_path, resident_mib):
    name = folder(tmp_path, trainA=3, trainB=5, testA=1, testB=1)
    config = DomainsConfig(dataset=name, resident_mib=resident_mib, **SMALL)
    batches = configured_domains(config)
    a, b = shown(batches, range(10))
    assert (sorted(b[:5]), sorted(set(a))) == ([0, 1, 2, 3, 4], [0, 1, 2])
    resident = configured_domains(DomainsConfig(dataset=name, **SMALL))
    assert shown(resident, range(10)) == (a, b)
    assert ("decoded during training" in batches.notice) == (resident_mib == 0)


def test_mixed_sizes_kinds_and_orientations(tmp_path):
    save(tmp_path / "trainA/wide.png", 200, (30, 12))
    save(tmp_path / "trainA/grey.png", 200, (9, 9), "L")
    save(tmp_path / "trainA/clear.png", 200, (8, 8), "RGBA")
    save(tmp_path / "trainB/palette.png", 100, (10, 40), "P")
    turned = Image.new("RGB", (40, 20))
    turned.paste((255, 0, 0), (0, 0, 20, 20))  # the left half is red; turned upright, the top
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "trainB/turned.png", exif=exif)
    config = DomainsConfig(dataset=f"folder:{tmp_path}", channels_a=1, **SMALL)
    batches = configured_domains(config)
    found = [batches(step)[0] for step in range(3)]
    assert {batch["a"].shape for batch in found} == {(1, 8, 8, 1)}
    assert {batch["b"].shape for batch in found} == {(1, 8, 8, 3)}
    assert {level for batch in found for level in levels(batch["a"])} == {200}
    b = [to_uint8(batch["b"])[0] for batch in found]
    (upright,) = {image.tobytes() for image in b if image[0, 0, 1] == 0}
    rows = np.frombuffer(upright, np.uint8).reshape(8, 8, 3)[:, 4, 0]
    assert rows[1] > 240 and rows[6] < 15


def test_two_data_sets(tmp_path):
    name = folder(tmp_path / "a", train=3, other=2)
    other = folder(tmp_path / "b", train=5)
    config = DomainsConfig(dataset=name, dataset_b=other, **SMALL)
    batches = configured_domains(config)
    assert batches.notice == "3 images of a, 5 of b: an epoch is 5 steps"
    a, b = shown(batches, range(5))
    assert (sorted(a[:3]), sorted(b)) == ([0, 1, 2], [0, 1, 2, 3, 4])  # train, since there are two data sets
    config = DomainsConfig(dataset=name, split_a="other", split_b="train", **SMALL)
    assert configured_domains(config).size == 3
    with pytest.raises(ValueError, match=r"no split 'trainA': there are other \(2 examples\), train \(3 examples\)"):
        configured_domains(DomainsConfig(dataset=name, **SMALL))
    with pytest.raises(ValueError, match="has 2 examples, fewer than one batch of 3"):
        configured_domains(DomainsConfig(dataset=name, split_a="other", split_b="train", **SMALL | {"batch_size": 3}))


def test_a_tfds_data_set_of_two_domains(tmp_path):
    """Features and splits of TFDS's own cycle_gan."""
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=["A", "B"]),
    }
    counts = {"trainA": 3, "trainB": 4, "testA": 1, "testB": 1}
    examples = {
        split: [one | {"label": split[-1]} for one in numbered(count, size=(8 + count, 8), channels=3)]
        for split, count in counts.items()
    }
    prepare(tmp_path / "cycle_gan", "horse2zebra", features, examples, version="3.0.0")
    config = DomainsConfig(dataset="cycle_gan/horse2zebra", data_dir=str(tmp_path), **SMALL)
    batches = configured_domains(config)
    assert batches.notice == "3 images of a, 4 of b: an epoch is 4 steps"
    assert sorted(batches(0)[0]) == ["a", "b"]
    theirs = tfds.builder_cls("cycle_gan").BUILDER_CONFIGS
    assert "horse2zebra" in [one.name for one in theirs]


def test_the_authors_sizes_and_what_is_cut_out(tmp_path):
    """junyanz/pytorch-CycleGAN-and-pix2pix: load_size 286, crop_size 256, flips unless --no_flip."""
    usual = DomainsConfig()
    assert (usual.load_size, usual.image_size, usual.flip) == (286, 256, True)
    np.save(tmp_path / "one.npy", np.random.default_rng(0).integers(256, size=(1, 10, 10, 3), dtype=np.uint8))
    name = str(tmp_path / "one.npy")
    config = {"dataset": name, "dataset_b": name, **SMALL, "load_size": 10}
    batches = configured_domains(DomainsConfig(**config))
    whole = configured_domains(DomainsConfig(**config | {"image_size": 10, "load_size": None}))(0)[0]
    cuts = {name: set() for name in ("a", "b")}
    for step in range(12):
        (batch,) = batches(step)
        for name, images in batch.items():
            places = [
                (y, x)
                for y in range(3)
                for x in range(3)
                if np.array_equal(images[0], whole[name][0, y : y + 8, x : x + 8])
            ]
            cuts[name].add(*places)
    assert min(map(len, cuts.values())) > 3
    paired = configured_domains(DomainsConfig(**config, paired=True))
    for step in range(4):
        (batch,) = paired(step)
        np.testing.assert_array_equal(batch["a"], batch["b"])  # one picture, cut at one place


@pytest.mark.parametrize("resident_mib", [0, 1])
def test_unequal_sets(tmp_path, resident_mib):
    """junyanz/pytorch-CycleGAN-and-pix2pix#801: unequal sets were paired one to one, and images of the larger were
    left out.
    """
    config = DomainsConfig(dataset=folder(tmp_path, trainA=3, trainB=7), resident_mib=resident_mib, **SMALL)
    batches = configured_domains(config)
    epochs = [shown(batches, range(7 * epoch, 7 * epoch + 7)) for epoch in range(2)]
    for a, b in epochs:
        assert sorted(b) == list(range(7))
        assert set(np.bincount(a, minlength=3)) <= {2, 3}
    assert set(zip(*epochs[0], strict=True)) != set(zip(*epochs[1], strict=True))


def test_one_image_against_seven(tmp_path):
    batches = configured_domains(DomainsConfig(dataset=folder(tmp_path, trainA=1, trainB=7), **SMALL))
    for epoch in range(2):
        a, b = shown(batches, range(7 * epoch, 7 * epoch + 7))
        assert a == [0] * 7 and sorted(b) == list(range(7))


def test_paired_sets_are_of_one_size(tmp_path):
    name = folder(tmp_path, trainA=3, trainB=7, testA=4, testB=4)
    with pytest.raises(ValueError, match=r"trainB/3.png has no partner"):
        configured_domains(DomainsConfig(dataset=name, paired=True, **SMALL))
    config = DomainsConfig(dataset=name, split_a="testA", split_b="testB", paired=True, **SMALL)
    a, b = shown(configured_domains(config), range(8))
    assert a == b and sorted(a[:4]) == [0, 1, 2, 3]


@pytest.mark.parametrize(("a", "b"), [(3, 7), (7, 3), (2, 9), (5, 6)])
def test_every_image_is_shown_about_equally_often(a, b):
    batches = arrays(a, b)
    for epoch in range(20):
        found = shown(batches, range(epoch * max(a, b), (epoch + 1) * max(a, b)))
        for size, numbers in zip((a, b), found, strict=True):
            assert set(np.bincount(numbers, minlength=size)) <= {max(a, b) // size, -(-max(a, b) // size)}


def test_the_length_of_an_epoch_is_printed_at_the_start(tmp_path, capsys):
    small_domains.train(tmp_path / "run", tmp_path / "data")
    assert "3 images of a, 4 of b: an epoch is 2 steps" in capsys.readouterr().out
