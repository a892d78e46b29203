import base64
import html
import json
import re
import sys

import numpy as np
import pytest

from jaxgan.runs import logging, report
from jaxgan.runs.images import save_image

NASTY = "</script><img src=x onerror=alert(1)> & \"quotes\" 'too'"


def make_run(folder, *, steps=(10, 20, 30), config=None, side=8):
    """A run folder as the loop leaves it, with a line and a picture at each of the steps."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "experiment": "gan",
        "config": {"num_steps": 40, "batch_size": 4, **(config or {})},
        "versions": {"jax": "1.2.3"},
        "git_revision": None,
    }
    (folder / "config.json").write_text(json.dumps(record))
    rng = np.random.default_rng(0)
    with logging.MetricsFile(folder / "metrics.jsonl") as metrics:
        for step in steps:
            values = {"d_loss": 1.25, "g_loss": 1 / step, "penalty": 0.1, "real_score": 0.5, "fake_score": -0.5}
            metrics.write_scalars(step, values | {"steps_per_second": 2.0, "images_per_second": 8.0})
            save_image(folder / "samples" / f"{step:08d}.png", rng.integers(0, 256, (side, side, 3), np.uint8))
    return folder


def written(folder, **options):
    assert report.write_page(folder, **options)
    return (folder / "report.html").read_text(encoding="utf-8")


def between(start, end, text):
    return text.split(start, 1)[1].split(end, 1)[0]


def pictures(text):
    """The PNG files in the page, and the step under each; the one that is shown comes last."""
    found = re.findall(
        r'<img src="data:image/png;base64,([^"]*)" alt="[^"]*" data-label="step ([\d,]+)"( hidden)?>', text
    )
    assert [bool(hidden) for *_, hidden in found] == [True] * (len(found) - 1) + [False]
    return [(base64.b64decode(data), int(step.replace(",", ""))) for data, step, _ in found]


def test_a_page_holds_the_run(tmp_path):
    folder = make_run(tmp_path / "gan-loss=hinge")
    text = written(folder)
    assert "<title>gan-loss=hinge</title>" in text
    assert "<dt>batch_size</dt><dd>4</dd>" in text
    assert "<dt>jax</dt><dd>1.2.3</dd>" in text
    assert "<dt>git revision</dt><dd>none</dd>" in text
    assert "<dt>Step</dt><dd>30 of 40</dd>" in text
    assert "<dt>Training time</dt><dd>15 s</dd>" in text  # 30 steps, two a second
    assert "<dt>Images per second</dt><dd>8</dd>" in text
    for title in ("Losses", "Discriminator&#x27;s scores", "Penalties and gradient norms", "Throughput"):
        assert f"<h3>{title}</h3>" in text
    assert "d_loss 1.25</span>" in text
    assert "g_loss 0.03333</span>" in text
    # The pictures are the files, byte for byte, and no step is missing.
    files = sorted((folder / "samples").iterdir())
    assert pictures(text) == [(file.read_bytes(), step) for file, step in zip(files, (10, 20, 30), strict=True)]
    assert 'max="2" value="2"' in text
    assert sorted(entry.name for entry in folder.iterdir() if "html" in entry.name) == ["report.html"]


def test_nothing_comes_from_a_network(tmp_path):
    text = written(make_run(tmp_path / "run"))
    own = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!data:)', own)
    assert "default-src 'none'" in text
    assert "<script src" not in text
    assert not re.search(r"@import|url\((?!['\"]?data:)", own)


def test_everything_is_escaped(tmp_path):
    folder = make_run(tmp_path / "run", config={NASTY: NASTY})
    with logging.MetricsFile(folder / "metrics.jsonl", last_step=30) as metrics:
        metrics.write_scalars(40, {NASTY: 1.0})
    report.save_labels(folder / "samples", rows=[NASTY], columns=[NASTY])
    report.record_start(folder, 0, NASTY)
    text = written(folder)
    assert "onerror=alert(1)>" not in text.replace(html.escape(NASTY), "")
    assert text.count(html.escape(NASTY)) >= 2 + 2 * 2 + 1 + 1 + 2  # setting, labels, caption, start, curve


def test_at_most_forty_pictures_and_the_newest(tmp_path):
    steps = range(100, 10_100, 100)
    folder = make_run(tmp_path / "run", steps=steps, side=2)
    shown = [step for _, step in pictures(written(folder))]
    assert len(shown) == report.MAX_IMAGES == 40
    assert (shown[0], shown[-1]) == (100, 10_000)
    assert set(np.diff(shown)) <= {200, 300}  # 99 / 39 = 2.5 pictures apart


def test_large_pictures_are_fewer(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", steps=range(1, 11))
    largest = max(path.stat().st_size for path in (folder / "samples").iterdir())
    monkeypatch.setattr(report, "MAX_IMAGE_BYTES", 3 * largest)
    assert [step for _, step in pictures(written(folder))] == [1, 5, 10]
    monkeypatch.setattr(report, "MAX_IMAGE_BYTES", 1)
    assert [step for _, step in pictures(written(folder))] == [10]


def test_every_kind_of_drawing_has_a_section(tmp_path):
    folder = make_run(tmp_path / "run", steps=range(1, 61), side=2)
    for name in ("interpolation", "nearest", "my_own"):
        save_image(folder / name / "00000030.png", np.zeros((2, 2, 3), np.uint8))
    (folder / "samples" / "00000061.png.tmp").touch()  # half written
    (folder / "other").mkdir()
    text = written(folder)
    sections = re.split(r'<section class="gallery" id="', text)[1:]
    assert [section.split('"')[0] for section in sections] == ["samples", "interpolation", "my_own", "nearest"]
    assert [between("<h2>", "</h2>", section) for section in sections] == [
        "Samples",
        "Interpolation",
        "My own",
        "Nearest training images",
    ]
    assert [len(pictures(section)) for section in sections] == [37, 1, 1, 1]  # the single ones leave room
    assert "range" not in sections[1]  # nothing to choose from


def test_rows_and_columns_have_names(tmp_path):
    folder = make_run(tmp_path / "run")
    assert '<div class="rows">' not in written(folder)
    report.save_labels(folder / "samples", rows=["a red bird", "a blue bird"], columns=["a", "a_to_b", "a_to_b_to_a"])
    text = written(folder)
    columns = between('<div class="columns">', "</div>", text)
    assert re.findall("<span[^>]*>(.*?)</span>", columns) == ["a", "a → b", "a → b → a"]
    rows = between('<div class="rows">', "</div>", text)
    assert re.findall("<span[^>]*>(.*?)</span>", rows) == ["a red bird", "a blue bird"]
    assert "<li>a red bird</li><li>a blue bird</li>" in text


@pytest.mark.parametrize("content", ["[1]", "{", '{"rows": []}', '{"rows": 1, "columns": []}'])
def test_labels_that_are_none(tmp_path, content):
    folder = make_run(tmp_path / "run")
    (folder / "samples" / "labels.json").write_text(content)
    with pytest.raises(ValueError, match=r'labels.json: expected {"rows": \[...\], "columns": \[...\]}'):
        report.write_page(folder)


def test_the_history_of_a_resumed_run(tmp_path):
    folder = make_run(tmp_path / "run", steps=(10, 20, 30, 40))
    report.record_start(folder, 0, "1 x cpu")
    report.record_start(folder, 30, "8 x gpu")
    table = between("<table>", "</table>", written(folder))
    rows = [re.findall("<td>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    # At two steps a second, 30 steps and then the last 10.
    assert [row[1:] for row in rows] == [["0", "15 s", "1 x cpu"], ["30", "5 s", "8 x gpu"]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", row[0]) for row in rows)


def test_alarms_stand_on_top(tmp_path):
    folder = make_run(tmp_path / "run")
    assert 'class="alarm"' not in written(folder)
    with logging.MetricsFile(folder / "metrics.jsonl", last_step=30) as metrics:
        for step in range(40, 200, 10):
            metrics.write_scalars(step, {"real_score": 9.0, "fake_score": -9.0, "d_loss": 1e-4})
    assert '<p class="alarm">Step 130: The discriminator has told real from fake' in written(folder)


def test_not_more_often_than_asked(tmp_path):
    folder = make_run(tmp_path / "run")
    assert report.write_page(folder, seconds=60)
    assert not report.write_page(folder, seconds=60)
    assert report.write_page(folder)


def test_a_page_is_never_half_written(tmp_path):
    folder = make_run(tmp_path / "run")
    before = written(folder)
    (folder / "metrics.jsonl").write_text("broken\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1"):
        report.write_page(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == before


def test_without_bokeh_there_are_no_curves(tmp_path, monkeypatch):
    for name in ("bokeh", "bokeh.embed", "bokeh.models", "bokeh.plotting", "bokeh.resources"):
        monkeypatch.setitem(sys.modules, name, None)
    text = written(make_run(tmp_path / "run"))
    assert "The curves need bokeh: pip install -e '.[experiments]'" in text
    assert len(pictures(text)) == 3
    assert len(text) < 20_000


def test_a_run_that_has_just_begun(tmp_path):
    (tmp_path / "config.json").write_text('{"experiment": "gan", "config": {"num_steps": 5}}')
    text = written(tmp_path)
    assert "No metrics have been logged yet" in text
    assert "<dd>0 of 5</dd>" in text
    assert "gallery" not in text.split("</style>")[1].split("<script>")[0]


def test_what_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="is not a run folder"):
        report.write_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_none_and_long_runs(tmp_path):
    folder = make_run(tmp_path / "run", steps=[1])
    with logging.MetricsFile(folder / "metrics.jsonl", last_step=1) as metrics:
        for step in range(2, 3002):
            metrics.write_scalars(step, {"d_loss": float("nan") if step % 2 else 1.0, "penalty": float("inf")})
    text = written(folder)
    assert "d_loss 1</span>" in text
    assert len(text) < 1.6e6  # a curve of 1,000 points, not of 1,500


def show(browser, folder, *, width, scheme="light"):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get((folder / "report.html").as_uri())
    drawn = "return window.Bokeh !== undefined && Bokeh.documents.length == 1 && Bokeh.documents[0].is_idle"
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(lambda browser: browser.execute_script(drawn))
    problems = [entry for entry in browser.get_log("browser") if entry["level"] not in ("INFO", "DEBUG")]
    assert problems == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.slow
def test_in_a_browser(tmp_path, browser):
    from selenium.webdriver.common.keys import Keys

    folder = make_run(tmp_path / "run", config={"dataset": "x" * 200, NASTY: NASTY}, side=700)
    captions = ["a small red circle above a large blue square " * 3] * 4
    report.save_labels(folder / "samples", rows=captions, columns=["a", "a_to_b", "a_to_b_to_a"])
    report.record_start(folder, 0, "1 x a device with a long name")
    with logging.MetricsFile(folder / "metrics.jsonl", last_step=30) as metrics:
        metrics.write_scalars(40, {NASTY: 123_456.7})
    assert "123,457</span>" in written(folder)

    show(browser, folder, width=1280)
    assert len(browser.find_elements("css selector", ".chart .bk-Figure")) == 5
    slider = browser.find_element("css selector", "#samples input")
    images = browser.find_elements("css selector", "#samples img")
    output = browser.find_element("css selector", "#samples output")
    visible = lambda: [image.is_displayed() for image in images]
    assert (visible(), output.text) == ([False, False, True], "step 30")
    slider.send_keys(Keys.ARROW_LEFT)
    assert (visible(), output.text) == ([False, True, False], "step 20")
    slider.send_keys(Keys.HOME)
    assert (visible(), output.text) == ([True, False, False], "step 10")
    # A row's name stands beside the row: the middle of its box within the row's quarter of the picture.
    picture = images[0].rect
    for row, span in enumerate(browser.find_elements("css selector", "#samples .rows span")):
        middle = span.rect["y"] + span.rect["height"] / 2
        assert abs(middle - picture["y"] - (row + 0.5) * picture["height"] / 4) < 2

    for scheme in ("light", "dark"):
        show(browser, folder, width=375, scheme=scheme)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 375
        background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", background))) < 64) == (scheme == "dark")
        assert browser.find_element("css selector", "#samples img:not([hidden])").rect["width"] > 300
        assert browser.find_element("css selector", "#samples .captions").is_displayed()
