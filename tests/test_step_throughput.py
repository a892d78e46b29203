"""The throughput benchmark: what it counts, whose turn it is, what it writes; and the PyTorch networks beside ours."""

import importlib.util
import json
import stat
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import step_throughput as throughput
from jaxgan.networks.conditional import conditional_dcgan_discriminator, conditional_dcgan_generator
from jaxgan.networks.convolutions import conv, conv_transpose
from jaxgan.networks.dcgan import dcgan_discriminator, dcgan_generator
from jaxgan.networks.image_to_image import residual_generator
from jaxgan.networks.mlp import mlp_discriminator, mlp_generator
from jaxgan.networks.patchgan import patch_discriminator
from jaxgan.networks.r3gan import r3gan_discriminator, r3gan_generator
from jaxgan.networks.resnet import resnet_discriminator, resnet_generator
from jaxgan.networks.text_to_image import attentive_encoder, text_discriminator

HAS_TORCH = importlib.util.find_spec("torch") is not None
with_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")


def test_names():
    assert set(throughput.SHAPES) <= set(throughput.named(["all"]))
    assert {"gan", "wgan_gp", "gaussians_2d"} <= set(throughput.experiments())
    assert not {"sample", "evaluate"} & set(throughput.experiments())
    assert throughput.named(["gan", "shapes"]) == ["gan", *throughput.SHAPES]
    with pytest.raises(ValueError, match=r"unknown dcgan: there are dcgan_32, .*gaussians_2d"):
        throughput.named(["gan", "dcgan"])


@pytest.mark.slow
@pytest.mark.parametrize("name", throughput.SHAPES)
def test_every_shape_is_a_configuration(name):
    module, config = throughput.configuration(name, ["--seed", "3"])
    assert (config.seed, config.dataset, config.ema_decay) == (3, "noise", 0.0)
    assert config.batch_size == (4 if name == "cyclegan_64" else 64)
    assert module.Config is type(config)


def test_flags_win_over_a_shapes_own():
    _, config = throughput.configuration("dcgan_64", ["--image-size", "32", "--dtype", "bfloat16"])
    assert (config.image_size, config.width, config.dtype) == (32, 64, "bfloat16")


def test_a_compiled_step():
    """Its operations against a count by hand; it trains on, and says how large it is."""
    images, kernel = jnp.ones((8, 16, 16, 8)), jnp.full((4, 4, 8, 32), 0.01)

    def train_step(state, batches):
        x = batches[0]["image"]
        gradient = jax.grad(lambda w: (conv(x, w, strides=2, padding=1) ** 2).sum())(state["kernel"])
        return {"kernel": state["kernel"] - 1e-9 * gradient, "step": state["step"] + 1}, {}

    gan = SimpleNamespace(d_steps=2, init=lambda key, batch: {"kernel": kernel, "step": 0}, train_step=train_step)
    module = SimpleNamespace(build=lambda config: gan, batches=lambda config: lambda step: ({"image": images},))
    step = throughput.compiled(module, SimpleNamespace(num_devices=1, batch_size=8, seed=0))
    # A window next to the edge has 15 of its 16 rows in the image, and so with columns: (8 * 4 - 2)^2 pairs.
    by_hand = 2 * (2 * 8 * (8 * 4 - 2) ** 2 * 8 * 32) / 1e9
    assert step.gflop == pytest.approx(by_hand, rel=0.05)
    assert (step.images, step.devices) == (16, 1)
    assert step.program_mib * 2**20 >= images.nbytes + kernel.nbytes
    assert step.run(2) > 0 and step.compile_seconds > 0


def test_operations_of_convolutions_that_become_matrix_products():
    """A 4x4 transposed convolution is one product to a window of 4x4 for every place, whatever falls off the edges."""
    maps, kernel = jnp.ones((8, 8, 8, 32)), jnp.ones((4, 4, 16, 32))
    compiled = jax.jit(lambda y, w: conv_transpose(y, w, strides=2)).lower(maps, kernel).compile()
    product = 2 * 8 * 8 * 8 * 32 * 16 * 16
    # Beside it the windows are added up: at most one sum for each of their numbers, 1/64 of the product.
    assert product <= compiled.cost_analysis()["flops"] <= 1.03 * product


def test_turns(monkeypatch):
    log = []

    def runner(name, milliseconds):
        def run(steps):
            log.append((name, steps))
            return milliseconds

        return run

    runs = {"a": runner("a", 150.0), "b": runner("b", 50.0), "c": runner("c", 0.1)}
    assert throughput.take_turns(runs, 2) == {"a": [150.0] * 2, "b": [50.0] * 2, "c": [0.1] * 2}
    turns = [("a", 1), ("b", 4), ("c", throughput.MOST)]
    assert log[6:] == turns * 2
    assert log[:6] == [(name, 1) for name in "aabbcc"]


def test_the_best_and_a_row():
    best = throughput.best({"a": [60.0, 40.0, 80.0], "b": [50.0, 50.0, 70.0]})
    assert best == {"median_ms": 50.0, "minimum_ms": 40.0}
    row = {"name": "gan", "gflop": 1234.5, "utilisation": {"float32": 0.256}}
    columns = [column for column in throughput.COLUMNS if column[1] in (*row, "utilisation.float32", "ratio.median_ms")]
    assert throughput.line(throughput.cells(row, columns)) == "| gan | 1,234.50 | 26% |  |"


@pytest.fixture
def quick(monkeypatch):
    """Small matrix products, and turns of one step."""
    monkeypatch.setitem(throughput.SIDE, "cpu", 8)
    monkeypatch.setattr(throughput, "TURN_MS", 0)
    enabled = jax.config.jax_enable_compilation_cache
    yield
    jax.config.update("jax_enable_compilation_cache", enabled)


TINY = ["gaussians_2d", "--width", "8", "--batch-size", "8", "--r1", "0", "--r2", "0", "--num-devices", "1"]
TINY += ["--iterations", "3"]


@pytest.mark.slow
def test_a_report_beside_another_program(tmp_path, capsys, quick):
    """The other side of the comparison is a process that answers lines; here it always says 1000 ms and 2000 ms."""
    stub, output = tmp_path / "python", tmp_path / "found.json"
    stub.write_text(
        """#!/bin/sh
        echo "$3" > "$(dirname "$0")/spec.json"
        echo '{"torch": "0.0", "variants": ["eager", "channels_last"], "failed": {"compile": "no g++"}}'
        while read variant steps; do [ $variant = eager ] && echo 2000.0 || echo 1000.0; done
        """.replace("        ", "")
    )
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    options = ["--compare", "torch", "--torch-python", str(stub), "--output", str(output)]
    (row,) = throughput.main([*TINY, *options, "--variants", "eager", "channels_last", "compile"])
    written = json.loads(output.read_text())
    assert written["rows"] == json.loads(json.dumps([row]))
    assert written["versions"]["jax"] == jax.__version__ and written["cores"] >= 1
    spec = json.loads((tmp_path / "spec.json").read_text())
    assert (spec["experiment"], spec["width"], spec["platform"], len(spec["variants"])) == ("gaussians_2d", 8, "cpu", 3)
    assert row["config"] == {name: value for name, value in spec.items() if name in row["config"]}

    assert row["times_ms"]["eager"] == [2000.0] * 3 and len(row["times_ms"]["step"]) == 3
    assert row["minimum_ms"] == min(row["times_ms"]["step"])
    assert row["torch_best"] == {"median_ms": 1000.0, "minimum_ms": 1000.0}
    assert row["ratio"]["median_ms"] == pytest.approx(1000 / row["median_ms"])
    assert row["images_per_second"] == pytest.approx(8000 / row["median_ms"])
    peak = 2 * 8**3 / 1e6 / min(row["times_ms"]["float32"])
    assert row["peak_gflop_per_second"]["float32"] == pytest.approx(peak)
    assert row["utilisation"]["float32"] == pytest.approx(row["gflop"] / row["minimum_ms"] * 1000 / peak)
    printed = capsys.readouterr()
    header, rule, line = printed.out.splitlines()[-3:]
    assert header.count("|") == rule.count("|") == line.count("|") == len(throughput.COLUMNS) + 1
    assert "| 1000.0 | 1000.0 |" in line
    assert "no PyTorch compile: no g++" in printed.err


@pytest.mark.slow
@pytest.mark.skipif(HAS_TORCH, reason="PyTorch is installed")
def test_a_missing_pytorch_is_said(quick, capfd):
    with pytest.raises(RuntimeError, match="ended with status 1"):
        throughput.main([*TINY, "--compare", "torch"])
    assert "pip install -e '.[torch]'" in capfd.readouterr().err


def test_refusals(quick):
    with pytest.raises(ValueError, match="--iterations 0"):
        throughput.main(["gan", "--iterations", "0"])


# The PyTorch side.


def ordered(module):
    """A torch module's parameters as Flax lists those of the same network: by use, weight before bias."""
    if hasattr(module, "parametrizations"):
        return [module.parametrizations.weight.original, *([] if module.bias is None else [module.bias])]
    parts = [part for child in module.children() for part in ordered(child)]
    own = list(module.parameters(recurse=False))
    return parts[:-1] + own + parts[-1:] if type(module).__name__ == "R3GANDiscriminator" else own + parts


def as_torch(leaf, like):
    """A Flax parameter in the order of axes that torch has."""
    leaf = np.asarray(leaf)
    if leaf.ndim == 2 and like.shape[0] == 16 * 8:  # the residual generator's first layer, whose output is a map
        leaf = leaf.reshape(-1, 4, 4, 8).transpose(0, 3, 1, 2).reshape(leaf.shape)
    axes = {1: (0,), 2: (1, 0), 3: (2, 0, 1), 4: (3, 2, 0, 1)}[leaf.ndim]
    return leaf.transpose(axes)


LATENTS, IMAGES = np.random.default_rng(0).normal(size=(4, 5)), np.random.default_rng(1).normal(size=(4, 32, 32, 3))


def networks():
    from benchmarks.pytorch import networks as theirs

    dcgan, resnet = {"channels": 3, "width": 8}, {"channels": 3, "width": 8}
    r3gan = {"channels": 3, "widths": (16, 16, 8, 8), "blocks": 1}
    widths = {"width": (16, 16, 8, 8)}
    for norm in ("batch", "layer"):
        yield dcgan_generator(32, norm=norm, **dcgan), theirs.dcgan_generator(32, latent_dim=5, norm_kind=norm, **dcgan)
        discriminator = theirs.dcgan_discriminator(32, norm_kind=norm, **dcgan)
        yield dcgan_discriminator(32, width=8, norm=norm), discriminator
    yield resnet_generator(32, **resnet), theirs.ResNetGenerator(32, latent_dim=5, **resnet)
    yield resnet_discriminator(32, width=8, spectral_norm=True), theirs.ResNetDiscriminator(32, **resnet)
    yield r3gan_generator(32, channels=3, **widths), theirs.R3GANGenerator(latent_dim=5, **r3gan)
    yield r3gan_discriminator(32, **widths), theirs.R3GANDiscriminator(**r3gan)
    import torch

    yield mlp_generator((8, 8), features=2), theirs.mlp([5, 8, 8, 2], torch.nn.ReLU)
    leaky = theirs.mlp([5, 8, 8, 1], lambda: torch.nn.LeakyReLU(0.2))
    yield mlp_discriminator((8, 8)), torch.nn.Sequential(leaky, torch.nn.Flatten(0))
    for upsampling in ("transposed", "resize"):
        ours = residual_generator(channels=3, width=4, blocks=1, upsampling=upsampling)
        resize = upsampling == "resize"
        yield ours, theirs.residual_generator(channels=(3, 3), width=4, blocks=1, resize=resize)
    yield patch_discriminator(width=4, layers=2), theirs.patch_discriminator(channels=3, width=4, depth=2)


@with_torch
@pytest.mark.slow
def test_the_networks_are_the_same():
    import torch

    torch.set_num_threads(1)
    for ours, theirs in networks():
        parameters = ordered(theirs)
        takes_latents = 5 in parameters[0].shape[:2] or parameters[0].shape == (16, 4, 4)
        inputs = LATENTS if takes_latents else IMAGES
        params, model_state = ours.init(jax.random.key(0), inputs)
        with torch.no_grad():
            for leaf, parameter in zip(by_use(params), parameters, strict=True):
                parameter.copy_(torch.tensor(as_torch(leaf, parameter)))
        given = torch.tensor(inputs, dtype=torch.float32)
        given = given if takes_latents else given.permute(0, 3, 1, 2)
        spectral = "spectral" in model_state
        with torch.no_grad():
            for _ in range(50 if spectral else 1):  # until the norms have settled
                model_state = ours.refresh(params, model_state)
                found = theirs(given)
        expected, _ = ours.apply(params, model_state, inputs, train=True)
        found = (found.permute(0, 2, 3, 1) if found.ndim == 4 else found).numpy()
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-5, err_msg=str(theirs))


def by_use(params):
    """Leaves in the order Flax creates them, weight before bias."""
    for value in params.values():
        yield from by_use(value) if isinstance(value, dict) else [value]


@with_torch
@pytest.mark.parametrize("name", throughput.experiments())
def test_a_step_of_each_experiment_moves_both_players(name, monkeypatch):
    import torch

    from benchmarks.pytorch import reference as reference

    moved = []
    adam, rmsprop = torch.optim.Adam, torch.optim.RMSprop

    def watched(optimizer):
        def make(parameters, *arguments, **options):
            parameters = list(parameters)
            moved.append((parameters, [parameter.detach().clone() for parameter in parameters]))
            return optimizer(parameters, *arguments, **options)

        return make

    monkeypatch.setattr(torch.optim, "Adam", watched(adam))
    monkeypatch.setattr(torch.optim, "RMSprop", watched(rmsprop))
    small = {"sngan": ["--g-width", "8", "--d-width", "8"], "relativistic": ["--widths", "8", "8", "8", "8"]}
    _, config = throughput.configuration(name, [*small.get(name, ["--width", "8"]), "--batch-size", "4"])
    spec = {**vars(config), "experiment": name}
    for variant in ("eager", "channels_last"):
        step = reference.build(spec, reference.Settings("cpu", variant, autocast=False))
        step()
        step()
    assert len(moved) == 4
    for parameters, before in moved:
        assert all(torch.isfinite(parameter).all() for parameter in parameters)
        changed = [not torch.equal(*pair) for pair in zip(parameters, before, strict=True)]
        assert np.mean(changed) > 0.5  # in eight units some ReLU may be dead


@with_torch
def test_refusals_of_the_reference():
    from benchmarks.pytorch import reference as reference

    settings = reference.Settings("cpu", "eager", autocast=False)
    with pytest.raises(ValueError, match="no augmentation"):
        reference.build({"experiment": "gan", "augment": "color"}, settings)
    with pytest.raises(ValueError, match="no loss f_gan: there are non_saturating"):
        reference.build({"experiment": "gan", "loss": "f_gan"}, settings)
    with pytest.raises(ValueError, match="no PyTorch reference for vqgan: there are gan"):
        reference.build({"experiment": "vqgan"}, settings)
    for name, flag in (("class_conditional", "concatenate"), ("text_to_image", "concatenate")):
        _, config = throughput.configuration(name, ["--conditioning", flag])
        with pytest.raises(ValueError, match="by projection"):
            reference.build({**vars(config), "experiment": name}, settings)


@with_torch
def test_conditional_networks_have_the_same_number_of_parameters():
    from benchmarks.pytorch import conditional as theirs

    options, images = {"channels": 3, "width": 8}, jnp.zeros((4, 32, 32, 3))
    latents, labels, embedding = jnp.zeros((4, 5)), jnp.zeros(4, jnp.int32), jnp.zeros((4, 256))
    maps = jnp.zeros((4, 4, 4, 32))
    told = text_discriminator(32, width=8)
    pairs = [
        (conditional_dcgan_generator(32, num_classes=10, **options), (latents, labels)),
        (conditional_dcgan_generator(32, num_classes=None, **options), (latents, embedding)),
        (conditional_dcgan_discriminator(32, num_classes=10, width=8), (images, labels)),
        (told.features, (images,)),
        (told.head, (maps, embedding)),
        (attentive_encoder(64), (jnp.ones((4, 9), jnp.int32),)),
    ]
    found = [
        theirs.DCGANGenerator(32, latent_dim=5, num_classes=10, norm_kind="layer", **options),
        theirs.DCGANGenerator(32, latent_dim=5, embedding=256, norm_kind="layer", **options),
        theirs.DCGANDiscriminator(32, num_classes=10, norm_kind="layer", **options),
        theirs.DCGANFeatures(32, norm_kind="none", **options),
        theirs.ProjectionScore(16 * 32, embedding=256),
        theirs.AttentiveEncoder(64),
    ]
    spare = [0] * 5 + [2 * 2 * 64]  # biases of a GRU's gates, of which PyTorch has two for each
    for (ours, inputs), module, more in zip(pairs, found, spare, strict=True):
        params, _ = jax.eval_shape(ours.init, jax.random.key(0), *inputs)
        expected = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert sum(parameter.numel() for parameter in module.parameters()) == expected + more
