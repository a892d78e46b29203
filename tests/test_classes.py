"""Which classes a folder has, and whether a data set's are those of a run."""

import numpy as np
import pytest
from PIL import Image

from jaxgan.data.classes import find_label
from jaxgan.data.pipeline import image_batches
from jaxgan.data.sources import images, open_images


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            Image.new("RGB", (4, 4)).save(folder / name)


def batches(name, num_classes, *, resident_mib=1, **options):
    shape = {"batch_size": 1, "image_size": 4, "channels": 3}
    return image_batches(name, labels="label", num_classes=num_classes, resident_mib=resident_mib, **shape, **options)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            ["animals/cat/a.png", "animals/dog/b.png"],
            r"one sub-folder, .*; give folder:.*animals for the classes cat, dog",
        ),
        (
            ["train/animals/cat/a.png", "train/animals/dog/b.png"],
            r"give folder:.*/train/animals for the classes cat, dog",
        ),
        (["cat/a.png", "cat/b.png"], r"one sub-folder, .*cat, but labels need at least two classes$"),
        (["cat/a.png", "dog/"], r"one sub-folder, .*cat, but labels need at least two classes"),
        (["cat/a.png", "dog/b.png", "c.png"], r"c\.png is not in the folder of a class"),
        (["cat/a.png", "dog/b.png", "c.png", "d.png"], r"c\.png and 1 more images are not in the folder of a class"),
        (["a.png"], "its images are not in sub-folders, which would be the classes"),
        (["Train/cat/a.png", "Test/cat/b.png"], "folders Test, Train look like splits, not classes: rename the"),
    ],
)
def test_folders_that_are_no_classes(tmp_path, files, reason):
    """Whose images had the label 0, or the labels of their splits, without a word."""
    write(tmp_path, *files)
    assert list(images(f"folder:{tmp_path}")) == ["image"]
    with pytest.raises(ValueError, match=rf"has no labels: .*{reason}"):
        batches(f"folder:{tmp_path}", 2)


def test_classes_are_the_folders_at_the_top(tmp_path):
    """As torchvision's ImageFolder has them, whatever lies below."""
    write(tmp_path, "plants/oak/a.png", "animals/cat/small/b.png", "animals/c.png", ".hidden/d.png")
    source = open_images(f"folder:{tmp_path}")
    assert source.classes == ("animals", "plants") and source.read([0, 1, 2])["label"].tolist() == [0, 0, 1]
    assert source.labels.tolist() == [0, 0, 1]


def test_a_class_without_images_keeps_its_number(tmp_path):
    write(tmp_path, "ant/a.png", "bee/", "cow/c.png")
    source = open_images(f"folder:{tmp_path}")
    assert source.classes == ("ant", "bee", "cow") and source.labels.tolist() == [0, 2]
    for mib in (0, 1):
        with pytest.raises(
            ValueError, match=r"1 of 3 classes have no image in this split of .*, the first is 1 \(bee\)"
        ):
            batches(f"folder:{tmp_path}", 3, resident_mib=mib)
    write(tmp_path, "bee/b.png")
    assert batches(f"folder:{tmp_path}", 3).classes == ("ant", "bee", "cow")


def test_a_class_whose_name_is_no_text_is_refused(tmp_path):
    """Its name goes into config.json, which holds text: nothing could open the run again."""
    write(tmp_path, "cat/a.png", "caf\udce9/b.png")
    with pytest.raises(ValueError, match=r"has a class folder 'caf.udce9' whose name is not valid UTF-8: rename it"):
        open_images(f"folder:{tmp_path}")


def test_a_class_of_another_split_alone(tmp_path):
    write(tmp_path, "train/ant/a.png", "train/cow/c.png", "test/ant/a.png", "test/bee/b.png")
    source = open_images(f"folder:{tmp_path}")
    assert source.classes == ("ant", "bee", "cow") and source.labels.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"the first is 1 \(bee\)"):
        batches(f"folder:{tmp_path}", 3)


@pytest.mark.parametrize("mib", [0, 1])
@pytest.mark.parametrize("number", [2, 10])
def test_another_number_of_classes(tmp_path, number, mib):
    write(tmp_path, "ant/a.png", "bee/b.png", "cow/c.png")
    message = rf"has 3 classes \(ant, bee, cow\), but num_classes={number}: give --num-classes 3$"
    with pytest.raises(ValueError, match=message):
        batches(f"folder:{tmp_path}", number, resident_mib=mib)


@pytest.mark.parametrize(
    ("labels", "number", "message"),
    [
        ([0, 1, 2, 2], 10, r"has 3 classes, labels 0 to 2, but num_classes=10: give --num-classes 3$"),
        ([0, 1, 2, 2], 2, r"has label 2, outside 0\.\.num_classes-1=1: give --num-classes 3$"),
        (
            [0, 2, 3, 3],
            4,
            r"1 of 4 classes have no image .* the first is 1: add images, or renumber the labels without it",
        ),
        ([0, 2, 3, 3], 10**10, "classes have no image"),
    ],
)
def test_labels_without_names(tmp_path, labels, number, message):
    np.savez(tmp_path / "a.npz", image=np.zeros((4, 4, 4), np.uint8), label=labels)
    for mib in (0, 1):
        with pytest.raises(ValueError, match=message):
            batches(str(tmp_path / "a.npz"), number, resident_mib=mib)


def test_names_in_an_npz(tmp_path):
    arrays = {"image": np.zeros((4, 4, 4), np.uint8), "label": [0, 1, 2, 2]}
    np.savez(tmp_path / "a.npz", **arrays, names=["ant", "bee", "cow"])
    assert batches(str(tmp_path / "a.npz"), 3).classes == ("ant", "bee", "cow")
    np.savez(tmp_path / "a.npz", **arrays, names=["ant", "bee"])
    with pytest.raises(ValueError, match="has the label 2, but names for 2 classes"):
        batches(str(tmp_path / "a.npz"), 3)


def test_stacked_modes_are_counted():
    batches("stacked:noise", 1000, split="train[:45000]")
    with pytest.raises(ValueError, match=r"label \d+, outside 0\.\.num_classes-1=9"):
        batches("stacked:noise", 10)


def test_a_folder_without_a_name():
    for name in ("folder:", "folder: "):
        with pytest.raises(ValueError, match=r"has no path: give folder:PATH, or folder:\. for the current folder"):
            open_images(name)


def test_a_label_is_found_by_its_name_and_else_by_its_number():
    classes = ("7", "ant", "b\u00e9e")
    assert [find_label(name, classes, 3) for name in ("7", "ant", "be\u0301e", "1")] == [0, 1, 2, 1]
    for name, message in (
        ("anx", r"no class is called 'anx': there are 7, ant, b\u00e9e; did you mean ant\?"),
        ("3", "not 3"),
    ):
        with pytest.raises(ValueError, match=message):
            find_label(name, classes, 3)
    assert find_label("2", None, 3) == 2
    with pytest.raises(ValueError, match="the classes of this run have no names"):
        find_label("ant", None, 3)
    with pytest.raises(ValueError, match="not -1"):
        find_label("-1", None, 3)
