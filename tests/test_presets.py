"""The preset `paper` of each experiment against the authors' code."""

import dataclasses

import numpy as np
import pytest

from experiments import class_conditional, cyclegan, gan, pix2pix, relativistic, sngan, text_to_image, wgan, wgan_gp

# The authors' settings, each with the file of their code that has them.
PAPERS = {
    # soumith/dcgan.torch main.lua, opt and optimStateG; data/donkey_folder.lua crops and mirrors. Adam's b2 is Torch's.
    gan: {
        "dataset": "lsun/bedroom", "load_size": 96, "image_size": 64, "flip": True, "channels": 3, "batch_size": 64,
        "latent_dim": 100, "width": 64, "g_learning_rate": 2e-4, "d_learning_rate": 2e-4, "b1": 0.5, "b2": 0.999,
        "decay": False, "g_norm": "batch", "d_norm": "batch", "loss": "non_saturating", "n_critic": 1, "r1": 0.0,
        "ema_decay": 0.0, "num_steps": 25 * 47_392,
    },
    # martinarjovsky/WassersteinGAN main.py, the parser's defaults and gen_iterations.
    wgan: {
        "dataset": "lsun/bedroom", "image_size": 64, "channels": 3, "batch_size": 64, "latent_dim": 100, "width": 64,
        "g_learning_rate": 5e-5, "d_learning_rate": 5e-5, "clip": 0.01, "n_critic": 5, "head_start": 25 * 100 // 5,
        "refresh_every": 500, "g_norm": "batch", "d_norm": "batch", "ema_decay": 0.0, "num_steps": 25 * 47_392 // 5,
    },
    # igul222/improved_wgan_training gan_mnist.py, MODE 'wgan-gp', whose Batchnorms are those of 'wgan' alone.
    wgan_gp: {
        "dataset": "mnist", "batch_size": 50, "latent_dim": 128, "width": 64, "n_critic": 5, "penalty_weight": 10.0,
        "g_learning_rate": 1e-4, "d_learning_rate": 1e-4, "b1": 0.5, "b2": 0.9, "decay": False, "g_norm": "none",
        "d_norm": "none", "ema_decay": 0.0, "num_steps": 200_000,
    },
    # pfnet-research/sngan_projection configs/sn_cifar10_unconditional.yml.
    sngan: {
        "dataset": "cifar10", "image_size": 32, "channels": 3, "batch_size": 64, "g_batch_multiple": 128 // 64,
        "latent_dim": 128, "g_width": 256, "d_width": 128, "n_critic": 5, "g_learning_rate": 2e-4,
        "d_learning_rate": 2e-4, "b1": 0.0, "b2": 0.9, "ema_decay": 0.0, "num_steps": 50_000,
    },
    # configs/sn_projection.yml of the same on the 4 GPUs of its README_paper.md; decay from iteration_decay_start.
    class_conditional: {
        "dataset": "imagenet2012", "image_size": 128, "channels": 3, "num_classes": 1000, "batch_size": 4 * 16,
        "g_batch_multiple": 32 // 16, "latent_dim": 128, "width": 64, "n_critic": 5, "g_learning_rate": 2e-4,
        "d_learning_rate": 2e-4, "b1": 0.0, "b2": 0.9, "decay": True, "constant": 400 / 450, "loss": "hinge",
        "networks": "resnet", "conditioning": "projection", "g_norm": "batch", "r1": 0.0, "ema_decay": 0.0,
        "num_steps": 450_000,
    },
    # brownvc/R3GAN train.py, preset CIFAR10, and the README's command; decay_nimg 2e7 of the 5e7 images of a run.
    relativistic: {
        "dataset": "cifar10", "image_size": 32, "channels": 3, "flip": True, "batch_size": 512, "widths": (768,) * 4,
        "blocks": 2, "expansion": 2, "group_size": 768 * 2 // 96, "latent_dim": 64, "learning_rate": 2e-4,
        "last_learning_rate": 5e-5, "b2": 0.9, "last_b2": 0.99, "gamma": 0.05, "last_gamma": 0.005,
        "average": 5_000_000, "anneal": 2e7 / 5e7,
    },
    # reedscot/icml2016 scripts/train_cub.sh and main_cls_int.lua; b2 is Torch's.
    text_to_image: {
        "image_size": 64, "channels": 3, "batch_size": 64, "latent_dim": 100, "g_width": 128, "width": 64,
        "learning_rate": 2e-4, "halvings": 5, "decay": False, "b1": 0.5, "b2": 0.999, "mismatch_weight": 0.5,
        "swap": "image", "interpolation_weight": 1.0, "mode_seeking_weight": 0.0, "loss": "non_saturating",
        "conditioning": "concatenate", "r1": 0.0, "ema_decay": 0.0, "num_steps": 600 * 139,
    },
    # junyanz/pytorch-CycleGAN-and-pix2pix options/*.py and models/cycle_gan_model.py.
    cyclegan: {
        "dataset": "cycle_gan/horse2zebra", "image_size": 256, "load_size": 286, "flip": True, "batch_size": 1,
        "width": 64, "blocks": 9, "upsampling": "transposed", "d_width": 64, "patch_layers": 3, "pool_size": 50,
        "cycle_weight": 10.0, "identity_weight": 0.5, "loss": "least_squares", "gradient_penalty": 0.0,
        "learning_rate": 2e-4, "ema_decay": 0.0, "num_steps": 200 * 1334,
    },
    # The same with models/pix2pix_model.py and models/networks.py, on facades from labels to photographs.
    pix2pix: {
        "direction": "b_to_a", "image_size": 256, "load_size": 286, "flip": True, "batch_size": 1, "width": 64,
        "levels": 8, "dropout": 0.5, "g_norm": "batch", "d_norm": "batch", "d_width": 64, "patch_layers": 3,
        "l1_weight": 100.0, "loss": "non_saturating", "learning_rate": 2e-4, "ema_decay": 0.0, "num_steps": 200 * 400,
    },
}  # fmt: skip


@pytest.mark.parametrize("experiment", PAPERS)
def test_every_preset_is_a_configuration(experiment):
    for preset in experiment.Config.presets:
        config = experiment.Config.from_preset(preset)
        assert config.preset == preset
        experiment.build(config)


@pytest.mark.parametrize("experiment", PAPERS)
def test_papers_settings(experiment):
    config = experiment.Config.from_preset("paper")
    assert {name: getattr(config, name) for name in PAPERS[experiment]} == PAPERS[experiment]
    told = " ".join(experiment.__doc__.split())  # what --help opens with
    assert "The preset paper is" in told and "It differs from that code in" in told


def test_the_settings_of_df_gan():
    """tobran/DF-GAN: cfg/bird.yml, src/train.py and, for the weight of the penalty, `MA_GP` of lib/modules.py."""
    config = text_to_image.Config.from_preset("df_gan")
    expected = {
        "networks": "df_gan", "image_size": 256, "batch_size": 24, "width": 32, "latent_dim": 100, "loss": "hinge",
        "mismatch_weight": 0.5, "swap": "image", "matching_aware": 2.0, "learning_rate": 1e-4, "d_learning_rate": 4e-4,
        "b1": 0.0, "b2": 0.9, "num_steps": 600 * (8855 // 24), "mode_seeking_weight": 0.0, "ema_decay": 0.0, "r1": 0.0,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in expected} == expected
    assert float(text_to_image.rate(config, config.d_learning_rate)(200_000)) == pytest.approx(4e-4)
    with pytest.raises(ValueError, match=r"r1=0.5 and matching_aware=2.0: one of them must be 0"):
        text_to_image.Config.from_preset("df_gan", r1=0.5)


def test_the_critic_of_wgan_has_a_hundred_updates_where_the_authors_have_them():
    """martinarjovsky/WassersteinGAN main.py: gen_iterations < 25 or gen_iterations % 500 == 0."""
    config = wgan.Config.from_preset("paper")
    updates, before = 0, []
    for moves in np.asarray(wgan.generator_is_updated(config, np.arange(3000))):
        updates += config.n_critic
        if moves:
            before.append(updates)
            updates = 0
    assert before == [100 if count < 25 or count % 500 == 0 else 5 for count in range(len(before))]
    assert len(before) > 2000


def test_the_rates_of_the_papers():
    """sngan_projection train.py falls from iteration 400,000; icml2016 main_cls_int.lua halves every 100 epochs."""
    config = class_conditional.Config.from_preset("paper")
    for step, share in ((0, 1.0), (400_000, 1.0), (425_000, 0.5), (440_000, 0.2)):
        assert float(class_conditional.rate(config, 2e-4)(step)) == pytest.approx(2e-4 * share)
        assert float(class_conditional.rate(config, 2e-4, 5)(5 * step + 4)) == pytest.approx(2e-4 * share)
    with pytest.raises(ValueError, match=r"constant=1\.5: expected a number from 0 to 1"):
        class_conditional.build(dataclasses.replace(config, constant=1.5))
    config = text_to_image.Config.from_preset("paper")
    for epoch, halvings in ((0, 0), (99, 0), (100, 1), (250, 2), (599, 5)):
        assert float(text_to_image.rate(config)(139 * epoch)) == pytest.approx(2e-4 * 0.5**halvings)
