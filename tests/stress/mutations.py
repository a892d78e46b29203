"""Would the tests notice? Breaks one line of the library at a time and runs the fast tests that ought to fail.

Each mutation is a mistake that somebody could make. It is made in a copy of the tree, never in the tree itself. Where
no test fails the mutation survives, and the exit status is 1: then a test is missing.

    python -m tests.stress.mutations
    python -m tests.stress.mutations --only penalty_without_its_half order_off_by_one
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.stress.mutation_table import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
COPIED = ("jaxgan", "experiments", "tests", "benchmarks", "pyproject.toml")


def noticed_by(mutation: Mutation, tree: Path) -> str | None:
    """The first test that fails once the mistake is made in a copy of the tree; None where all pass.

    Raises:
      RuntimeError: the mistake cannot be made, or the tests ended in some other way than by passing or failing.
    """
    path = tree / "jaxgan" / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        raise RuntimeError(f"{mutation.name}: {mutation.file} holds {mutation.old!r} {text.count(mutation.old)} times")
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        files = [f"tests/test_{name}.py" for name in mutation.tests.split()]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files]
        # Without bytecode: that of a file of the same size, changed within the same second, would not be made anew.
        environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(tree / "compiled"))
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    finally:
        path.write_text(text)
    if done.returncode == 0:
        return None
    failed = re.search(r"^FAILED (\S+)", done.stdout, flags=re.MULTILINE)
    if done.returncode != 1 or failed is None:
        raise RuntimeError(
            f"{mutation.name}: pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-1000:]}"
        )
    return failed[1].removeprefix("tests/")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[mutation.name for mutation in MUTATIONS], help="these alone")
    only = parser.parse_args().only
    chosen = [mutation for mutation in MUTATIONS if not only or mutation.name in only]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="jaxgan-mutations-") as folder:
        tree = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, tree / name)
        print("| mutation | noticed by |\n|---|---|")
        for mutation in chosen:
            test = noticed_by(mutation, tree)
            survivors += test is None
            print(f"| {mutation.name} | {test or '**survives**'} |", flush=True)
    print(f"\n{len(chosen) - survivors} of {len(chosen)} noticed")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
