"""From a command line to a configuration, and from a user's mistake to one line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

import jax

from jaxgan.devices.compilation_cache import keep_compiled_programs
from jaxgan.devices.distributed import join
from jaxgan.devices.memory import keep_freed_memory
from jaxgan.messages import printable
from jaxgan.runs.config import RunConfig
from jaxgan.runs.flags import Flags, ranges
from jaxgan.runs.start import refuse_at_once
from jaxgan.runs.streams import forgiving, open_standard_streams

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
    options: dict[str, Any] = {"args": argv, "description": _description(config_class), "prog": _program(config_class)}
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
            try:
                config = parse(config_class)
            finally:
                sys.stdout.flush()  # while it can still be said that this fails
            keep_freed_memory()
            keep_compiled_programs()
            if isinstance(config, RunConfig):
                stack.enter_context(forgiving())
                refuse_at_once(config)
                join(config.coordinator, config.num_processes, config.process_id)
            _find_devices()
            main(config)
            sys.stdout.flush()  # as above
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(128 + signal.SIGINT) from None
        except BrokenPipeError:  # as under `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written goes nowhere
            raise SystemExit(128 + signal.SIGPIPE) from None
        except (ValueError, OSError, ImportError, RuntimeError, FloatingPointError, MemoryError) as error:
            if (lacking := _lack_of_memory(error, config_class)) is not None:
                leave(lacking)
            if isinstance(error, OSError) and error.filename is None and not _can_show():
                leave(f"standard output: {error.strerror or error}")
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


def _can_show() -> bool:
    """Whether standard output takes an empty line; else what is still to be written there goes nowhere."""
    try:
        print(flush=True)  # a flush alone would succeed where nothing is kept back
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


_SIZES = ("batch_size", "width", "widths", "image_size", "num_samples", "count", "size")  # fields that take memory


def _lack_of_memory(error: BaseException, config_class: type) -> str | None:
    """What to say where a device or the host had too little memory, None where this is not what went wrong."""
    said = str(error)
    if not isinstance(error, MemoryError) and not (
        isinstance(error, jax.errors.JaxRuntimeError)
        and re.search("out of memory|RESOURCE_EXHAUSTED", said, re.IGNORECASE)
    ):
        return None
    asked = re.search(r"allocat\w* ([\d.,]+) ?(bytes|[KMGT]i?B)", said)
    amount = f" ({asked[1]} {asked[2]} were asked for at once)" if asked else ""
    fields = [field.name for field in dataclasses.fields(config_class)]
    flags = [f"--{name.replace('_', '-')}" for name in _SIZES if name in fields]
    cure = f": lower {' or '.join([', '.join(flags[:-1]), flags[-1]] if flags[1:] else flags)}" if flags else ""
    return f"the networks and the batch do not fit into memory{amount}{cure}"


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
    """Has tyro show the range of a flag beside its default, and give a dict, of which we make the configuration.

    What is no number it gives as the text it is, so that `Flags` refuses it in the words that it has for ranges.
    """
    constructors = tyro.constructors
    registry = constructors.ConstructorRegistry()

    def hint(shown: str, default: str) -> str:
        return f"({shown}, default: {default})"

    def with_range(field: Any) -> Any:
        shown = " or ".join(map(str, ranges(field.type)))
        if not shown:
            return field
        kind = Annotated[field.type, tyro.conf.arg(help_behavior_hint=partial(hint, shown))]
        if issubclass(config_class, Flags):
            spec = registry.get_primitive_spec(constructors.PrimitiveTypeInfo.make(field.type, set()))
            if isinstance(spec, constructors.PrimitiveConstructorSpec):
                kind = Annotated[kind, dataclasses.replace(spec, instance_from_str=partial(_or_text, spec))]
        return dataclasses.replace(field, type=kind)

    @registry.struct_rule
    def rule(info: Any) -> Any:
        nonlocal busy
        if info.type is not config_class or busy:
            return None
        busy = True  # so that tyro's own rule answers
        try:
            spec = constructors.ConstructorRegistry.get_struct_spec(info)
        finally:
            busy = False
        return dataclasses.replace(spec, instantiate=dict, fields=tuple(map(with_range, spec.fields)))

    busy = False
    return registry


def _or_text(spec: Any, arguments: list[str]) -> Any:
    try:
        return spec.instance_from_str(arguments)
    except ValueError:
        return arguments[0] if spec.nargs == 1 else list(arguments)


def _program(config_class: type) -> str | None:
    """How the program is started, wherever its file lies; None, for the file's name, where it is no module."""
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
