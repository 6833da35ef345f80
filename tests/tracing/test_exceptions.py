"""The table of exceptions: few rows, and each is needed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from visionscope.core.subject import Kind
from visionscope.tracing import sums, trace
from visionscope.tracing.exceptions import EXCEPTIONS


def hugging_face(family: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    golden = json.loads((Path(__file__).parent.parent / "golden" / "hf_kinds.json").read_text())["models"]
    fields = dict(golden[family]["config"])
    config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    return transformers.AutoModelForImageClassification.from_config(config)


# By class name: a network with that class, its image size, and what its branch would be called by its operations.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, Kind]] = {
    "MlpWithDepthwiseConv": (lambda: timm.create_model("pvt_v2_b0"), 64, Kind.CONV),
    "PvtV2ConvFeedForwardNetwork": (lambda: hugging_face("pvt_v2"), 64, Kind.CONV),
    "SegformerMixMLP": (lambda: hugging_face("segformer"), 64, Kind.CONV),
    "EfficientAdditiveAttention": (lambda: timm.create_model("swiftformer_xs"), 224, Kind.MLP),
}


def test_the_table_is_short_and_every_row_is_tested() -> None:
    assert set(NETWORKS) == set(EXCEPTIONS)
    assert len(EXCEPTIONS) <= 15
    assert all(row.reason for row in EXCEPTIONS.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_without_its_row_the_kind_would_be_another(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, size, otherwise = NETWORKS[name]
    with torch.device("meta"):
        model = build().eval()
    assert name in {type(module).__name__ for module in model.modules()}
    images = torch.zeros(1, 3, size, size, device="meta")
    with_row = trace(model, images).points
    monkeypatch.setattr(sums, "EXCEPTIONS", {key: row for key, row in EXCEPTIONS.items() if key != name})
    without_row = trace(model, images).points
    changed = [
        (own.kind, other.kind) for own, other in zip(with_row, without_row, strict=True) if own.kind != other.kind
    ]
    assert set(changed) == {(EXCEPTIONS[name].kind, otherwise)}
