"""The experiment at width 8 for three steps, and what it is told."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import class_conditional, sample
from jaxgan.run import open_run


def tiny(folder, **changes):
    options = {"dataset": "noise", "channels": 3, "width": 8, "num_steps": 3, "batch_size": 4, "num_devices": 1}
    return class_conditional.Config(workdir=str(folder), **options | changes)


def test_a_run_and_what_is_drawn_from_it(tmp_path, capsys):
    config = tiny(tmp_path)
    metrics = class_conditional.main(config)
    assert np.isfinite(metrics["d_loss"]) and "penalty" in metrics
    assert f"samples: {tmp_path / 'samples' / '00000003.png'}" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["experiment"] == "class_conditional"
    ten_rows_of_eight = (16 + 7 + 8 * 66 - 2, 10 * 66 - 2)
    for name in ("samples", "interpolation"):
        with Image.open(tmp_path / name / "00000003.png") as picture:
            assert picture.size == pytest.approx(ten_rows_of_eight, abs=4)
    assert (tmp_path / "nearest" / "00000003.png").exists()
    run = open_run(tmp_path, {"class_conditional": class_conditional})
    latents = jnp.tile(jax.random.normal(jax.random.key(0), (1, 8)), (3, 1))
    samples = run.sample({"latents": latents, "condition": np.array([3, 3, 7], np.int32)})["samples"]
    assert samples[0].tobytes() == samples[1].tobytes()
    assert np.abs(samples[0] - samples[2]).max() > 0

    folder = sample.main(sample.Config(run=str(tmp_path), kind="images", label=(3, 7), count=2))
    assert [(folder / f"{index:05d}.txt").read_text() for index in range(4)] == ["3\n", "3\n", "7\n", "7\n"]
    for kind in ("grid", "interpolation", "walk"):
        assert sample.main(sample.Config(run=str(tmp_path), kind=kind, label=(3, 7), count=2)).exists()
    with pytest.raises(ValueError, match=r"0\.\.9, not 10"):
        sample.main(sample.Config(run=str(tmp_path), label=(10,)))
    with pytest.raises(ValueError, match="takes no prompt"):
        sample.main(sample.Config(run=str(tmp_path), prompt=("a bird",)))


@pytest.mark.parametrize("networks", ["dcgan", "resnet"])
@pytest.mark.parametrize("conditioning", ["projection", "concatenate"])
def test_every_combination_is_a_gan(networks, conditioning, tmp_path):
    config = tiny(tmp_path, networks=networks, conditioning=conditioning, r1=0.0, width=2)
    gan, batch = class_conditional.build(config), class_conditional.batches(config)(0)[0]
    state, metrics = jax.eval_shape(lambda key: gan.train_step(gan.init(key, batch), (batch,)), jax.random.key(0))
    assert {"d_loss", "g_loss"} <= metrics.keys()
    assert ("spectral" in state.discriminator.model_state) == (networks == "resnet")


def test_every_preset_is_a_configuration():
    for preset in class_conditional.Config.presets:
        config = class_conditional.Config.from_preset(preset)
        assert config.preset == preset
        class_conditional.build(config)
    # pfnet-research/sngan_projection, configs/sn_projection.yml.
    paper = class_conditional.Config.from_preset("paper")
    assert (paper.g_learning_rate, paper.b1, paper.b2, paper.n_critic, paper.num_steps) == (2e-4, 0.0, 0.9, 5, 450_000)


def test_a_folder_of_classes(tmp_path):
    """Their names are kept in the run and drawn from by; a renamed folder would shift them, and the run does not go on."""
    data = tmp_path / "data"
    for name in ("7", "ant", "b\u00e9e"):
        (data / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32)).save(data / name / f"{number}.png")
    config = tiny(tmp_path / "run", dataset=f"folder:{data}", num_classes=3, num_steps=1)
    (batch,) = class_conditional.batches(config)(0)
    assert set(batch["condition"].tolist()) <= {0, 1, 2}
    for number in (2, 10):
        with pytest.raises(
            ValueError, match=rf"3 classes \(7, ant, b\u00e9e\) and num_classes={number}: give --num-classes 3"
        ):
            class_conditional.batches(tiny(tmp_path / "run", dataset=config.dataset, num_classes=number))

    class_conditional.main(config)
    assert json.loads((tmp_path / "run/config.json").read_text())["classes"] == ["7", "ant", "b\u00e9e"]
    assert "0 7, 1 ant, 2 b\u00e9e" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    draw = lambda *labels: sample.main(sample.Config(run=str(tmp_path / "run"), kind="images", label=labels, count=1))
    folder = draw("be\u0301e", "1", "7")
    assert [(folder / f"{index:05d}.txt").read_text() for index in range(3)] == ["b\u00e9e\n", "ant\n", "7\n"]
    for label, message in (("anx", r"no class is called 'anx': .*did you mean ant\?"), ("3", r"0\.\.2, not 3")):
        with pytest.raises(ValueError, match=message):
            draw(label)

    again = dataclasses.replace(config, num_steps=2)
    (data / "ant").rename(data / "zebra")
    with pytest.raises(ValueError, match=r"class 1 was 'ant', is 'b\u00e9e'; class 2 was 'b\u00e9e', is 'zebra'"):
        class_conditional.main(again)
    (data / "zebra").rename(data / "ant")
    Image.new("RGB", (33, 32)).save(data / "ant" / "0.png")
    with pytest.raises(ValueError, match="the data set is another: file sizes differ"):
        class_conditional.main(again)
    Image.new("RGB", (32, 32)).save(data / "ant" / "0.png")
    data.rename(tmp_path / "moved")
    class_conditional.main(dataclasses.replace(again, dataset=f"folder:{tmp_path}/./moved/"))
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["num_steps"] == 2


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="use --networks resnet"):
        class_conditional.build(tiny(tmp_path, loss="wasserstein"))
    np.save(tmp_path / "images.npy", np.zeros((8, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="has no labels"):
        class_conditional.batches(tiny(tmp_path, dataset=str(tmp_path / "images.npy")))
