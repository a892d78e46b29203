"""A folder as people have them: 500 files of every kind, trained on without a stop, and twice the same."""

import dataclasses

import jax
import numpy as np
import pytest
import small
from PIL import Image

from experiments import gan
from jaxgan.training.loop import fit

RANDOM = np.random.default_rng(3)
MODES = ("RGB", "L", "LA", "RGBA", "1", "P", "CMYK", "I;16")


def write(folder, count):
    folder.mkdir()
    for index in range(count):
        mode = MODES[index % len(MODES)]
        size = (int(RANDOM.integers(20, 90)), int(RANDOM.integers(20, 90)))
        image = Image.fromarray(RANDOM.integers(256, size=(*size, 4), dtype=np.uint8))
        if mode == "I;16":
            image = Image.fromarray(RANDOM.integers(65536, size=size, dtype=np.uint16))
        elif mode != "RGBA":
            image = image.convert("RGB").convert(mode)
        exif = Image.Exif()
        exif[0x0112] = index % 8 + 1  # every orientation
        ending = "jpg" if mode in ("RGB", "CMYK", "L") and index % 3 else "tiff" if mode == "CMYK" else "png"
        part = folder / f"part {index % 4}"
        part.mkdir(exist_ok=True)
        image.save(part / f"bild-{index}-ü.{ending}", exif=exif)


@pytest.mark.slow
@pytest.mark.parametrize("resident_mib", [0, 1024])
def test_a_mixed_folder_trains_twice_the_same(resident_mib, tmp_path):
    write(tmp_path / "pictures", 500)
    config = gan.Config(
        dataset=f"folder:{tmp_path / 'pictures'}", channels=3, width=8, num_steps=40, batch_size=32, num_devices=1,
        load_size=36, flip=True, resident_mib=resident_mib,
    )  # fmt: skip
    runs = [dataclasses.replace(config, workdir=str(tmp_path / name)) for name in ("first", "second")]
    states = [fit(gan.build(run), gan.batches(run), run)[0] for run in runs]
    small.assert_same(*states)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states[0].generator.params))
