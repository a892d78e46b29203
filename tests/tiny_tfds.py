"""TFDS data sets of a few examples, prepared without TensorFlow. Shared by the tests of what reads them."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def png(pixels):
    """An encoded image, which TFDS stores as it is."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    file.seek(0)
    return file


def prepare(data_dir, name, features, splits, *, file_format="array_record", version="1.0.0"):
    """Writes `data_dir/name/version`.

    Args:
      data_dir: where.
      name: of the data set.
      features: by name.
      splits: a list of examples by the name of a split.
      file_format: array_record or parquet.
      version: of the data set.
    """

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(examples) for split, examples in splits.items()}

        def _generate_examples(self, examples):
            yield from enumerate(examples)

    Tiny.name = name
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    Tiny(data_dir=data_dir, file_format=file_format).download_and_prepare(download_config=config)


def numbered(count, *, size=(8, 8), channels=1):
    """Examples whose first pixel is their number, as is their label."""
    for number in range(count):
        pixels = np.zeros((*size, channels), np.uint8)
        pixels[0, 0] = number
        yield {"image": png(pixels.squeeze()), "label": number}
