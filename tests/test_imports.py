"""Who may import whom, and what `import jaxgan` must not cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jaxgan"
EXPERIMENTS = PACKAGE.parent / "experiments"

# Each part of the package, and the parts it may import besides itself, `files` and `types`.
ALLOWED = {
    "types": set(),
    "files": set(),
    "pixels": set(),
    "losses": set(),
    "penalties": set(),
    "divergences": set(),
    "transport": set(),
    "augment": set(),
    "latents": set(),
    "optim": set(),
    "image_pool": set(),
    "state": {"image_pool"},
    "networks": set(),
    "steps": {"state", "optim", "augment"},
    "gan": {"state", "steps", "losses", "optim"},
    "text_gan": {"state", "steps", "losses", "optim"},
    "cyclegan": {"state", "steps", "losses", "optim", "image_pool"},
    "estimates": {"losses", "penalties", "divergences", "optim", "networks", "state"},
    "text": set(),
    "data": {"pixels", "text"},
    "allocation": set(),
    "cache": {"text"},
    "distributed": set(),
    "sharding": set(),
    "seeds": {"state"},
    "digests": set(),
    "leaves": set(),
    "retention": set(),
    "step_folders": set(),
    "checkpoint": {"digests", "leaves", "retention", "step_folders", "text"},
    "output": set(),
    "lock": set(),
    "interruption": set(),
    "start": {"checkpoint", "config", "leaves", "lock", "page", "report", "state"},
    "images": {"pixels"},
    "report": {"images", "output", "text"},
    "figures": {"results"},
    "results": {"config", "images"},
    "config": {"text"},
    "cli": {"allocation", "cache", "config", "distributed", "output", "start", "text"},
    "metrics": {"pixels", "networks", "data", "cache"},
    "evaluation": {"pixels", "data", "metrics", "sharding", "transport", "latents", "images", "page", "config"}
    | {"cache", "text"},
    "alarm": set(),
    "flags": set(),
    "records": set(),
    "tally": {"allocation", "config", "leaves", "sharding", "state"},
    "check": {"config", "images", "lock", "results", "state", "tally", "text"},
    "page": {"alarm", "config", "report", "text"},
    "loop": {"check", "checkpoint", "images", "report", "page", "alarm", "sharding", "metrics", "state", "config"}
    | {"allocation", "distributed", "tally", "interruption", "lock", "output", "retention", "start"},
    "run": {"checkpoint", "config", "data", "pixels", "sharding"},
}


def imports(path):
    """(module, imported jaxgan part) for every import in a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" if node.module == "jaxgan" else node.module for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name for name in names if name)


def part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_package_imports_downwards(path):
    if path == PACKAGE / "__init__.py":
        return
    for name in imports(path):
        if name.split(".")[0] == "jaxgan":
            imported = name.split(".")[1]
            assert imported in ALLOWED[part(path)] | {"files", "flags", "records", "types", part(path)}, (
                f"{path.name} imports {name}"
            )
        assert name.split(".")[0] not in ("experiments", "benchmarks"), f"{path.name} imports {name}"


def test_every_part_is_in_the_table():
    assert {part(path) for path in PACKAGE.rglob("*.py")} - {"__init__"} == set(ALLOWED)


@pytest.mark.parametrize("name", ["losses", "penalties", "divergences", "augment"])
def test_pure_functions_can_be_lifted_out(name):
    outside = {imported.split(".")[0] for imported in imports(PACKAGE / f"{name}.py")}
    assert outside <= {"__future__", "collections", "types", "typing", "jax", "chex", "jaxgan"}


def test_experiments_do_not_import_each_other():
    users_of_runs = {"evaluate", "sample", "translate", "export"}
    for path in EXPERIMENTS.rglob("*.py"):
        if path.stem not in users_of_runs:
            assert not [name for name in imports(path) if name.split(".")[0] == "experiments"], path.name


def test_importing_jaxgan_is_light():
    heavy = {"tensorflow_datasets", "tensorflow", "orbax", "matplotlib", "tyro", "PIL", "tensorboardX", "tqdm", "bokeh"}
    code = f"""
import sys, time, flax, optax, chex
start = time.process_time()
import jaxgan
print(time.process_time() - start, *sorted({heavy!r} & sys.modules.keys()))
"""
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    seconds, *loaded = output.stdout.split()
    assert not loaded
    assert float(seconds) <= 0.3
