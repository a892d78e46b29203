"""Where trained and downloaded networks are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`JAXGAN_CACHE`, or `~/.cache/jaxgan`; it need not exist."""
    return Path(os.environ.get("JAXGAN_CACHE", "~/.cache/jaxgan")).expanduser()
