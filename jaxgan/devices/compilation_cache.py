"""What is kept in the user's cache folder: networks that were trained or downloaded, and compiled programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax


def cache_folder() -> Path | None:
    """`JAXGAN_CACHE`, or `~/.cache/jaxgan`; it need not exist. None where the user has no home folder."""
    try:
        return Path(os.environ.get("JAXGAN_CACHE") or "~/.cache/jaxgan").expanduser()
    except RuntimeError:  # no HOME, and a user that the system does not know, as in a container
        return None


def keep_compiled_programs() -> Path | None:
    """Has JAX keep what it compiles in `compiled` in the cache folder, where the next process finds it.

    The programs are the same, so the results are, bit for bit. A folder that cannot be written to is said in a warning,
    and a file of it that is damaged is compiled anew. It may be deleted at any time, and nothing else does.

    Returns:
      The folder; None where the user has said where, by `JAX_COMPILATION_CACHE_DIR` or `jax.config`, or has no home
      folder.
    """
    config: Any = jax.config  # which type checkers do not know the settings of
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or config.jax_compilation_cache_dir is not None:
        return None
    if (cache := cache_folder()) is None:
        return None
    folder = cache / "compiled"
    config.update("jax_compilation_cache_dir", str(folder))
    return folder
