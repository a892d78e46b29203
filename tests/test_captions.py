"""Images with captions, from every source, and batches of them."""

import itertools
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from test_published import write_idx
from tiny_tfds import png, prepare

from jaxgan.data.builders import shapes
from jaxgan.data.builders.scene_captions import parse
from jaxgan.data.builders.scenes import meaning_of
from jaxgan.data.captions import CLOTHES, TINTS, CaptionedBatches, captioned_images, meanings
from jaxgan.data.order import batch_indices
from jaxgan.data.sources import images
from jaxgan.data.vocabulary import Vocabulary

PIXELS = np.zeros((8, 8), np.uint8)
CAFE = ("caf\u00e9", "cafe\u0301")  # composed and decomposed


def save(path, level=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (level, 0, 0)).save(path)


def lines(*entries):
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def captions(folder, split="train"):
    return captioned_images(f"folder:{folder}", split)["captions"]


def test_a_captions_jsonl(tmp_path):
    for level, name in enumerate(("a.png", "b.png", "deep/c.png"), start=1):
        save(tmp_path / name, level)
    (tmp_path / "captions.jsonl").write_text(
        lines(
            {"file": "deep/c.png", "captions": ["a dog", "the dog"]},
            {"file": "a.png", "caption": "  a red bird "},
            {"file": "./b.png", "captions": ["A bird.", "a red  bird!"]},
        )
        + "\n"
        + lines({"file": "a.png", "caption": "bird in a tree"})
    )
    found = captioned_images(f"folder:{tmp_path}", image_size=2, channels=3)
    assert found["image"].shape == (3, 2, 2, 3) and found["image"][:, 0, 0, 0].tolist() == [1, 2, 3]
    assert found["captions"] == [["a red bird", "bird in a tree"], ["A bird.", "a red  bird!"], ["a dog", "the dog"]]
    assert found["meaning"].tolist() == [0, 0, 1] and found["meaning"].dtype == np.int32


def test_text_files_beside_the_images(tmp_path):
    for name in ("a.png", "b.png", "x/a.png"):
        save(tmp_path / name)
    (tmp_path / "a.txt").write_bytes(
        b"\xef\xbb\xbfa red bird\r\n\r\na bird\r\n"
    )  # a byte order mark, and Windows' ends
    (tmp_path / "b.txt").write_text(f"{CAFE[1]}\u2028terrace", encoding="utf-8")  # a line separator, in a text
    (tmp_path / "x/a.txt").write_text("синяя птица 🐦\n", encoding="utf-8")
    (tmp_path / "LICENSE.txt").write_text("no caption")
    assert captions(tmp_path) == [["a red bird", "a bird"], [f"{CAFE[0]}\u2028terrace"], ["синяя птица 🐦"]]


def test_splits_have_their_captions_in_one_file_or_in_each(tmp_path):
    for name in ("train/a.png", "test/b.png"):
        save(tmp_path / name)
    entries = ({"file": "train/a.png", "caption": "a dog"}, {"file": "test/b.png", "caption": "a cat"})
    (tmp_path / "captions.jsonl").write_text(lines(*entries))
    assert (captions(tmp_path), captions(tmp_path, "test")) == ([["a dog"]], [["a cat"]])
    assert captions(tmp_path, "test+train") == [["a cat"], ["a dog"]]
    (tmp_path / "captions.jsonl").unlink()
    for split, file, text in (("train", "a.png", "a dog"), ("test", "b.png", "a cat")):
        (tmp_path / split / "captions.jsonl").write_text(lines({"file": file, "caption": text}))
    assert (captions(tmp_path), captions(tmp_path, "test")) == ([["a dog"]], [["a cat"]])


def test_file_names_are_found_however_their_accents_are_encoded(tmp_path):
    save(tmp_path / f"{CAFE[0]}.png")
    (tmp_path / "captions.jsonl").write_text(lines({"file": f"{CAFE[1]}.png", "caption": "x"}), encoding="utf-8-sig")
    assert captions(tmp_path) == [["x"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"file": "a.png", "caption": ""}', r"captions\.jsonl, line 1 has the caption '', which has no word"),
        (b'\r\n{"file": "a.png", "captions": ["a", "  !!! "]}', r"line 2 has the caption '  !!! ', which has no word"),
        ('{"file": "a.png", "caption": "\U0001f426"}'.encode(), r"line 1 has the caption '\U0001f426', which has no"),
        (b'{"file": "a.png", "captions": []}', r"1 images of folder:.* have no caption, the first is a\.png: expected"),
        (b"", r"the first is a\.png: expected a line in .*captions\.jsonl"),
        (b'{"file": "b.png", "caption": "x"}', r"line 1 has captions of 'b\.png', but there is no such image"),
        (b'{"file": "a.png", "caption": "x"}\n{"file": "a.png"', r"captions\.jsonl, line 2 is not JSON"),
        (b"[" * 100_000, r"captions\.jsonl, line 1 is not JSON: maximum recursion"),
        (b'{"file": "a.png", "caption": ' + b"9" * 5000 + b"}", r"captions\.jsonl, line 1 is not JSON: Exceeds"),
        (b'{"file": "a.png", "caption": "\\ud800 bird"}', "line 1 has the caption .* which contains a lone surrogate"),
        (b'{"file": "../../a.png", "caption": "x"}', "line 1 has captions of '../../a.png', but there is no such"),
        (b'{"file": "a.png", "caption": 3}', r"line 1 is not of the form \{\"file\""),
        (b'{"file": "a.png", "captions": "x"}', "line 1 is not of the form"),
        (b'{"caption": "x"}', "line 1 is not of the form"),
        (b'["a.png", "x"]', "line 1 is not of the form"),
        (b'\n\r\r\n{"file": "a.png", "caption": "x", "captions": ["y"]}', "line 4 has both caption and captions"),
        (b'{"file": "a.png", "caption": "x", "caption": "y"}', "line 1 is not JSON: duplicate name 'caption' in one"),
        (b'{"file": "b.png", "file": "a.png", "caption": "y"}', "line 1 is not JSON: duplicate name 'file' in one"),
        (b'\n{"file": "a.png", "n": [' + b"[]," * 400_000 + b'0], "caption": "x"}', r"line 2 has 1,200,\d+ bytes"),
        (
            b'{"file": "a.png", "caption": "' + b"a" * 10_001 + b'"}',
            "line 1 has a caption of 10,001 characters, more than",
        ),
        (b'{"file": "a.png", "caption": "a"}\n' * 1001, "line 1001: 'a.png' has more than 1,000 captions"),
        (b'{"file": "a.png", "captions": []}\n' * 1001, "line 1001: 'a.png' has more than 1,000 captions"),
        (
            b'{"file": "a.png", "captions": [' + b'"a",' * 1000 + b'"a"]}',
            "line 1: 'a.png' has more than 1,000 captions",
        ),
        (b'{"file": "b.png", "captions": []}\n' * 3000, "line 1 has .*; so have at least 1,000 more lines"),
        ('\n{"file": "a.png", "caption": "caf\u00e9"}'.encode("latin-1"), "line 2 is not UTF-8: byte 0xe9; save it as"),
    ],
)
def test_a_captions_jsonl_that_cannot_be_meant(tmp_path, content, message):
    save(tmp_path / "a.png")
    (tmp_path / "captions.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        captions(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"1 images of folder:.* have no caption, the first is a\.png: expected a line in a \.txt beside it, or"),
        (b"  \n\n", "1 images of folder:.* have no caption"),
        (b"a bird\n!!!\n", r"a\.txt, line 2 has the caption '!!!', which has no word"),
        (b"a bird\n" * 1001, r"a\.txt, line 1001: 'a\.png' has more than 1,000 captions"),
        (b"a bird\n" + b"a" * 10_001, r"a\.txt, line 2 has a caption of 10,001 characters"),
        ("a bird\ncaf\u00e9\n".encode("latin-1"), r"a\.txt, line 2 is not UTF-8: byte 0xe9"),
    ],
)
def test_text_files_that_cannot_be_meant(tmp_path, content, message):
    save(tmp_path / "a.png")
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        captions(tmp_path)


def test_images_that_share_a_text(tmp_path):
    save(tmp_path / "A.png")
    save(tmp_path / "A.jpg")
    (tmp_path / "A.txt").write_text("a bird")
    with pytest.raises(
        ValueError, match=r"A\.jpg and A\.png in .* share the captions of one \.txt: rename one of them"
    ):
        captions(tmp_path)


def test_texts_of_no_image_are_named(tmp_path):
    save(tmp_path / "a.png")
    for name in ("a.txt", "ghost.txt", "x/y.TXT"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a bird")
    examples = captioned_images(f"folder:{tmp_path}")
    notice = CaptionedBatches(examples, lambda texts: np.zeros((len(texts), 1), int), batch_size=1).notice
    assert f"2 .txt files belong to no image, the first is {tmp_path / 'ghost.txt'}" in notice


def test_texts_of_one_name_in_two_forms(tmp_path):
    save(tmp_path / f"{CAFE[0]}.png")
    (tmp_path / f"{CAFE[1]}.TXT").write_text("a bird")
    assert captions(tmp_path) == [["a bird"]]
    (tmp_path / f"{CAFE[0]}.txt").write_text("a dog")
    with pytest.raises(ValueError, match="both have captions of"):
        captions(tmp_path)
    (tmp_path / f"{CAFE[0]}.txt").unlink()
    save(tmp_path / f"{CAFE[1]}.png")
    with pytest.raises(ValueError, match="same name in two Unicode forms"):
        captions(tmp_path)


def test_lines_of_one_image_are_joined_and_a_caption_twice_counts_once(tmp_path):
    save(tmp_path / "a.png")
    lines = [{"file": "a.png", "caption": text} for text in ("a bird", "a red bird", "a bird")]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert captions(tmp_path) == [["a bird", "a red bird"]]


def test_lines_of_images_that_are_not_there_are_counted(tmp_path):
    save(tmp_path / "in/a.png")
    save(tmp_path / "b.png")
    lines = [{"file": name, "caption": "a bird"} for name in ("../b.png", "a.png", "/etc/passwd", "c.png")]
    (tmp_path / "in/captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match=r"line 1 has captions of '\.\./b\.png', .* in .*/in; so have 2 more lines"):
        captions_of = captioned_images(f"folder:{tmp_path / 'in'}")
        pytest.fail(str(captions_of))


def test_captions_are_read_within_bounds(tmp_path, monkeypatch):
    save(tmp_path / "a.png")
    monkeypatch.setattr("jaxgan.data.folder_captions.MOST_BYTES", 10)
    for name in ("a.txt", "captions.jsonl"):
        (tmp_path / name).write_text("a bird, and more of it")
        with pytest.raises(ValueError, match=rf"{name} is larger than 10 bytes"):
            captions(tmp_path)


def test_meanings():
    """No caption of an image of another meaning is one of its own; against all pairs of images."""
    random = np.random.default_rng(0)
    some = [
        [f"Text {number}" for number in random.integers(60, size=count)] for count in random.integers(1, 4, size=40)
    ]
    found = meanings(some)
    assert 1 < len(set(found.tolist())) < 40 and set(found) == set(range(found.max() + 1))
    linked = np.array([[bool(set(one) & set(other)) for other in some] for one in some])
    for _ in range(6):  # chains of up to 64 links
        linked = (linked.astype(int) @ linked) > 0
    np.testing.assert_array_equal(found[:, None] == found, linked)


def test_captions_of_the_same_words_have_one_meaning():
    assert meanings([["red flower"], ["Red  flower!"], ["blue flower"]]).tolist() == [0, 0, 1]
    assert meanings([[CAFE[0]], [CAFE[1].upper()], ["cafe"]]).tolist() == [0, 0, 1]
    assert meanings([["same"]] * 3).tolist() == [0, 0, 0]


def test_a_data_set_with_captions(tmp_path):
    features = {"image": tfds.features.Image(shape=(2, 2, 3)), "captions": tfds.features.Sequence(tfds.features.Text())}
    examples = [
        {"image": png(np.full((2, 2, 3), i, np.uint8)), "captions": [f"tone {i}", "x"[: i % 2]]} for i in (1, 3)
    ]
    prepare(tmp_path, "toned", features, {"train": examples})
    found = captioned_images("toned", data_dir=tmp_path)
    order = found["image"][:, 0, 0, 0].tolist()
    assert found["captions"] == [[f"tone {i}", "x"] for i in order]
    assert found["meaning"].tolist() == [0, 0]  # both may be called x


def test_one_caption_and_a_meaning_of_its_own(tmp_path):
    features = {
        "image": tfds.features.Image(shape=(2, 2, 3)),
        "caption": tfds.features.Text(),
        "meaning": tfds.features.Scalar(np.int64),
    }
    pixels = np.zeros((2, 2, 3), np.uint8)
    examples = [{"image": png(pixels), "caption": f"n\u00b0 {i}", "meaning": i + 7} for i in range(3)]
    prepare(tmp_path, "one", features, {"train": examples})
    found = captioned_images("one", data_dir=tmp_path)
    assert {some[0]: int(own) for some, own in zip(found["captions"], found["meaning"], strict=True)} == {
        f"n\u00b0 {i}": i + 7 for i in range(3)
    }
    assert found["meaning"].dtype == np.int32


def test_a_data_set_with_an_empty_caption(tmp_path):
    features = {"image": tfds.features.Image(shape=(2, 2, 3)), "caption": tfds.features.Text()}
    prepare(tmp_path, "one", features, {"train": [{"image": png(np.zeros((2, 2, 3), np.uint8)), "caption": " "}]})
    with pytest.raises(ValueError, match="one train, example 0 has the caption ' ', which has no word"):
        captioned_images("one", data_dir=tmp_path)


def test_data_sets_without_captions(tmp_path):
    with pytest.raises(ValueError, match="data set noise has no captions"):
        captioned_images("noise")
    prepare(tmp_path, "bare", {"image": tfds.features.Image(shape=(8, 8, 1))}, {"train": [{"image": png(PIXELS)}]})
    with pytest.raises(ValueError, match="data set bare has no feature 'caption' or 'captions'"):
        captioned_images("bare", data_dir=tmp_path)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Few scenes, and 12 and 3 images of clothes."""
    path = tmp_path_factory.mktemp("tfds")
    write_idx(path, "fashion_mnist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "_SPLITS", {"train": 50, "test": 10, "heldout": 10})
        images("shapes", data_dir=path)
    return path


def test_scenes(data_dir):
    found = captioned_images("shapes", "heldout", data_dir=data_dir)
    np.testing.assert_array_equal(found["image"], images("shapes", "heldout", data_dir=data_dir)["image"])
    for some, own in zip(found["captions"], found["meaning"], strict=True):
        assert [int(meaning_of(parse(caption))) for caption in some] == [own] * 5
    # The meaning found by words alone joins what shares a caption, and so may only be coarser.
    by_words = meanings(found["captions"])
    assert len(set(zip(by_words.tolist(), found["meaning"].tolist(), strict=True))) == len(
        set(found["meaning"].tolist())
    )


def test_clothes(data_dir):
    grey = {split: images("fashion_mnist", split, data_dir=data_dir) for split in ("train", "test")}
    found = {
        split: captioned_images("fashion_mnist", split, data_dir=data_dir) for split in ("train", "test", "heldout")
    }
    expected = {"train": [], "test": [], "heldout": []}
    for split, row in [*(("train", i) for i in range(12)), *(("test", i) for i in range(3))]:
        kind, tint = int(grey[split]["label"][row]), row % 6
        held_out = kind % 6 == tint
        if not (held_out and split == "train"):
            expected["heldout" if held_out else split].append((split, row, kind, tint))
    assert sum(map(len, expected.values())) < 15 and expected["train"]
    for split, wanted in expected.items():
        if not wanted:
            continue
        assert found[split]["meaning"].tolist() == [kind * 6 + tint for *_, kind, tint in wanted]
        for image, some, (base, row, kind, tint) in zip(
            found[split]["image"], found[split]["captions"], wanted, strict=True
        ):
            name, colour = list(TINTS.items())[tint]
            article, thing = CLOTHES[kind]
            assert some == [f"a {name} {thing}", f"{article} {thing} in {name}", f"a picture of a {name} {thing}"]
            np.testing.assert_allclose(image, grey[base]["image"][row] * (np.array(colour) / 255), atol=0.51)
    assert captioned_images("fashion_mnist", "train[2:4]", data_dir=data_dir, image_size=16)["image"].shape == (
        2,
        16,
        16,
        3,
    )
    with pytest.raises(ValueError, match="channels=1, but fashion_mnist with captions has 3 channels"):
        captioned_images("fashion_mnist", data_dir=data_dir, channels=1)


@pytest.fixture(scope="module")
def examples(data_dir):
    return captioned_images("shapes", data_dir=data_dir)


def encode_with(vocabulary):
    return lambda texts: vocabulary.encode(texts, max_len=14)


def test_batches(examples):
    vocabulary = Vocabulary.of(itertools.chain.from_iterable(examples["captions"]))
    batches = CaptionedBatches(examples, encode_with(vocabulary), batch_size=8, seed=3, d_steps=2)
    assert (batches.size, batches.batch_size, batches.notice) == (50, 8, None)
    for step in range(2):
        for i, batch in enumerate(batches(step)):
            assert {name: (values.shape, values.dtype.name) for name, values in batch.items()} == {
                "image": ((8, 32, 32, 3), "float32"),
                "text": ((8, 14), "int32"),
                "meaning": ((8,), "int32"),
            }
            rows = batch_indices(3, 2 * step + i, 50, 8)
            np.testing.assert_allclose(batch["image"], examples["image"][rows] / 127.5 - 1, atol=1e-6)
            np.testing.assert_array_equal(batch["meaning"], examples["meaning"][rows])
            for row, text in zip(rows, vocabulary.decode(batch["text"]), strict=True):
                assert text in examples["captions"][row]


def test_each_time_another_caption_and_always_the_same(examples):
    vocabulary = Vocabulary.of(itertools.chain.from_iterable(examples["captions"]))
    options = {"batch_size": 10, "seed": 1}
    batches = CaptionedBatches(examples, encode_with(vocabulary), **options)
    again = CaptionedBatches(examples, encode_with(vocabulary), **options)
    which = []
    for step in range(60):
        (batch,) = batches(step)
        rows = batch_indices(1, step, 50, 10)
        texts = vocabulary.decode(batch["text"])
        which += [examples["captions"][row].index(text) for row, text in zip(rows, texts, strict=True)]
    np.testing.assert_allclose(np.bincount(which) / 600, 0.2, atol=0.05)  # three standard deviations
    np.testing.assert_array_equal(again(17)[0]["text"], batches(17)[0]["text"])
    other = CaptionedBatches(examples, encode_with(vocabulary), batch_size=10, seed=1, d_steps=2)
    np.testing.assert_array_equal(other(8)[1]["text"], batches(17)[0]["text"])  # the same update, by another way


def test_unequal_numbers_of_captions_and_embeddings():
    """Image 0 has one caption and image 1 three, each as often as another."""
    some = {
        "image": np.zeros((2, 4, 4, 3), np.uint8),
        "captions": [["a"], ["b", "c", "d"]],
        "meaning": np.array([0, 1]),
    }
    batches = CaptionedBatches(some, lambda texts: [[ord(text), 0.5] for text in texts], batch_size=2)
    drawn = [batches(step)[0] for step in range(150)]
    of = lambda own: [
        chr(int(t[0])) for batch in drawn for t, m in zip(batch["text"], batch["meaning"], strict=True) if m == own
    ]
    assert drawn[0]["text"].dtype.name == "float32" and drawn[0]["text"].shape == (2, 2)
    assert set(of(0)) == {"a"}
    np.testing.assert_allclose([of(1).count(text) / 150 for text in "bcd"], 1 / 3, atol=0.12)


def test_batches_that_cannot_be():
    some = {"image": np.zeros((2, 4, 4, 3), np.uint8), "captions": [["a"], []], "meaning": np.array([0, 1])}
    with pytest.raises(ValueError, match="1 images have no caption, the first in row 1"):
        CaptionedBatches(some, lambda texts: np.zeros((len(texts), 3), int), batch_size=1)
    with pytest.raises(ValueError, match=r"encode returned \[3\] for 2 texts, not \[2, \.\.\.\]"):
        CaptionedBatches(some | {"captions": [["a"], ["b"]]}, lambda texts: np.zeros(3, int), batch_size=1)
    with pytest.raises(ValueError, match="fewer than one batch of 3"):
        CaptionedBatches(some | {"captions": [["a"], ["b"]]}, lambda texts: np.zeros((2, 3), int), batch_size=3)
