"""The user's cache folder, for trained and downloaded networks and for compiled programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax


def cache_folder() -> Path | None:
    """`JAXGAN_CACHE`, or `~/.cache/jaxgan`; it need not exist. None if the user has no home folder."""
    try:
        return Path(os.environ.get("JAXGAN_CACHE") or "~/.cache/jaxgan").expanduser()
    except RuntimeError:  # no HOME and no entry in the user database, as in a container
        return None


def keep_compiled_programs() -> Path | None:
    """Turns on JAX's persistent compilation cache, in the subfolder `compiled` of the cache folder.

    Results are bit-identical with and without it. JAX warns if the folder is not writable, and compiles again what it
    finds damaged. Nothing ever removes old files; the folder may be deleted at any time.

    Returns:
      The folder; None if the user has set another by `JAX_COMPILATION_CACHE_DIR` or `jax.config`, or has no home
      folder.
    """
    config: Any = jax.config  # its settings are unknown to type checkers
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or config.jax_compilation_cache_dir is not None:
        return None
    if (cache := cache_folder()) is None:
        return None
    folder = cache / "compiled"
    config.update("jax_compilation_cache_dir", str(folder))
    return folder
