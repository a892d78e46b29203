"""Several processes: what each does by itself, and a run of two that is stopped and goes on as one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.data.base import Source
from jaxgan.data.pipeline import StreamedBatches
from jaxgan.devices.distributed import initialize, local_copy, sync_max
from jaxgan.devices.sharding import by_batch, data_mesh, device_put, replicated

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((None, 2, 0), "num_processes=2 and process_id=0 need --coordinator"),
        (("auto", 2, None), "need --coordinator"),
        (("host", 2, 0), "coordinator='host' is neither 'auto' nor HOST:PORT"),
        (("host:port", 2, 0), "neither"),
        (("host:1234", 2, None), "needs the number of processes"),
        (("host:1234", 2, 2), "num_processes=2 and process_id=2"),
        (("auto", None, None), "found no cluster"),
    ],
)
def test_invalid_arguments_of_initialize_are_explained(arguments, complaint, monkeypatch):
    # As where there is no cluster: by now this process has devices, so JAX would refuse anyway.
    def refuse(*_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with pytest.raises(ValueError, match=complaint):
        initialize(*arguments)


def test_initialize_passes_its_arguments_to_jax(monkeypatch):
    said = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments: said.append(arguments))
    initialize(None)
    initialize("auto")
    initialize("10.0.0.1:1234", 3, 1)
    assert said == [(), ("10.0.0.1:1234", 3, 1)]


def test_a_single_process_needs_no_communication():
    state = {"w": jnp.ones(2)}
    assert sync_max(15) == 15
    assert local_copy(state) is state


def test_arrays_are_put_on_this_process_s_devices(monkeypatch):
    """With the path that several processes take, in one that holds all devices."""
    arrays = {"key": jax.random.key(3), "count": jnp.int32(4), "rows": np.arange(24.0, dtype=np.float32).reshape(8, 3)}
    mesh = data_mesh(4)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    whole = device_put(arrays, replicated(mesh))
    assert all(leaf.sharding == replicated(mesh) for leaf in jax.tree.leaves(whole))
    assert jax.random.key_data(whole["key"]).tolist() == jax.random.key_data(arrays["key"]).tolist()
    split = device_put({"rows": arrays["rows"]}, by_batch(mesh))["rows"]
    assert [shard.data.tolist() for shard in split.addressable_shards] == [
        part.tolist() for part in np.split(arrays["rows"], 4)
    ]
    own = local_copy(whole)
    np.testing.assert_array_equal(own["rows"], arrays["rows"])
    assert len(own["rows"].sharding.device_set) == 1


@pytest.mark.parametrize("flip", [False, True])
def test_each_process_reads_its_own_rows(flip, monkeypatch):
    images = np.random.default_rng(0).integers(256, size=(12, 6, 6, 1), dtype=np.uint8)
    read = []

    def source():
        return Source(12, lambda rows: read.append(len(rows)) or {"image": images[np.asarray(rows)]})

    options = {"batch_size": 4, "d_steps": 2, "crop_size": 5 if flip else None, "flip": flip}
    expected = StreamedBatches(source(), **options)(3)
    parts = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for number in range(2):
        monkeypatch.setattr(jax, "process_index", lambda number=number: number)
        read.clear()
        parts.append(StreamedBatches(source(), **options)(3))
        assert max(read) == 2
    for number, batch in enumerate(expected):
        together = jnp.concatenate([part[number]["image"] for part in parts])
        np.testing.assert_array_equal(together, batch["image"])
    with pytest.raises(ValueError, match="batch_size=3 does not divide among 2 processes"):
        StreamedBatches(source(), batch_size=3)


def start(folder, *, processes=1, streamed=True, resume="auto"):
    """The command of docs/devices.md."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{found.getsockname()[1]}"
    flags = {
        "workdir": folder, "dataset": "noise", "width": 8, "batch-size": 8, "num-steps": 16, "log-every": 1,
        "sample-every": 16, "checkpoint-every": 16, "resident-mib": 0 if streamed else 64, "resume": resume,
    }  # fmt: skip
    arguments = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    started = []
    for number in range(processes):
        joined = ["--coordinator", coordinator, "--num-processes", str(processes), "--process-id", str(number)]
        command = [sys.executable, "-m", "experiments.gan", *arguments, *(joined if processes > 1 else [])]
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
        started.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    return started


def ended(started):
    said = [process.communicate(timeout=400)[0].decode() for process in started]
    return [process.returncode for process in started], "\n".join(said)


def losses(folder):
    path = Path(folder) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [True, False])
def test_two_processes_stop_together_and_one_goes_on(streamed, tmp_path):
    both = start(tmp_path / "run", processes=2, streamed=streamed)
    try:
        while len(losses(tmp_path / "run")) < 3 and all(process.poll() is None for process in both):
            time.sleep(0.02)
        both[1].send_signal(signal.SIGTERM)  # not the one that writes
        codes, said = ended(both)
    finally:
        for process in both:
            process.kill()
    assert codes == [128 + signal.SIGTERM] * 2, said
    stopped = len(losses(tmp_path / "run"))
    assert 3 <= stopped < 16, "stopped too late"
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == [str(stopped)]
    assert (tmp_path / "run/checkpoints" / str(stopped) / "digests.json").exists()
    for folder, resume in (("run", "must"), ("unbroken", "never")):
        codes, said = ended(start(tmp_path / folder, streamed=streamed, resume=resume))
        assert codes == [0], said
    found, expected = losses(tmp_path / "run"), losses(tmp_path / "unbroken")
    assert [line["step"] for line in found] == list(range(1, 17))
    for line, other in zip(found, expected, strict=True):
        for name in ("d_loss", "g_loss", "penalty"):
            assert line[name] == pytest.approx(other[name], rel=1e-5, abs=1e-6), line["step"]
