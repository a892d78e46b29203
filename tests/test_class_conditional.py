"""The experiment at width 8 for three steps, and what it is told."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import class_conditional, sample
from jaxgan.runs.config import differences, known_data, load_config, save_config
from jaxgan.runs.open_run import open_run, restore


def tiny(folder, **changes):
    options = {"dataset": "noise", "channels": 3, "width": 4, "num_steps": 3, "batch_size": 4, "num_devices": 1}
    return class_conditional.Config(workdir=str(folder), **options | changes)


NAMES = ("0", "ant", "b\u00e9e", "cow", "dog", "emu", "fox", "gnu", "hen", "ibis")


@pytest.fixture
def data(tmp_path):
    for name in NAMES:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32)).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def test_a_run_and_what_is_drawn_from_it(tmp_path, data, capsys):
    """The names of classes are kept in the run, and images are drawn by them."""
    run_folder = tmp_path / "run"
    metrics = class_conditional.main(tiny(run_folder, dataset=f"folder:{data}"))
    assert np.isfinite(metrics["d_loss"]) and "penalty" in metrics
    assert f"samples: {run_folder / 'samples' / '00000003.png'}" in capsys.readouterr().out
    record = json.loads((run_folder / "config.json").read_text())
    assert record["experiment"] == "class_conditional" and tuple(record["classes"]) == NAMES
    assert "0 0, 1 ant, 2 b\u00e9e" in (run_folder / "report.html").read_text(encoding="utf-8")
    ten_rows_of_eight = (16 + 23 + 8 * 66 - 2, 10 * 66 - 2)
    for name in ("samples", "interpolation"):
        with Image.open(run_folder / name / "00000003.png") as picture:
            assert picture.size == pytest.approx(ten_rows_of_eight, abs=6)
    assert (run_folder / "nearest" / "00000003.png").exists()
    run = open_run(run_folder, {"class_conditional": class_conditional})
    latents = jnp.tile(jax.random.normal(jax.random.key(0), (1, 8)), (3, 1))
    samples = run.outputs({"latents": latents, "condition": np.array([3, 3, 7], np.int32)})["samples"]
    assert samples[0].tobytes() == samples[1].tobytes()
    assert np.abs(samples[0] - samples[2]).max() > 0

    restored = restore(run_folder)
    assert (restored.experiment, restored.config) == (class_conditional, run.config)
    images = restored.sample(5, label="be\u0301e", count=3)
    assert (images.dtype, images.shape) == (np.uint8, (3, 32, 32, 3))
    drawn = np.asarray(jax.random.normal(jax.random.key(5), (3, 8)))
    np.testing.assert_array_equal(images, restored.sample(drawn, label=[2, "b\u00e9e", "2"]))
    by_label = run.outputs({"latents": drawn, "condition": np.arange(3, dtype=np.int32)})["samples"]
    np.testing.assert_array_equal(restored.sample(drawn), run.to_uint8(by_label))
    for options, message in (
        ({"label": "bird"}, "no class is called 'bird'"),
        ({"label": [1, 2], "count": 3}, "2 labels or prompts for 3 samples: give one, or one for each"),
        ({"label": 10}, r"0\.\.9, not 10"),
        ({"label": []}, r"label=\[\] is empty"),
        ({"label": True}, "label True is neither the name nor the number of a class"),
        ({"label": 1.5}, "label 1.5 is neither"),
    ):
        with pytest.raises(ValueError, match=message):
            restored.sample(**options)

    options = {"run": str(run_folder), "count": 2}
    folder = sample.main(sample.Config(kind="images", label=("be\u0301e", "7"), **options))
    texts = [(folder / f"{index:05d}.txt").read_text(encoding="utf-8") for index in range(4)]
    assert texts == ["b\u00e9e\n", "b\u00e9e\n", "gnu\n", "gnu\n"]
    for kind in ("grid", "interpolation", "walk"):
        assert sample.main(sample.Config(kind=kind, label=("3", "7"), **options)).exists()
    with pytest.raises(ValueError, match=r"0\.\.9, not 10"):
        sample.main(sample.Config(label=("10",), **options))
    with pytest.raises(ValueError, match="it has no --prompt"):
        sample.main(sample.Config(prompt=("a bird",), **options))

    (data / "hen").rename(data / "wren")
    with pytest.raises(ValueError, match=r"class 8 was 'hen', is 'ibis'; .*data set has changed: file names differ"):
        class_conditional.main(tiny(run_folder, dataset=f"folder:{data}", num_steps=4))


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


def test_a_folder_of_classes(tmp_path, data):
    """A class folder that is renamed shifts the labels behind it: such a run does not go on, a moved folder does."""
    config = tiny(tmp_path / "run", dataset=f"folder:{data}")
    batches = class_conditional.batches(config)
    (batch,) = batches(0)
    assert set(batch["condition"].tolist()) <= set(range(10))
    save_config(config, tmp_path / "run", batch, **known_data(batches))

    def found(dataset):
        again = dataclasses.replace(config, dataset=dataset)
        return differences(again, load_config(tmp_path / "run"), **known_data(class_conditional.batches(again)))

    (data / "hen").rename(data / "wren")
    assert found(config.dataset) == [
        "class 8 was 'hen', is 'ibis'",
        "class 9 was 'ibis', is 'wren'",
        "the data set has changed: file names differ",
    ]
    (data / "wren").rename(data / "hen")
    (data / "b\u00e9e").rename(data / "be\u0301e")  # as macOS writes it
    data.rename(tmp_path / "moved")
    assert found(f"folder:{tmp_path}/./moved/") == []
    Image.new("RGB", (33, 32)).save(tmp_path / "moved/ant/0.png")
    assert "the data set has changed: file sizes differ" in found(f"folder:{tmp_path}/moved")
    for number in (2, 100):
        with pytest.raises(
            ValueError, match=rf"10 classes \(0, ant, .*\), but num_classes={number}: give --num-classes 10"
        ):
            class_conditional.batches(tiny(tmp_path, dataset=f"folder:{tmp_path}/moved", num_classes=number))


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="use --networks resnet"):
        class_conditional.build(tiny(tmp_path, loss="wasserstein"))
    np.save(tmp_path / "images.npy", np.zeros((8, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="has no labels"):
        class_conditional.batches(tiny(tmp_path, dataset=str(tmp_path / "images.npy")))
