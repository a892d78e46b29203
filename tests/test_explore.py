"""The pages of experiments.explore: the same picture as by the command, bounded input, and text that stays text."""

import base64
import dataclasses
import io
import json
import re
import signal
import socket
import urllib.error
import urllib.request
from urllib.parse import quote

import jax
import numpy as np
import pytest
from explored import (
    NASTY,
    class_run,
    image_run,
    pairs_run,
    pictures_of,
    points_run,
    served,
    text_run,
    translation_run,
    written_by,
)
from PIL import Image

from benchmarks.explore import seconds_of
from experiments import cyclegan, explore, export, gaussians_2d, pix2pix, sample, text_to_image
from experiments.explorer import images, points, programs, serving, theory, translation
from experiments.explorer.runs import Explored
from jaxgan.evaluation.panels import beside_nearest
from jaxgan.runs.open_run import restore

VALUES = {"kind": "grid", "seed": 3, "count": 4, "truncation": 3.0, "weights": "ema"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Explored(str(image_run(tmp_path_factory.mktemp("a [run] with blanks"))), sample.EXPERIMENTS)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return Explored(str(class_run(tmp_path_factory.mktemp("classes"))), sample.EXPERIMENTS)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"shift_0": 0.5, "shift_4": -1.5, "truncation": 0.7, "weights": "raw", "step": "2"},
        {"kind": "interpolation", "count": 36, "seed": 0},  # of which ten fit
    ],
)
def test_the_command_of_the_page_writes_the_picture_of_the_page(run, changed, tmp_path):
    html = images.show([run], VALUES | changed)
    (shown,), (command,) = pictures_of(html)
    config, content = written_by(command, tmp_path)
    expected = images.configuration(run, VALUES | changed)
    assert config == dataclasses.replace(expected, output=str(tmp_path / "out.png"))
    assert shown == content
    told = base64.b64decode(re.search('download="settings.txt" href="data:.*?base64,(.*?)"', html)[1]).decode()
    assert told.splitlines()[:3] == [command, "", f"kind: {expected.kind}"]


def test_classes_by_name_along_principal_directions(classes, tmp_path):
    values = VALUES | {"label": [NASTY, "ant"], "same_latents": True, "shift_1": 2.0}
    html = images.show([classes], values)
    assert NASTY not in html and "&lt;img src=x onerror" in html
    config = images.configuration(classes, values)
    assert (config.label, config.shift) == ((NASTY, "ant"), (0.0, 2.0))
    _, content = written_by(images.command(config), tmp_path)
    assert images.drawn(classes, config)[0] == content
    # Along the second left singular vector of the first layer, whose sign is a convention.
    kernel = np.asarray(classes.newest.state.generator.params["layer_0"]["kernel"]).reshape(20, -1)
    vector = np.linalg.svd(kernel)[0][:, 1]
    axis = sample.shift_axes(classes.newest)[1]
    np.testing.assert_allclose(axis, vector * np.sign(vector @ axis), atol=1e-4)


def test_between_classes_the_latents_stay_and_the_weights_of_labels_are_mixed(classes, tmp_path):
    values = VALUES | {"kind": "interpolation", "between": "labels", "label": ["ant", NASTY, "--cow"], "count": 4}
    (shown,), (command,) = pictures_of(images.show([classes], values))
    config, content = written_by(command, tmp_path)
    assert (config.between, config.count, shown) == ("labels", 4, content)
    run, drawn = classes.newest, lambda config: sample.drawn(classes.newest, config)
    parts, size, names = drawn(config)
    assert size == (8, 10) and names[::4] == [f"ant to {NASTY}", f"{NASTY} to --cow"]
    strips = np.concatenate(list(parts)).reshape(8, 10, 32, 32, 1).astype(int)
    latents = np.asarray(jax.random.normal(jax.random.key(3), (8, 20)))
    first, second = np.repeat([[0, 1], [1, 2]], 4, axis=1)  # the labels at both ends of each row
    expected = run.sample(np.tile(latents, (2, 1)), label=[*first, *second]).reshape(2, 8, 32, 32, 1).astype(int)
    assert abs(strips[:, [0, 9]].swapaxes(0, 1) - expected).max() <= 1
    assert abs(strips[:, 0] - strips[:, 9]).max() > 5

    def mixed(path, leaf):
        """Row 0 of a label's table as the mixture of rows 0 and 1, a third of the way."""
        ours = "affine" in jax.tree_util.keystr(path)
        return leaf.at[0].set((2 * leaf[0] + leaf[1]) / 3) if ours else leaf

    params = jax.tree_util.tree_map_with_path(mixed, run.state.ema_params)
    third = run._replace(state=run.state.replace(ema_params=params)).sample(np.tile(latents, (2, 1)), label=[0] * 16)
    assert abs(strips[:4, 3] - third[:4].astype(int)).max() <= 1

    walk = dataclasses.replace(config, kind="walk", label=("ant", "1"), count=2, output=None)
    parts, size, _ = drawn(walk)
    frames = np.concatenate(list(parts)).reshape(2, 40, 32, 32, 1).astype(int)
    same = np.asarray(jax.random.normal(jax.random.key(3), (2, 20)))
    expected = run.sample(np.tile(same, (8, 1)), label=[0, 0, 1, 1] * 4)[:4].reshape(2, 2, 32, 32, 1).astype(int)
    assert size == (2, 40) and abs(frames[:, [0, 20]].swapaxes(0, 1) - expected).max() <= 1
    np.testing.assert_array_equal(frames[:, 10], frames[:, 30])  # there and back, half and half


def test_between_prompts_their_embeddings_are_mixed(tmp_path):
    run = Explored(str(text_run(tmp_path / "run")), {"text_to_image": text_to_image})
    values = VALUES | {"kind": "interpolation", "between": "prompts", "prompts": "a red\na circle", "count": 2}
    (shown,), (command,) = pictures_of(images.show([run], values))
    config, content = written_by(command, tmp_path)
    assert (config.between, config.prompt, shown) == ("prompts", ("a red", "a circle"), content)
    parts, size, names = sample.drawn(run.newest, config)
    assert size == (2, 10) and names == ["a red to a circle"] * 2
    strips = np.concatenate(list(parts)).reshape(2, 10, 32, 32, 3).astype(int)
    latents = np.asarray(jax.random.normal(jax.random.key(3), (2, 32)))
    for column, prompt in ((0, "a red"), (9, "a circle")):
        np.testing.assert_allclose(strips[:, column], run.newest.sample(latents, prompt=prompt), atol=1)
    assert not np.array_equal(strips[:, 4], strips[:, 0])


def test_what_cannot_be_mixed(run, classes):
    for of, options, message in (
        (run, {"kind": "walk"}, "for --kind interpolation and walk of a run with labels"),
        (classes, {}, "for --kind interpolation and walk of a run with labels"),
        (classes, {"kind": "interpolation", "label": ("1",)}, "give 2 to 10 with --label"),
        (classes, {"kind": "walk", "label": ("1",)}, "give 2 to 50 with --label"),
        (
            classes,
            {"kind": "interpolation", "label": ("ant", "1", "1")},
            "from <img.*> to <img.*>: give different ones",
        ),
        (classes, {"kind": "interpolation", "count": 6}, "count=6: at most 5 per label or prompt"),
    ):
        with pytest.raises(ValueError, match=message):
            sample.drawn(of.newest, sample.Config(run=str(of.folder), between="labels", **options))


def test_shifted_latents_are_the_latents_plus_the_shift(run, tmp_path):
    config = sample.Config(run=str(run.folder), kind="images", count=3, shift=(0.0, 1.0), output=str(tmp_path / "out"))
    folder = sample.main(config)
    found = np.stack([np.asarray(Image.open(folder / f"{index:05d}.png")) for index in range(3)])[..., None]
    latents = np.asarray(jax.random.normal(jax.random.key(0), (3, 6))) + np.eye(6)[1]
    np.testing.assert_array_equal(found, restore(run.folder).sample(latents))
    with pytest.raises(ValueError, match=r"shift has 7 numbers, but .* can be moved along 6"):
        sample.main(sample.Config(run=str(run.folder), shift=(0.0,) * 7))


def test_a_port_in_use_and_prompts_of_a_command_line(classes):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} of 127.0.0.1 is in use: give another --port"):
            serving.check_address("127.0.0.1", port)
    serving.check_address("127.0.0.1", port)
    assert images._lines(" a red\x1b circle \n\nb") == ("a red circle", "b")
    assert len(images._lines("x" * 10**6)[0]) == images.MOST_LETTERS
    for wrong, message in (("-h", "begins with a dash, -h"), (" \n", "write a prompt"), (None, "write a prompt")):
        with pytest.raises(ValueError, match=message):
            images._lines(wrong)
    assert images.configuration(classes, VALUES | {"label": ["ant", "--cow"]}).label == ("ant", "2")


def test_two_runs_side_by_side(run, classes):
    html = images.show([run, run], VALUES)
    assert html.count("<img") == 2 and html.count("<pre>") == 2
    assert "<p>a [run] with blanks" in html


def test_the_nearest_training_images(run, monkeypatch):
    training = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 1), np.uint8)
    monkeypatch.setattr(images, "training_images", lambda config: training)
    html = images.show([run], VALUES | {"nearest": True})
    assert html.count("<img") == 2 and "nearest to it" in html
    grid = beside_nearest(training[3:5], training)
    assert grid.shape == (2 * 66 - 2, 6 * 66 - 2, 1)
    # The nearest training image of each is itself, the second differs by one.
    assert [int(grid[0, 66 * column, 0]) for column in (0, 1, 2)] in ([3, 3, 2], [3, 3, 4])
    images._training_images.cache_clear()

    def absent(config):
        raise ValueError(NASTY)

    monkeypatch.setattr(images, "training_images", absent)
    html = images.show([run], VALUES | {"nearest": True})
    assert "The training images cannot be read" in html and NASTY not in html


def test_facts_are_text(run, tmp_path):
    (run.folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "d_loss": 1.0}) + "\n")
    for content in ('{"scores": {"<b>": 1.5}, "stamp": {}}', "junk", '{"scores": [1]}', "[]"):
        (run.folder / "scores.jsonl").write_text(content + "\n")
        assert "<b>" not in run.facts()
    (run.folder / "scores.jsonl").write_text('{"scores": {"<b>": 1.5}, "stamp": {}}\n')
    assert "&lt;b&gt;</td><td>1.5" in run.facts()


def test_what_main_refuses(run, classes, tmp_path):
    for options, message in (
        ({"run": str(run.folder), "compare": str(classes.folder)}, "are runs of different kinds"),
        ({}, "give one of --run FOLDER, --program FILE.stablehlo and --theory"),
        ({"run": str(run.folder), "theory": True}, "give one of"),
        ({"theory": True, "compare": str(run.folder)}, "--compare needs a --run"),
        ({"run": str(tmp_path)}, "is not a run folder"),
        ({"program": str(run.folder / "config.json")}, "is no program written by experiments.export"),
        ({"theory": True, "host": "192.0.2.1"}, "host='192.0.2.1' is no address of this machine"),
    ):
        with pytest.raises(ValueError, match=message):
            explore.main(explore.Config(**options))


def test_an_image_is_translated_and_back(tmp_path):
    run = Explored(str(translation_run(tmp_path)), {"cyclegan": cyclegan})
    image = np.random.default_rng(0).integers(256, size=(40, 50, 3), dtype=np.uint8)
    found = translation.translated(run, image, "b_to_a", 1)
    assert list(found) == ["b", "b_to_a", "b_to_a_to_b", "difference"]
    assert {pixels.shape for pixels in found.values()} == {(40, 50, 3)}
    back = found["b_to_a_to_b"].astype(int)
    np.testing.assert_array_equal(found["difference"], np.abs(back - image.astype(int)))
    upload = io.BytesIO()
    Image.fromarray(image).save(upload, format="png")
    html = translation.show([run], {"direction": "a_to_b", "upload": upload.getvalue(), "index": 0})
    assert html.count("<img") == 6 and "oninput" in html  # two of the slider
    assert translation.show([run], {"direction": "a_to_b", "index": 5}).count("<img") == 6  # a test image
    for values, message in (
        ({"upload": b"no image"}, "not an image in a supported format"),
        ({"upload": upload.getvalue()[:200]}, "truncated|broken|not an image"),
        ({"upload": b""}, "the uploaded file is empty"),
        ({"direction": "../x"}, "a_to_b or b_to_a expected"),
        ({"index": 10**9}, "there is no test image 1000000000: there are "),
    ):
        with pytest.raises(ValueError, match=message):
            translation.show([run], {"direction": "a_to_b", "index": 0} | values)


def test_a_pix2pix_is_shown_with_the_truth(tmp_path):
    run = Explored(str(pairs_run(tmp_path)), {"pix2pix": pix2pix})
    assert translation.directions(run) == ["b_to_a"]
    assert list(translation.translated(run, np.zeros((32, 32, 3), np.uint8), "b_to_a", 1)) == ["b", "b_to_a"]
    html = translation.show([run], {"direction": "b_to_a", "index": 5})
    assert html.count("<img") == 6 and "truth.png" in html and "difference.png" in html
    with pytest.raises(ValueError, match="direction='a_to_b': b_to_a expected"):
        translation.show([run], {"direction": "a_to_b", "index": 5})


def test_points_over_data_and_scores(tmp_path):
    run = Explored(str(points_run(tmp_path)), {"gaussians_2d": gaussians_2d})
    values = {"seed": 0, "temperature": 1.0, "weights": "ema", "scores": True}
    shown = [points.show([run], values | changed) for changed in ({}, {"temperature": 0.5}, {"scores": False})]
    assert len(set(shown)) == 3 and all(html.count("<img") == 1 for html in shown)


def test_an_exported_program_draws_without_its_networks(run, tmp_path):
    path = export.main(export.Config(run=str(run.folder), output=str(tmp_path / "g.stablehlo")))
    inputs, call = programs.opened(str(path))
    assert {name: field.shape[1:] for name, field in inputs.items()} == {"latents": (6,)}
    latents = np.asarray(jax.random.normal(jax.random.key(0), (3, 6)))
    np.testing.assert_allclose(
        call({"latents": latents})["samples"], run.newest.outputs({"latents": latents})["samples"], atol=1e-5
    )
    for content in (b"", b"junk", path.read_bytes()[:500]):
        (tmp_path / "bad.stablehlo").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.stablehlo is no program written by"):
            programs.opened(str(tmp_path / "bad.stablehlo"))


def test_divergences_of_the_lecture():
    """Of N(0, 1) and N(m, s): W1 = m for s = 1, and E|z| |s - 1| for m = 0; KL = log s + (1 + m^2) / (2 s^2) - 1/2."""
    found = theory.exact(2.0, 1.0)
    assert found["wasserstein"] == pytest.approx(2.0)
    assert found["kl"] == pytest.approx(2.0)
    assert theory.exact(0.0, 2.0)["wasserstein"] == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)
    assert theory.exact(1.0, 0.5)["kl"] == pytest.approx(np.log(0.5) + 4.0 - 0.5)
    assert theory.exact(6.0, 0.1)["jensen_shannon"] == pytest.approx(np.log(2), abs=0.02)
    assert theory.exact(0.0, 1.0) == pytest.approx({"kl": 0.0, "jensen_shannon": 0.0, "wasserstein": 0.0}, abs=1e-9)


def test_the_critic_of_the_lecture_learns_the_distance():
    """With penalty weight 10 it converges to theta (1 + theta / 20), see experiments.divergence.segments."""
    critic = theory._new_critic()
    for _ in range(60):
        critic, estimate = theory._learned(critic, 2.0, 1.0)
    assert int(critic[2]) == 60 * theory.CRITIC_STEPS
    assert float(estimate) == pytest.approx(2.2, abs=0.35)
    html, later = theory.compare(2.0, 99.0, critic)  # bounded
    assert "<img" in html and int(later[2]) == 61 * theory.CRITIC_STEPS


def test_the_generator_of_the_lecture_goes_on_and_starts_again():
    html, state = theory.restart("non_saturating")
    assert "step 0" in html
    html, state = theory.advance("non_saturating", state)
    assert f"step {theory.GENERATOR_STEPS}" in html
    html, state = theory.advance("minimax", state)  # another loss starts anew
    assert "minimax, step 0" in html
    with pytest.raises(ValueError, match="minimax, non_saturating, wasserstein expected"):
        theory.restart(NASTY)


def asked(address, values, name="draw"):
    """The page's own interface, as the browser uses it: the HTML, or the text of an error."""
    body = json.dumps({"data": values}).encode()
    request = urllib.request.Request(f"{address}/gradio_api/run/{name}", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["data"][0]
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_the_interface_of_the_page(run, tmp_path):
    defaults = ["grid", 3, 4, 3.0, False, "ema", 1, *[0.0] * 6]
    uploads = lambda: list(tmp_path.glob("jaxgan-explore-*"))
    with served("--run", str(run.folder), ended_by=signal.SIGTERM, TMPDIR=str(tmp_path)) as address:
        assert len(uploads()) == 1
        html = asked(address, defaults)
        expected, *_ = images.drawn(run, images.configuration(run, VALUES))
        assert base64.b64encode(expected).decode() in html
        for place, value, message in (
            (2, 10**9, "Value 1000000000 is greater than maximum value 100."),
            (1, -5, "Value -5 is less than minimum value 0."),
            (1, NASTY, "a control was sent a value of another type"),
            (6, None, "a control was sent a value of another type"),
            (7, {"a": [1]}, "a control was sent a value of another type"),
            (0, NASTY, "&lt;img src=x onerror=alert(1)&gt;"),
            (5, None, "weights=None: expected"),
        ):
            answer = asked(address, [value if index == place else one for index, one in enumerate(defaults)])
            assert message in answer and NASTY not in answer
        assert "(needed: 13, got: 12)" in asked(address, defaults[:-1])
        assert asked(address, defaults, "nothing") == "Internal Server Error"  # and no traceback, see `served`
        assert asked(address, [*defaults[:6], 0, *defaults[7:]]) != html == asked(address, defaults)
        for path in ("/gradio_api/file=/etc/passwd", f"/gradio_api/file={quote(str(run.folder))}/config.json"):
            with pytest.raises(urllib.error.HTTPError, match=r"403|404"):
                urllib.request.urlopen(address + path)
    assert uploads() == []


@pytest.mark.slow  # starts the page in a process of its own
def test_the_benchmark_of_the_page(run, tmp_path):
    pytest.importorskip("gradio")
    first, moved = seconds_of(str(run.folder), 2)
    assert 0 < max(moved) < first and len(moved) == 2
    with pytest.raises(ValueError, match="the page did not open"):
        seconds_of(str(tmp_path / "no such"), 2)


def test_text_of_the_page_is_escaped():
    assert NASTY not in serving.picture(b"", NASTY, command=NASTY, title=NASTY, note=NASTY)
