"""The documentation's commands parse, and its tables are those of their results."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from report import outcomes
from report.telling import answers_of
from visionscope.commands import COMMANDS
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.table import tidy, told_of
from visionscope.flags import Parser

ROOT = Path(__file__).parent.parent


def _commands() -> list[str]:
    """Every line `$ visionscope ...` of README and docs, continued lines joined, comments taken off."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
    found = re.findall(r"^\$ visionscope ((?:[^\n]|(?<=\\)\n)*)", "\n".join(texts), re.MULTILINE)
    return list(dict.fromkeys(" ".join(shlex.split(command.replace("\\\n", " "), comments=True)) for command in found))


@pytest.mark.parametrize("command", _commands())
def test_commands_parse(command: str) -> None:
    name, *arguments = command.split()
    if name == "--help":
        return
    parser = Parser()
    COMMANDS[name].flags(parser)
    assert vars(parser.parse_args(arguments))


def test_there_are_commands_to_parse() -> None:
    assert len(_commands()) > 10
    assert {command.split()[0] for command in _commands()} >= {"points", "diagnose", "train", "run", "status", "report"}


def _script(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / "docs" / path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.parametrize("name", diagnostic_names())
def test_every_column_of_every_table_is_told(name: str) -> None:
    """Of no rows a diagnostic makes the tables that it makes of many: the page has their columns from there."""
    tables = _script("_ext/from_code.py").tables_of(diagnostic_class(name))
    assert f"{name}.csv" in tables
    for table in tables.values():
        assert table.num_rows == 0
        for field in tidy(table).schema:
            assert told_of(field)["meaning"], field.name
            assert not pa.types.is_nested(field.type), field.name


def _columns(table: pa.Table) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in tidy(table).schema]


def test_the_page_tells_the_tables_that_a_run_writes() -> None:
    nets = [outcomes.Damaged(label="net"), outcomes.Damaged(label="other", clean=60.0)]
    made = {
        **outcomes.calibrations(nets, confidence=[0.9, 0.8], scaled=[0.8, 0.7]),
        **outcomes.fits(nets, nll=(1.0, 1.5)),
        **outcomes.conflicts(nets, shape=[150, 60], texture=[50, 140]),
    }
    for answer in answers_of(made):
        told = _script("_ext/from_code.py").tables_of(diagnostic_class(answer.diagnostic))
        kinds = {kind: "" if kind == "rows" else f"_{kind}" for kind in answer.tables}
        written = {f"{answer.diagnostic}{kinds[kind]}": _columns(table) for kind, table in answer.tables.items()}
        assert {file.partition(".")[0]: _columns(table) for file, table in told.items()} == written


def test_tables_of_trained_networks_are_those_of_their_results() -> None:
    script = _script("make_trained_networks.py")
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.written(page) == page
    assert script.written(page.replace("-0.971", "-0.972")) == page
    with pytest.raises(ValueError, match="no markers of 'claims'"):
        script.written(page.replace("<!-- claims -->", ""))


def test_results_of_studies_and_searches_are_those_of_their_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    segmentation, published = _script("make_segmentation.py"), ROOT / "docs" / "replication"
    page = segmentation.PAGE.read_text(encoding="utf-8")
    for run in segmentation.OUT.iterdir():
        assert "".join(segmentation.verdict_table(run)) in page
        assert "".join(segmentation.networks_table(run)) in page
    buildup = _script("make_buildup.py")
    page = buildup.PAGE.read_text(encoding="utf-8")
    for run in buildup.OUT.iterdir():
        assert "".join(buildup.networks_table(run)) in page
        told = json.loads((run / "buildup.json").read_text(encoding="utf-8"))
        assert all(f"- {sentence}\n" in page for sentence in told["result"]["sentences"])
    laptop = "".join(segmentation.verdict_table(published / "laptop"))
    assert laptop in (published / "laptop.md").read_text(encoding="utf-8")


def test_the_answer_about_mixers_has_the_numbers_of_its_tables() -> None:
    docs = ROOT / "docs"
    page = (docs / "mixers_study.md").read_text(encoding="utf-8")
    answer = " ".join(page.split("## The answer")[1].split("## ")[0].split())
    results = (docs / "replication" / "mixers.md").read_text(encoding="utf-8")
    told = re.findall(r"([+-]\d\.\d\d)(?: points)?,? \(?(-?\d\.\d\d) to (-?\d\.\d\d)", answer)
    assert len(told) == 8
    for effect, low, high in told:
        assert f"| {effect} ({float(low):+.2f} to {float(high):+.2f}) |" in results
    networks = pd.read_csv(docs / "replication" / "mixers" / "final.csv", index_col="network")
    costs = networks[["macs", "forward", "training_step"]]
    large, gfnet = (100 * (costs.loc[one] / costs.loc["alternet"] - 1) for one in ("large_kernel", "gfnet"))
    assert f"with {-large.macs:.0f} % fewer MACs" in answer
    assert f"{large.forward:.0f} % more images per second" in answer
    assert f"{-large.training_step:.0f} % fewer in training" in answer
    assert f"{-gfnet.macs:.1f} % fewer MACs" in answer
    assert f"{gfnet.forward:.0f} % more and {-gfnet.training_step:.0f} % fewer." in answer


def test_every_page_is_listed_once() -> None:
    """Sphinx warns of a page that no table of contents has, and not of one that two have."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = [line for block in re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL) for line in block.split()]
    pages = {path.stem for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".rst", ".ipynb")} - {"index"}
    assert sorted(one for one in listed if one in pages) == sorted(pages)
    assert [line.split(": ")[1] for line in index.splitlines() if line.startswith(":caption:")] == [
        "Start",
        "How to",
        "Concepts",
        "Reference",
    ]


def test_the_gallery_has_every_diagnostic() -> None:
    gallery = _script("make_gallery.py")
    assert set(gallery.commands()) == set(diagnostic_names())
    shown = re.findall(r"\(images/gallery/(\w+)\.png\)", gallery.PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(path.stem for path in gallery.PICTURES.iterdir())
    assert all((gallery.PICTURES / f"{name}.png").stat().st_size < gallery.MOST_BYTES for name in shown)


def _kinds(notebook: dict[str, Any]) -> list[list[list[str]]]:
    """Of each cell the outputs, each by the forms that it has."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [[sorted(one.get("data", {"printed": 1})) for one in cell["outputs"]] for cell in cells]


def test_the_notebook_becomes_a_page() -> None:
    notebook = json.loads((ROOT / "docs" / "first_look.ipynb").read_text(encoding="utf-8"))
    forms = [form for cell in _kinds(notebook) for output in cell for form in output]
    assert forms.count("image/png") == 2
    assert {"text/html", "text/plain", "printed"} <= set(forms)
    text = _script("_ext/notebooks.py").markdown_of(notebook)
    assert text.startswith("# A first look")
    assert text.count('src="data:image/png;base64,') == 2
    assert text.count("vs.lesion(") == 1


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "docs" / "first_look.ipynb").read_text(encoding="utf-8"))
    assert _kinds(_script("make_first_look.py").executed(notebook)) == _kinds(notebook)
