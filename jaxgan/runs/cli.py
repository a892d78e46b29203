"""Command lines: parses flags into a configuration, and prints a user's mistake as one line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

from jaxgan.devices.compilation_cache import keep_compiled_programs
from jaxgan.devices.distributed import initialize
from jaxgan.devices.memory import keep_freed_memory
from jaxgan.messages import printable
from jaxgan.runs.config import RunConfig
from jaxgan.runs.flag_help import registry_of
from jaxgan.runs.interruption import Stopped
from jaxgan.runs.start import refuse_at_once
from jaxgan.runs.streams import forgiving, open_standard_streams

Config = TypeVar("Config")

_MAX_LINES = 40


def parse(config_class: type[Config], argv: Sequence[str] | None = None) -> Config:
    """Parses flags into a configuration: a flag for each field, its comment as help, the preset's value as default.

    Args:
      config_class: a dataclass, often a `RunConfig`.
      argv: the arguments, by default the command line's.

    Returns:
      The configuration. An invalid flag ends the program with status 2 and a message that names it.
    """
    tyro = _import_tyro()
    argv = list(sys.argv[1:] if argv is None else argv)
    options: dict[str, Any] = {"args": argv, "description": _description(config_class), "prog": _program(config_class)}
    if presets := getattr(config_class, "presets", None):
        # The preset sets the defaults of the other flags, so it is parsed first.
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--preset", default="default")
        preset = first.parse_known_args(argv)[0].preset
        from_preset: Any = getattr(config_class, "from_preset")  # noqa: B009 (it has presets)
        options["default"] = from_preset(preset if preset in presets else "default")
    try:
        return config_class(**tyro.cli(config_class, registry=registry_of(tyro, config_class), **options))
    except ValueError as error:
        return leave(str(error))


def run(config_class: type[Config], main: Callable[[Config], Any]) -> None:
    """Parses the command line and runs `main`. A user's mistake is printed as one line, with exit status 2.

    So are files and folders that cannot be read or written. Ctrl-C prints one line and exits with status 130. Training
    continues if its output can no longer be printed.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # as `experiments` leaves it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal cannot print must not end the program
            stream.reconfigure(errors="backslashreplace")
    with contextlib.ExitStack() as stack:
        try:
            try:
                config = parse(config_class)
            finally:
                sys.stdout.flush()  # here, where a failure can still be reported
            if getattr(config, "keep_memory", True):
                keep_freed_memory()
            keep_compiled_programs()
            if isinstance(config, RunConfig):
                stack.enter_context(forgiving())
                refuse_at_once(config)
                initialize(config.coordinator, config.num_processes, config.process_id)
            _find_devices()
            main(config)
            sys.stdout.flush()  # as above
        except Stopped as stop:  # `fit` has printed it
            raise SystemExit(128 + stop.signal) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            _end_with_main_thread(128 + signal.SIGINT)
            raise SystemExit(128 + signal.SIGINT) from None
        except BrokenPipeError:  # as under `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discards buffered output
            raise SystemExit(128 + signal.SIGPIPE) from None
        except (ValueError, OSError, ImportError, RuntimeError, FloatingPointError, MemoryError) as error:
            if (message := _out_of_memory(error, config_class)) is not None:
                leave(message)
            if isinstance(error, OSError) and error.filename is None and not _can_print():
                leave(f"standard output: {error.strerror or error}")
            if isinstance(error, OSError) and error.filename is not None and error.strerror:
                leave(f"{os.fsdecode(error.filename2 or error.filename)}: {error.strerror}")
            if not _raised_by_us(error):
                raise
            leave(str(error))


def _end_with_main_thread(status: int) -> None:
    """Ends the process as soon as the main thread has ended, without waiting for the others.

    A compilation goes on in a thread of XLA, which crashes when the interpreter is taken down around it; a thread that
    reads data may hang.
    """

    def wait() -> None:
        threading.main_thread().join()
        _exit_at_once(status)

    threading.Thread(target=wait, daemon=True).start()


def _exit_at_once(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def leave(message: str) -> Any:
    """Ends the program with status 2 and this message.

    Newlines in it are escaped, so it is one line; only a list of indented lines after a colon keeps its lines.
    """
    title, colon, items = message.partition(":\n  ")
    lines = [printable(f"error: {title}{colon.strip()}")]
    lines += map(printable, items.split("\n  ")[:_MAX_LINES] if colon else [])
    print("\n  ".join(lines), file=sys.stderr)
    raise SystemExit(2)


def _raised_by_us(error: BaseException) -> bool:
    """Whether this repository's code raised the error. Errors raised inside libraries keep their traceback."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    module = traceback.tb_frame.f_globals.get("__name__", "") if traceback else ""
    return module.partition(".")[0] in ("jaxgan", "experiments", "benchmarks", "__main__")


def _can_print() -> bool:
    """Whether an empty line can be written to standard output; if not, its buffered output is discarded."""
    try:
        print(flush=True)  # a flush alone would succeed with an empty buffer
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


_SIZES = ("batch_size", "width", "widths", "image_size", "num_samples", "count", "size")  # fields that set memory


def _out_of_memory(error: BaseException, config_class: type) -> str | None:
    """A message if the error says that a device or the host is out of memory, else None."""
    text = str(error)
    if not isinstance(error, MemoryError) and not (
        isinstance(error, jax.errors.JaxRuntimeError)
        and re.search("out of memory|RESOURCE_EXHAUSTED", text, re.IGNORECASE)
    ):
        return None
    size = re.search(r"allocat\w* ([\d.,]+) ?(bytes|[KMGT]i?B)", text)
    amount = f" (an allocation of {size[1]} {size[2]} failed)" if size else ""
    fields = [field.name for field in dataclasses.fields(config_class)]
    flags = [f"--{name.replace('_', '-')}" for name in _SIZES if name in fields]
    cure = f": lower {' or '.join([', '.join(flags[:-1]), flags[-1]] if flags[1:] else flags)}" if flags else ""
    return f"the networks and the batch do not fit into memory{amount}{cure}"


def _find_devices() -> None:
    """Initializes JAX's devices.

    Raises:
      ValueError: JAX_PLATFORMS names a platform that has no devices.
    """
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # the former if a plugin is not installed
        if not (asked := jax.config.jax_platforms):  # pyright: ignore[reportAttributeAccessIssue]
            raise
        jax.config.update("jax_platforms", None)
        found = ", ".join(sorted({device.platform for device in jax.devices()}))
        reason = f" ({error})" if str(error) else ""
        raise ValueError(f"JAX_PLATFORMS={asked}, but this JAX finds no such device, only {found}{reason}") from None


def _program(config_class: type) -> str | None:
    """The command that starts the program, for `--help`; None (the file's name) if it is not run as a module."""
    module = sys.modules.get(config_class.__module__)
    spec = getattr(module, "__spec__", None)
    return f"python -m {spec.name}" if spec else None


def _description(config_class: type) -> str:
    module = sys.modules.get(config_class.__module__)
    return (module.__doc__ if module and module.__doc__ else config_class.__doc__) or ""


def _import_tyro() -> Any:
    try:
        import tyro
    except ModuleNotFoundError:
        return leave("the command line needs tyro: pip install -e '.[experiments]'")
    return tyro
