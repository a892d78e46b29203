"""Fuzzing of image folders: damaged, disguised and oversized images, and broken captions.

Each file is a random mutation of a valid one. It is read as a data set by a process with limits on memory and on time
per file. The result must be an image, or a ValueError that names the file. Anything else is a crash: another error, a
dead process, or a timeout. `mutated(number, seed)` reproduces a file.

    python -m tests.stress.fuzz --count 3000
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import resource
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from jaxgan.data.captions import captioned_images
from jaxgan.data.sources import images

MEBIBYTES = 2048  # memory limit of a process, in addition to its memory at the start
SECONDS = 30  # time limit for one file
SIDE = 16  # side of the decoded images

Reader = Callable[[Path, str], None]
Maker = Callable[[int, int], tuple[str, str, bytes]]


@dataclass
class Count:
    """The results for the files of one kind."""

    images: int = 0
    refused: int = 0
    crashes: int = 0
    peak: int = 0  # peak memory in MiB, in addition to the memory at the start


@cache
def valid_images() -> Mapping[str, bytes]:
    """Valid files of all formats and modes, by name."""
    pixels = np.random.default_rng(0).integers(256, size=(24, 20, 4), dtype=np.uint8)
    pixels[8:] = pixels[8]  # compressible, like a photograph
    colour = Image.fromarray(pixels).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a red bird " * 20, zip=True)
    frames = [colour.rotate(angle) for angle in (90, 180)]
    palette = colour.quantize(16)
    deep = Image.fromarray(np.arange(480, dtype=np.uint16).reshape(24, 20) * 136)
    files: dict[str, tuple[Image.Image, dict]] = {
        "colour.png": (colour, {"exif": exif, "pnginfo": text, "dpi": (72, 72)}),
        "grey.png": (colour.convert("L"), {}),
        "alpha.png": (Image.fromarray(pixels), {}),
        "palette.png": (palette, {"transparency": 3}),
        "deep.png": (deep, {}),
        "bit.png": (colour.convert("1"), {}),
        "colour.jpg": (colour, {"exif": exif, "quality": 90}),
        "grey.jpg": (colour.convert("L"), {}),
        "cmyk.jpeg": (colour.convert("CMYK"), {}),
        "progressive.jpg": (colour, {"progressive": True}),
        "palette.gif": (palette, {"transparency": 3}),
        "frames.gif": (palette, {"save_all": True, "append_images": frames, "duration": 50, "loop": 0}),
        "lossy.webp": (colour, {"exif": exif}),
        "lossless.webp": (Image.fromarray(pixels), {"lossless": True}),
        "frames.webp": (colour, {"save_all": True, "append_images": frames, "duration": 50}),
        "colour.bmp": (colour, {}),
        "colour.tiff": (colour, {"compression": "tiff_deflate"}),
        "deep.tif": (deep, {}),
    }
    return {name: encoded(image, name.rpartition(".")[2], **options) for name, (image, options) in files.items()}


def encoded(image: Image.Image, ending: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending), **options)
    return file.getvalue()


def flipped(content: bytes, chance: random.Random) -> bytes:
    """Flips a few bits, half of the time in the header."""
    changed = bytearray(content)
    reach = chance.choice((min(64, len(content)), len(content)))
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        changed[chance.randrange(reach)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def zeroed(content: bytes, chance: random.Random) -> bytes:
    """Replaces a range with zeros, as a failing disk does."""
    start = chance.randrange(len(content))
    length = min(chance.choice((1, 4, 16, 512)), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def spliced(content: bytes, chance: random.Random) -> bytes:
    """The beginning of one file and the end of another."""
    other = chance.choice(list(valid_images().values()))
    return content[: chance.randrange(len(content))] + other[chance.randrange(len(other)) :]


def resized(content: bytes, chance: random.Random) -> bytes:
    """Changes the image size in the header, from nothing to gigapixels."""
    changed = bytearray(content)
    width, height = (chance.choice((0, 1, 7, 300, 9000, 16383, 40000, 65535, 2**31 - 1)) for _ in "wh")

    def put(place: int, layout: str, *values: int) -> None:
        if 0 <= place <= len(changed) - struct.calcsize(layout):
            most = 256 ** (struct.calcsize(layout) // len(values)) - 1
            struct.pack_into(layout, changed, place, *(min(value, most) for value in values))

    if content.startswith(b"\x89PNG"):
        put(16, ">II", width, height)
        put(29, ">I", zlib.crc32(changed[12:29]))
    elif content.startswith(b"GIF"):
        put(6, "<HH", width, height)
        put(content.index(b"\x2c", 13) + 5, "<HH", width, height)
    elif content.startswith(b"RIFF"):
        if content[12:16] == b"VP8X":
            changed[24:30] = b"".join(((side - 1) % 2**24).to_bytes(3, "little") for side in (width, height))
        elif content[12:16] == b"VP8L":
            put(21, "<I", (width - 1) % 2**14 | (height - 1) % 2**14 << 14)
        else:
            put(26, "<HH", width % 2**14, height % 2**14)
    elif content.startswith(b"BM"):
        put(18, "<II", width, height)
    elif content.startswith(b"\xff\xd8"):
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            put(content.find(marker) + 5 if marker in content else -1, ">HH", height, width)
    else:  # TIFF: its first directory, where width and height are fields 256 and 257
        start = int.from_bytes(content[4:8], "little")
        for entry in range(int.from_bytes(content[start : start + 2], "little")):
            place = start + 2 + 12 * entry
            if (field := int.from_bytes(content[place : place + 2], "little")) in (256, 257):
                put(place + 2, "<HII", 4, 1, width if field == 256 else height)
    return bytes(changed)


def disguised(content: bytes, chance: random.Random) -> bytes:
    """Content of other file types, noise, or nothing; some types could start programs."""
    return chance.choice(
        (
            b"",
            bytes(1000),
            chance.randbytes(1000),
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n/x 1 def\n",
            b"%PDF-1.7\n1 0 obj\n",
            b"P6\n100000 100000\n255\n",
            b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
            b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.",
            b"PK\x03\x04" + content,
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + content,
            json.dumps({"file": "a.png"}).encode(),
        )
    )


def bomb(content: bytes, chance: random.Random) -> bytes:
    """Decompression bombs: small files with many pixels or long texts."""
    side = int(10 ** chance.uniform(3.0, 4.8))
    most = 2**27  # largest unpacked size in bytes, to limit the time to make it
    kind = chance.choice(("bit", "grey", "text", "profile", "gif", "tiff"))
    if kind in ("gif", "tiff"):
        image = Image.new("L", (min(side, 6000), min(side, 6000)))
        return encoded(image, kind, **({"compression": "tiff_deflate"} if kind == "tiff" else {}))
    if kind in ("text", "profile"):
        small, name = valid_images()["grey.png"], b"zTXt" if kind == "text" else b"iCCP"
        return small[:33] + _chunk(name, b"x\0\0" + zlib.compress(bytes(min(side**2, most)))) + small[33:]
    depth = 1 if kind == "bit" else 8
    packer, row = zlib.compressobj(9), bytes(1 + -(-side * depth // 8))
    data = b"".join(packer.compress(row) for _ in range(min(side, most // len(row)))) + packer.flush()
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def renamed(content: bytes, chance: random.Random) -> bytes:
    """Unchanged content: `mutated` gives it the ending of another format."""
    return content


def captions(content: bytes, chance: random.Random) -> bytes:
    """A captions.jsonl for the image a.png, with valid and invalid lines."""
    lines = [
        b'{"file": "a.png", "captions": ["a red bird", "a bird"]}',
        b'{"file": "a.png", "caption": "a bird"}',
        chance.choice(
            (
                b"[" * 100_000,
                b'{"a":' * 100_000,
                b'{"file": "a.png", "captions": ' + b"9" * 10_000 + b"}",
                b'{"file": "a.png", "caption": "\\ud800 bird"}',
                b'{"file": "a.png", "caption": "\\u0000"}',
                b'{"file": "a.png", "caption": "' + b"bird " * 100_000 + b'"}',
                b'{"file": "../../../etc/passwd", "caption": "a bird"}',
                b'{"file": "/etc/passwd\\u0000.png", "caption": "a bird"}',
                b'{"file": "a.png", "caption": ["a bird"]}',
                b'{"file": ["a.png"], "caption": "a bird"}',
                b'{"file": "a.png", "captions": [[], {}, NaN, 1e999]}',
                b"\xff\xfe{\x00}\x00",
                b"caf\xe9",
                b"null",
            )
        ),
    ]
    whole = b"\n".join(chance.sample(lines, chance.randint(1, 3)))
    return chance.choice((flipped, cut, zeroed, lambda content, chance: content))(whole, chance)


CHANGES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "bits flipped": flipped,
    "cut short": cut,
    "zeros": zeroed,
    "two spliced": spliced,
    "another size": resized,
    "disguised": disguised,
    "bomb": bomb,
    "another ending": renamed,
    "captions": captions,
}


def mutated(number: int, seed: int = 0) -> tuple[str, str, bytes]:
    """Kind, name and content of a file, reproducible from number and seed."""
    chance = random.Random(f"{seed} {number}")
    kind = list(CHANGES)[number % len(CHANGES)]
    name, content = chance.choice(list(valid_images().items()))
    ending = name.rpartition(".")[2]
    if kind == "another ending":
        ending = chance.choice([one for one in ("png", "jpg", "gif", "webp", "bmp", "tiff") if one != ending])
    changed = CHANGES[kind](content, chance)
    return kind, "captions.jsonl" if kind == "captions" else f"a.{ending}", changed


def read(folder: Path, name: str) -> None:
    """Reads the folder as a data set, and checks type, shape and values of the result."""
    if name == "captions.jsonl":
        (folder / "a.png").write_bytes(valid_images()["colour.png"])
        found = captioned_images(f"folder:{folder}", image_size=SIDE, channels=3)
        for text in found["captions"][0]:
            text.encode()
    else:
        found = images(f"folder:{folder}", image_size=SIDE, channels=3)
    pixels = found["image"]
    known = pixels.dtype in (np.uint8, np.float32) and np.isfinite(pixels).all()
    if pixels.shape != (1, SIDE, SIDE, 3) or not known:
        raise TypeError(f"the result is {pixels.dtype} {pixels.shape}")


def verdict(reader: Reader, name: str, content: bytes) -> str:
    """`image`, `refused`, or a description of the failure."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        try:
            reader(Path(folder), name)
        except (ValueError, OSError) as error:
            kind = "a ValueError" if isinstance(error, ValueError) else "an OSError"
            return "refused" if folder in str(error) else f"{kind} that names no file: {error!r}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return "image"


def _work(pipe: Connection, reader: Reader, make: Maker, mebibytes: int, numbers: range, seed: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = used + mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        _, name, content = make(number, seed)
        what = verdict(reader, name, content)
        pipe.send((name, what, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024))
    os._exit(0)  # a decoder may have left threads behind


def fuzz(
    count: int,
    *,
    seed: int = 0,
    seconds: float = SECONDS,
    mebibytes: int = MEBIBYTES,
    reader: Reader = read,
    make: Maker = mutated,
    kinds: Iterable[str] = CHANGES,
) -> dict[str, Count]:
    """Reads `count` files, cycling through the kinds, and prints all crashes.

    Args:
      count: number of files.
      seed: seed of the mutations.
      seconds: time limit for one file.
      mebibytes: limit of a process's address space, in addition to its size at the start.
      reader: `(folder, name) -> None`, importable by another process.
      make: `(number, seed) -> kind, name, content`, likewise.
      kinds: the kinds of `make`, in the order of their numbers.

    Returns:
      The `Count` of each kind.
    """
    turns = list(kinds)
    table = {kind: Count() for kind in turns}
    processes = multiprocessing.get_context("spawn")
    before = os.environ.get("TMPDIR")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["TMPDIR"] = scratch  # killed processes leave their files behind
            _fuzz(table, turns, processes, (reader, make, mebibytes), count, seed, seconds)
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
    return table


def _fuzz(
    table: dict[str, Count], turns: list[str], processes: Any, work: tuple, count: int, seed: int, seconds: float
) -> None:
    number = 0
    while number < count:
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=_work, args=(theirs, *work, range(number, count), seed))
        process.start()
        theirs.close()
        patience = seconds + 200  # the first file includes the imports
        died = False
        while number < count and not died:
            kind, name, peak = turns[number % len(turns)], "", 0
            try:
                name, what, peak = ours.recv() if ours.poll(patience) else ("", "takes too long", 0)
            except EOFError:
                process.join()
                what = f"the process died, status {process.exitcode}"
            died = what.startswith(("takes", "the process"))
            patience = seconds
            row = table[kind]
            row.peak = max(row.peak, peak)
            row.images += what == "image"
            row.refused += what == "refused"
            if what not in ("image", "refused"):
                row.crashes += 1
                print(f"number {number}, {kind} {name}: {what}", flush=True)
            number += 1
        process.kill()
        process.join()


def command(what: str | None, count: int, **options: Any) -> None:
    """The command line of a fuzzer; `options` are those of `fuzz`."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=count, help="total number of files")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = fuzz(arguments.count, seed=arguments.seed, **options)
    print("| kind | files | read | refused by name | crashes |\n|---|---|---|---|---|")
    for kind, row in table.items():
        files = row.images + row.refused + row.crashes
        print(f"| {kind} | {files} | {row.images} | {row.refused} | {row.crashes} |")
    print(f"memory: at most {max(row.peak for row in table.values())} MiB in addition to the start")


if __name__ == "__main__":
    command(__doc__, 3000)
