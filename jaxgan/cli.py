"""From a command line to a configuration, and from a user's mistake to one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Config = TypeVar("Config")


def parse(config_class: type[Config], argv: Sequence[str] | None = None) -> Config:
    """Flags to a configuration: each field is a flag, its comment the help, its preset's value the default.

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
        return tyro.cli(config_class, **options)
    except ValueError as error:
        return leave(str(error))


def run(config_class: type[Config], main: Callable[[Config], Any]) -> None:
    """Parses the command line and runs `main`; what the user got wrong becomes one line and exit status 2."""
    config = parse(config_class)
    try:
        main(config)
    except (ValueError, OSError, ImportError, RuntimeError, FloatingPointError) as error:
        if not _raised_by_us(error):
            raise
        leave(str(error))


def leave(message: str) -> Any:
    """Ends the program with status 2 and this message."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def _raised_by_us(error: BaseException) -> bool:
    """Whether our own code raised it on purpose, not a library underneath: those keep their traceback."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    module = traceback.tb_frame.f_globals.get("__name__", "") if traceback else ""
    return module.partition(".")[0] in ("jaxgan", "experiments", "benchmarks", "__main__")


def _description(config_class: type) -> str:
    module = sys.modules.get(config_class.__module__)
    return (module.__doc__ if module and module.__doc__ else config_class.__doc__) or ""


def _import_tyro() -> Any:
    try:
        import tyro
    except ModuleNotFoundError:
        return leave("the command line needs tyro: pip install 'jaxgan[experiments]'")
    return tyro
