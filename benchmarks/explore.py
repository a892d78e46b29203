"""Times the page of a run: seconds from the command to its first image, and from a moved slider to the next image.

python -m benchmarks.explore runs/gan

The page's interface is called directly; a browser adds the time to load and show the page.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from typing import Any

from jaxgan.runs import cli


def seconds_of(run: str, moves: int) -> tuple[float, list[float]]:
    """Of the first image, and of one image for each move of a slider.

    Raises:
      ValueError: the page does not open, answers without an image, or has no slider of a latent or direction.
    """
    started = time.perf_counter()
    command = [sys.executable, "-m", "experiments.explore", "--run", run]
    pipe, environment = subprocess.PIPE, os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            found = (re.search(r"page +(http\S+?)/?$", line.rstrip()) for line in process.stdout)
            address = next((match[1] for match in found if match), None)
            if address is None:
                raise ValueError(f"the page did not open: {process.stderr.read().strip().removeprefix('error: ')}")
            values, sliders = _controls(address)
            _draw(address, values)
            first = time.perf_counter() - started
            seconds = []
            for move in range(moves):
                values[sliders[move % len(sliders)]] = 2.0 * move / moves - 1
                before = time.perf_counter()
                _draw(address, values)
                seconds.append(time.perf_counter() - before)
        finally:
            process.send_signal(signal.SIGINT)
    return first, seconds


def _controls(address: str) -> tuple[list[Any], list[int]]:
    """The initial values of the page's controls, and which of them are sliders of latents or directions."""
    with urllib.request.urlopen(f"{address}/config") as answer:
        config = json.load(answer)
    inputs = next((one["inputs"] for one in config["dependencies"] if one["api_name"] == "draw"), ())
    props = {one["id"]: one["props"] for one in config["components"]}
    chosen = [props[number] for number in inputs]
    sliders = [place for place, one in enumerate(chosen) if re.match("Latent|Direction", str(one.get("label")))]
    if not sliders:
        raise ValueError("the page has no slider of a latent or a direction")
    return [one.get("value") for one in chosen], sliders


def _draw(address: str, values: list[Any]) -> None:
    request = urllib.request.Request(
        f"{address}/gradio_api/run/draw", json.dumps({"data": values}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        if b"data:image/png" not in answer.read():
            raise ValueError("the page showed no image")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument("--starts", type=int, default=5, help="times that the page is opened")
    parser.add_argument("--moves", type=int, default=25, help="moves of a slider in each")
    options = parser.parse_args(argv)
    for _ in range(options.starts):
        try:
            first, seconds = seconds_of(options.run, options.moves)
        except ValueError as error:
            cli.leave(str(error))
        moved = f"moved slider {1000 * statistics.median(seconds):.0f} ms (at most {1000 * max(seconds):.0f})"
        print(f"first image {first:.2f} s, {moved}", flush=True)


if __name__ == "__main__":
    main()
