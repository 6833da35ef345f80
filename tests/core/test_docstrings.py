"""What help pages take from docstrings, also of diagnostics that are not imported."""

import sys
from pathlib import Path

import pytest

from visionscope.core.docstrings import first_paragraph, meanings, summary_of
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.rules import values_of
from visionscope.running.study import Study
from visionscope.training.recipe import Recipe


class Described:
    """What it is,
    in two lines.

    More of it.

    Attributes:
        one: first: of all.
        two: goes on
            below.

    Raises:
        three: is none.
    """


def test_meanings_are_those_of_the_attributes():
    assert meanings(Described) == {"one": "first: of all.", "two": "goes on below."}
    assert meanings(int) == {}


def test_a_docstring_begins_with_its_first_paragraph():
    assert first_paragraph(Described.__doc__) == "What it is, in two lines."
    assert first_paragraph(None) == first_paragraph("") == ""


@pytest.mark.parametrize("described", [Study, Recipe, *map(diagnostic_class, diagnostic_names())])
def test_every_field_that_is_a_flag_has_a_meaning(described):
    assert set(values_of(described)) <= set(meanings(described))


@pytest.mark.parametrize("name", diagnostic_names())
def test_a_summary_is_the_docstrings_first_paragraph(name):
    assert summary_of(name) == first_paragraph(diagnostic_class(name).__doc__) != ""


def _package(folder: Path, source: str) -> None:
    """A third party's diagnostic `kurtosis` in a package that fails where it is imported."""
    (folder / "measures" / "inside").mkdir(parents=True)
    for place in ("measures", "measures/inside"):
        (folder / place / "__init__.py").write_text("raise RuntimeError('was imported')\n")
    (folder / "measures" / "inside" / "tails.py").write_text(source)
    (folder / "measures-1.0.dist-info").mkdir()
    (folder / "measures-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: measures\nVersion: 1.0\n")
    (folder / "measures-1.0.dist-info" / "entry_points.txt").write_text(
        "[visionscope.diagnostics]\nkurtosis = measures.inside.tails:Tails\n"
    )


@pytest.mark.parametrize(
    ("source", "summary"),
    [
        ('import torch.nowhere\n\n\nclass Tails:\n    """Kurtosis of `maps`.\n\n    More."""\n', "Kurtosis of `maps`."),
        ('class Other:\n    """No."""\n\n\nclass Named:\n    """Yes."""\n\n    name: str = "kurtosis"\n', "Yes."),
        ("class Tails:\n    pass\n", ""),
        ("class Tails(:\n", ""),
        ("from elsewhere import Tails\n", ""),
        ("\0", ""),
    ],
)
def test_a_third_partys_diagnostic_is_read_and_not_imported(source, summary, tmp_path, monkeypatch):
    _package(tmp_path, source)
    monkeypatch.syspath_prepend(tmp_path)
    assert "kurtosis" in diagnostic_names()
    assert summary_of("kurtosis") == summary
    assert "measures" not in sys.modules


def test_one_whose_module_is_missing_has_no_summary(tmp_path, monkeypatch):
    _package(tmp_path, "")
    (tmp_path / "measures" / "inside" / "tails.py").unlink()
    monkeypatch.syspath_prepend(tmp_path)
    assert summary_of("kurtosis") == ""
