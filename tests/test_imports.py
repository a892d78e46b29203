"""Who may import whom, and what `import jaxgan` must not cost."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jaxgan"
README = PACKAGE.parent / "README.md"
EXPERIMENTS = PACKAGE.parent / "experiments"

# Each part of the package, and the parts it may import besides itself and those of ANYBODY.
ANYBODY = {"types", "files", "messages", "records", "pixels"}
ALLOWED = {
    **{part: set() for part in ANYBODY},
    **{part: set() for part in ("losses", "penalties", "divergences", "transport", "augment", "latents", "optim")},
    "networks": set(),
    "algorithms": {"augment", "losses", "optim"},
    "estimates": {"algorithms", "divergences", "losses", "networks", "optim", "penalties"},
    "data": set(),
    "devices": set(),
    "checkpoints": set(),
    "metrics": {"data", "devices", "networks"},
    "runs": {"algorithms", "checkpoints", "data", "devices"},
    "evaluation": {"data", "devices", "latents", "metrics", "runs", "transport"},
    "training": {"algorithms", "checkpoints", "devices", "metrics", "runs"},
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


def named(path):
    """The modules that a file's imports may mean: `from jaxgan.data import base` is one of jaxgan.data.base."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_package_imports_downwards(path):
    if path == PACKAGE / "__init__.py":
        return
    for name in imports(path):
        if name.split(".")[0] == "jaxgan":
            imported = name.split(".")[1]
            assert imported in ALLOWED[part(path)] | ANYBODY | {part(path)}, f"{path.name} imports {name}"
        assert name.split(".")[0] not in ("experiments", "benchmarks"), f"{path.name} imports {name}"


def test_no_module_imports_itself_by_way_of_others():
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    graph = {name: modules.keys() & set(named(path)) - {name} for name, path in modules.items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_every_part_is_in_the_table():
    assert {part(path) for path in PACKAGE.rglob("*.py")} - {"__init__"} == set(ALLOWED)


@pytest.mark.parametrize("name", ["losses", "penalties", "divergences", "augment"])
def test_pure_functions_can_be_lifted_out(name):
    files = [PACKAGE / f"{name}.py"] if (PACKAGE / f"{name}.py").exists() else (PACKAGE / name).glob("*.py")
    outside = {imported.split(".")[0] for path in files for imported in imports(path)}
    assert outside <= {"__future__", "collections", "types", "typing", "jax", "chex", "jaxgan"}


def test_experiments_do_not_import_each_other():
    users_of_runs = {"evaluate", "sample", "translate", "export", "explore"}
    for path in EXPERIMENTS.rglob("*.py"):
        if path.stem not in users_of_runs and path.parent.name != "explorer":
            others = {name for name in imports(path) if name.split(".")[0] == "experiments"}
            assert others <= {f"experiments.{path.parent.name}"}, path.name


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


def test_the_core_alone_runs_the_readme_and_names_the_extra_that_more_needs(tmp_path):
    """Without what the extras install: checkpoints and named data sets ask for `train`, the losses do not."""
    (tmp_path / "readme.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)))
    extras = ("orbax", "tensorflow_datasets", "array_record", "tyro", "PIL", "matplotlib", "tqdm", "grain", "bokeh")
    code = f"""
import runpy, sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {extras}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
runpy.run_path({str(tmp_path / "readme.py")!r})
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.data.sources import images

for function, argument in ((images, "mnist_5k"), (Checkpoints, "folder")):
    try:
        function(argument)
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "tensorflow_datasets is missing: pip install -e '.[train]'",
        "orbax is missing: pip install -e '.[train]'",
    ]
