"""Common parts of all pages: Gradio's page and server, pictures and texts as HTML."""

from __future__ import annotations

import base64
import contextlib
import errno
import logging
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any
from unittest import mock

from jaxgan.files import import_extra
from jaxgan.messages import displayed, printable

COMPUTING = threading.RLock()
"""Held while something is computed, so that two visitors do not compile two programs at once."""

MOST_UPLOADED = "32mb"

UPLOADS = tempfile.TemporaryDirectory(prefix="jaxgan-explore-")
"""Where uploaded files lie until the page is closed."""

WAITING = "<p>The first image takes some seconds.</p>"

# Without a clipboard, as on a page that another machine serves, the text is left selected.
_COPY = (
    '<button onclick="getSelection().selectAllChildren(this.parentElement.nextElementSibling);'
    "this.textContent = document.execCommand('copy') ? 'Copied' : 'Selected'\">Copy</button>"
)

_CSS = """
.picture img { min-width: min(100%, 6rem); max-width: 100%; image-rendering: pixelated; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
.picture { flex: 1 1 150px; min-width: 0; }
.picture pre { white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; font-size: 0.8rem; }
.picture p, .facts { overflow-wrap: anywhere; }
.picture.both { max-width: 300px; }
.both img { outline: 1px solid #ccc; }
.picture button { all: unset; cursor: pointer; text-decoration: underline; }
.picture button:focus-visible { outline: 2px solid; }
.picture a { padding: 0; margin: 0; }
.error { color: #b00020; }
.step input[type=number], .step .min_value, .step .max_value { display: none; }
.facts td { padding-right: 1rem; }
"""


def gradio() -> Any:
    """The package gradio, without analytics, and with a folder of its own for uploads."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = UPLOADS.name
    # Half of its import would go into writing .pyi files for editors, which it leaves out for classes without a file.
    without_stubs = contextlib.nullcontext() if "gradio" in sys.modules else mock.patch("inspect.getfile", _no_file)
    with without_stubs:
        return import_extra("gradio", "explore")


def _no_file(_: Any) -> str:
    raise OSError


@contextlib.contextmanager
def blocks(title: str) -> Iterator[Any]:
    """A new page, to which the components made inside belong."""
    gr = gradio()
    with gr.Blocks(analytics_enabled=False, title=title) as page:
        gr.HTML(f"<h1>{escape(title)}</h1>")
        yield page
    process = page.process_api

    async def answered(*args: Any, **options: Any) -> Any:
        """Refuses in a sentence what the page never sends, but anybody may send to its interface."""
        try:
            return await process(*args, **options)
        except gr.Error as error:
            told = error.message
        except (ValueError, TypeError, ArithmeticError) as error:
            told = str(error) if type(error) is ValueError else "a control was sent a value of another type"
        sentence = re.split(r"\.\s", told, maxsplit=1)[0]
        raise gr.Error(escape(displayed(sentence, most=200)), print_exception=False)

    page.process_api = answered


def connect(page: Any, controls: Mapping[str, Any], output: Any, show: Callable[..., str], name: str) -> None:
    """Shows `show(**values of the controls)` in `output` at the start and whenever a control changes.

    An error of the user is shown in the place of the picture. While a picture is computed, only the last change waits.
    """

    def shown(*values: Any) -> str:
        try:
            with COMPUTING:
                return show(**dict(zip(controls, values, strict=True)))
        except (ValueError, TypeError, ArithmeticError, RuntimeError, OSError) as error:
            return f'<p class="error">{escape(printable(str(error)))}</p>'

    shown.__name__ = name
    parts = list(controls.values())
    page.first = lambda: shown(*(part.value for part in parts))
    options = {"inputs": parts, "outputs": output, "show_progress": "hidden", "queue": False}
    gradio().on([part.change for part in parts], shown, trigger_mode="always_last", api_name=name, **options)
    page.load(shown, api_visibility="private", **options)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and a closed terminal end what is inside as Ctrl-C does; at the end the uploads are removed."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    in_main = threading.current_thread() is threading.main_thread()  # in others Python refuses to set handlers
    before = {number: signal.getsignal(number) for number in numbers if in_main}
    for number in [number for number, handler in before.items() if handler != signal.SIG_IGN]:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        UPLOADS.cleanup()
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(page: Any, host: str, port: int | None) -> None:
    """Serves a page until Ctrl-C.

    Raises:
      ValueError: the address is in use by now.
    """
    gr = gradio()
    threading.Thread(target=page.first, daemon=True).start()  # compiles while the browser starts
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MOST_UPLOADED,
            footer_links=[],
            ssr_mode=False,
            css=_CSS,
            theme=gr.themes.Default(**fonts),
        )
    except OSError as error:  # taken since the check
        raise ValueError(f"the page cannot be served at {host}: {error}") from None
    # Else a request for what the page has not, as anybody may send it, prints a traceback.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    print(f"page        {page.local_url}")
    print("            Ctrl-C ends it", flush=True)
    try:
        while True:
            time.sleep(3600)
    finally:
        page.close(verbose=False)


def check_address(host: str, port: int | None) -> None:
    """Refuses an address that a page cannot be served at, before the page is made.

    Raises:
      ValueError: the port is in use, or the address is not of this machine.
    """
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} of {host} is in use: give another --port, or none for a free one") from None
        raise ValueError(f"host={host!r} is no address of this machine ({error.strerror or error})") from None


def picture(data: bytes, name: str, *, form: str = "png", command: str = "", title: str = "", note: str = "") -> str:
    """HTML of a picture, with a link to download it under a name, a note, and the command that makes it."""
    address = f"data:image/{form};base64,{base64.b64encode(data).decode()}"
    heading = "".join(f"<p>{escape(text)}</p>" for text in (title, note) if text)
    told = f"<p>The same image by a command: {_COPY}</p><pre>{escape(command)}</pre>" if command else ""
    return (
        f'<div class="picture">{heading}<img src="{address}" alt="{escape(title or name)}">'
        f'<p><a download="{escape(name)}" href="{address}">Download</a></p>{told}</div>'
    )


def side_by_side(pictures: list[str]) -> str:
    return f'<div class="pictures">{"".join(pictures)}</div>'


def settings(values: Mapping[str, Any], commands: Sequence[str] = ()) -> str:
    """HTML of a link to download the values of the controls, and the commands that make the pictures, as a text."""
    lines = [f"{name}: {value}" for name, value in values.items() if not isinstance(value, bytes)]
    text = "\n".join([*commands, *([""] if commands else []), *map(printable, lines)]) + "\n"
    address = f"data:text/plain;charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"
    return f'<p class="picture"><a download="settings.txt" href="{address}">Download these settings</a></p>'
