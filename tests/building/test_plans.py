"""Plans of changed blocks: what a file may say, what goes over from the block that goes, how new weights start."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from visionscope.building.blocks import find_stages
from visionscope.building.harmonize import harmonize, plan_harmonize
from visionscope.building.placement import Placement
from visionscope.errors import ConfigError
from visionscope.models.load import load_model
from visionscope.models.surgery import BlockChange, change_blocks, changes_of, changes_text, read_changes

MSA = {"in_chs": 8, "out_chs": 8, "num_heads": 2, "head_dim": 4}


def _plan(**parts: Any) -> list[dict[str, Any]]:
    return [{"path": "layer2.1", "like": "layer2.1", "msa": MSA, **parts}]


DAMAGED: dict[str, tuple[Any, str]] = {
    "no JSON": ("[", "blocks is not valid JSON"),
    "nested": ("[" * 100_000, "blocks is not valid JSON"),
    "no list": ({"path": "a"}, "blocks must be a list; got {'path': 'a'}"),
    "mixer": (_plan(msa={**MSA, "mixer": "learned_blurr"}), "there is no mixer 'learned_blurr'. Did you mean"),
    "mixer's setting": (
        _plan(msa={**MSA, "mixer": "learned_blur(kernel_size=2)"}),
        "must be an odd number from 3 to 63",
    ),
    "mixer of another type": (_plan(msa={**MSA, "mixer": 3}), "mixer must be text; got 3"),
    "number": ([5], "each of blocks must hold path, like, msa, post_activation, norm; got 5"),
    "strange": (_plan(lke="a"), "blocks knows no 'lke'. Did you mean 'like'?"),
    "no like": ([{"path": "a"}], "each of blocks must say path and like"),
    "empty path": (_plan(path=""), "path of a changed block must be a module path, such as layer2.3; got ''"),
    "path of a number": (_plan(path=5), "path of a changed block must be a module path, such as layer2.3; got 5"),
    "the network as donor": (_plan(like=""), "like of a changed block must be a module path.*got ''"),
    "post_activation": (_plan(post_activation=1), "block layer2.1: post_activation must be true or false; got 1"),
    "msa": (_plan(msa=[1]), r"block layer2.1: msa must be arguments by name; got \[1\]"),
    "unknown": (_plan(msa={**MSA, "num_head": 1}), "msa has no argument 'num_head'. Did you mean 'num_heads'"),
    "drop path": (_plan(msa={**MSA, "drop_path": 0.1}), "msa has no argument 'drop_path'"),
    "missing": (_plan(msa={"in_chs": 1, "out_chs": 1}), "msa must say num_heads; got in_chs, out_chs"),
    "norm": (_plan(msa={**MSA, "norm_layer": "foo"}), "norm_layer must be a layer by its name; got 'foo'. Choose from"),
    "activation": (_plan(msa={**MSA, "act_layer": "gelo"}), "act_layer .* got 'gelo'. Did you mean 'gelu'"),
    "channels": (_plan(msa={**MSA, "in_chs": -1}), "in_chs must be a whole number from 1 to 65536; got -1"),
    "text": (_plan(msa={**MSA, "num_heads": "x"}), "num_heads must be a whole number from 1 to 65536; got 'x'"),
    "truth": (_plan(msa={**MSA, "stride": True}), "stride must be a whole number from 1 to 64; got True"),
    "fraction": (_plan(msa={**MSA, "num_heads": 1e9}), "num_heads must be a whole number from 1 to 65536; got 1000000"),
    "heads": (_plan(msa={**MSA, "num_heads": 60000}), "num_heads x head_dim must be at most 65536; got 240000"),
    "layer": (
        _plan(msa={**MSA, "in_chs": 65536, "out_chs": 65536}),
        r"no layer may have more than 2\^28 weights; got 4294967296",
    ),
    "window": (_plan(msa={**MSA, "window_size": 1000}), "window_size must be a whole number from 1 to 64; got 1000"),
    "per head": (_plan(msa={**MSA, "per_head_bias": "no"}), "per_head_bias must be true or false; got 'no'"),
    "dropout": (_plan(msa={**MSA, "attn_drop": 1}), "attn_drop must be a number from 0 to less than 1; got 1"),
    "slope": (
        _plan(msa={**MSA, "final_act_layer": "elu", "final_act_kwargs": {"a": 1}}, post_activation=True),
        "final_act_kwargs must be a number by the name alpha; got {'a': 1}",
    ),
    "slope of none": (
        _plan(msa={**MSA, "final_act_kwargs": {"alpha": 1}}, post_activation=True),
        "final_act_kwargs must be left out, since relu takes none",
    ),
    "eps": (_plan(norm={"eps": "x"}), "eps of norm must be a number from 0 to 1; got 'x'"),
    "momentum": (_plan(norm={"momentum": 2}), "momentum of norm must be a number from 0 to 1, or null; got 2"),
    "norm's parts": (_plan(norm={"epsilon": 1}), "norm must hold eps and momentum, or one of them"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_plan_says_what_is_wrong(case: str) -> None:
    plan, message = DAMAGED[case]
    with pytest.raises(ValueError, match=message) as caught:
        read_changes(plan if isinstance(plan, str) else json.dumps(plan))
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, json.JSONDecodeError)


def test_a_damaged_plan_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    save_file({"a": torch.zeros(1)}, file, {"visionscope.blocks": json.dumps(_plan(msa={**MSA, "num_heads": 1e9}))})
    with pytest.raises(ConfigError, match=r"checkpoint .*own\.safetensors: .*block layer2\.1: num_heads must be"):
        load_model(f"resnet_nano@{file}")


@pytest.mark.parametrize(
    ("path", "like", "message"),
    [
        ("layer2.1", "stages.0", "block layer2.1, like stages.0, can't be put into Small: .*stages"),
        ("stages.0", "one", "block stages.0, like one, can't be put into Small: .*stages"),
        ("forward", "one", "block forward, like one, .*attribute 'forward' already exists"),
        ("one.weight", "one", "block one.weight, like one, .*attribute 'weight' already exists"),
    ],
)
def test_a_plan_for_another_network_is_refused(path: str, like: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"{message}.*The plan must have been made for this network") as caught:
        change_blocks(Small(), [BlockChange(path=path, like=like)], seed=0)
    assert "\n" not in str(caught.value)


class Small(nn.Module):
    """Something to put blocks into."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 4, 3)


class Donor(nn.Module):
    """A block with what must be carried over."""

    def __init__(self, activation: nn.Module, zero: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(32, 32, 3, 1, 1, groups=4, bias=False)
        self.norm = nn.BatchNorm2d(32, eps=1e-3, momentum=0.01)
        self.drop = StochasticDepth()
        self.act = activation
        if zero:
            nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.drop(self.norm(self.conv(x))))


class StochasticDepth(nn.Module):
    """Has the name and the attribute of torchvision's."""

    p = 0.25

    def forward(self, x: Tensor) -> Tensor:
        return x


class Blocks(nn.Module):
    """Two blocks in a row, and room for more."""

    def __init__(self, activation: nn.Module | None = None, *, zero: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 1)
        self.blocks = nn.Sequential(*(Donor(activation or nn.ReLU(), zero) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x)).mean((2, 3))


ACTIVATIONS: dict[str, tuple[nn.Module, str, dict[str, float]]] = {
    "leaky": (nn.LeakyReLU(0.2), "leaky_relu", {"negative_slope": 0.2}),
    "elu": (nn.ELU(0.5), "elu", {"alpha": 0.5}),
    "celu": (nn.CELU(0.5), "celu", {"alpha": 0.5}),
    "tanh-gelu": (nn.GELU(approximate="tanh"), "gelu_tanh", {}),
    "gelu": (nn.GELU(), "gelu", {}),
    "relu6": (nn.ReLU6(), "relu6", {}),
    "silu": (nn.SiLU(), "silu", {}),
}


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_the_activation_and_its_arguments_go_over(case: str) -> None:
    activation, name, arguments = ACTIVATIONS[case]
    model = Blocks(activation)
    (stage,) = find_stages(model, (8, 8))
    assert {(block.activation, tuple(block.activation_values.items())) for block in stage} == {
        (name, tuple(arguments.items()))
    }
    own = harmonize(model, (1,), input_size=(8, 8)).get_submodule("blocks.1.final_act")
    x = torch.linspace(-9, 9, 100)
    torch.testing.assert_close(own(x.clone()), activation(x))


def test_another_clamp_than_relu6_is_refused() -> None:
    with pytest.raises(ConfigError, match="it ends with hardtanh, for which there is no layer"):
        harmonize(Blocks(nn.Hardtanh(-1, 1)), (1,), input_size=(8, 8))


def test_eps_and_momentum_and_the_rate_of_stochastic_depth_go_over_and_are_read_again() -> None:
    model = Blocks()
    changed = harmonize(model, Placement(msa=(2,), extend=(2,)), input_size=(8, 8))
    again = Blocks()
    change_blocks(again, read_changes(changes_text(changes_of(changed))), seed=0)
    for network in (changed, again):
        for path in ("blocks.1", "blocks.3"):
            block = network.get_submodule(path)
            assert [(norm.eps, norm.momentum) for norm in (block.norm1, block.norm2)] == [(1e-3, 0.01)] * 2
            assert block.drop_path.drop_prob == 0.25


def test_an_efficientnets_eps_and_momentum_go_over() -> None:
    with torch.device("meta"):
        model = timm.create_model("efficientnet_b0", bn_eps=1e-3, bn_momentum=0.01)
    plan = plan_harmonize(model, (0, 0, 0, 1), input_size=(64, 64))
    assert [change.norm for change in plan.changes] == [{"eps": 1e-3, "momentum": 0.01}]


def test_an_added_block_starts_as_the_networks_own_do() -> None:
    model = Blocks()
    changed = harmonize(model, Placement(msa=(0,), extend=(1,)), input_size=(8, 8))
    added = changed.get_submodule("blocks.2")
    fan_out = 9 * 32 // 4
    assert added.conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
    assert bool((added.norm.weight == 1).all())
    assert (added.norm.eps, added.norm.momentum, added.drop.p) == (1e-3, 0.01, 0.25)


def test_an_added_block_adds_nothing_at_first_only_where_its_donor_does() -> None:
    for zero in (False, True):
        model = Blocks(zero=zero)
        changed = harmonize(model, Placement(msa=(0,), extend=(1,)), input_size=(8, 8))
        assert bool(changed.get_submodule("blocks.2").norm.weight.any()) != zero
        x = torch.randn(1, 32, 4, 4)
        difference = changed.get_submodule("blocks.2").eval()(x) - F.relu(x)
        assert bool(difference.any()) != zero


@pytest.mark.parametrize(("name", "last"), [("resnet_20_cifar", "bn2"), ("preresnet_50_cifar", "conv3")])
def test_a_network_of_ours_begins_without_branches_that_add_nothing(name: str, last: str) -> None:
    narrow = "?channels=(8,8,8,8)" if name.startswith("pre") else ""
    model = load_model(f"{name}{narrow}", random_weights=0).model
    stages = find_stages(model, (32, 32))
    changed = harmonize(model, Placement(msa=(0,) * len(stages), extend=(0,) * (len(stages) - 1) + (1,)))
    (change,) = changes_of(changed)
    own, donor = (
        network.get_submodule(f"{path}.{last}").weight
        for network, path in ((changed, change.path), (model, change.like))
    )
    assert bool(own.any()) == bool(donor.any()) is True
    own, donor = changed.get_submodule(change.path).conv1.weight, model.get_submodule(change.like).conv1.weight
    assert own.std().item() == pytest.approx(donor.std().item(), rel=0.15)


def test_new_weights_do_not_seed_the_generators_of_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    model = Small()
    change_blocks(model, [BlockChange(path="two", like="one")], seed=7)
    assert seeded == []
    assert model.get_submodule("two").weight.shape == model.one.weight.shape
