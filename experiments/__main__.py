"""Lists the commands, each with the first sentence of its description: `python -m experiments`."""

import ast
from pathlib import Path


def commands() -> dict[str, str]:
    """The first sentence of each module that is run with `python -m experiments.NAME`, by name."""
    folder = Path(__file__).parent
    found = {}
    for path in sorted(folder.rglob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in tree.body):
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            text = (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ")
            found[name] = text.partition(". ")[0].removesuffix(".") + "."
    return found


def main() -> None:
    found = commands()
    width = max(map(len, found))
    print("python -m experiments.NAME --help says more about each:\n")
    print("\n".join(f"  {name:{width}}  {text}" for name, text in found.items()))


if __name__ == "__main__":
    main()
