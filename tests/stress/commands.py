"""Runs every command of the documents.

`python -m tests.stress.commands` runs them at a tiny size in a temporary folder, in some minutes: the trainings first,
then what is done with their runs. `--list` prints them. Left out are those that need what is not here: data to be
downloaded, several hosts, a GPU; `--all` tries these too, at the sizes written, which takes hours.
"""

import argparse
import importlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxgan.runs import cli
from jaxgan.runs.config import run_folder

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "experiments/README.md", ROOT / "benchmarks/README.md"]
)

TINY = {
    "gaussians_2d": "--num-steps 4 --batch-size 8 --width 4",
    "sngan": "--num-steps 4 --batch-size 8 --g-width 4 --d-width 4",
    "relativistic": "--num-steps 4 --batch-size 8 --widths 16 16 16 16",
    "cyclegan": "--num-steps 4 --batch-size 2 --width 4 --d-width 4 --blocks 1",
    "pix2pix": "--num-steps 4 --batch-size 2 --width 4 --d-width 4",
    **dict.fromkeys(
        ("gan", "wgan", "wgan_gp", "class_conditional", "text_to_image"), "--num-steps 4 --batch-size 8 --width 4"
    ),
}
"""Added to the command of a training: by experiment."""

ELSEWHERE = re.compile(
    r"--preset (paper|long)|--coordinator|JAX_PLATFORMS=cuda|--features inception|--compare torch|fashion_mnist|emoji"
    r"|PHOTOS|OTHERS|FACADES|MINE|train\.npz|latest_net|divergence|benchmarks|stress|srun|--debug-nans"
    r"|--checkpoint (3000|best)|--against|25600"
)
"""What a command needs that is not here, or that takes minutes at any size."""


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(language, content) of the fenced blocks of a page; no language is an empty one."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def fenced_commands(text: str) -> list[str]:
    """The commands of a page's blocks that name no language, lines that go on joined, without comments."""
    joined = [re.sub(r"\\\n", " ", block) for language, block in blocks(text) if not language]
    lines = [re.sub(r" +# .*", "", line) for block in joined for line in block.splitlines()]
    return [" ".join(line.split()) for line in lines if line.strip()]


def quoted_commands(text: str) -> list[str]:
    """`python -m ...` and `experiments.NAME --flag` between backticks."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    quoted = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", outside)]
    found = [code for code in quoted if re.match(r"(\w+=\S+ )*python -m ", code)]
    return found + [f"python -m {code}" for code in quoted if re.match(r"experiments\.[\w.]+( --|$)", code)]


def experiment(command: str) -> str | None:
    found = re.search(r"python -m experiments\.([\w.]+)", command)
    return found[1] if found else None


def parsed(command: str) -> Any:
    """The configuration that an experiment makes of a command's flags."""
    module = importlib.import_module(f"experiments.{experiment(command)}")
    return cli.parse(module.Config, shlex.split(command.partition(f"experiments.{experiment(command)}")[2]))


def tiny(command: str) -> str:
    """A training in the same run folder that takes seconds; any other command as it is."""
    flags = TINY.get(experiment(command) or "")
    if flags is None:
        return command
    flags += f" --workdir '{run_folder(parsed(command))}'"
    return f"{command} {flags}".replace("PATH", "DOMAINS" if experiment(command) in ("cyclegan", "pix2pix") else "PATH")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the commands and run none")
    parser.add_argument("--all", action="store_true", help="at the sizes written, and those left out too")
    parser.add_argument("--only", default="", help="those that this regular expression is found in")
    options = parser.parse_args()
    found = dict.fromkeys(command for page in PAGES for command in fenced_commands(page.read_text()))
    commands = [command for command in found if experiment(command) and re.search(options.only, command)]
    commands = [command for command in commands if options.all or not ELSEWHERE.search(command)]
    commands.sort(key=lambda command: (experiment(command) not in TINY, "--init-from" in command))
    if options.list:
        print("\n".join(commands))
        return 0
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("PATH/a", "PATH/b", "PATH/c", "DOMAINS/trainA", "DOMAINS/trainB", "IMAGES"):
            make_images(Path(folder, name))
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        for command in commands:
            line = re.sub(r"\bpython\b", sys.executable, command if options.all else tiny(command), count=1)
            settings: Any = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
            result = subprocess.run(line, shell=True, check=False, **settings)
            print(f"{'ok' if result.returncode == 0 else 'FAILED':7} {command}", flush=True)
            if result.returncode:
                failed.append(f"{command}\n{result.stderr[-1000:]}")
    print("\n\n".join(failed))
    return 1 if failed else 0


def make_images(folder: Path, count: int = 12) -> None:
    folder.mkdir(parents=True)
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"a picture of number {index}\n")


if __name__ == "__main__":
    sys.exit(main())
