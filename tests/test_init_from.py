"""Weights of another run: what is taken, what stays initial, and what is said of it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import class_conditional
from jaxgan.algorithms.state import GANState, TrainState
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.checkpoints.leaves import leaves
from jaxgan.data.vocabulary import Vocabulary
from jaxgan.runs.config import RunConfig, save_config
from jaxgan.runs.init_from import weights_from


def state_of(value=1.0, *, layers=1, size=2, ema=True, norm=False):
    params = {f"layer_{n}": {"kernel": jnp.full((size, size), value)} for n in range(layers)}
    player = TrainState(jnp.int32(0), params, {"batch_stats": {"mean": jnp.full(2, value)}} if norm else {}, ())
    average = jax.tree.map(lambda leaf: leaf + 1, (player.params, player.model_state)) if ema else (None, None)
    return GANState(jax.random.key(0), player, player, ema_params=average[0], ema_model_state=average[1])


def saved(folder, state):
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(7, state)
    return folder


@pytest.mark.parametrize(
    ("source", "target", "missing"),
    [
        ({"layers": 2}, {}, "generator/params/layer_1/kernel: in the checkpoint only"),
        ({}, {"layers": 2}, "generator/params/layer_1/kernel: missing in the checkpoint"),
        ({"norm": True}, {}, "discriminator/model_state/batch_stats/mean: in the checkpoint only"),
        ({}, {"norm": True}, "generator/model_state/batch_stats/mean: missing in the checkpoint"),
        ({"size": 3}, {}, r"float32\[3,3\] in the checkpoint, float32\[2,2\] expected"),
        ({"value": np.inf}, {}, "params/layer_0/kernel of step 7 is not finite"),
    ],
)
def test_every_leaf_of_a_source_is_used_or_named(tmp_path, source, target, missing):
    saved(tmp_path, state_of(**source))
    with pytest.raises(ValueError, match=rf"init_from='{tmp_path}': (.|\n)*{missing}"):
        weights_from(tmp_path, state_of(**target))


@pytest.mark.parametrize(
    ("source", "target", "average", "said"),
    [
        (True, True, 4.0, ""),
        (False, True, 3.0, "; it has no EMA weights, so the EMA starts at its raw weights"),
        (True, False, None, "; without its EMA weights, since this run has none"),
        (False, False, None, ""),
    ],
)
def test_averages_may_differ_and_this_is_said(tmp_path, source, target, average, said):
    saved(tmp_path, state_of(3.0, ema=source, norm=True))
    state, taken = weights_from(tmp_path, state_of(ema=target, norm=True))
    assert taken == f"the weights of step 7 of {tmp_path}{said}"
    for player in (state.generator, state.discriminator):
        assert {float(leaf.max()) for leaf in jax.tree.leaves((player.params, player.model_state))} == {3.0}
    found = jax.tree.leaves((state.ema_params, state.ema_model_state))
    assert [float(leaf.max()) for leaf in found] == ([average] * 2 if average else [])
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((state.generator.params, state.ema_params))]
    assert len(set(buffers)) == len(buffers)  # each is donated


def test_no_run_to_start_from(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    saved(tmp_path / "damaged", state_of())
    (tmp_path / "damaged/checkpoints/7/state/manifest.ocdbt").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for name, reason in {
        "file": "no such folder",
        "empty": "no checkpoint in",
        "absent": "no such folder",
        "damaged": "step 7 in .* is damaged: state/manifest.ocdbt does not match",
    }.items():
        with pytest.raises(ValueError, match=f"init_from='{tmp_path}/{name}': .*({reason})"):
            weights_from(tmp_path / name, state_of())
    assert sorted(tmp_path.rglob("*")) == before


def test_numbers_of_words_must_mean_the_same_words(tmp_path):
    saved(tmp_path, state_of())
    words = {"words.json": Vocabulary(["red", "circle"]).save}
    with pytest.raises(ValueError, match=r"words\.json cannot be read"):
        weights_from(tmp_path, state_of(), words)
    for other, different in {
        ("red", "square"): "has 'square' where this run has 'circle'",
        ("red",): "the end",
    }.items():
        Vocabulary(other).save(tmp_path / "words.json")
        with pytest.raises(ValueError, match=different):
            weights_from(tmp_path, state_of(), words)
    (tmp_path / "words.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"words\.json cannot be read: it is nested too deeply"):
        weights_from(tmp_path, state_of(), words)
    (tmp_path / "words.json").write_text(json.dumps({"words": ["red", "circle"]}))
    weights_from(tmp_path, state_of(), words)


def test_labels_that_meant_something_else_are_said(tmp_path):
    saved(tmp_path, state_of())
    batch = {"image": np.zeros((1, 2))}
    save_config(RunConfig(), tmp_path, batch, size=3, classes=("cat", "dog"))
    _, taken = weights_from(tmp_path, state_of(), classes=("cat", "cow"))
    assert taken.endswith("; its labels differ: class 1 was 'dog', is 'cow'")
    for same in (("cat", "dog"), None):
        assert "; its labels differ" not in weights_from(tmp_path, state_of(), classes=same)[1]


def conditional(num_classes, seed, networks="dcgan", conditioning="projection"):
    sizes = {"width": 4, "latent_dim": 4, "batch_size": 2}
    config = class_conditional.Config(
        num_classes=num_classes, networks=networks, conditioning=conditioning, r1=0.0, **sizes
    )
    batch = {"image": jnp.zeros((2, 32, 32, 1)), "condition": jnp.zeros(2, jnp.int32)}
    return config, class_conditional.build(config).init(jax.random.key(seed), batch)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(("dcgan", "projection"), marks=pytest.mark.slow),
        ("dcgan", "concatenate"),
        pytest.param(("resnet", "projection"), marks=pytest.mark.slow),
    ],
)
def test_another_number_of_classes_keeps_the_rest(tmp_path, kind):
    """Rows of classes with equal names are kept as well."""
    config, source = conditional(3, 1, *kind)
    saved(tmp_path, source)
    save_config(config, tmp_path, {"image": np.zeros((1, 2))}, size=3, classes=("ant", "bee", "cow"))
    ours, initial = conditional(2, 2, *kind)
    state, taken = weights_from(tmp_path, initial, classes=("dog", "bee"), config=vars(ours))
    params = lambda state: leaves({"g": state.generator.params, "d": state.discriminator.params})
    before, first, found = params(source), params(initial), params(state)
    others = []
    for name, leaf in found.items():
        assert leaf.shape == first[name].shape
        if before[name].shape == leaf.shape:
            np.testing.assert_array_equal(leaf, before[name])
            continue
        others.append(name)
        assert (before[name].shape[0], leaf.shape[0]) == (3, 2)
        np.testing.assert_array_equal(leaf[1], before[name][1])  # bee
        np.testing.assert_array_equal(leaf[0], first[name][0])
    assert len(others) >= 2
    count = len(others) + sum(name.startswith("g/") for name in others)  # the EMA has the generator's
    said = f"; its classes are other ones, so rows of {count} arrays start anew, but for bee"
    assert taken == f"the weights of step 7 of {tmp_path}{said}"
    ema = leaves(state.ema_params)
    assert all(ema[name[2:]].shape == leaf.shape for name, leaf in found.items() if name.startswith("g/"))


def test_another_width_is_no_other_number_of_classes(tmp_path):
    config, source = conditional(3, 1)
    saved(tmp_path, source)
    save_config(config, tmp_path, {"image": np.zeros((1, 2))}, size=3)
    state = state_of(size=2)
    with pytest.raises(ValueError, match="in the checkpoint only"):
        weights_from(tmp_path, state, config={"num_classes": 2})
    saved(tmp_path / "wide", state_of(size=3))
    with pytest.raises(ValueError, match=r"float32\[3,3\] in the checkpoint, float32\[2,2\] expected"):
        weights_from(tmp_path / "wide", state, config={"num_classes": 2})


@pytest.mark.parametrize(
    "record", [None, "junk", '{"config": {"num_classes": "3"}}', '{"config": {"num_classes": 3.0}}']
)
def test_without_the_number_of_classes_shapes_must_be_equal(tmp_path, record):
    _, source = conditional(3, 1)
    saved(tmp_path, source)
    if record is not None:
        text = record if record == "junk" else json.dumps({"experiment": "class_conditional", "config": record})
        (tmp_path / "config.json").write_text(text)
    ours, state = conditional(2, 2)
    with pytest.raises(ValueError, match=r"float32\[3,\d+\] in the checkpoint, float32\[2,\d+\] expected") as error:
        weights_from(tmp_path, state, config=vars(ours))
    if record in (None, "junk"):
        assert "config.json" in str(error.value) and "so its number of classes is not known" in str(error.value)


def test_parameters_may_be_one_array(tmp_path):
    player = TrainState(jnp.int32(0), jnp.ones(3), {}, ())
    state = GANState(jax.random.key(0), player, player, ema_params=jnp.full(3, 2.0), ema_model_state={})
    saved(tmp_path, state)
    assert float(weights_from(tmp_path, state)[0].ema_params[0]) == 2.0


def test_another_size_that_changes_alike_is_not_taken_for_classes(tmp_path):
    config = dataclasses.replace(conditional(8, 1)[0], latent_dim=8)
    batch = {"image": jnp.zeros((2, 32, 32, 1)), "condition": jnp.zeros(2, jnp.int32)}
    saved(tmp_path, class_conditional.build(config).init(jax.random.key(1), batch))
    save_config(config, tmp_path, {"image": np.zeros((1, 2))}, size=3, classes=tuple("abcdefgh"))
    ours, state = conditional(4, 2)  # and 4 latents
    with pytest.raises(ValueError, match=r"its latent_dim was 8, here 4; (.|\n)*generator/params/layer_0/kernel: "):
        weights_from(tmp_path, state, classes=tuple("abcd"), config=vars(ours))


def test_names_without_a_row_are_no_classes(tmp_path):
    config, source = conditional(3, 1)
    saved(tmp_path, source)
    save_config(config, tmp_path, {"image": np.zeros((1, 2))}, size=3, classes=("a", "b", "c", "x"))
    ours, state = conditional(2, 2)
    assert weights_from(tmp_path, state, classes=("x", "c"), config=vars(ours))[1].endswith("start anew, but for c")


def test_classes_in_another_order_keep_their_rows(tmp_path):
    """With equally many classes, too; without a common name they keep their numbers."""
    config, source = conditional(3, 1)
    saved(tmp_path, source)
    save_config(config, tmp_path, {"image": np.zeros((1, 2))}, size=3, classes=("cat", "dog", "fox"))
    _, initial = conditional(3, 2)
    rows = lambda state: np.asarray(state.discriminator.params["score"]["projection"]["kernel"])
    before, fresh = rows(source), rows(initial)
    state, taken = weights_from(tmp_path, initial, classes=("dog", "fox", "wolf"), config=vars(config))
    np.testing.assert_array_equal(rows(state), [before[1], before[2], fresh[2]])
    assert taken.endswith("start anew, but for dog, fox")
    for classes in (("cat", "dog", "fox"), ("a", "b", "c"), None):
        state, taken = weights_from(tmp_path, initial, classes=classes, config=vars(config))
        np.testing.assert_array_equal(rows(state), before)
        assert "anew" not in taken
    with pytest.raises(ValueError, match="is a run of class_conditional, not of gan"):
        weights_from(tmp_path, initial, experiment="gan")
    with pytest.raises(ValueError, match="absent': no such folder"):
        weights_from(tmp_path / "absent", initial)
