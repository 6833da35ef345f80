"""The rules of the project that a program can check: layers, sizes, names, docstrings, and what stays unimported."""

import ast
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from importlinter.cli import lint_imports

import visionscope
from visionscope.core.registry import diagnostic_names

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "visionscope"
SOURCES = sorted(PACKAGE.rglob("*.py"))
ALL = sorted(path for folder in ("src", "tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
MOST_PUBLIC_NAMES = 13  # and a function for each diagnostic

# Columns of rich's bars that show numbers alone.
PLAIN_COLUMNS = (
    "BarColumn", "MofNCompleteColumn", "TaskID", "TaskProgressColumn", "TimeElapsedColumn", "TimeRemainingColumn",
)  # fmt: skip

# What a library may be imported by, file by file; import-linter can't tell torchvision.models from torchvision.
IMPORTERS = {
    "timm": ("data/", "models/", "training/", "building/"),
    "torchvision": ("data/", "models/builders.py"),
    "torchvision.models": ("models/builders.py",),
    "transformers": ("models/builders.py",),
}


def _place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.relative_to(ROOT).as_posix()


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names that a file imports, or reaches through what it imports, such as `torchvision.models`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def _public_objects(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, and the public methods of its public classes."""
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from (
                inner for inner in node.body if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_")
            )


def _in_new_process(program: str, *, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120)


def test_imports_go_downward_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    failed = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    told = capsys.readouterr().out
    assert not failed, told
    assert "Contracts: 6 kept, 0 broken." in told


@pytest.mark.parametrize("library", IMPORTERS)
def test_libraries_are_imported_where_they_belong(library: str) -> None:
    importers = {
        _place(path)
        for path in SOURCES
        if any(name == library or name.startswith(f"{library}.") for name in _imported(_tree(path)))
    }
    assert importers, f"nothing imports {library}: is the rule out of date?"
    assert [place for place in sorted(importers) if not place.startswith(IMPORTERS[library])] == []


def test_files_are_short() -> None:
    lengths = {_place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in ALL}
    assert len(lengths) > 50
    assert {place: length for place, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    long = {}
    for path in SOURCES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef):
                described = ast.get_docstring(node) is not None and len(node.body) > 1
                first = node.body[1 if described else 0].lineno
                length = (node.end_lineno or first) - first + 1
                if length > LONGEST_FUNCTION:
                    long[f"{_place(path)}:{node.name}"] = length
    assert long == {}


def _methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {inner.name: inner for inner in node.body if isinstance(inner, ast.FunctionDef)}


def _classes() -> list[ast.ClassDef]:
    return [node for path in SOURCES for node in ast.walk(_tree(path)) if isinstance(node, ast.ClassDef)]


def _described_by_a_protocol() -> set[ast.FunctionDef]:
    """Methods of classes that have all methods of a Protocol, which says what they do."""
    protocols = [
        {name for name, method in _methods(node).items() if ast.get_docstring(method) is not None}
        for node in _classes()
        if any(ast.unparse(base) == "Protocol" for base in node.bases)
    ]
    return {
        _methods(node)[name]
        for node in _classes()
        for described in protocols
        if described and described <= set(_methods(node))
        for name in described
    }


def test_every_module_and_public_object_has_a_docstring() -> None:
    """What a diagnostic's methods do is told once, by the Protocols that they implement."""
    protocols = (PACKAGE / "core" / "diagnostic.py").read_text(encoding="utf-8")
    told = set(re.findall(r"(?:def |`)(\w+)\(", protocols))
    bare, seen = [], 0
    described = _described_by_a_protocol()
    assert described
    for path in SOURCES:
        tree = _tree(path)
        if ast.get_docstring(tree) is None:
            bare.append(_place(path))
        for node in _public_objects(tree):
            seen += 1
            told_there = node.name in told and "diagnostics" in path.parts
            if ast.get_docstring(node) is None and not told_there and node not in described:
                bare.append(f"{_place(path)}:{node.name}")
    assert seen > 100
    assert bare == []


def test_no_module_is_a_heap() -> None:
    assert [_place(path) for path in ALL if path.stem in {"utils", "helpers", "common"}] == []


def test_what_a_terminal_sees_has_one_home() -> None:
    """Names from outside reach a terminal through two modules, which escape them; no other goes around these."""
    around = set()
    for path in SOURCES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Name) and node.id == "print":
                around.add((_place(path), "print"))
            if isinstance(node, ast.Attribute) and node.attr in ("write", "writelines", "buffer", "__stderr__"):
                stream = ast.unparse(node.value)
                if stream in ("sys.stdout", "sys.stderr", "sys"):
                    around.add((_place(path), f"{stream}.{node.attr}"))
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich":
                around |= {(_place(path), alias.name) for alias in node.names if alias.name not in PLAIN_COLUMNS}
            if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "rich" for alias in node.names):
                around.add((_place(path), "rich"))
    lines = {name for place, name in around if place == "core/terminal.py"}
    assert lines == {"sys.stderr.write"}, "is the rule out of date?"
    assert {name for place, name in around if place == "core/display.py"} >= {"Console", "Table", "Progress"}
    assert {found for found in around if found[0] not in ("core/terminal.py", "core/display.py")} == set()


def test_the_lock_file_holds_names_and_versions_alone() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    form = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?==[0-9][A-Za-z0-9.!+_-]*( ; .+)?")
    assert [line for line in lines if not form.fullmatch(line)] == []
    locked = {line.partition("==")[0] for line in lines}
    assert {"torch", "timm", "transformers", "pytest", "sphinx", "uv", "torch-cka"} <= locked


def test_the_lock_file_covers_what_pyproject_asks_for() -> None:
    import tomllib

    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = asked["project"]["optional-dependencies"]
    groups = asked["dependency-groups"]
    wanted = [*asked["project"]["dependencies"], *extras["hf"], *extras["docs"], *groups["dev"], *groups["bench"]]
    names = {re.split(r"[<>=!~\[; ]", requirement)[0].lower() for requirement in wanted}
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()}
    assert len(names) > 20
    assert names - locked == set()


def test_the_public_names_are_few_and_all_there() -> None:
    assert 10 <= len(set(visionscope.__all__) - set(diagnostic_names())) <= MOST_PUBLIC_NAMES
    assert all(getattr(visionscope, name) is not None for name in visionscope.__all__)
    assert set(visionscope.__all__) == set(dir(visionscope))
    assert not hasattr(visionscope, "no_such_name")


def test_importing_the_package_imports_no_library(tmp_path: Path) -> None:
    done = _in_new_process(
        "import sys, visionscope; sys.exit(bool({'torch', 'numpy', 'timm', 'pyarrow'} & set(sys.modules)))",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def _small_run(folder: Path) -> None:
    """A run folder as `status` reads it: one job, one part of two done."""
    job = folder / "fourier" / ("0" * 64)
    job.mkdir(parents=True)
    record = {
        "job": "0" * 64,
        "diagnostic": "fourier",
        "version": 3,
        "fields": {},
        "model": {"label": "some-network", "spec": "n", "weights": "pretrained", "digest": "0" * 64, "parameters": 1},
        "precision": "fp32",
        "points": [],
        "data": {
            "spec": "photos",
            "split": "test",
            "images": 512,
            "seed": 0,
            "image_digest": "0" * 64,
            "input": {"size": [32, 32]},
        },
        "parts": ["0000-0256", "0256-0512"],
    }
    (job / "job.json").write_text(json.dumps(record), encoding="utf-8")
    pq.write_table(pa.table({"point": ["stem"]}), job / "0000-0256.parquet")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--help"], "diagnose"), ([], "diagnose"), (["status", "run"], "some-network"), (["report", "--help"], "RUN")],
)
def test_commands_that_compute_nothing_import_no_torch(tmp_path: Path, arguments: list[str], told: str) -> None:
    _small_run(tmp_path / "run")
    program = f"""
import sys
from visionscope.cli import main
try:
    code = main({arguments!r})
except SystemExit as ended:
    code = ended.code
heavy = {{"torch", "timm", "torchvision", "transformers"}} & set(sys.modules)
sys.exit(f"imported {{sorted(heavy)}}" if heavy else code)
"""
    done = _in_new_process(program, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


def test_the_page_knows_no_diagnostic() -> None:
    """What draws and lays out imports no diagnostic, and spells the name of none."""
    names = set(diagnostic_names())
    known = []
    for path in sorted((PACKAGE / "report").rglob("*.py")):
        tree = _tree(path)
        known += [(path.name, name) for name in _imported(tree) if name.startswith("visionscope.diagnostics")]
        known += [
            (path.name, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
        ]
    assert len(names) >= 15
    assert known == []


def test_questions_are_asked_without_torch(tmp_path: Path) -> None:
    """What a diagnostic takes is read by flags, study files and help; what it measures with is imported to measure."""
    program = f"""
import sys
from visionscope.core.registry import diagnostic_class
from visionscope.core.rules import values_of
for name in {diagnostic_names()!r}:
    values_of(diagnostic_class(name))
heavy = {{"torch", "timm", "scipy", "matplotlib", "plotly", "datasets", "transformers"}} & set(sys.modules)
sys.exit(f"imported {{sorted(heavy)}}" if heavy else 0)
"""
    done = _in_new_process(program, folder=tmp_path)
    assert done.returncode == 0, done.stderr
