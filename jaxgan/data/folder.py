"""Reading image files."""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np

try:
    from PIL import Image, ImageOps
except ModuleNotFoundError:
    raise ModuleNotFoundError("reading images needs Pillow: pip install 'jaxgan[experiments]'") from None

MODES = {"L": 1, "RGB": 3}


def read_image(
    file: str | os.PathLike[str] | BinaryIO, *, image_size: int | None = None, channels: int | None = None
) -> np.ndarray:
    """Decodes one grey or RGB image of 8 bits a channel.

    Args:
      file: a path, or an open binary file.
      image_size: side of the result: the largest centred square is cut out and resized with Pillow's bicubic filter,
        which widens with the reduction (antialiasing). As stored by default.
      channels: 1 or 3; a grey image is repeated for 3. As stored by default.

    Returns:
      `[height, width, channels]` uint8.

    Raises:
      ValueError: an image of another kind, or a colour image where one channel was asked for.
    """
    with Image.open(file) as image:
        if image.mode not in MODES:
            raise ValueError(f"an image of mode {image.mode}, where 8-bit grey (L) or RGB was expected")
        if channels == 1 and image.mode != "L":
            raise ValueError("a colour image, where channels=1 asks for grey ones")
        if channels == 3 and image.mode != "RGB":
            image = image.convert("RGB")
        if image_size is not None and image.size != (image_size, image_size):
            image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
        return np.array(image).reshape(*reversed(image.size), MODES[image.mode])
