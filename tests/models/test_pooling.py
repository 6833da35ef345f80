"""Poolings that are changed after a network is built, and names of poolings that it doesn't have."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from visionscope.errors import ConfigError
from visionscope.models import paper  # noqa: F401  # registers the networks

SMALL: dict[str, dict[str, Any]] = {
    "pit_ti_cifar": {"depth": (1, 1), "base_dims": (8, 8), "heads": (1, 2)},
    "swin_ti_cifar": {"depths": (1, 1), "embed_dim": 8, "num_heads": (1, 2), "patch_size": 4},
    "mixer_ti_cifar": {"num_blocks": 1, "embed_dim": 16, "patch_size": 4},
}
POOLINGS = {
    "pit_ti_cifar": ("token", "avg", "max", "map", "avgmax", ""),
    "swin_ti_cifar": ("avg", "max", "map", "avgmax", "catavgmax", ""),
    "mixer_ti_cifar": ("avg", "max", "map", "avgmax", ""),
}
PAIRS = [(name, first, second) for name, of in POOLINGS.items() for first in of for second in of]


def _built(name: str, pooling: str) -> Any:
    return timm.create_model(name, num_classes=5, global_pool=pooling, **SMALL[name]).eval()


@pytest.mark.parametrize(("name", "first", "second"), PAIRS)
def test_a_changed_pooling_is_that_of_a_network_built_with_it(name: str, first: str, second: str) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    changed, built = _built(name, first), _built(name, second)
    changed.reset_classifier(5, second)
    assert changed.global_pool == second
    built.load_state_dict(changed.state_dict())  # strict: no weight of the former pooling is left, and none lacks
    with torch.inference_mode():
        assert torch.equal(changed(images), built(images))
        changed.reset_classifier(0)
        assert changed.global_pool == second
        pooled = changed(images)
        assert torch.equal(pooled, built.forward_head(built.forward_features(images), pre_logits=True))


@pytest.mark.parametrize("name", SMALL)
def test_a_new_attention_pooling_follows_its_network(name: str) -> None:
    model = _built(name, POOLINGS[name][0]).double().train()
    model.reset_classifier(3, "map")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert all(module.training for module in model.modules())
    before = {key: value.clone() for key, value in model.state_dict().items() if "pool" in key}
    assert before
    model.reset_classifier(4, "map")  # as before: what was trained stays
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert isinstance(model.get_classifier(), nn.Linear)
    assert model.get_classifier().out_features == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pit_ti_cifar", r"pit: global_pool must be one of token, avg, max, map, '' \(none\), avgmax; got 'mean'."),
        ("swin_ti_cifar", r"swin: global_pool must be one of avg, max, map, .*catavgmax; got 'mean'."),
        ("mixer_ti_cifar", r"mixer: global_pool must be one of avg, max, map, '' \(none\), avgmax; got 'mean'."),
        ("vit_ti_cifar", "vit_ti_cifar: global_pool must be one of token, .*prr; got 'mean'."),
    ],
)
def test_an_unknown_pooling_is_refused_early_and_late(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        timm.create_model(name, global_pool="mean")
    if name not in SMALL:
        return
    model = _built(name, "map")
    with pytest.raises(ConfigError, match=message):
        model.reset_classifier(3, "mean")
    assert (model.global_pool, model.num_classes) == ("map", 5)


@pytest.mark.parametrize("name", ["swin_ti_cifar", "mixer_ti_cifar"])
def test_there_is_no_class_token_to_change_to(name: str) -> None:
    with pytest.raises(ConfigError, match=r"must be one of avg, max, map.*got 'token'. It has no class token\."):
        _built(name, "avg").reset_classifier(3, "token")
