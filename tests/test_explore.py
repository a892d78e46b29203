"""The pages of experiments.explore: the same picture as by the command, bounded input, and text that stays text."""

import base64
import contextlib
import io
import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import class_conditional, cyclegan, explore, export, gan, gaussians_2d, pix2pix, sample
from experiments.explorer import images, points, programs, serving, theory, translation
from experiments.explorer.runs import Explored
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.evaluation.panels import beside_nearest
from jaxgan.runs import cli
from jaxgan.runs.config import save_config
from jaxgan.runs.open_run import restore

NASTY = "<img src=x onerror=alert(1)>"
VALUES = {"kind": "grid", "seed": 3, "count": 4, "truncation": 3.0, "weights": "ema"}


def saved(folder, module, config, batch, steps=(2, 5), **known):
    """A run that was never trained: its checkpoints have the weights of different seeds."""
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step in steps:
            checkpoints.save(step, module.build(config).init(jax.random.key(step), batch))
    save_config(config, folder, batch, size=9, **known)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a [run] with blanks")
    config = gan.Config(workdir=str(folder), dataset="noise", width=4, batch_size=2)
    return Explored(str(saved(folder, gan, config, {"image": jnp.zeros((2, 32, 32, 1))})), sample.EXPERIMENTS)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    config = class_conditional.Config(workdir=str(folder), num_classes=3, width=4, latent_dim=20, batch_size=2)
    batch = {"image": jnp.zeros((2, 32, 32, 1)), "condition": jnp.zeros(2, jnp.int32)}
    saved(folder, class_conditional, config, batch, classes=("ant", NASTY, "--cow"))
    return Explored(str(folder), sample.EXPERIMENTS)


def written_by(command, monkeypatch, tmp_path):
    """What the printed command writes."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "experiments.sample"]
    config = cli.parse(sample.Config, [*words[3:], "--output", str(tmp_path / "out.png")])
    return config, sample.main(config).read_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"shift_0": 0.5, "shift_4": -1.5, "truncation": 0.7, "weights": "raw", "step": "2"},
        {"kind": "interpolation", "count": 2, "seed": 0},
    ],
)
def test_the_command_of_the_page_writes_the_picture_of_the_page(run, changed, monkeypatch, tmp_path):
    html = images.show([run], VALUES | changed)
    command = re.search("<pre>(.*)</pre>", html, re.DOTALL)[1].replace("&#x27;", "'")
    config, content = written_by(command, monkeypatch, tmp_path)
    assert config == sample.Config(
        **{**vars(images.configuration(run, VALUES | changed)), "output": str(tmp_path / "out.png")}
    )
    assert images.drawn(run, images.configuration(run, VALUES | changed))[:2] == (content, "png")


def test_classes_by_name_along_principal_directions(classes, monkeypatch, tmp_path):
    values = VALUES | {"label": [NASTY, "ant"], "same_latents": True, "shift_1": 2.0}
    html = images.show([classes], values)
    assert NASTY not in html and "&lt;img src=x onerror" in html
    config = images.configuration(classes, values)
    assert (config.label, config.shift) == ((NASTY, "ant"), (0.0, 2.0))
    _, content = written_by(images.command(config), monkeypatch, tmp_path)
    assert images.drawn(classes, config)[0] == content
    # Along the second left singular vector of the first layer, whose sign is a convention.
    kernel = np.asarray(classes.newest.state.generator.params["layer_0"]["kernel"]).reshape(20, -1)
    vector = np.linalg.svd(kernel)[0][:, 1]
    axis = sample.shift_axes(classes.newest)[1]
    np.testing.assert_allclose(axis, vector * np.sign(vector @ axis), atol=1e-4)


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


def test_what_main_refuses(run, tmp_path):
    for options, message in (
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
    sizes = {"width": 4, "d_width": 4, "blocks": 1, "image_size": 32, "batch_size": 1}
    config = cyclegan.Config(workdir=str(tmp_path), dataset="noise", dataset_b="noise", split_b="test", **sizes)
    batch = {name: jnp.zeros((1, 32, 32, 3)) for name in "ab"}
    run = Explored(str(saved(tmp_path, cyclegan, config, batch, steps=(1,))), {"cyclegan": cyclegan})
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
    sizes = {"width": 2, "d_width": 2, "levels": 2, "patch_layers": 1, "image_size": 32, "batch_size": 1}
    config = pix2pix.Config(workdir=str(tmp_path), dataset="noise", dataset_b="noise", direction="b_to_a", **sizes)
    batch = {name: jnp.zeros((1, 32, 32, 3)) for name in "ab"}
    run = Explored(str(saved(tmp_path, pix2pix, config, batch, steps=(1,))), {"pix2pix": pix2pix})
    assert translation.directions(run) == ["b_to_a"]
    assert list(translation.translated(run, np.zeros((32, 32, 3), np.uint8), "b_to_a", 1)) == ["b", "b_to_a"]
    html = translation.show([run], {"direction": "b_to_a", "index": 5})
    assert html.count("<img") == 6 and "truth.png" in html and "difference.png" in html
    with pytest.raises(ValueError, match="direction='a_to_b': b_to_a expected"):
        translation.show([run], {"direction": "a_to_b", "index": 5})


def test_points_over_data_and_scores(tmp_path):
    config = gaussians_2d.Config(workdir=str(tmp_path), width=8, batch_size=8)
    saved(tmp_path, gaussians_2d, config, {"image": jnp.zeros((8, 2))}, steps=(1,))
    run = Explored(str(tmp_path), {"gaussians_2d": gaussians_2d})
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


@contextlib.contextmanager
def served(*arguments):
    """The address of the page of a command, in a process of its own, which Ctrl-C ends."""
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "experiments.explore", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "JAX_NUM_CPU_DEVICES": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment}
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent, **options) as process:
        said = iter(process.stdout.readline, "")
        lines = list(itertools.takewhile(lambda line: "Ctrl-C ends it" not in line, said))
        (address,) = re.findall(r"page        (http://127\.0\.0\.1:\d+)/", "".join(lines)) or [None]
        assert address, lines
        try:
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and rest.rstrip().endswith("interrupted"), rest


def asked(address, values):
    """The page's own interface, as the browser uses it: the HTML, or the text of an error."""
    body = json.dumps({"data": values}).encode()
    request = urllib.request.Request(f"{address}/gradio_api/run/draw", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["data"][0]
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_the_interface_of_the_page(run):
    defaults = ["grid", 3, 4, 3.0, False, "ema", "5", *[0.0] * 6]
    with served("--run", str(run.folder)) as address:
        html = asked(address, defaults)
        expected, *_ = images.drawn(run, images.configuration(run, VALUES))
        assert base64.b64encode(expected).decode() in html
        for place, value in ((2, 10**9), (1, -5), (0, NASTY), (6, "../../x"), (7, 1e30), (7, NASTY), (5, None)):
            answer = asked(address, [value if index == place else one for index, one in enumerate(defaults)])
            assert "data:image" not in answer
        assert asked(address, defaults) == html
        for path in ("/gradio_api/file=/etc/passwd", f"/gradio_api/file={quote(str(run.folder))}/config.json"):
            with pytest.raises(urllib.error.HTTPError, match=r"403|404"):
                urllib.request.urlopen(address + path)


def test_text_of_the_page_is_escaped():
    assert NASTY not in serving.picture(b"", NASTY, command=NASTY, title=NASTY, note=NASTY)


@pytest.mark.slow
def test_in_a_browser(run, classes, browser):
    """A control gives another image, nothing is loaded from elsewhere, and texts of a run execute nothing."""
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    sources = lambda: [image.get_attribute("src") for image in browser.find_elements("css selector", ".picture img")]
    wait = lambda found: WebDriverWait(browser, 60).until(lambda _: found())
    for one, places in ((run, 6), (classes, 16)):
        with served("--run", str(one.folder)) as address:
            browser.get(address)
            wait(sources)
            before = sources()
            sliders = browser.find_elements("css selector", "input[type=range]")
            assert len(sliders) == 2 + places
            sliders[-1].send_keys(Keys.ARROW_RIGHT * 5)
            wait(lambda before=before: sources() and sources() != before)
            shown = browser.find_element("css selector", ".picture pre").text
            assert shown.endswith(f"--shift {'0.0 ' * (places - 1)}0.5")
            assert browser.find_elements("css selector", "img[src=x]") == []
            loaded = browser.execute_script("return performance.getEntriesByType('resource').map(found => found.name)")
            assert [name for name in loaded if not name.startswith((address, "data:"))] == []
            browser.set_window_size(400, 800)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
