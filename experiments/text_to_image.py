"""Images from sentences: the discriminator sees image and text, and is also shown mismatched pairs.

Reed et al. 2016 (arXiv:1605.05396): the discriminator learns to tell real images with their own text from generated
images and, with equal weight, from real images with another text. So it has to read the text. A text encoder is trained
with the discriminator, which projects the text on its features (Miyato and Koyama 2018, arXiv:1802.05637). R1
(Mescheder et al. 2018, arXiv:1801.04406) regularizes the discriminator, and a mode-seeking loss (Mao et al. 2019,
arXiv:1903.05628) keeps the generator from ignoring its latents.

    python -m experiments.text_to_image
    python -m experiments.sample --run runs/text_to_image --prompt "a large green triangle left of a small red circle"

The preset paper is reedscot/icml2016's main_cls_int.lua with scripts/train_cub.sh: GAN-INT-CLS on birds, whose captions
have to be added to TFDS's data set (give --dataset folder:PATH, --vocabulary-size and --max-words). It differs from
that code in five things: a trained encoder reads one caption, where the authors average the fixed embeddings of four;
there are no norms, and no residual blocks at 4x4 and 8x8; images are neither cropped nor flipped, since captions may
then be wrong; the loss on interpolated texts has weight 1, as in the paper's equation 5, and half of that in the code;
and the learning rate is halved 5 times, after each sixth of the run.

The preset df_gan is DF-GAN (Tao et al. 2022, arXiv:2008.05865; tobran/DF-GAN with cfg/bird.yml) on these birds at 256
pixels. It differs from that code in three things: a text encoder is trained with the discriminator, where the authors
take a fixed one that was trained on pairs; images are neither cropped nor flipped; and the generator is updated on
latents of its own.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import files, optim
from jaxgan.algorithms.text_gan import make_text_gan
from jaxgan.augment import named_augmentation
from jaxgan.data.captions import CaptionedBatches, captioned_images
from jaxgan.data.text_embeddings import embedded_images, read_text_embeddings
from jaxgan.data.vocabulary import Vocabulary
from jaxgan.evaluation.caption_scores import caption_evaluation
from jaxgan.evaluation.evaluation import while_training
from jaxgan.losses import LOSSES, LossName
from jaxgan.networks.conditional import Conditioning, conditional_dcgan_generator
from jaxgan.networks.df_gan import df_gan_discriminator, df_gan_generator
from jaxgan.networks.freezing import freeze_stages
from jaxgan.networks.text_to_image import attentive_encoder, recurrent_encoder, slot_encoder, text_discriminator
from jaxgan.penalties import matching_aware_gradient_penalty, r1_penalty
from jaxgan.runs import cli
from jaxgan.runs.config import run_folder, runtime
from jaxgan.runs.flags import BatchSize, Channels, Decay, LatentDim, LearningRate, PathName, Range, Share, Steps, Weight
from jaxgan.runs.image_config import ImageConfig
from jaxgan.runs.images import labelled_rows
from jaxgan.runs.open_run import TEXT_ENCODER, VOCABULARY
from jaxgan.training.loop import fit
from jaxgan.types import GAN, Batches, Network, TextDiscriminator

ENCODERS = {"attentive": attentive_encoder, "recurrent": recurrent_encoder, "slots": slot_encoder}
PROMPTS = 8  # number of rows of a sample image


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    experiment: ClassVar[str] = "text_to_image"
    presets: ClassVar = {
        "default": {},
        "paper": {
            "dataset": "caltech_birds2011",
            "image_size": 64,
            "conditioning": "concatenate",
            "loss": "non_saturating",
            "mode_seeking_weight": 0.0,
            "interpolation_weight": 1.0,
            "r1": 0.0,
            "learning_rate": 2e-4,
            "decay": False,
            "halvings": 5,
            "b2": 0.999,
            "width": 64,
            "g_width": 128,
            "latent_dim": 100,
            "ema_decay": 0.0,
            "batch_size": 64,
            "num_steps": 83_400,  # 600 epochs of 8,855 birds
        },
        "df_gan": {
            "dataset": "caltech_birds2011",
            "image_size": 256,
            "networks": "df_gan",
            "loss": "hinge",
            "mode_seeking_weight": 0.0,
            "r1": 0.0,
            "matching_aware": 2.0,
            "learning_rate": 1e-4,
            "d_learning_rate": 4e-4,
            "decay": False,
            "b1": 0.0,
            "b2": 0.9,
            "width": 32,
            "latent_dim": 100,
            "ema_decay": 0.0,
            "batch_size": 24,
            "num_steps": 220_800,  # 600 epochs of 8,855 birds
        },
    }

    preset: Literal["default", "paper", "df_gan"] = runtime("default")  # named settings; other flags override them
    # rows of the word embedding table, two of them for padding and unknown words; an error says if it is too small
    vocabulary_size: Annotated[int, Range(3, 10**6)] = 64
    max_words: Annotated[int, Range(1, 1024)] = 16  # words read of a caption; longer captions are cut
    encoder: Literal["attentive", "recurrent", "slots"] = "attentive"  # text encoder
    networks: Literal["dcgan", "df_gan"] = "dcgan"  # df_gan: the text scales and shifts the feature maps of each block
    conditioning: Conditioning = "projection"  # how the discriminator of dcgan is told the text
    loss: LossName = "non_saturating"  # adversarial loss of both networks
    mismatch_weight: Share = 0.5  # weight of mismatched pairs against generated images, 0 for none
    # image: a mismatched pair has the image of another example; text: it has the text of another example
    swap: Literal["image", "text"] = "image"
    interpolation_weight: Weight = 0.0  # weight of the generator's loss on embeddings between two texts
    mode_seeking_weight: Weight = 0.01  # weight of the loss that keeps the generator from ignoring its latents
    r1: Weight = 0.5  # weight of the R1 gradient penalty (gamma), 0 for none
    # weight of the matching-aware gradient penalty, of images and texts together, in place of R1; 0 for none
    matching_aware: Weight = 0.0
    learning_rate: LearningRate = 1e-3  # Adam's learning rate
    d_learning_rate: LearningRate | None = None  # that of the discriminator, by default --learning-rate
    decay: bool = True  # lower the learning rate linearly to zero in the second half of the run
    halvings: Annotated[int, Range(0, 20)] = 0  # how often the learning rate is halved, evenly over the run
    b1: Decay = 0.5  # Adam's beta1 (decay of the first moment) for both networks
    b2: Decay = 0.99  # Adam's beta2 (decay of the second moment) for both networks
    width: Channels = 24  # channels of the layer next to the image; doubled at each halving of the resolution
    g_width: Channels | None = None  # width of the generator, by default that of the discriminator
    latent_dim: LatentDim = 32  # size of a latent vector
    ema_decay: Decay = 0.995  # decay of the EMA of the weights of generator and encoder, 0 for no EMA

    # data set with captions: shapes, emoji, fashion_mnist, folder:PATH; see docs/data.md
    dataset: str = "shapes"
    # .npz file with embeddings of texts by another model, such as CLIP, in place of captions, --encoder and its words;
    # see docs/text_embeddings.md
    text_embeddings: PathName | None = runtime(None)
    channels: Literal[1, 3] = 3  # 1 for grey, 3 for colour; images of the other kind are converted
    num_steps: Steps = runtime(8000)  # generator updates
    batch_size: BatchSize = 32  # images per update, over all devices

    def __post_init__(self):
        super().__post_init__()
        if self.flip or self.load_size:
            raise ValueError("flip and load_size would make captions wrong that say where things are")
        if self.text_embeddings and self.evaluate_every:
            raise ValueError("evaluate_every needs captions that the run reads: leave it out with text_embeddings")
        if self.text_embeddings:
            self._refuse_changed("text_embeddings is in place of captions", "encoder", "vocabulary_size", "max_words")
        if self.networks == "df_gan":
            self._refuse_changed("networks=df_gan has one way to tell the text", "conditioning")
        if self.r1 and self.matching_aware:
            raise ValueError(f"r1={self.r1} and matching_aware={self.matching_aware}: one of them must be 0")

    def _refuse_changed(self, reason: str, *names: str) -> None:
        """Refuses flags that would change nothing."""
        for name in names:
            if (value := getattr(self, name)) != getattr(Config, name):
                raise ValueError(f"{name}={value} would change nothing, because {reason}: leave it out")


def rate(config: Config, start: float | None = None) -> optax.Schedule:
    constant = config.num_steps // 2 if config.decay else config.num_steps
    falling = optim.linear_decay(start or config.learning_rate, config.num_steps, constant_steps=constant)
    return lambda step: falling(step) * 0.5 ** ((config.halvings + 1) * jnp.asarray(step) // config.num_steps)


def networks(config: Config) -> tuple[Network, TextDiscriminator]:
    size, g_width = config.image_size, config.g_width or config.width
    options = {"channels": config.channels, "width": g_width, "dtype": config.dtype}
    if config.networks == "df_gan":
        return df_gan_generator(size, **options), df_gan_discriminator(size, width=config.width, dtype=config.dtype)
    return (
        conditional_dcgan_generator(size, num_classes=None, norm="none", **options),
        text_discriminator(size, conditioning=config.conditioning, width=config.width, dtype=config.dtype),
    )


def build(config: Config) -> GAN:
    def adam(start: float | None = None):
        return optim.adam(rate(config, start), b1=config.b1, b2=config.b2)

    generator, discriminator = networks(config)
    encoder = ENCODERS[config.encoder](config.vocabulary_size, dtype=config.dtype)
    return make_text_gan(
        generator,
        discriminator._replace(features=freeze_stages(discriminator.features, config.freeze_d)),
        encoder=None if config.text_embeddings else encoder,
        loss=LOSSES[config.loss],
        g_tx=adam(),
        d_tx=adam(config.d_learning_rate),
        latent_dim=config.latent_dim,
        mismatch_weight=config.mismatch_weight,
        swap=config.swap,
        interpolation_weight=config.interpolation_weight,
        mode_seeking_weight=config.mode_seeking_weight,
        penalty=matching_aware_gradient_penalty if config.matching_aware else r1_penalty,
        penalty_weight=config.matching_aware or config.r1,
        augment=named_augmentation(config.augment),
        ema_decay=config.ema_decay or None,
        microbatches=config.microbatches,
        remat=config.remat,
    )


class Texts(NamedTuple):
    """Images with captions, captions to inputs of the GAN and back, and the file that a run keeps of that."""

    examples: dict[str, Any]
    encode: Callable[[Sequence[str]], np.ndarray]
    decode: Callable[[np.ndarray], list[str]]
    files: dict[str, Callable[[Path], None]]
    notice: str | None = None


def read(config: Config) -> Texts:
    flags = {name: getattr(config, name) for name in ("data_dir", "image_size", "channels")}
    if config.text_embeddings:
        embeddings = read_text_embeddings(config.text_embeddings)
        record = json.dumps({"encoder": embeddings.encoder})
        examples, encode = embedded_images(config.dataset, config.split, embeddings, **flags)
        captions = [caption for some in examples["captions"] for caption in some]
        known = {row.tobytes(): caption for caption, row in zip(captions, encode(captions), strict=True)}
        decode = lambda rows: [known[row.tobytes()] for row in rows]
        return Texts(examples, encode, decode, {TEXT_ENCODER: lambda path: files.write(path, record)})
    examples = captioned_images(config.dataset, config.split, **flags)
    texts = [text for captions in examples["captions"] for text in captions]
    vocabulary = Vocabulary.of(texts)
    if vocabulary.size > config.vocabulary_size:
        raise ValueError(
            f"vocabulary_size={config.vocabulary_size} is too small for the words of {config.dataset}: "
            f"give {vocabulary.size} or more"
        )
    if (before := run_folder(config) / VOCABULARY).exists() and Vocabulary.load(before).words != vocabulary.words:
        raise ValueError(f"the words in {before} differ from those in the captions of {config.dataset}")
    encode = partial(vocabulary.encode, max_len=config.max_words)
    notice = vocabulary.read(texts, max_len=config.max_words).notice
    return Texts(examples, encode, vocabulary.decode, {VOCABULARY: vocabulary.save}, notice)


def batches(config: Config) -> Batches:
    return _batches(config, read(config))


def _batches(config: Config, texts: Texts) -> Batches:
    return CaptionedBatches(texts.examples, texts.encode, batch_size=config.batch_size, seed=config.seed)


def main(config: Config) -> dict[str, float]:
    texts = read(config)
    if texts.notice:
        print(f"captions    {texts.notice}")
    data = _batches(config, texts)
    prompts = texts.decode(np.asarray(data(0)[0]["text"][:PROMPTS]))
    gan = build(config)
    return fit(
        gan,
        data,
        config,
        evaluate=while_training(lambda config: caption_evaluation(config, texts.encode), gan, config),
        draw=lambda outputs: labelled_rows(outputs["samples"], prompts),
        files=texts.files,
    )[1]


if __name__ == "__main__":
    cli.run(Config, main)
