"""From a command line to a configuration, and from a user's mistake to one line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

import jax

from jaxgan.allocation import keep_freed_memory
from jaxgan.cache import keep_compiled_programs
from jaxgan.config import RunConfig
from jaxgan.distributed import join
from jaxgan.flags import ranges
from jaxgan.output import forgiving, open_standard_streams
from jaxgan.start import refuse_at_once
from jaxgan.text import printable

Config = TypeVar("Config")

_MOST_LINES = 40


def parse(config_class: type[Config], argv: Sequence[str] | None = None) -> Config:
    """Flags to a configuration: each field is a flag, its comment and range the help, its preset's value the default.

    Args:
      config_class: a dataclass, often a `RunConfig`.
      argv: the arguments, by default the command line's.

    Returns:
      The configuration. A mistake ends the program with status 2 and a message that names it.
    """
    tyro = _import_tyro()
    argv = list(sys.argv[1:] if argv is None else argv)
    options: dict[str, Any] = {"args": argv, "description": _description(config_class)}
    if presets := getattr(config_class, "presets", None):
        # The preset sets the defaults that the other flags are shown and read with, so it is looked for first.
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--preset", default="default")
        preset = first.parse_known_args(argv)[0].preset
        from_preset: Any = getattr(config_class, "from_preset")  # noqa: B009 (known by its presets)
        options["default"] = from_preset(preset if preset in presets else "default")
    try:
        return config_class(**tyro.cli(config_class, registry=_with_ranges(tyro, config_class), **options))
    except ValueError as error:
        return leave(str(error))


def run(config_class: type[Config], main: Callable[[Config], Any]) -> None:
    """Parses the command line and runs `main`; what the user got wrong becomes one line and exit status 2.

    Wrong is also a file or a folder that cannot be read or written. Ctrl-C is one line and status 130. Training goes on
    where its output cannot be shown.
    """
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else a name that the terminal cannot write would end the program
            stream.reconfigure(errors="backslashreplace")
    with contextlib.ExitStack() as stack:
        try:
            config = parse(config_class)
            keep_freed_memory()
            keep_compiled_programs()
            if isinstance(config, RunConfig):
                stack.enter_context(forgiving())
                refuse_at_once(config)
                join(config.coordinator, config.num_processes, config.process_id)
            _find_devices()
            main(config)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(128 + signal.SIGINT) from None
        except BrokenPipeError:  # as under `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written goes nowhere
            raise SystemExit(128 + signal.SIGPIPE) from None
        except (ValueError, OSError, ImportError, RuntimeError, FloatingPointError) as error:
            if isinstance(error, OSError) and error.filename is not None and error.strerror:
                leave(f"{os.fsdecode(error.filename2 or error.filename)}: {error.strerror}")
            if not _raised_by_us(error):
                raise
            leave(str(error))


def leave(message: str) -> Any:
    """Ends the program with status 2 and this message.

    It is one line, whatever it quotes. What a message lists after a colon, in indented lines, stays in lines.
    """
    title, listed, lines = message.partition(":\n  ")
    said = [printable(f"error: {title}{listed.strip()}")]
    said += map(printable, lines.split("\n  ")[:_MOST_LINES] if listed else [])
    print("\n  ".join(said), file=sys.stderr)
    raise SystemExit(2)


def _raised_by_us(error: BaseException) -> bool:
    """Whether our own code raised it on purpose, not a library underneath: those keep their traceback."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    module = traceback.tb_frame.f_globals.get("__name__", "") if traceback else ""
    return module.partition(".")[0] in ("jaxgan", "experiments", "benchmarks", "__main__")


def _find_devices() -> None:
    """Starts JAX's devices.

    Raises:
      ValueError: the user has asked for some that are not there.
    """
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # the former where a plugin is not installed
        if not (asked := jax.config.jax_platforms):  # pyright: ignore[reportAttributeAccessIssue]
            raise
        jax.config.update("jax_platforms", None)
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        reason = f" ({error})" if str(error) else ""
        raise ValueError(f"JAX_PLATFORMS={asked}, but this JAX finds no such device, only {there}{reason}") from None


def _with_ranges(tyro: Any, config_class: type) -> Any:
    """Has tyro show the range of a flag beside its default, and give a dict, of which we make the configuration."""
    registry = tyro.constructors.ConstructorRegistry()

    def hint(shown: str, default: str) -> str:
        return f"({shown}, default: {default})"

    def with_range(field: Any) -> Any:
        shown = " or ".join(map(str, ranges(field.type)))
        if not shown:
            return field
        return dataclasses.replace(
            field, type=Annotated[field.type, tyro.conf.arg(help_behavior_hint=partial(hint, shown))]
        )

    @registry.struct_rule
    def rule(info: Any) -> Any:
        nonlocal busy
        if info.type is not config_class or busy:
            return None
        busy = True  # so that tyro's own rule answers
        try:
            spec = tyro.constructors.ConstructorRegistry.get_struct_spec(info)
        finally:
            busy = False
        return dataclasses.replace(spec, instantiate=dict, fields=tuple(map(with_range, spec.fields)))

    busy = False
    return registry


def _description(config_class: type) -> str:
    module = sys.modules.get(config_class.__module__)
    return (module.__doc__ if module and module.__doc__ else config_class.__doc__) or ""


def _import_tyro() -> Any:
    try:
        import tyro
    except ModuleNotFoundError:
        return leave("the command line needs tyro: pip install -e '.[experiments]'")
    return tyro
