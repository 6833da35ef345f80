"""Scopes: every parameter that takes part in exactly one stage, block and kind, as written down by hand."""

import pytest
import timm
import torch
from torch import Tensor, nn

from visionscope.core.subject import Scope
from visionscope.curvature.scopes import find_scopes
from visionscope.models.load import load_model
from visionscope.models.spec import parse_spec
from visionscope.tracing import trace


def scopes_of(model: nn.Module, side: int = 32) -> tuple[Scope, ...]:
    images = torch.zeros(2, 3, side, side)
    return find_scopes(model, trace(model.eval(), images), images)


def by_level(scopes: tuple[Scope, ...]) -> dict[str, dict[str, tuple[str, ...]]]:
    levels: dict[str, dict[str, tuple[str, ...]]] = {}
    for scope in scopes:
        assert scope.name not in levels.setdefault(scope.level, {})
        levels[scope.level][scope.name] = scope.parameters
    return levels


def assert_complete(model: nn.Module, scopes: tuple[Scope, ...], unused: tuple[str, ...] = ()) -> None:
    names = [name for name, _ in model.named_parameters()]
    levels = by_level(scopes)
    assert list(levels) == ["model", "stage", "block", "kind"]
    assert levels["model"] == {"model": tuple(names)}
    for level in ("stage", "block", "kind"):
        found = [name for own in levels[level].values() for name in own]
        assert sorted(found) == sorted(set(names) - set(unused))
        for own in levels[level].values():
            assert list(own) == [name for name in names if name in own]


def under(model: nn.Module, *prefixes: str) -> tuple[str, ...]:
    return tuple(name for name, _ in model.named_parameters() if name.startswith(prefixes))


def nano(name: str) -> nn.Module:
    return load_model(parse_spec(name), random_weights=0).model


def test_a_vits_scopes() -> None:
    model = nano("vit_nano")
    scopes = scopes_of(model)
    assert_complete(model, scopes)
    levels = by_level(scopes)
    stem, head = under(model, "pos_embed", "patch_embed."), under(model, "fc_norm.", "head.")
    assert len(stem) == 12  # pos_embed, three convolutions with their norms, and a projection with its bias
    assert head == ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")
    assert levels["stage"] == {"stage 0": stem, "stage 1": under(model, "blocks."), "head": head}
    blocks = [f"blocks.{index}" for index in range(6)]
    assert levels["block"] == {"stem": stem, **{name: under(model, f"{name}.") for name in blocks}, "head": head}
    assert list(levels["block"]) == ["stem", *blocks, "head"]
    msa = under(model, *(f"{block}.{part}." for block in blocks for part in ("norm1", "attn")))
    mlp = under(model, *(f"{block}.{part}." for block in blocks for part in ("norm2", "mlp")))
    assert levels["kind"] == {"stem": stem, "msa": msa, "mlp": mlp, "head": head}
    assert "blocks.3.attn.qkv.weight" in msa


def test_a_resnets_scopes() -> None:
    model = nano("resnet_nano")
    scopes = scopes_of(model)
    assert_complete(model, scopes)
    levels = by_level(scopes)
    stem, head = under(model, "conv1.", "bn1."), ("fc.weight", "fc.bias")
    layers = {f"stage {number}": under(model, f"layer{number}.") for number in (1, 2, 3)}
    assert levels["stage"] == {"stage 0": stem, **layers, "head": head}
    blocks = [f"layer{stage}.{index}" for stage in (1, 2, 3) for index in (0, 1)]
    assert levels["block"] == {"stem": stem, **{name: under(model, f"{name}.") for name in blocks}, "head": head}
    assert "layer2.0.downsample.0.weight" in levels["block"]["layer2.0"]
    assert levels["kind"] == {"stem": stem, "conv": under(model, "layer"), "head": head}


def test_a_swins_scopes_keep_its_tables_and_its_merging() -> None:
    model = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=32,
        window_size=4,
        depths=(1, 1),
        num_heads=(2, 2),
        embed_dim=16,
        num_classes=5,
    )
    scopes = scopes_of(model)
    assert_complete(model, scopes)
    levels = by_level(scopes)
    down = under(model, "layers.1.downsample.")
    assert down == tuple(f"layers.1.downsample.{name}" for name in ("norm.weight", "norm.bias", "reduction.weight"))
    assert levels["kind"]["down"] == levels["block"]["layers.1.downsample"] == down
    assert levels["stage"]["stage 1"] == under(model, "layers.0.")
    assert levels["stage"]["stage 2"] == under(model, "layers.1.")
    assert list(levels["block"]) == ["stem", "layers.0.blocks.0", "layers.1.downsample", "layers.1.blocks.0", "head"]
    tables = tuple(f"layers.{stage}.blocks.0.attn.relative_position_bias_table" for stage in (0, 1))
    assert set(tables) < set(levels["kind"]["msa"])


def test_a_convnexts_layer_scale_is_its_blocks() -> None:
    model = timm.create_model("test_convnext", num_classes=5)
    scopes = scopes_of(model, 64)
    assert_complete(model, scopes)
    levels = by_level(scopes)
    assert "stages.0.blocks.0.gamma" in levels["block"]["stages.0.blocks.0"]
    assert set(levels["kind"]) == {"stem", "conv", "down", "head"}
    assert levels["kind"]["down"] == under(model, *(f"stages.{stage}.downsample." for stage in (1, 2, 3)))
    assert levels["kind"]["conv"] == under(model, *(f"stages.{stage}.blocks." for stage in range(4)))


class Attending(nn.Module):
    """A block whose second sum stands in an inner module, and whose attention keeps its weights fused."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.gamma = nn.Parameter(torch.ones(8))
        self.out = Outward()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma * self.attention(x, x, x, need_weights=False)[0]
        return self.out(x)


class Outward(nn.Module):
    """Adds what a linear layer makes of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dense(x).relu()


class Bare(nn.Module):
    """Adds its positions in its own forward, so that no module's output is the stem; the last norm is never used."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.positions = nn.Parameter(torch.zeros(1, 64, 8))
        self.unused = nn.LayerNorm(8)
        self.layer = nn.ModuleList([Attending(), Attending()])
        if tied:
            self.layer[1] = self.layer[0]
        self.head = nn.Linear(8, 5)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        x = x.to(self.head.weight.dtype)  # a question, not a use
        x = self.patch(x).flatten(2).mT + self.positions
        for layer in self.layer:
            x = layer(x)
        return self.head(x.mean(1))


def test_fused_weights_functional_positions_and_inner_sums_find_their_places() -> None:
    model = Bare()
    scopes = scopes_of(model)
    unused = ("unused.weight", "unused.bias")
    assert_complete(model, scopes, unused)
    levels = by_level(scopes)
    stem, head = ("positions", "patch.weight", "patch.bias"), ("head.weight", "head.bias")
    assert levels["stage"] == {"stage 0": stem, "stage 1": under(model, "layer."), "head": head}
    assert levels["block"] == {
        "stem": stem,
        "layer.0": under(model, "layer.0."),
        "layer.1": under(model, "layer.1."),
        "head": head,
    }
    msa = under(model, *(f"layer.{index}.{part}" for index in (0, 1) for part in ("attention.", "gamma")))
    assert {"layer.1.attention.in_proj_weight", "layer.1.gamma"} < set(msa)
    assert levels["kind"] == {
        "stem": stem,
        "msa": msa,
        "mlp": under(model, "layer.0.out.", "layer.1.out."),
        "head": head,
    }


def test_shared_weights_belong_to_their_first_use() -> None:
    model = Bare(tied=True)
    scopes = scopes_of(model)
    assert_complete(model, scopes, ("unused.weight", "unused.bias"))
    assert "layer.1" not in by_level(scopes)["block"]


class Deciding(Bare):
    """Looks at its values, so that it can't be traced on the meta device."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.sum()) < 1e9 else -x)


@pytest.mark.parametrize("kind", [Bare, Deciding])
def test_the_model_is_left_as_it_was_found(kind: type[Bare]) -> None:
    model = kind()
    images = torch.zeros(2, 3, 32, 32)
    traced = trace(model, images)
    assert traced.device == ("meta" if kind is Bare else "cpu")
    model.train()
    model.layer[0].eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    find_scopes(model, traced, images)
    assert [module.training for module in model.modules()] == modes
    assert model.steps == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_weights_without_gradients_have_no_curvature() -> None:
    model = Bare()
    model.table = nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False)
    assert "table" not in scopes_of(model)[0].parameters


def test_a_network_without_feature_maps_is_one_scope() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    images = torch.zeros(2, 3, 4, 4)
    (scope,) = find_scopes(model, trace(model, images, points_needed=False), images)
    assert (scope.level, scope.name) == ("model", "model")
    assert scope.parameters == ("1.weight", "1.bias", "3.weight", "3.bias")
