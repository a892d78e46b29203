import jax
import jax.numpy as jnp
import pytest

from benchmarks import scaling
from jaxgan.devices.sharding import by_batch, compile_step, data_mesh

HLO = """
  %all-reduce.1 = f32[64,3]{1,0} all-reduce(%a), channel_id=1, replica_groups={{0,1}}
  %pair = (f32[8]{0}, bf16[2,2]{1,0}, s32[]) all-reduce-start(%b, %c, %d), channel_id=2
  %done = (f32[8]{0}, bf16[2,2]{1,0}, s32[]) all-reduce-done(%pair)
  %gathered = pred[16]{0} all-gather(%e), dimensions={0}
  ROOT %use = f32[64,3]{1,0} add(%all-reduce.1, %f)
"""


def test_what_is_sent_is_read_from_the_program():
    assert scaling.collectives(HLO) == {"all-reduce": (2, 64 * 3 * 4 + 32 + 8 + 4), "all-gather": (1, 16)}
    assert scaling.collectives("ROOT %sum = f32[3]{0} add(%a, %b)") == {}


def test_a_gradient_of_a_mean_over_the_batch_is_what_is_sent():
    def program(devices):
        shapes = jax.ShapeDtypeStruct((16, 8), jnp.float32), jax.ShapeDtypeStruct((4, 16), jnp.float32)
        step = lambda w, x: (w - jax.grad(lambda w: jnp.mean(jnp.tanh(x @ w)))(w), None)
        return compile_step(step, data_mesh(devices), *shapes).as_text()

    assert scaling.collectives(program(4)) == {"all-reduce": (1, 16 * 8 * 4)}
    assert scaling.collectives(program(1)) == {}
    assert by_batch(data_mesh(4)).num_devices == 4


def test_the_largest_difference():
    one = {"d_loss": 1.0, "g_loss": 0.0}
    assert scaling.difference(one, one) == 0.0
    other = {"d_loss": 1.1, "g_loss": 0.0}
    assert scaling.difference(one, other) == pytest.approx(0.1 / 1.1)


def test_devices_that_do_not_divide_among_processes():
    with pytest.raises(ValueError, match="3 devices do not divide among 2 processes"):
        scaling.run("gan", [], devices=3, processes=2, steps=1)


@pytest.mark.slow
def test_losses_do_not_depend_on_devices_and_processes(capsys):
    flags = ["--width", "8", "--batch-size", "8"]
    scaling.main(["gan", "--devices", "1", "4", "--processes", "1", "2", "--steps", "3", *flags])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| gan")]
    assert [(row[2].strip(), row[3].strip()) for row in rows] == [("1", "1"), ("1", "4"), ("2", "4")]
    assert all(float(far) <= 1e-5 for row in rows for far in row[5].split("to"))
    assert ["all-reduce" in row[6] for row in rows] == [False, True, True]
