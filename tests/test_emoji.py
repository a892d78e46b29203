"""Emoji of two vendors, from packages of a few images made here as the npm registry has them."""

import io
import json
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxgan.data.builders import emoji
from jaxgan.data.builders.emoji import PACKAGES, base_of
from jaxgan.data.sources import images

SPLITS = ("train", "test", "trainA", "trainB", "testA", "testB")
TONES = {"1F3FB": "light", "1F3FD": "medium", "1F3FF": "dark"}


def entry(code, name, *, short=(), category="Objects", subcategory="tool", tones=()):
    """As emoji.json has it, by what the builder reads."""
    file = lambda code: f"{code.lower()}.png"
    skins = {tone: {"unified": f"{code}-{tone}", "image": file(f"{code}-{tone}")} for tone in tones}
    short = list(short or [name.lower().replace(" ", "_")])
    described = {"name": name, "short_name": short[0], "short_names": short, "category": category}
    described |= {"unified": code, "image": file(code), "subcategory": subcategory}
    return described | ({"skin_variations": skins} if skins else {})


PEOPLE = {"category": "People & Body", "subcategory": "person-role", "tones": ["1F3FB", "1F3FD"]}
ENTRIES = [
    entry("1F9D1-200D-1F692", "FIREFIGHTER", **PEOPLE),
    entry("1F469-200D-1F692", "WOMAN FIREFIGHTER", short=["female-firefighter"], **PEOPLE),
    entry("1F1F3-1F1F4", "NORWAY FLAG", short=["flag-no"], category="Flags", subcategory="country-flag"),
    entry("1F1E7-1F1FB", "BOUVET ISLAND FLAG", short=["flag-bv"], category="Flags", subcategory="country-flag"),
    *(entry(f"1F{600 + i}", f"FACE {i}", short=[f"face_{i}", f"other_{i}"]) for i in range(36)),
]
CODES = [
    code
    for one in ENTRIES
    for code in (one["unified"], *(v["unified"] for v in one.get("skin_variations", {}).values()))
]


def picture(code, vendor):
    """Its number in red, its vendor in green; the two flags are one image; the first face is transparent grey."""
    number = CODES.index("1F1F3-1F1F4" if code == "1F1E7-1F1FB" else code)
    file = io.BytesIO()
    if code == "1F600":
        Image.new("LA", (64, 64), (number, 0)).save(file, "png")
    else:
        Image.new("RGBA", (64, 64), (number, 100 * vendor, 7, 255)).save(file, "png")
    return file.getvalue()


def files(vendor, *, version="16.0.0", entries=ENTRIES, without=()):
    name = ("google", "twitter")[vendor]
    found = {"package/package.json": json.dumps({"version": version}), "package/emoji.json": json.dumps(entries)}
    found |= {"package/README.md": "read me", f"package/img/{name}/sheets/64.png": "no picture"}
    pictures = {f"package/img/{name}/64/{code.lower()}.png": picture(code, vendor) for code in CODES}
    return {key: value for key, value in (found | pictures).items() if key not in without}


def pack(path, content):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in content.items():
            data = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def unpack(folder, content):
    for name, data in content.items():
        path = folder / name.removeprefix("package/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)


def pack_both(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    for vendor, name in enumerate(PACKAGES):
        pack(folder / f"{name}-16.0.0.tgz", files(vendor, **changes))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    pack_both(path)
    images("emoji", data_dir=path)
    return path


def examples(data_dir, split):
    return list(tfds.data_source("emoji", data_dir=data_dir, split=split))


def text(value):
    return value.decode()


def test_every_emoji_of_both_vendors_is_in_one_split(data_dir):
    codes = {split: [text(one["code"]) for one in examples(data_dir, split)] for split in SPLITS}
    assert sorted(codes["train"] + codes["test"]) == sorted([*CODES, *CODES])
    assert 0 < len(set(codes["test"])) < len(CODES) / 3
    assert not set(codes["train"]) & set(codes["test"])
    assert codes["testA"] == codes["testB"] and set(codes["testA"]) == set(codes["test"])
    assert codes["trainB"] == codes["trainA"][::-1] and set(codes["trainA"]) == set(codes["train"])
    half = len(codes["trainA"]) // 2
    assert not set(codes["trainA"][:half]) & set(codes["trainB"][:half])
    assert "tensorflow" not in sys.modules


def test_images_are_composited_over_white(data_dir):
    for split, vendors in {"train": (0, 1), "test": (0, 1), "trainA": (0,), "testB": (1,)}.items():
        for one in examples(data_dir, split):
            assert one["image"].shape == (64, 64, 3) and one["vendor"] in vendors
            code = text(one["code"])
            number = CODES.index("1F1F3-1F1F4" if code == "1F1E7-1F1FB" else code)
            expected = (255, 255, 255) if code == "1F600" else (number, 100 * one["vendor"], 7)
            np.testing.assert_array_equal(one["image"], np.broadcast_to(np.uint8(expected), (64, 64, 3)))


def test_a_base_has_its_variants_and_its_likes(data_dir):
    everywhere = examples(data_dir, "train") + examples(data_dir, "test")
    base = {text(one["code"]): text(one["base"]) for one in everywhere}
    firefighters = {base[code] for code in CODES if code.endswith("1F692") or "1F692-" in code}
    assert firefighters == {"1F9D1-1F692"}
    assert base["1F1F3-1F1F4"] == base["1F1E7-1F1FB"] == "1F1E7-1F1FB"  # one image
    assert len(set(base.values())) == len(ENTRIES) - 2
    meanings = {(text(one["base"]), int(one["meaning"])) for one in everywhere}
    assert sorted(number for _, number in meanings) == list(range(len(ENTRIES) - 2))


def test_captions(data_dir):
    everywhere = examples(data_dir, "train") + examples(data_dir, "test")
    captions = {text(one["code"]): [text(caption) for caption in one["captions"]] for one in everywhere}
    assert captions["1F600"] == ["face 0", "other 0", "face 0, tool, objects"]
    assert captions["1F469-200D-1F692-1F3FD"] == [
        "woman firefighter with medium skin tone",
        "female firefighter with medium skin tone",
        "woman firefighter with medium skin tone, person role, people and body",
    ]
    assert captions["1F1F3-1F1F4"][:2] == ["norway flag", "flag no"]
    info = tfds.builder_from_directory(data_dir / "emoji/1.0.0").info
    assert info.features["label"].names[everywhere[0]["label"]] in emoji.CATEGORIES
    assert (
        "CC" not in info.description
        and "Creative Commons Attribution 4.0" in (data_dir / "emoji/1.0.0/LICENSE").read_text()
    )


# Code points from the Unicode emoji charts.
@pytest.mark.parametrize(
    ("codes", "base"),
    [
        (["1F3C3", "1F3C3-1F3FB", "1F3C3-200D-2640-FE0F", "1F3C3-1F3FF-200D-2642-FE0F-200D-27A1-FE0F"], "1F3C3"),
        (["1F468-200D-2695-FE0F", "1F469-1F3FD-200D-2695-FE0F", "1F9D1-200D-2695-FE0F"], "1F9D1-2695"),
        (["1F468", "1F469", "1F9D1-1F3FE"], "1F9D1"),
        (["1F466", "1F467"], "1F9D2"),
        (["1F385", "1F936-1F3FB", "1F9D1-200D-1F384"], "1F9D1-1F384"),
        (
            ["1F491", "1F469-200D-2764-FE0F-200D-1F468", "1F469-1F3FB-200D-2764-FE0F-200D-1F469-1F3FC"],
            "1F9D1-2764-1F9D1",
        ),
        (["1F46B", "1F46C-1F3FD", "1F9D1-200D-1F91D-200D-1F9D1"], "1F9D1-1F91D-1F9D1"),
        (["1F46A", "1F468-200D-1F466", "1F469-200D-1F469-200D-1F467-200D-1F466", "1F9D1-200D-1F9D2"], "1F46A"),
        (["2640-FE0F"], "2640"),  # the sign itself is no variant of anything
        (["27A1-FE0F"], "27A1"),
        (["1F3FB"], "1F3FB"),
        (["0023-FE0F-20E3"], "0023-20E3"),
        (["26F9-FE0F-200D-2640-FE0F", "26F9-1F3FB"], "26F9"),
    ],
)
def test_bases(codes, base):
    assert {base_of(code) for code in codes} == {base}


def test_images_and_their_categories(data_dir):
    a, b = (images("emoji", split, data_dir=data_dir, image_size=16) for split in ("testA", "testB"))
    assert a["image"].shape == b["image"].shape == (len(a["label"]), 16, 16, 3)
    np.testing.assert_array_equal(a["label"], b["label"])
    np.testing.assert_array_equal(a["image"][..., 0], b["image"][..., 0])  # the number of the emoji


@pytest.mark.parametrize("place", ["emoji", "downloads/emoji"])
def test_where_the_packages_may_lie(tmp_path, place):
    pack_both(tmp_path / place)
    assert len(images("emoji", "train+test", data_dir=tmp_path)["image"]) == 2 * len(CODES)


def test_unpacked_packages(tmp_path, data_dir):
    unpack(tmp_path / PACKAGES[0], files(0))
    unpack(tmp_path / f"{PACKAGES[1]}-16.0.0/package", files(1))
    found, packed = (images("emoji", "testA+testB", data_dir=path) for path in (tmp_path, data_dir))
    np.testing.assert_array_equal(found["image"], packed["image"])


def test_a_missing_package_gives_the_command(tmp_path):
    pack(tmp_path / f"{PACKAGES[0]}-16.0.0.tgz", files(0))
    with pytest.raises(ValueError, match="data set emoji is not prepared in") as refused:
        images("emoji", data_dir=tmp_path)
    message = str(refused.value)
    assert "npm pack emoji-datasource-google@16 emoji-datasource-twitter@16" in message
    assert f"{tmp_path} or {tmp_path}/emoji or" in message and "\n" not in message


def test_what_one_vendor_does_not_draw_is_left_out(tmp_path):
    pack_both(tmp_path)
    pack(tmp_path / f"{PACKAGES[1]}-16.0.0.tgz", files(1, without=["package/img/twitter/64/1f605.png"]))
    images("emoji", data_dir=tmp_path)
    codes = {text(one["code"]) for split in ("train", "test") for one in examples(tmp_path, split)}
    assert codes == set(CODES) - {"1F605"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"junk", "is damaged: "),
        (files(0, without=["package/emoji.json"]), r"is damaged: it has no emoji\.json"),
        (files(0) | {"package/emoji.json": "{"}, "is damaged: "),
        (files(0) | {"package/emoji.json": "[3]"}, "is damaged: "),
        (files(1), r"is damaged: it has no images img/google/64/\*\.png"),
        (files(0, entries=[entry("1F600", "FACE", category="Faces")]), "unknown categories: Faces"),
        (
            files(0, version="15.1.2"),
            "differ in version: emoji-datasource-google 15.1.2 and emoji-datasource-twitter 16",
        ),
    ],
)
def test_a_damaged_package_is_named(tmp_path, content, message):
    pack_both(tmp_path)
    path = tmp_path / f"{PACKAGES[0]}-16.0.0.tgz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pack(path, content)
    with pytest.raises(ValueError, match=message) as refused:
        images("emoji", data_dir=tmp_path)
    assert "version" in message or str(path) in str(refused.value)


def test_a_tarball_writes_nothing_and_only_its_images_are_read(tmp_path, monkeypatch):
    """Paths that lead outside, links and huge members are in it; none of them is followed, and nothing is unpacked."""
    path = tmp_path / "inside" / f"{PACKAGES[0]}-16.0.0.tgz"
    pack_both(path.parent)
    pack(path, files(0) | {"../escaped.png": b"", "/escaped.png": b"", "package/img/google/64/../../x.png": b""})
    before = set(tmp_path.rglob("*"))
    found = emoji._package(path, "google")
    assert set(found.images) == {f"{code.lower()}.png" for code in CODES}
    assert set(tmp_path.rglob("*")) == before

    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("package/emoji.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ValueError, match=r"it has no emoji\.json"):
        emoji._package(path, "google")
    monkeypatch.setattr(emoji, "_LARGEST_FILE", 10)
    pack(path, files(0))
    with pytest.raises(ValueError, match=r"package/package\.json has 21 bytes, more than 10"):
        emoji._package(path, "google")
