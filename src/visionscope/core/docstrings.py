"""What docstrings say, for help pages: of fields, and of diagnostics whose modules are read but not imported."""

import ast
import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from visionscope.core.registry import entries


@functools.cache
def meanings(described: type) -> Mapping[str, str]:
    """What the `Attributes:` section of a docstring says, by attribute.

    Args:
        described: the class.
    """
    _, _, section = inspect.cleandoc(described.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section.split("\n\n")[0], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def first_paragraph(documentation: str | None) -> str:
    """What a docstring begins with, in one line; empty where there is none.

    Args:
        documentation: the docstring.
    """
    return " ".join(inspect.cleandoc(documentation or "").split("\n\n")[0].split())


def summary_of(name: str) -> str:
    """The first words of a diagnostic's docstring, from its source, which may need a library that takes seconds.

    Args:
        name: as the registry lists it.

    Returns:
        Its first paragraph in one line; empty where the source can't be had or says nothing.
    """
    for path, attribute in _sources(name):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and (node.name == attribute or name in _names_in(node)):
                return first_paragraph(ast.get_docstring(node))
    return ""


def _sources(name: str) -> Iterator[tuple[Path, str]]:
    """Where a diagnostic's class may stand, with what it is called there, as far as that is known."""
    for entry in entries():
        if entry.name == name:
            origin = _origin(entry.module)
            yield from [(Path(origin), entry.attr)] if origin else []
            return
    folder = Path(__file__).parent.parent / "diagnostics"
    yield folder / name / "question.py", ""
    yield folder / f"{name}.py", ""


def _origin(module: str) -> str | None:
    """The file of a module; `importlib.util.find_spec` would import the packages around it."""
    folders, origin, parts = None, None, module.split(".")
    for count in range(1, len(parts) + 1):
        found = PathFinder.find_spec(".".join(parts[:count]), folders)
        if found is None:
            return None
        folders, origin = found.submodule_search_locations, found.origin
    return origin


def _names_in(node: ast.ClassDef) -> Iterator[object]:
    """What a class body says that its `name` is."""
    for inner in node.body:
        if isinstance(inner, (ast.Assign, ast.AnnAssign)) and isinstance(inner.value, ast.Constant):
            targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target]
            if any(isinstance(target, ast.Name) and target.id == "name" for target in targets):
                yield inner.value.value
