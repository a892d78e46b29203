"""Programs in the documents run as they stand, commands have flags that exist, and links lead somewhere."""

import argparse
import importlib
import json
import re
import runpy
import shlex
import sys
import tempfile
import tomllib
import types
import warnings

import jax
import pytest
import yaml
from stress.commands import PAGES, ROOT, TINY, blocks, experiment, fenced_commands, parsed, quoted_commands

import jaxgan
from experiments import gan
from jaxgan.runs import cli

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# Those of export.md run in test_export.py, in a process without jaxgan; those of loggers.md in test_writers.py, that of
# text_embeddings.md in test_text_embeddings.py.
ELSEWHERE = ("docs/export.md", "docs/loggers.md", "docs/text_embeddings.md")
PROGRAMS = [name for name in NAMES if "```python\n" in (ROOT / name).read_text() and name not in ELSEWHERE]
# Benchmarks that pass flags on to an experiment.
FORWARDING = ("input_pipeline", "memory", "scaling", "seeds", "step_throughput")
NOTEBOOK = ROOT / "docs/quickstart.ipynb"


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_programs_of_a_page_run_in_order(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "docs/runs.md":
        options = {"num_steps": 1, "dataset": "noise", "batch_size": 4, "width": 4, "num_devices": 1}
        config = gan.Config(workdir="runs/gan", **options)
        jaxgan.fit(gan.build(config), gan.batches(config), config, draw=None)
    names: dict = {}
    for number, program in enumerate(block for kind, block in blocks((ROOT / name).read_text()) if kind == "python"):
        exec(compile(program, f"{name}[{number}]", "exec"), names)
    if name == "docs/runs.md":
        assert names["images"].shape == (8, 32, 32, 1)
    if name == "docs/own_gan.md":
        assert names["samples"].shape == (16, 16, 16, 1)
        assert (tmp_path / "runs/bars/samples/00000100.png").exists()
        batch = names["batches"](0)[0]
        latents = jax.numpy.ones((4, 8))
        for name in ("nnx_generator", "generator", "eqx_generator"):
            network = names[name]
            images = lambda params, network=network: network.apply(params, {}, latents, train=True)[0]
            params, _ = network.init(jax.random.key(0), latents)
            assert images(params).shape == (4, *batch["image"].shape[1:])
            gradient = jax.grad(lambda params, images=images: images(params).sum())(params)
            assert all(jax.numpy.abs(leaf).sum() > 0 for leaf in jax.tree.leaves(gradient))


def test_the_notebook_runs_with_few_steps(tmp_path, monkeypatch):
    """Its cells one after the other, as Jupyter would run them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shown = []
    display = types.SimpleNamespace(Image=lambda data, alt: alt, display=lambda image, display_id: shown.append(image))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook["nbformat"] == 4
    names: dict = {}
    for cell in notebook["cells"]:
        assert cell["id"] and cell["cell_type"] in ("code", "markdown")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "saved without outputs"
            program = re.sub(r"^num_steps = \d+$", "num_steps = 20", "".join(cell["source"]), flags=re.MULTILINE)
            with jax.numpy_rank_promotion("allow"):  # as where no test is strict
                exec(compile(program, cell["id"], "exec"), names)
    assert names["samples"].shape == (64, 16, 16, 1)
    assert names["num_steps"] == 20 and shown == ["samples, step 20"]
    assert names["estimate"] == pytest.approx(2.0 * 1.1, abs=0.15)  # the penalty's own bias: 1 + W / (2 * 10)


@pytest.mark.parametrize("name", NAMES)
def test_commands_have_flags_that_exist(name):
    text = (ROOT / name).read_text()
    for command in dict.fromkeys(fenced_commands(text) + quoted_commands(text)):
        check(command)


def check(command):
    """Refuses a command that would not start."""
    words = shlex.split(command)
    while words and "=" in words[0] and not words[0].startswith("-"):
        words.pop(0)  # environment variables
    if words[0] == "srun":
        words.pop(0)
    match words:
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
        case ["pip", "install", *arguments]:
            for extra in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
                extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
                assert set(extra.split(",")) <= extras.keys(), command
        case ["python", "-m", "experiments"]:
            pass
        case ["python", "-m", module, *arguments] if module.startswith("experiments."):
            if experiment(command) not in ("NAME", None):
                required(command, arguments)
        case ["python", "-m", module, *arguments]:
            if "..." not in arguments and "NAME" not in arguments:
                takes(module, arguments, command)
        case _:
            assert words[0] in ("npm", "pre-commit"), f"no test knows this command: {command}"


def required(command, arguments):
    """Parses a command of an experiment; a page may quote one without the flags that it cannot do without."""
    if arguments or experiment(command) in TINY or experiment(command).startswith("divergence."):
        try:
            parsed(command)
        except SystemExit:
            pytest.fail(f"its parser refuses {command}")
    else:
        importlib.import_module(f"experiments.{experiment(command)}")


class Parsed(Exception):
    """In place of what a program would do with its flags."""


def takes(module, arguments, command):
    """Starts a benchmark or a stress test, and stops it once its own parser has read the flags."""

    def parse(self, args=None, namespace=None):
        namespace, rest = known(self, arguments, namespace)
        flags = [word for word in rest if word.startswith("--")]
        go_on = module.removeprefix("benchmarks.") in FORWARDING
        assert not flags or go_on, f"{command}: there is no {' '.join(flags)}"
        raise Parsed

    def run(config_class, main):
        cli.parse(config_class, arguments)
        raise Parsed

    known = argparse.ArgumentParser.parse_known_args
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Parsed), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of runpy, where a module was imported before
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
        patch.setattr(cli, "run", run)
        runpy.run_module(module, run_name="__main__")


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("docs/")])
def test_flags_that_a_page_names_exist(name):
    """`--flag` between backticks is a flag of an experiment, a benchmark or a stress test."""
    text = (ROOT / name).read_text()
    sources = [path.read_text() for folder in ("benchmarks", "tests/stress") for path in (ROOT / folder).glob("*.py")]
    others = set(re.findall(r"\"--([a-z][\w-]*)\"", "".join(sources)))
    known = {field.replace("_", "-") for field in fields()} | others
    known |= {f"no-{flag}" for flag in known} | {"help", "strict", "signal"}
    found = set(re.findall(r"(?<![\w-])--([a-z][\w-]*)", " ".join(re.findall(r"`([^`]+)`", text))))
    assert found <= known, found - known


def fields():
    for path in (ROOT / "experiments").rglob("*.py"):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        yield from getattr(getattr(module, "Config", None), "__dataclass_fields__", ())


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_a_file_and_a_heading_of_it(name):
    file = ROOT / name
    text = "".join(
        part for index, part in enumerate(re.split(r"^```.*?$", file.read_text(), flags=re.M)) if index % 2 == 0
    )
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        linked = file.parent / path if path else file
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), flags=re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings]
            assert anchor in anchors, target


def test_every_page_is_in_the_navigation_and_every_experiment_has_one():
    def pages(entries):
        for entry in entries:
            value = next(iter(entry.values())) if isinstance(entry, dict) else entry
            yield from pages(value) if isinstance(value, list) else [value]

    listed = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == sorted(name.removeprefix("docs/") for name in NAMES if name.startswith("docs/"))
    assert {f"algorithms/{name}.md" for name in TINY} <= set(listed)


def test_modules_of_the_api_pages_exist():
    for name in NAMES:
        for module in re.findall(r"^::: (\S+)$", (ROOT / name).read_text(), flags=re.MULTILINE):
            assert importlib.import_module(module).__doc__, module


def test_the_version_has_one_source():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "jaxgan/__init__.py"
    assert f"## {jaxgan.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {jaxgan.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_no_page_has_gaps():
    assert not [
        name for name in NAMES if re.search(r"^@\w+@$|\bTODO\b|\bTBD\b", (ROOT / name).read_text(), re.MULTILINE)
    ]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


def test_words_of_the_field():
    """Words that a reader of other libraries' documents would stop at."""
    foreign = re.compile(
        r"\b(laws?|perceptron|live weights|wrong pairs?|moving average|two piles|cut square|pictures?)\b"
    )
    for name in NAMES:
        if not name.startswith("benchmarks/"):
            prose = re.sub(r"```.*?```|`[^`]*`|\"[^\"]*\"", "", (ROOT / name).read_text(), flags=re.DOTALL)
            assert not (found := foreign.findall(prose)), (name, found)
