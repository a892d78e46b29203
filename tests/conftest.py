"""Strict settings for every test: four CPU devices, no silent broadcasting, a warm compilation cache."""

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import jax
import pytest

from jaxgan.runs import report

jax.config.update("jax_platforms", "cpu")
if "JAX_NUM_CPU_DEVICES" not in os.environ:
    jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(
    "jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR", str(Path(".cache/jax").resolve()))
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

# Trained readers are kept for the session, away from the user's own.
_cache = tempfile.TemporaryDirectory(prefix="jaxgan-tests-")
os.environ["JAXGAN_CACHE"] = _cache.name

# So that `keep_freed_memory` leaves a process alone that runs hundreds of tests.
os.environ.setdefault("MALLOC_ARENA_MAX", "8")

# These need PyTorch, and are run by hand.
collect_ignore = [f"record_{name}_reference.py" for name in ("cyclegan", "df_gan", "published")]

# A run leaves ignored what was ignored where it was started, as in the background of a script or under nohup; tests
# send these signals, to themselves and to processes they start.
if threading.current_thread() is threading.main_thread():
    for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(_number) is signal.SIG_IGN:
            signal.signal(_number, _usual)


@pytest.fixture(autouse=True)
def _pages_without_curves(request, monkeypatch):
    """bokeh takes most of the time of a small run, and `test_report` tests its curves."""
    if request.module.__name__ != "test_report":
        monkeypatch.setattr(report, "_charts", lambda entries: ("", ""))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, that sees nothing but the page."""
    webdriver = pytest.importorskip("selenium.webdriver")
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        f"--disable-component-update --disable-sync --user-data-dir={tmp_path_factory.mktemp('browser')}"
    ).split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    yield browser
    browser.quit()
