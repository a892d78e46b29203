"""The pages of experiments.explore as their users see them, in Chromium; one browser for all, one server for each."""

import base64
import contextlib
import io
import time

import numpy as np
import pytest
from explored import (
    NASTY,
    class_run,
    image_run,
    pictures_of,
    points_run,
    served,
    text_run,
    translation_run,
    written_by,
)
from PIL import Image

from experiments import export

pytestmark = pytest.mark.slow


class Page:
    """A page in a browser."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address
        browser.get_log("browser")
        browser.set_window_size(1300, 900)
        browser.get(address)
        self.wait(self.sources)

    def wait(self, found):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 60, poll_frequency=0.05).until(lambda _: found())

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def sources(self):
        """The addresses of all pictures, in one look, since each is replaced as soon as another is there."""
        return self.browser.execute_script("return [...document.querySelectorAll('.picture img')].map(one => one.src)")

    def shows_another(self, act):
        """Waits until there are other pictures after an act."""
        before = self.sources()
        act()
        self.wait(lambda: self.sources() not in ([], before))
        return self

    def choose(self, text):
        return lambda: next(label for label in self.all("label") if label.text.strip() == text).click()

    def press(self, selector, keys, index=0):
        return lambda: self.all(selector)[index].send_keys(keys)

    def parts(self):
        """The pictures, and the printed commands."""
        of_all = "return [...document.querySelectorAll('.picture')].map(one => one.outerHTML).join('')"
        return pictures_of(self.browser.execute_script(of_all))

    def reproduced(self, folder):
        """Whether the printed commands write the pictures; returns the commands."""
        shown, commands = self.parts()
        for picture, command in zip(shown, commands, strict=True):
            assert written_by(command, folder)[1] == picture
        return commands

    def downloaded(self, index, folder):
        """The name and the contents of the file behind a link."""
        folder.mkdir()
        self.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
        self.all(".picture a[download]")[index].click()
        self.wait(lambda: [path for path in folder.iterdir() if path.suffix != ".crdownload"])
        (path,) = folder.iterdir()
        return path.name, path.read_bytes()


@contextlib.contextmanager
def page_of(browser, *arguments):
    """The page of a command. At its end nothing was executed or loaded from elsewhere, and it fits a narrow screen."""
    with served(*arguments) as address:
        page = Page(browser, address)
        yield page
        assert page.all("img[src=x]") == []  # nor an alert, which would end the test
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map(found => found.name)")
        assert [name for name in loaded if not name.startswith((address, "data:"))] == []
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
        browser.set_window_size(400, 800)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 400


def test_images(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    with page_of(browser, "--run", str(image_run(tmp_path / NASTY))) as page:
        page.shows_another(page.press("input[type=range]", Keys.ARROW_RIGHT * 5, -1))
        page.shows_another(page.press(".step input[type=range]", Keys.ARROW_LEFT))
        page.wait(lambda: "Checkpoint at step 2" in page.all(".step")[0].text)
        (command,) = page.reproduced(tmp_path)
        assert "--checkpoint 2 " in command and command.endswith("--shift 0.0 0.0 0.0 0.0 0.0 0.5")
        page.all(".picture button")[0].click()
        assert page.all(".picture button")[0].text == "Copied"
        name, content = page.downloaded(0, tmp_path / "images")
        assert name.endswith("-grid-2.png") and base64.b64encode(content).decode() in page.sources()[0]
        name, content = page.downloaded(-1, tmp_path / "texts")
        assert (name, content.decode().splitlines()[0]) == ("settings.txt", command)
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")  # of another visitor
        other = Page(browser, page.address)
        assert other.sources() != []
        browser.close()
        browser.switch_to.window(first)
        page.shows_another(page.choose("interpolation"))


def test_classes(browser, tmp_path):
    with page_of(browser, "--run", str(class_run(tmp_path / "run"))) as page:
        page.shows_another(page.choose("interpolation"))
        page.shows_another(page.choose("labels"))
        (command,) = page.reproduced(tmp_path)
        assert f"--between labels --count 5 --label ant '{NASTY}' 2" in command
        page.shows_another(page.choose("walk"))
        assert page.sources()[0].startswith("data:image/gif")
        page.reproduced(tmp_path)


def test_sentences(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    with page_of(browser, "--run", str(text_run(tmp_path / "run"))) as page:
        assert page.all("textarea")[0].get_attribute("value") == "a red circle"
        page.shows_another(page.press("textarea", f"\n{NASTY}"))
        page.wait(lambda: page.parts()[1][0].endswith(f"'{NASTY}' --same-latents"))
        page.reproduced(tmp_path)
        assert "unknown words: img, src, x" in page.all(".picture p")[0].text
        page.all("textarea")[0].send_keys(Keys.BACKSPACE * len(NASTY))
        page.shows_another(next(word for word in page.all(".words button") if word.text == "circle").click)
        page.wait(lambda: page.all("textarea")[0].get_attribute("value") == "a red circle\ncircle")
        page.wait(lambda: page.parts()[1][0].endswith("'a red circle' circle --same-latents"))
        page.all("textarea")[0].send_keys(Keys.CONTROL, "a")
        page.all("textarea")[0].send_keys(Keys.DELETE)
        page.wait(lambda: [error.text for error in page.all(".error")] == ["write a prompt, or several in a line each"])


def test_translation(browser, tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with page_of(browser, "--run", str(translation_run(tmp_path / "run"))) as page:
        assert len(page.sources()) == 6  # two of the slider, and four
        page.shows_another(page.press("input[type=file]", str(tmp_path / "mine.png")))
        after = page.all(".both img")[1]
        before = after.get_attribute("style")
        page.all(".both input[type=range]")[0].click()
        page.press(".both input[type=range]", "\ue012")()
        assert after.get_attribute("style") != before
        name, content = page.downloaded(1, tmp_path / "images")
        assert name == "a_to_b.png" and Image.open(io.BytesIO(content)).size == (50, 40)
        page.shows_another(page.choose("b_to_a"))
        page.shows_another(page.all("button[aria-label='Clear']")[0].click)
        page.press("input[type=file]", str(tmp_path / "bad.png"))()
        page.wait(lambda: [error for error in page.all(".error") if "not an image" in error.text])


def test_points(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    with page_of(browser, "--run", str(points_run(tmp_path / "run"))) as page:
        page.shows_another(page.press("input[type=range]", Keys.ARROW_RIGHT * 4))
        page.shows_another(page.choose("The discriminator's score as colours"))
        assert b"temperature: 1.2\n" in page.downloaded(1, tmp_path / "texts")[1]


def test_a_program(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    folder = image_run(tmp_path / "run")
    program = export.main(export.Config(run=str(folder), output=str(tmp_path / f"{NASTY}.stablehlo")))
    with page_of(browser, "--program", str(program)) as page:
        page.shows_another(page.press("input[type=range]", Keys.ARROW_RIGHT * 9, -1))
        name, content = page.downloaded(0, tmp_path / "images")
        assert name == "grid.png" and Image.open(io.BytesIO(content)).size == (262, 262)


def test_the_lecture(browser):
    with page_of(browser, "--theory") as page:
        time.sleep(1)
        page.shows_another(lambda: None)  # the critic learns by itself
        page.all("button[role=tab]")[1].click()
        step = next(button for button in page.all("button") if button.text == "Step")
        page.wait(lambda: any("step 0" in one.text for one in page.all(".picture p")))
        step.click()
        page.wait(lambda: any("step 10" in one.text for one in page.all(".picture p")))


def test_two_runs(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    runs = [str(image_run(tmp_path / name)) for name in ("a run [1]", NASTY)]
    with page_of(browser, "--run", runs[0], "--compare", runs[1]) as page:
        before = page.sources()
        page.shows_another(page.press("input[type=range]", Keys.ARROW_LEFT))
        assert len(page.sources()) == len(before) == 2 and not set(before) & set(page.sources())
        commands = page.reproduced(tmp_path)
        assert [f"'{run}'" in command for run, command in zip(runs, commands, strict=True)] == [True, True]
