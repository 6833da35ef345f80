"""One model of every family: points, bit-equal outputs, nothing touched. Minutes long."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import _registry
from torch import nn

from visionscope.tracing import trace

ROOT = Path(__file__).parent.parent.parent
HUGGING_FACE: dict[str, Any] = json.loads((ROOT / "tests" / "golden" / "hf_kinds.json").read_text())["models"]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def families() -> Any:
    """The benchmark that writes docs/models_tested.md; it does the same to the same models."""
    if "model_families" not in sys.modules:
        spec = importlib.util.spec_from_file_location("model_families", ROOT / "benchmarks" / "model_families.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules["model_families"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["model_families"])
    return sys.modules["model_families"]


def timm_files() -> set[str]:
    return {_registry._model_to_module[name] for name in timm.list_models()}


def test_every_model_file_of_timm_is_covered() -> None:
    covered = families().TIMM
    assert len(covered) == 98
    assert set(covered) == timm_files()
    assert all(_registry._model_to_module[name] == family for family, name in covered.items())


def checked(source: str, family: str) -> Any:
    cases = {(case[0], case[1]): case for case in families().cases()}
    _, _, name, build, size, run = cases[source, family]
    found = families().outcome(source, family, name, build, size(), run)
    if found.note:
        print(f"{source} {family} {name}: {found.note}")
    return found


@pytest.mark.parametrize("family", sorted(timm_files()))
def test_timm(family: str) -> None:
    found = checked("timm", family)
    assert found.points >= 2
    assert found.equal is not False
    assert found.untouched is not False
    assert "grid lost" not in found.reasons


def test_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision")
    names = torchvision.models.list_models(module=torchvision.models)
    assert len(names) == 80
    found = [checked("torchvision", name) for name in names]
    assert all(row.points >= 2 and row.unwatched == 0 for row in found)
    run = [row for row in found if row.equal is not None]
    assert len(run) == 7
    assert all(row.equal and row.untouched for row in run)


@pytest.mark.parametrize("family", HUGGING_FACE)
def test_hugging_face(family: str) -> None:
    assert len(HUGGING_FACE) == 10
    golden = HUGGING_FACE[family]
    build: Callable[[], nn.Module] = lambda: families().hugging_face(golden["config"])  # noqa: E731
    side = golden["config"].get("image_size", 64)
    points = trace(build().eval(), torch.zeros(1, 3, side, side)).points
    assert [[point.name, str(point.kind)] for point in points] == golden["points"]
    assert {point.prefix_tokens for point in points} == {golden["prefix_tokens"]}
    found = checked("transformers", family)
    assert found.equal
    assert found.untouched
    assert found.unwatched == 0
