"""The points of 25 named models against sequences that were written by hand from their source before any tracing."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_model_data_config

from visionscope.tracing import trace

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent.parent / "golden" / "kinds.json").read_text())["models"]


def test_the_golden_file_holds_25_models() -> None:
    assert len(GOLDEN) == 25


@pytest.mark.parametrize("name", GOLDEN)
def test_points_and_kinds_are_as_written_by_hand(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name).eval()
    size = resolve_model_data_config(model)["input_size"]
    found = trace(model, torch.zeros(1, *size, device="meta"))
    assert [[point.name, str(point.kind)] for point in found.points] == GOLDEN[name]["points"]
    assert found.device == "meta"
    assert [point.depth for point in found.points][:: len(found.points) - 1] == [0.0, 1.0]
    stages = [point.stage for point in found.points]
    assert stages == sorted(stages)
    assert stages[0] == (0 if found.points[0].name == "stem" else 1)
