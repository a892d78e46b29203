"""Data parallelism on several devices and processes: equality of losses, images per second, and communication.

python -m benchmarks.scaling                                    # a DCGAN on 1, 2, 4, 8 devices, and in 2 processes
python -m benchmarks.scaling dcgan_32 sngan_32 --devices 1 2 --processes 1 --steps 1
python -m benchmarks.scaling gan --width 16

Names are those of `benchmarks.step_throughput`: experiments and shapes. Other flags are passed to the experiments. The
devices are simulated on one CPU and share its cores. So the results show equal losses and the communication volume, but
not the speed on many chips; `benchmarks/README.md` has a formula for that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.step_throughput import ROOT, configuration, named
from jaxgan.devices.compilation_cache import keep_compiled_programs
from jaxgan.devices.distributed import initialize
from jaxgan.devices.sharding import by_batch, compile_step, data_mesh, device_put, replicated

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BITS = {"pred": 8, "bf16": 16}


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """The collective operations of a compiled program: the number and the bytes of each kind.

    Args:
      program: its text, `compiled.as_text()`. An asynchronous operation counts once.

    >>> collectives("%sum = (f32[8,2]{1,0}, bf16[3]{0}) all-reduce(%a, %b), channel_id=1")
    {'all-reduce': (1, 70)}
    """
    found: dict[str, tuple[int, int]] = {}
    for results, kind in re.findall(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-start)?\(", program):
        size = 0
        for dtype, shape in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", results):
            bits = BITS.get(dtype) or int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz"))
            size += int(np.prod([int(side) for side in shape.split(",") if side], dtype=np.int64)) * bits // 8
        number, so_far = found.get(kind, (0, 0))
        found[kind] = number + 1, so_far + size
    return found


def measure(name: str, flags: Sequence[str], steps: int) -> dict[str, Any]:
    """Trains on all devices of all processes: losses of each step, images per second, collectives of a step."""
    module, config = configuration(name, flags)
    gan, batches = module.build(config), module.batches(config)
    mesh = data_mesh(batch_size=config.batch_size)
    first = batches(0)
    state = device_put(gan.init(jax.random.key(config.seed), first[0]), replicated(mesh))
    step = compile_step(gan.train_step, mesh, *jax.eval_shape(lambda *both: both, state, first))
    losses, began = [], 0.0
    for number in range(steps):
        if number == 1:  # without the first step, which includes the start of the devices
            began = time.perf_counter()
        state, metrics = step(state, device_put(batches(number), by_batch(mesh)))
        losses.append({name: float(value) for name, value in metrics.items() if name.endswith("loss")})
    seconds = time.perf_counter() - began
    rate = (steps - 1) * gan.d_steps * config.batch_size / seconds if steps > 1 else 0.0
    parameters = sum(leaf.size for leaf in jax.tree.leaves((state.generator.params, state.discriminator.params)))
    sent = collectives(step.as_text())
    return {"losses": losses, "images_per_second": rate, "parameters": parameters, "collectives": sent}


def run(name: str, flags: Sequence[str], *, devices: int, processes: int, steps: int) -> dict[str, Any]:
    """`measure` on simulated CPU devices, divided evenly among processes.

    Raises:
      ValueError: the number of devices is not a multiple of the number of processes.
      RuntimeError: a process failed; its output is shown.
    """
    if devices % processes:
        raise ValueError(f"{devices} devices do not divide among {processes} processes")
    forced = f"--xla_force_host_platform_device_count={devices // processes}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {forced}"}
    coordinator = f"127.0.0.1:{_free_port()}" if processes > 1 else None
    children = []
    for number in range(processes):
        joined = (coordinator, processes, number) if coordinator else (None, None, None)
        task = json.dumps({"name": name, "flags": list(flags), "steps": steps, "join": joined})
        command = [sys.executable, "-m", "benchmarks.scaling", "--child", task]
        children.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True))
    said = [child.communicate()[0] for child in children]
    if failed := [child.returncode for child in children if child.returncode]:
        raise RuntimeError(f"{name} on {devices} devices in {processes} processes ended with status {failed[0]}")
    return json.loads(said[0].splitlines()[-1])


def difference(losses: Mapping[str, float], expected: Mapping[str, float]) -> float:
    """The largest relative difference between the losses of two steps."""
    pairs = [(losses[name], expected[name]) for name in expected]
    return max(abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in pairs)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _work(task: Mapping[str, Any]) -> None:
    keep_compiled_programs()
    initialize(*task["join"])
    with contextlib.redirect_stdout(sys.stderr):
        measured = measure(task["name"], task["flags"], task["steps"])
    print(json.dumps(measured), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one row for each number of devices and processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["dcgan_32"])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    found, flags = parser.parse_known_args(arguments)
    if found.child:
        return _work(found.child)
    print("| | processes | devices | images/s | losses differ, first to last step | sent in a step, by each device |")
    print("|---|---|---|---|---|---|")
    for name in named(found.names):
        expected = None
        for processes in found.processes:
            for devices in (number for number in found.devices if number % processes == 0):
                measured = run(name, flags, devices=devices, processes=processes, steps=found.steps)
                expected = expected or measured["losses"]
                sent = ", ".join(f"{n} {kind}, {b:,} bytes" for kind, (n, b) in measured["collectives"].items())
                far = [difference(*pair) for pair in zip(measured["losses"], expected, strict=True)]
                apart = f"{far[0]:.0e} to {far[-1]:.0e}" if far else "not trained"
                rate = f"{measured['images_per_second']:,.0f}"
                print(f"| {name} | {processes} | {devices} | {rate} | {apart} | {sent or 'nothing'} |", flush=True)
        print(f"{name}: {measured['parameters']:,} parameters in both networks, {4 * measured['parameters']:,} bytes")


if __name__ == "__main__":
    main()
