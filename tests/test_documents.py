"""The programs in the documents run as they stand, and links between the documents lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def programs(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("name", ["docs/own_gan.md", "README.md"])
def test_the_programs_run_in_order(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    assert programs(name)
    for number, program in enumerate(programs(name)):
        exec(compile(program, f"{name}[{number}]", "exec"), names)
    if name == "docs/own_gan.md":
        assert names["samples"].shape == (16, 16, 16, 1)
        assert (tmp_path / "runs/bars/samples/00000100.png").exists()


@pytest.mark.parametrize(
    "file", [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md")], ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_links_lead_to_a_file_and_a_heading_of_it(file):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", file.read_text()):
        path, _, anchor = target.partition("#")
        linked = file.parent / path if path else file
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), flags=re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], target
