"""The plain rewrite of the official networks, which benchmarks measure against, gives the official logits."""

import json
from pathlib import Path

import pytest
import torch

from reference import official_models
from reference.regenerable import drawn_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "official_models.json").read_text())["models"]

TWINS = {
    "alternet_18@32": lambda: official_models.alternet(18),
    "alternet_34@32": lambda: official_models.alternet(34),
    "alternet_50@32": lambda: official_models.alternet(50),
    "alternet_50@224": lambda: official_models.alternet(50, window=7, stem=True),
    "resnet_18@32": lambda: official_models.resnet(18),
    "resnet_50@32": lambda: official_models.resnet(50),
    "preresnet_18@32": lambda: official_models.preresnet(18),
    "vit_ti@32": lambda: official_models.vit_tiny(),
}


@pytest.mark.parametrize("name", TWINS)
def test_the_plain_rewrite_is_the_official_network(name: str) -> None:
    golden, model = GOLDEN[name], TWINS[name]()
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == golden["keys"]
    assert sum(parameter.numel() for parameter in model.parameters()) == golden["params"]
    official_models.regenerate(model).eval()
    with torch.inference_mode():
        logits = model(drawn_images(golden["input_size"]))
    torch.testing.assert_close(logits[:, :10], torch.tensor(golden["logits"]), rtol=0, atol=1e-5)
