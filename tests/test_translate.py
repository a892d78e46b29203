"""Translating images with a finished run."""

import os
import re
import shutil

import jax
import numpy as np
import pytest
import small_domains
from PIL import Image
from small_domains import save

from experiments import translate
from experiments.translate import Config, output_names, resized, working_size
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.data.folder import read_image
from jaxgan.pixels import from_uint8, to_uint8
from jaxgan.runs import cli
from jaxgan.runs.open_run import open_run

CHANNELS = {"a_to_b": 1, "b_to_a": 3}  # of what is translated; the other domain has those of the other direction


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose training data are gone."""
    folder, data = (tmp_path_factory.mktemp(name) for name in ("run", "data"))
    small_domains.train(folder, data)
    shutil.rmtree(data)
    return folder


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(translate, "EXPERIMENTS", {"small_domains": small_domains})


def translated(run, folder, name="out", **options):
    output = translate.main(Config(run=str(run), input=str(folder / "in"), output=str(folder / name), **options))
    return {path.relative_to(output).as_posix(): path for path in sorted(output.rglob("*.png"))}


def expected(run, pixels, direction):
    opened = open_run(run, {"small_domains": small_domains})
    return to_uint8(opened.gan.sample(opened.state, {direction[0]: from_uint8(pixels[None])})[direction][0])


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_an_image_of_the_training_size_is_what_the_generator_makes_of_it(run, tmp_path, direction):
    save(tmp_path / "in/x.png", (16, 16))
    found = translated(run, tmp_path, direction=direction)
    assert list(found) == ["x.png"]
    assert read_image(found["x.png"]).shape == (16, 16, 4 - CHANNELS[direction])
    np.testing.assert_allclose(
        read_image(found["x.png"]).astype(int),
        expected(run, read_image(tmp_path / "in/x.png", channels=CHANNELS[direction]), direction).astype(int),
        atol=1,  # compiled alone, it may round a value the other way
    )


def test_an_image_keeps_its_size_and_is_translated_at_that_of_the_run(run, tmp_path):
    save(tmp_path / "in/x.png", (40, 60))
    pixels = read_image(tmp_path / "in/x.png")
    small = np.asarray(Image.fromarray(pixels).resize((24, 16), Image.Resampling.BICUBIC))
    small = expected(run, small, "b_to_a")[..., 0]
    large = np.asarray(Image.fromarray(small).resize((60, 40), Image.Resampling.BICUBIC))
    found = translated(run, tmp_path, direction="b_to_a")["x.png"]
    assert abs(read_image(found)[..., 0].astype(int) - large).max() <= 1


def test_sizes_to_translate_at(run, tmp_path):
    save(tmp_path / "in/x.png", (21, 33))
    pixels = read_image(tmp_path / "in/x.png", channels=1)
    native = read_image(translated(run, tmp_path, "native", size="native")["x.png"])
    assert abs(native.astype(int) - expected(run, pixels, "a_to_b")).max() <= 1
    at_8 = read_image(translated(run, tmp_path, "8", size=8)["x.png"])
    assert at_8.shape == native.shape == (21, 33, 3)
    assert abs(at_8.astype(int) - native).mean() > 1


@pytest.mark.parametrize(
    ("size", "shorter", "working"),
    [
        ((100, 100), 64, (64, 64)),
        ((480, 640), 256, (256, 336)),  # 341.3, in steps of 16
        ((640, 480), 256, (336, 256)),
        ((99, 101), 32, (32, 32)),  # 32.6, in steps of 2
        ((50, 500), 64, (64, 640)),
        ((1, 3), 8, (8, 24)),
    ],
)
def test_working_size(size, shorter, working):
    assert working_size(*size, shorter=shorter) == working


def test_few_shapes_serve_all_images():
    shapes = {working_size(1000, width, shorter=256) for width in range(1000, 2001)}
    assert len(shapes) == 17
    for height, width in ((1000, 1999), (317, 473)):
        small = working_size(height, width, shorter=256)
        assert small[1] / small[0] == pytest.approx(width / height, rel=1 / 32)


def test_kinds_of_images(run, tmp_path):
    for mode in ("L", "RGBA", "P"):
        save(tmp_path / f"in/{mode}.png", (20, 16), mode=mode)
    Image.fromarray(np.full((16, 16), 65535, np.uint16)).save(tmp_path / "in/deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    Image.new("RGB", (30, 18)).save(tmp_path / "in/turned.jpg", exif=turned)
    sizes = {name: read_image(path).shape[:2] for name, path in translated(run, tmp_path).items()}
    upright = dict.fromkeys(("L.png", "RGBA.png", "P.png"), (20, 16))
    assert sizes == upright | {"deep.png": (16, 16), "turned.png": (30, 18)}


def test_resizing_keeps_the_channels():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert resized(grey, 4, 6).shape == (4, 6, 1)
    assert resized(grey, 8, 8) is grey
    assert resized(grey.repeat(3, axis=2), 3, 5).shape == (3, 5, 3)


@pytest.mark.parametrize(
    ("names", "outputs"),
    [
        (["a.jpg", "a.png", "b.JPG"], ["a.jpg.png", "a.png.png", "b.png"]),
        (["a.jpg", "sub/a.png"], ["a.png", "sub/a.png"]),
        (["a.jpg", "a.jpg.png", "a.png"], ["a.jpg.png", "a.jpg.png.png", "a.png.png"]),
        (["A.jpg", "a.png"], ["A.jpg.png", "a.png.png"]),
        (["A.png", "a.png"], ["A.png.png", "a.png.png"]),  # where both can be, both can be written
        (["1.5 m.jpg"], ["1.5 m.png"]),
    ],
)
def test_output_names(names, outputs):
    assert output_names(names) == outputs
    assert len(set(outputs)) == len(names)


def test_what_cannot_be_translated(run, tmp_path, monkeypatch):
    save(tmp_path / "in/x.png", (16, 16))
    with pytest.raises(ValueError, match="is inside input"):
        translated(run, tmp_path, "in/out")
    with pytest.raises(ValueError, match="is inside input"):
        translated(run, tmp_path, "in")
    with pytest.raises(ValueError, match="batch_size=0: expected an integer from 1 to 1024"):
        translated(run, tmp_path, batch_size=0)
    with pytest.raises(ValueError, match="size=0: expected an integer from 1 to 4096, 'native' or nothing"):
        translated(run, tmp_path, size=0)
    assert not (tmp_path / "in/out").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds 0 images"):
        translate.main(Config(run=str(run), input=str(tmp_path / "empty"), output=str(tmp_path / "none")))
    monkeypatch.setattr(translate, "EXPERIMENTS", {"other": small_domains})
    with pytest.raises(ValueError, match="is a run of 'small_domains'; known here: other"):
        translated(run, tmp_path)


def test_what_cannot_be_translated_is_named_and_the_rest_is_done(run, tmp_path, monkeypatch):
    """Some 200 bytes a pixel: 1 x 100,000 at the size of the run, 16 x 1,600,000, took tens of gigabytes."""
    monkeypatch.setattr(translate, "MOST_PIXELS", 2000)
    for name, size in {"a": (16, 16), "long": (1, 17), "longest": (1, 2000), "z": (16, 16)}.items():
        save(tmp_path / f"in/{name}.png", size)
    (tmp_path / "in/junk.png").write_bytes(b"junk")
    with pytest.raises(ValueError, match="3 of 5 images were not translated") as refused:
        translated(run, tmp_path)
    told = str(refused.value)
    assert "in/junk.png: not an image" in told
    assert "in/long.png: 17 x 1 pixels, but the ratio of the sides may be at most 16" in told
    assert told.count("in/junk.png") == told.count("in/long.png") == told.count("in/longest.png") == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]
    with pytest.raises(ValueError, match=r"a.png: a batch of 16 x 16 pixels, 8 times exceeds the limit of 2,000"):
        translated(run, tmp_path, "out", batch_size=8)
    assert set(tmp_path.joinpath("out").iterdir())  # what there was is still there


def test_images_of_many_sizes_do_not_wait_for_others_in_memory(run, tmp_path, monkeypatch):
    monkeypatch.setattr(translate, "MOST_PIXELS", 1500)
    for side in range(16, 22):
        save(tmp_path / f"in/{side}.png", (side, side))
    assert len(translated(run, tmp_path, size="native", batch_size=2)) == 6


def test_only_its_own_images_are_replaced(run, tmp_path):
    save(tmp_path / "in/x.png", (16, 16))
    save(tmp_path / "in/sub/y.png", (16, 16))
    first = {name: path.read_bytes() for name, path in translated(run, tmp_path).items()}
    (tmp_path / "out/.DS_Store").touch()
    assert {name: path.read_bytes() for name, path in translated(run, tmp_path).items()} == first
    save(tmp_path / "mine/todo/x.png", (16, 16))
    save(tmp_path / "mine/x.png", (16, 16))
    before = (tmp_path / "mine/x.png").read_bytes()
    with pytest.raises(ValueError, match=r"in/.*png is inside output"):
        translate.main(Config(run=str(run), input=str(tmp_path / "in"), output=str(tmp_path)))
    with pytest.raises(ValueError, match=r"todo/x\.png is inside output"):
        translate.main(Config(run=str(run), input=str(tmp_path / "mine/todo"), output=str(tmp_path / "mine")))
    shutil.rmtree(tmp_path / "mine/todo")
    with pytest.raises(ValueError, match=r"mine holds x.png, not written by this command"):
        translated(run, tmp_path, "mine")  # an image of the user's
    assert (tmp_path / "mine/x.png").read_bytes() == before
    (tmp_path / "in/x.png").unlink()
    with pytest.raises(ValueError, match=r"out holds x\.png"):  # it would stay among the others
        translated(run, tmp_path)


def test_links(run, tmp_path):
    save(tmp_path / "in/x.png", (16, 16))
    save(tmp_path / "in/sub/y.png", (16, 16))
    for folder in ("elsewhere", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="out holds sub"):
        translated(run, tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "out/sub").unlink()
    (tmp_path / "elsewhere/z.png").write_text("mine")
    (tmp_path / "out/x.png").symlink_to(tmp_path / "elsewhere/z.png")
    with pytest.raises(ValueError, match=r"out holds x\.png"):
        translated(run, tmp_path)
    assert (tmp_path / "elsewhere/z.png").read_text() == "mine"
    (tmp_path / "out/x.png").unlink()
    (tmp_path / "link").symlink_to("out")  # the user's own
    assert set(translated(run, tmp_path, "link")) == {"x.png", "sub/y.png"}
    (tmp_path / "in/back").symlink_to("../out")
    with pytest.raises(ValueError, match=r"out would be translated .*, because the link .*in/back points to .*/out:"):
        translated(run, tmp_path)
    (tmp_path / "in/back").unlink()
    (tmp_path / "in/back").symlink_to("../out/sub")
    with pytest.raises(ValueError, match=r"in/back/y.png is inside output .*/out"):
        translated(run, tmp_path)


def test_a_link_that_leads_above_the_output_is_refused_before_there_is_one(run, tmp_path):
    """The first command went through, and the second refused what the first had written."""
    save(tmp_path / "in/deep/x.png", (16, 16))
    (tmp_path / "in/deep/up").symlink_to("../..")
    with pytest.raises(ValueError, match=r"out would be translated the next time, because the link .*deep/up points"):
        translated(run, tmp_path)
    assert not (tmp_path / "out").exists()
    (tmp_path / "in/deep/up").unlink()
    (tmp_path / "in/deep/round").symlink_to("..")  # which is not followed
    assert set(translated(run, tmp_path)) == {"deep/x.png"}


def test_what_is_no_file_stops_nothing(run, tmp_path, capsys):
    save(tmp_path / "in/x.png", (16, 16))
    os.mkfifo(tmp_path / "in/pipe.png")
    (tmp_path / "in/gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "in/itself.gif").symlink_to("itself.gif")
    (tmp_path / "in/linked.png").symlink_to("pipe.png")
    with pytest.raises(ValueError, match=r"^4 of 5 images were not translated:") as refused:
        translated(run, tmp_path)
    for name, reason in {
        "pipe.png": "not a regular file",
        "linked.png": "a link whose target is not a regular file",
        "gone.jpg": "a link whose target does not exist",
        "itself.gif": "a link whose target does not exist",
    }.items():
        assert f"in/{name} is {reason}" in str(refused.value)
    assert "translated  1 image of " in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.png"]
    (tmp_path / "in/x.png").unlink()
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ValueError, match=r"^4 of 4 images were not translated:"):
        translated(run, tmp_path)


def test_what_is_left_out_is_counted(run, tmp_path, capsys):
    save(tmp_path / "in/x.png", (16, 16))
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "in/moving.gif", save_all=True, append_images=frames[1:])
    for name in ("1.heic", "2.HEIC", "3.avif", "sub.d/4", ".hidden.ppm"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    assert set(translated(run, tmp_path)) == {"x.png", "moving.png"}
    said = capsys.readouterr().out
    assert "translated  2 images of" in said
    assert re.search(r"only the first frame of 1 animation \(.*in/moving.gif\)\n", said)
    assert "skipped 4 files with other endings (.avif, .heic, none)\n" in said


def test_weights_that_are_not_finite(run, tmp_path, monkeypatch):
    save(tmp_path / "in/x.png", (16, 16))
    opened = open_run(run, {"small_domains": small_domains})
    state = jax.tree.map(
        lambda leaf: np.full_like(leaf, np.nan) if leaf.dtype == np.float32 and leaf.ndim else leaf, opened.state
    )
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        checkpoints.save(9, state)
    with pytest.raises(ValueError, match=r"run at step 9: 1 of 1 samples are not finite"):
        translated(tmp_path / "run", tmp_path)
    assert not list(tmp_path.glob("out/*"))


def test_the_command_line(capsys):
    parsed = cli.parse(Config, ["--run", "r", "--input", "i", "--output", "o", "--size", "native"])
    assert parsed == Config(run="r", input="i", output="o", size="native")
    assert cli.parse(Config, ["--run", "r", "--input", "i", "--output", "o", "--size", "64"]).size == 64
    with pytest.raises(SystemExit):
        cli.parse(Config, ["--run", "r", "--input", "i", "--output", "o", "--direction", "A2B"])
    assert "a_to_b" in capsys.readouterr().err


def test_only_the_translation_asked_for_is_computed(run):
    """The translation back would cost as much again."""
    opened = open_run(run, {"small_domains": small_domains})
    images = jax.ShapeDtypeStruct((1, 16, 16, 1), np.float32)
    both = jax.jit(lambda state, a: opened.gan.sample(state, {"a": a})).lower(opened.state, images).compile()
    one = jax.jit(lambda state, a: opened.gan.sample(state, {"a": a})["a_to_b"]).lower(opened.state, images).compile()
    flops = [compiled.cost_analysis()["flops"] for compiled in (one, both)]
    assert flops[0] < 0.6 * flops[1]


def test_a_folder_of_120_images(tmp_path, monkeypatch, capsys):
    """junyanz/pytorch-CycleGAN-and-pix2pix#235: a test stopped at 50 images."""
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
