"""AlterNet: the official logits and sizes, the rule for the order of blocks, and timm's own questions."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

from reference import official_models
from visionscope.errors import ConfigError
from visionscope.models import alternet
from visionscope.models.load import load_model
from visionscope.models.stages import Stage, alternate

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "official_models.json").read_text())["models"]

OFFICIAL = {
    "alternet_18@32": "alternet_18_cifar",
    "alternet_34@32": "alternet_34_cifar",
    "alternet_50@32": "alternet_50_cifar?msa=(0,1,3,2)",
    "alternet_50@224": "alternet_50",
}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def tiny(**arguments: Any) -> Any:
    """Two stages on 8x8 and 4x4 positions of an image of 8 px."""
    chosen = {"blocks": (2, 3), "msa": (1, 1), "channels": (8, 16), "num_heads": (1, 2), "head_dim": 4, "stem_chs": 8}
    return timm.create_model("alternet_18_cifar", num_classes=3, **{**chosen, **arguments})


def images(count: int = 2, edge: int = 8) -> Tensor:
    return torch.randn(count, 3, edge, edge, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_file_gives_the_official_logits(name: str, tmp_path: Path) -> None:
    golden = GOLDEN[name]
    depth = int(name.split("_")[1].split("@")[0])
    twin = official_models.alternet(depth, **({"window": 7, "stem": True} if name.endswith("224") else {}))
    assert [[key, list(value.shape)] for key, value in twin.state_dict().items()] == golden["keys"]
    path = tmp_path / "official.pth.tar"
    torch.save({"state_dict": official_models.regenerate(twin).state_dict(), "epoch": 300}, path)
    model = load_model(f"{OFFICIAL[name]}@{path}").model
    assert parameters(model) == golden["params"]
    with torch.inference_mode():
        logits = model(official_models.images(golden["input_size"]))
    assert logits.shape == (2, 100)
    torch.testing.assert_close(logits[:, :10], torch.tensor(golden["logits"]), rtol=0, atol=1e-4)
