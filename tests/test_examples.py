"""The examples run, and what their first lines promise comes out."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
LONGEST = 120


def _imported(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_examples_are_short() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")]
    assert lengths
    assert max(lengths) <= LONGEST


def test_resnet_vs_vit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    story = _imported(EXAMPLES / "resnet_vs_vit.py")
    monkeypatch.setattr(story, "STEPS", 4)
    monkeypatch.setattr(story, "IMAGES", 128)
    story.main(tmp_path)
    told = capsys.readouterr().out

    names = [
        f"{model}-{question}.png"
        for model in ("resnet_nano", "vit_nano")
        for question in ("fourier", "variance", "similarity")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all((tmp_path / name).stat().st_size > 5000 for name in names)

    # Hardly trained, but these hold from the first steps on; what training adds takes the full number of steps.
    assert re.search(r"^fourier of vit_nano\n(?:.*\n)*?msa +-\d\.\d+ +6 of 6$", told, re.MULTILINE)
    assert re.search(r"^variance of vit_nano\n(?:.*\n)*?mlp +\+\d\.\d+ +0 of 6$", told, re.MULTILINE)
    assert len(re.findall(r"^CKA of .*: [01]\.\d\d \+- 0\.\d\d$", told, re.MULTILINE)) == 2
