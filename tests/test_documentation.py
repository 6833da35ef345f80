"""The documentation's code works: its commands parse, and the diagnostic that it adds goes all the way to the page."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from torch.nn.functional import cross_entropy

import visionscope as vs
from visionscope.commands import COMMANDS
from visionscope.core import registry
from visionscope.flags import Parser

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "extending.md"
NETWORK = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return x + self.branch(x)

def network():
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    return nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), Block(), Block(), *ends)

network.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
"""


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


def test_tables_of_trained_networks_are_those_of_their_results() -> None:
    path = ROOT / "docs" / "make_trained_networks.py"
    spec = importlib.util.spec_from_file_location("make_trained_networks", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.written(page) == page
    assert script.written(page.replace("-0.971", "-0.972")) == page
    with pytest.raises(ValueError, match="no markers of 'claims'"):
        script.written(page.replace("<!-- claims -->", ""))


def _registered(number: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes a diagnostic of the page known and writes a network; returns the network's spec."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up by name
    exec(compile(code[number], str(PAGE), "exec"), vars(module))
    entry = SimpleNamespace(name=name, load=lambda: vars(module)[name.capitalize()])
    monkeypatch.setattr(registry, "entry_points", lambda group: (entry,))
    (tmp_path / "network.py").write_text(NETWORK, encoding="utf-8")
    return f"mine={tmp_path}/network.py:network"


def test_the_diagnostic_of_the_page_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = _registered(0, "mean", tmp_path, monkeypatch)
    out = str(tmp_path / "run")
    run = vs.diagnose(spec, "embedded", only=["mean"], images=300, random_weights=0, out=out, device="cpu")

    assert not run.failures
    rows = run.store.table("mean").to_pylist()
    assert [row["point"] for row in rows] == ["stem", "1+conv", "2+conv"]
    assert {row["model"] for row in rows} == {"mine"}

    loaded = vs.load_model(spec, random_weights=0)
    sample = vs.Sample(vs.open_source("embedded"), loaded.input, 300, 0)
    stem = [loaded.model[0](batch.images).mean().item() * len(batch.images) for batch in sample.batches()]
    assert rows[0]["mean"] == pytest.approx(sum(stem) / 300, abs=1e-6)

    page = run.page.read_text(encoding="utf-8")
    assert "Mean of feature maps" in page
    assert (tmp_path / "run" / "figures" / "mean.pdf").stat().st_size > 1000
    record = json.loads(next((tmp_path / "run" / "mean").glob("*/job.json")).read_text(encoding="utf-8"))
    assert record["parts"] == ["0000-0256", "0256-0300"]


def test_the_diagnostic_of_the_page_that_measures_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = _registered(1, "loss", tmp_path, monkeypatch)
    out = str(tmp_path / "run")
    values = {"only": ["loss"], "random_weights": 0, "out": out, "device": "cpu", "augmentation": "none"}
    run = vs.diagnose(spec, "embedded", **values, loss={"mini_batches": 3})

    assert not run.failures
    rows = run.store.table("loss").to_pylist()
    assert [row["mini_batch"] for row in rows] == [0, 1, 2]
    loaded = vs.load_model(spec, random_weights=0)
    sample = vs.Sample(vs.open_source("embedded:train"), loaded.input, 48, 0)
    expected = [cross_entropy(loaded.model(batch.images), batch.labels).item() for batch in sample.batches(0, 48, 16)]
    assert [row["nll"] for row in rows] == pytest.approx(expected, rel=1e-6)

    assert "NLL (nat)" in run.page.read_text(encoding="utf-8")
    assert (tmp_path / "run" / "tables" / "loss_summary.csv").is_file()
