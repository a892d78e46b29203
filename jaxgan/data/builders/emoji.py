"""Emoji of two vendors as a TFDS data set, with captions and as two domains, prepared without TensorFlow or a network.

It is read from the npm packages emoji-datasource-google (Noto) and emoji-datasource-twitter (Twemoji), as tarballs or
unpacked.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from jaxgan import files
from jaxgan.data.builders.published import folders, tar_members
from jaxgan.data.folder import Image, read_image

VENDORS = ("google", "twitter")
PACKAGES = tuple(f"emoji-datasource-{vendor}" for vendor in VENDORS)
CATEGORIES = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
    "Flags",
    "Component",
)

_SIDE = 64
_LARGEST_FILE = 16 * 2**20  # bytes

_TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}
_JOINERS = ("200D", "FE0F")
_VARIANTS = (*_TONES, "2640", "2642", "27A1")  # modifiers: skin tone, female, male, facing right
_PERSON, _CHILD, _FAMILY = "1F9D1", "1F9D2", "1F46A"
_NEUTRAL = {
    "1F468": _PERSON,  # man
    "1F469": _PERSON,  # woman
    "1F466": _CHILD,  # boy
    "1F467": _CHILD,  # girl
    "1F474": "1F9D3",  # older man
    "1F475": "1F9D3",  # older woman
    "1F934": "1FAC5",  # prince: person with crown
    "1F478": "1FAC5",  # princess
    "1F385": "1F9D1-1F384",  # Father Christmas
    "1F936": "1F9D1-1F384",  # Mother Christmas
    "1F57A": "1F483",  # man dancing
    "1FAC3": "1FAC4",  # pregnant man
    "1F930": "1FAC4",  # pregnant woman
    "1F931": "1F9D1-1F37C",  # breast-feeding: person feeding baby
    "1F46B": "1F9D1-1F91D-1F9D1",  # man and woman holding hands
    "1F46C": "1F9D1-1F91D-1F9D1",  # two men
    "1F46D": "1F9D1-1F91D-1F9D1",  # two women
    "1F491": "1F9D1-2764-1F9D1",  # couple with heart
    "1F48F": "1F9D1-2764-1F48B-1F9D1",  # kiss
}

_DESCRIPTION = """\
Emoji of Google (Noto) and of Twitter (Twemoji), 64x64, on white, with captions made from their names.

An emoji, its variants of skin tone, gender and direction, and emoji with the same image have one base. A tenth of the
bases, chosen by a hash of their code points, is held out for the test splits. train and test hold both vendors with
captions. trainA (Noto) and trainB (Twemoji) hold the same emoji in opposite orders, so trainA[:50%] and trainB[:50%]
have at most one base in common. Row i of testA and row i of testB are the same emoji.
"""

_LICENSE = """\
Noto Emoji: copyright Google, images Apache License 2.0, font SIL Open Font License 1.1.
Twemoji: copyright Twitter and other contributors, images Creative Commons Attribution 4.0: credit them where you show
results.
emoji-data, which names, cuts and packs them: copyright Cal Henderson, MIT.
"""


class Emoji(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """`image`: `[64, 64, 3]` uint8; `captions`: several texts; `base` and `code`: code points, such as 1F3C3;
    `meaning`: the index of the base; `vendor`: google or twitter; `label`: the category.

    Splits: train (6,664 of version 16), test (908), trainA and trainB (3,332 each), testA and testB (454 each).
    """

    name = "emoji"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, files: Mapping[str, Path], **options: Any):
        self._files = files
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(_SIDE, _SIDE, 3), encoding_format="png"),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "base": tfds.features.Text(),
                    "code": tfds.features.Text(),
                    "meaning": tfds.features.Scalar(np.int32),
                    "vendor": tfds.features.ClassLabel(names=VENDORS),
                    "label": tfds.features.ClassLabel(names=CATEGORIES),
                }
            ),
            homepage="https://github.com/iamcal/emoji-data",
            license=_LICENSE,
            disable_shuffling=True,  # testA and testB are paired by their order
        )

    def _split_generators(self, dl_manager):
        packages = [_package(self._files[name], vendor) for name, vendor in zip(PACKAGES, VENDORS, strict=True)]
        if packages[0].version != packages[1].version:
            versions = " and ".join(f"{name} {one.version}" for name, one in zip(PACKAGES, packages, strict=True))
            raise ValueError(f"the packages differ in version: {versions}")
        emoji = _emoji(packages)
        train = [one for one in emoji if not _held_out(one.base)]
        test = [one for one in emoji if _held_out(one.base)]
        both = lambda emoji: [(one, vendor) for one in emoji for vendor in VENDORS]
        a, b = VENDORS
        rows = {
            "train": both(train),
            "test": both(test),
            "trainA": [(one, a) for one in train],
            "trainB": [(one, b) for one in reversed(train)],
            "testA": [(one, a) for one in test],
            "testB": [(one, b) for one in test],
        }
        return {split: self._generate_examples(examples) for split, examples in rows.items()}

    def _generate_examples(self, examples):
        for row, (one, vendor) in enumerate(examples):
            yield (
                row,
                {
                    "image": io.BytesIO(one.images[vendor]),
                    "captions": one.captions,
                    "base": one.base,
                    "code": one.code,
                    "meaning": one.meaning,
                    "vendor": vendor,
                    "label": one.category,
                },
            )


def find_files(data_dir: Path) -> dict[str, Path] | None:
    """The two packages by name, each a tarball or an unpacked folder, both in the same folder; None if not found."""
    for folder in folders(Emoji.name, data_dir):
        found = {name: [path for path in sorted(folder.glob(f"*{name}*")) if _is_package(path)] for name in PACKAGES}
        if all(found.values()):
            return {name: paths[-1] for name, paths in found.items()}
    return None


def how_to_get(data_dir: Path) -> str:
    """How to get the packages."""
    places = " or ".join(str(folder) for folder in folders(Emoji.name, data_dir))
    command = f"npm pack {' '.join(f'{name}@16' for name in PACKAGES)}"
    return f"{command} downloads the two files it needs (135 MB); put them into {places}"


def base_of(code: str) -> str:
    """The code points of an emoji without those for variants: skin tone, gender and direction.

    >>> base_of("1F469-1F3FD-200D-1F692"), base_of("1F468-200D-1F692")  # woman, medium skin, and man; both firefighters
    ('1F9D1-1F692', '1F9D1-1F692')
    """
    points = [point for point in code.split("-") if point not in _JOINERS]
    points = [point for place, point in enumerate(points) if place == 0 or point not in _VARIANTS]
    base = "-".join(_NEUTRAL.get(point, point) for point in points)
    return _FAMILY if f"-{_CHILD}" in base else base


class _Package(NamedTuple):
    version: str
    entries: list[dict[str, Any]]
    images: dict[str, bytes]  # encoded, by file name


class _One(NamedTuple):
    """One emoji, with the images of all vendors."""

    code: str
    base: str
    meaning: int
    category: str
    captions: list[str]
    images: dict[str, bytes]  # PNG, by vendor


def _emoji(packages: list[_Package]) -> list[_One]:
    """The emoji that all vendors have, in pseudorandom order of their bases."""
    variants = [variant for entry in packages[0].entries for variant in _variants(entry)]
    drawn = {}
    for code, file, _, _ in variants:
        if all(file in package.images for package in packages):
            drawn[code] = [_white(package.images[file]) for package in packages]
    base = _bases(drawn)
    order = sorted({base[code] for code in drawn}, key=_digest)
    number = {name: row for row, name in enumerate(order)}
    found = [
        _One(code, base[code], number[base[code]], category, captions, dict(zip(VENDORS, drawn[code], strict=True)))
        for code, _, category, captions in variants
        if code in drawn
    ]
    return sorted(found, key=lambda one: one.meaning)  # stable: within a base as the package lists them


def _variants(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Code points, file, category and captions of an emoji and of its skin-tone variants."""
    yield entry["unified"], entry["image"], entry["category"], _captions(entry, "")
    for tones, variant in entry.get("skin_variations", {}).items():
        named = " and ".join(dict.fromkeys(_TONES[tone] for tone in tones.split("-")))
        skin = f" with {named} skin tone" + ("s" if " and " in named else "")
        yield variant["unified"], variant["image"], entry["category"], _captions(entry, skin)


def _captions(entry: Mapping[str, Any], skin: str) -> list[str]:
    words = lambda text: re.sub(r"[\s_-]+", " ", text.lower().replace("&", " and ")).strip()
    name = words(entry["name"] or entry["short_name"])
    others = [words(short) for short in entry["short_names"]]
    where = f"{words(entry['subcategory'])}, {words(entry['category'])}"
    return list(dict.fromkeys([name + skin, *(other + skin for other in others), f"{name}{skin}, {where}"]))


def _bases(drawn: Mapping[str, list[bytes]]) -> dict[str, str]:
    """The base of each emoji; emoji with the same image, such as the flags of some islands, have the same base."""
    parent: dict[str, str] = {}

    def root(base: str) -> str:
        while parent.setdefault(base, base) != base:
            base = parent[base]
        return base

    first: dict[tuple[int, bytes], str] = {}
    for code, images in drawn.items():
        for image in enumerate(images):
            one, other = sorted((root(base_of(code)), root(first.setdefault(image, base_of(code)))))
            parent[other] = one
    return {code: root(base_of(code)) for code in drawn}


def _digest(base: str) -> str:
    return hashlib.sha256(base.encode()).hexdigest()


def _held_out(base: str) -> bool:
    return int(_digest(base)[-8:], 16) % 10 == 0  # the last digits, since the first give the order


def _white(encoded: bytes) -> bytes:
    """Composited over white and encoded again: equal images become equal bytes."""
    file = io.BytesIO()
    Image.fromarray(read_image(io.BytesIO(encoded), image_size=_SIDE, channels=3)).save(file, "png", compress_level=6)
    return file.getvalue()


def _is_package(path: Path) -> bool:
    return path.name.endswith((".tgz", ".tar.gz")) or _inside(path) is not None


def _inside(folder: Path) -> Path | None:
    """The folder of an unpacked package's files, None if it is not one: npm puts them into a folder `package`."""
    return next((place for place in (folder, folder / "package") if (place / "emoji.json").is_file()), None)


def _package(path: Path, vendor: str) -> _Package:
    try:
        found = dict(_wanted(path, re.compile(rf"package\.json|emoji\.json|img/{vendor}/64/[0-9a-f-]+\.png")))
        entries = json.loads(found["emoji.json"])
        images = {name.rpartition("/")[2]: data for name, data in found.items() if name.endswith(".png")}
        if not images:
            raise ValueError(f"it has no images img/{vendor}/64/*.png")
        unknown = {entry["category"] for entry in entries} - set(CATEGORIES)
        if unknown:
            raise ValueError(f"its emoji have unknown categories: {', '.join(sorted(unknown))}")
        return _Package(json.loads(found["package.json"])["version"], entries, images)
    except KeyError as missing:
        raise ValueError(f"{path} is damaged: it has no {missing.args[0]}") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _wanted(path: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """The files of a package whose names match, read into memory; nothing is written to disk."""
    if (folder := _inside(path)) is not None:
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder).as_posix()
            if pattern.fullmatch(name) and file.is_file():
                yield name, files.read(file, most=_LARGEST_FILE)
        return
    wanted = lambda name: pattern.fullmatch(name.removeprefix("package/"))
    for name, data in tar_members(path, wanted, most=_LARGEST_FILE):
        yield name.removeprefix("package/"), data
