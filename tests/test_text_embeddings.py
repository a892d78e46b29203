"""Embeddings of texts by another model: the file, a run on it, and prompts for it."""

import json
import sys
import types

import jax
import numpy as np
import pytest
from PIL import Image
from stress.commands import ROOT, blocks

from experiments import export, sample, text_to_image
from jaxgan import restore
from jaxgan.data.text_embeddings import embedded_images, read_text_embeddings

RANDOM = np.random.default_rng(0)
COLOURS = ["red", "green", "blue", "white"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data/train").mkdir(parents=True)
    for row, colour in enumerate(COLOURS):
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"data/train/{row}.png")
    return tmp_path / "data"


def written(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_a_file_and_the_images_it_belongs_to(tmp_path, folder):
    """Rows are found by name in any order, those of other images are ignored; K texts become K numbered captions."""
    rows = RANDOM.normal(size=(5, 2, 3)).astype(np.float16)
    names = [f"train/{row}.png" for row in (3, 1, 0, 2)] + ["test/9.png"]
    found = read_text_embeddings(written(tmp_path / "t.npz", embeddings=rows, names=names, encoder="clip"))
    assert (found.rows.dtype, found.encoder, found.names) == (np.float32, "clip", tuple(names))
    examples, encode = embedded_images(f"folder:{folder}", "train", found, image_size=32)
    assert examples["captions"][0] == ["train/0.png (1)", "train/0.png (2)"]
    np.testing.assert_array_equal(encode(["train/3.png (2)", "train/0.png (1)"]), rows[[0, 2], [1, 0]])
    assert examples["image"][2, 0, 0].tolist() == [0, 0, 255] and examples["meaning"].tolist() == [0, 1, 2, 3]
    first = examples["identity"]()
    again = embedded_images(f"folder:{folder}", "train", found._replace(encoder="t5"), image_size=32)[0]["identity"]()
    assert {name for name in first if first[name] != again[name]} == {"text encoder"}

    by_row = read_text_embeddings(written(tmp_path / "r.npz", embeddings=rows[:4, 0]))
    assert by_row.names is None and by_row.encoder == ""
    examples, encode = embedded_images(f"folder:{folder}", "train", by_row, image_size=32)
    np.testing.assert_array_equal(encode([examples["captions"][2][0]]), rows[2:3, 0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.zeros(3)}, "it has no array 'embeddings', only image"),
        ({"embeddings": np.zeros((2, 3), int)}, r"type int64 and shape \[2, 3\], but floats"),
        ({"embeddings": np.zeros(3)}, r"shape \[3\], but floats \[N, E\] or"),
        ({"embeddings": np.zeros((2, 0))}, r"shape \[2, 0\], but floats"),
        ({"embeddings": np.full((2, 3), np.nan)}, "2 of 2 embeddings in .* are not finite, the first in row 0"),
        ({"embeddings": np.zeros((2, 3)), "names": ["a"]}, r"'names' .* but strings \[2\] were"),
        ({"embeddings": np.zeros((2, 3)), "names": ["a", "a"]}, "has a name twice"),
        ({"embeddings": np.zeros((2, 3)), "names": np.array(["a", 1], object)}, "cannot be read: .*may run code"),
        ({"embeddings": np.zeros((2, 3)), "encoder": ["a"]}, r"'encoder' .* but strings \[\] were"),
    ],
)
def test_damaged_files(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        read_text_embeddings(written(tmp_path / "t.npz", **arrays))


def test_embeddings_of_other_images(tmp_path, folder):
    given = read_text_embeddings(written(tmp_path / "t.npz", embeddings=np.ones((2, 3)), names=["train/0.png", "b"]))
    for name, wanted, message in (
        (f"folder:{folder}", given, r"3 images of .* have no embedding, the first is train/1.png"),
        ("noise", given, "the images of noise have no names: leave 'names' out"),
        ("noise", given._replace(names=None), r"2 embeddings for the 1024 images of noise train: one for each"),
    ):
        with pytest.raises(ValueError, match=message):
            embedded_images(name, "train", wanted, image_size=32)
    with pytest.raises(ValueError, match="no such file"):
        read_text_embeddings(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"an \.npz file with the array 'embeddings' was expected"):
        read_text_embeddings(tmp_path / "data.npy")


def test_flags_that_change_nothing():
    for flags, message in (
        (
            {"text_embeddings": "t.npz", "max_words": 9},
            "max_words=9 would change nothing, because text_embeddings is in",
        ),
        ({"networks": "df_gan", "conditioning": "concatenate"}, "conditioning=concatenate would change nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            text_to_image.Config(**flags)


@pytest.mark.slow
def test_a_run_and_its_prompts(tmp_path, folder, capsys):
    rows = RANDOM.normal(size=(4, 5)).astype(np.float32)
    path = written(tmp_path / "train.npz", embeddings=rows, encoder="clip")
    options = {"dataset": f"folder:{folder}", "width": 4, "num_steps": 2, "batch_size": 4, "num_devices": 1}
    config = text_to_image.Config(workdir=str(tmp_path / "run"), text_embeddings=path, **options)
    data = text_to_image.batches(config)(0)[0]
    assert {row.tobytes() for row in np.asarray(data["text"])} <= {row.tobytes() for row in rows}
    text_to_image.main(config)
    run = restore(tmp_path / "run")
    assert "encoder" not in run.state.discriminator.params or not run.state.discriminator.params["encoder"]

    prompts = written(tmp_path / "prompts.npz", embeddings=rows[[2, 0]], names=["a bird", "a cat"], encoder="clip")
    asked = sample.Config(run=str(tmp_path / "run"), kind="images", count=1, prompt_embeddings=prompts)
    images = sample.main(asked)
    assert [(images / f"{row:05d}.txt").read_text() for row in range(2)] == ["a bird\n", "a cat\n"]
    latents = np.asarray(jax.random.normal(jax.random.key(0), (2, 32)))
    drawn = run.sample(latents, prompt=rows[[2, 0]])
    with Image.open(images / "00001.png") as second:
        np.testing.assert_array_equal(np.asarray(second), drawn[1])
    np.testing.assert_array_equal(run.sample(latents[:1], prompt=rows[2]), drawn[:1])

    one = written(tmp_path / "one.npz", embeddings=rows[:1])
    for changes, message in (
        ({"prompt": ("a bird",), "prompt_embeddings": None}, "reads no texts: its prompts are given by"),
        ({"prompt_embeddings": None}, "reads no texts: its prompts are given by"),
        ({"kind": "walk", "between": "prompts", "prompt_embeddings": one}, "give 2 to 50 with --prompt-embeddings"),
        (
            {"prompt_embeddings": written(tmp_path / "p4.npz", embeddings=rows[:, :4])},
            "of 4 numbers, but .* was trained on 5",
        ),
        (
            {"prompt_embeddings": written(tmp_path / "t5.npz", embeddings=rows, encoder="t5")},
            "is of 't5', but .* was trained on 'clip'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            sample.main(sample.Config(run=str(tmp_path / "run"), **{"prompt_embeddings": prompts} | changes))
    for prompt in ("a bird", rows[0, :4], None, [["a", "b"]], np.full(5, np.nan)):
        with pytest.raises(ValueError, match=r"on embeddings of texts: give prompt finite numbers, \[5\] or \[N, 5\]"):
            run.sample(0, prompt=prompt)
    with pytest.raises(ValueError, match="evaluate_every needs captions"):
        text_to_image.Config(text_embeddings=path, evaluate_every=5)
    (tmp_path / "run/text_encoder.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"text_encoder\.json is damaged"):
        sample.main(asked)
    (tmp_path / "run/text_encoder.json").write_text('{"encoder": "clip"}')
    program = export.program(run)
    assert program.in_avals[1].shape[1] == 5  # not the number of tokens
    moved = written(tmp_path / "moved.npz", embeddings=rows, encoder="clip")
    again = {**options, "num_steps": 3, "text_embeddings": moved}
    text_to_image.main(text_to_image.Config(workdir=str(tmp_path / "run"), **again))
    assert restore(tmp_path / "run").step == 3
    other = written(tmp_path / "other.npz", embeddings=-rows, encoder="clip")
    with pytest.raises(ValueError, match="embeddings"):
        text_to_image.main(text_to_image.Config(workdir=str(tmp_path / "run"), text_embeddings=other, **options))


def test_the_program_of_the_page(tmp_path, folder, monkeypatch):
    """With stand-ins for tokenizer and model, whose embedding is the length of a text."""
    (folder / "captions.jsonl").write_text(
        "".join(
            json.dumps({"file": f"train/{row}.png", "captions": ["a" * row, "b", "c"][: 2 + row % 2]}) + "\n"
            for row in range(1, 4)
        )
    )
    lengths = lambda texts: np.array([[len(text), 1.0] for text in texts], np.float32)
    embeds = lambda texts: types.SimpleNamespace(detach=lambda: types.SimpleNamespace(numpy=lambda: lengths(texts)))
    model = lambda texts: types.SimpleNamespace(text_embeds=embeds(texts))
    named = lambda made: types.SimpleNamespace(from_pretrained=lambda name: made)
    stand_in = types.SimpleNamespace(
        AutoTokenizer=named(lambda texts, **_: {"texts": texts}), CLIPTextModelWithProjection=named(model)
    )
    monkeypatch.setitem(sys.modules, "transformers", stand_in)
    monkeypatch.setattr(sys, "argv", ["embed.py", str(folder), str(tmp_path / "train.npz")])
    (program,) = [text for kind, text in blocks((ROOT / "docs/text_embeddings.md").read_text()) if kind == "python"]
    exec(compile(program, "docs/text_embeddings.md", "exec"), {})
    found = read_text_embeddings(tmp_path / "train.npz")
    assert found.rows[:, 0, 0].tolist() == [1, 2, 3] and found.rows.shape == (3, 2, 2)
    assert found.encoder == "openai/clip-vit-base-patch32" and found.names[0] == "train/1.png"
