"""AlterNet: the official logits and sizes, the rule for the order of blocks, and timm's own questions."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

import visionscope
from reference import official_models
from reference.regenerable import drawn_images
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
FAST = ("alternet_18@32", "alternet_50@32", "alternet_50@224")


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def tiny(**arguments: Any) -> Any:
    """Two stages on 8x8 and 4x4 positions of an image of 8 px."""
    chosen = {
        "num_classes": 3,
        "blocks": (2, 3),
        "msa": (1, 1),
        "channels": (8, 16),
        "num_heads": (1, 2),
        "head_dim": 4,
        "stem_chs": 8,
    }
    return timm.create_model("alternet_18_cifar", **{**chosen, **arguments})


def images(count: int = 2, edge: int = 8) -> Tensor:
    return torch.randn(count, 3, edge, edge, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name",
    # alternet_34 has the blocks of alternet_18, only more of them.
    [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in OFFICIAL],
)
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
        logits = model(drawn_images(golden["input_size"]))
    assert logits.shape == (2, 100)
    torch.testing.assert_close(logits[:, :10], torch.tensor(golden["logits"]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "millions"),
    [
        ("alternet_50_cifar", {"msa": (0, 0, 0, 0)}, 28.16),
        ("alternet_50_cifar", {"msa": (0, 0, 0, 1)}, 30.26),
        ("alternet_50_cifar", {"msa": (0, 0, 0, 2)}, 32.36),
        ("alternet_50_cifar", {"msa": (0, 0, 1, 2)}, 32.88),
        ("alternet_50_cifar", {}, 33.01),
        ("alternet_50_cifar", {"msa": [0, 1, 3, 2]}, 34.06),
        ("alternet_18", {}, 9.97),
        ("alternet_50", {}, 35.92),
        ("alternet_101", {}, 54.91),
    ],
)
def test_the_papers_numbers_of_parameters(name: str, arguments: dict[str, Any], millions: float) -> None:
    """PAPER.md 1.0.2; 100 classes for CIFAR and 1000 for ImageNet, as by default here."""
    with torch.device("meta"):
        model = timm.create_model(name, **arguments)
    assert round(parameters(model) / 1e6, 2) == millions


def test_every_depth_and_size_is_registered_with_timm() -> None:
    names = {
        f"alternet_{size}"
        for size in ("18", "34", "50", "101", "152", "nano", "pico", "18_cifar", "34_cifar", "50_cifar")
    }
    assert set(timm.list_models("alternet*")) == names
    with torch.device("meta"):
        assert timm.create_model("alternet_152").num_classes == 1000


@pytest.mark.parametrize("name", ["alternet_50", "alternet_50_cifar", "alternet_nano"])
def test_default_cfgs_name_the_first_convolution_and_the_classifier(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, in_chans=1)
    config = model.pretrained_cfg
    assert model.get_submodule(config["first_conv"]).in_channels == 1
    assert model.get_submodule(config["classifier"]) is model.get_classifier()
    assert not config["fixed_input_size"]


def test_nano_is_small() -> None:
    assert 0.3e6 < parameters(timm.create_model("alternet_nano")) <= 0.8e6


@pytest.mark.parametrize(
    ("blocks", "msa", "order"),
    [
        (3, 0, "conv conv conv"),
        (4, 1, "conv conv conv msa"),
        (6, 3, "conv msa conv msa conv msa"),
        (5, 2, "conv conv msa conv msa"),
    ],
)
def test_convolutions_come_first_and_then_pairs(blocks: int, msa: int, order: str) -> None:
    assert " ".join(alternate(blocks, msa)) == order


@pytest.mark.parametrize(("blocks", "msa"), [(3, 2), (1, 1), (4, -1), (4, 1.5)])
def test_more_attention_than_half_is_refused(blocks: int, msa: Any) -> None:
    with pytest.raises(ConfigError, match=f"got {msa} of {blocks}. The largest possible is {blocks // 2}"):
        alternate(blocks, msa)
    with pytest.raises(ConfigError, match="msa must be an integer, at least 0 and at most half"):
        tiny(blocks=(blocks, 3), msa=(msa, 1))


@pytest.mark.parametrize("value", [0, -2, 1.5, "two"])
@pytest.mark.parametrize("name", ["blocks", "channels", "num_heads", "head_dim", "window_size"])
def test_numbers_of_a_stage_are_positive_integers(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a positive integer; got {value!r}. The smallest is 1"):
        tiny(msa=(0, 0), **{name: (4, value)})


def test_wrong_numbers_and_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_heads must be one number, or 2 of them, one per stage; got 3"):
        tiny(num_heads=(1, 2, 3))
    with pytest.raises(ConfigError, match=r"must be conv, msa or mix:MIXER, at least one; got \['mlp'\]"):
        Stage(blocks=("conv", "mlp"), channels=8)
    with pytest.raises(ConfigError, match=r"there is no mixer 'identiy'\. Did you mean 'identity'\?"):
        Stage(blocks=("conv", "mix:identiy"), channels=8)
    with pytest.raises(ConfigError, match=r"at least one; got \(\)"):
        Stage(blocks=(), channels=8)
    with pytest.raises(ConfigError, match="stem must be one of plain, pooled, deep; got 'large'"):
        tiny(stem="large")


@pytest.mark.parametrize("bottleneck", [False, True])
def test_stages_of_attention_alone_and_of_none(bottleneck: bool) -> None:
    stages = (
        Stage(blocks=("msa",), channels=8, num_heads=2, head_dim=4, window_size=4),
        Stage(blocks=("msa", "msa", "conv"), channels=16, stride=2, num_heads=2, head_dim=4, window_size=3),
        Stage(blocks=("conv",), channels=12, stride=2),
    )
    model = tiny(stages=stages, bottleneck=bottleneck).train()
    kinds = [[type(block).__name__ == "MsaBlock" for block in stage.blocks] for stage in model.stages]
    assert kinds == [[True], [True, True, False], [False]]
    model(images()).square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in model.parameters())
    assert model.feature_info[-1]["reduction"] == 4


def test_any_image_size() -> None:
    model = tiny().eval()
    assert model(torch.randn(1, 3, 13, 21)).shape == (1, 3)


def test_options_reach_the_blocks() -> None:
    model = tiny(drop_path_rate=0.4, drop_rate=0.3, attn_drop_rate=0.2, per_head_bias=True, msa_act_layer=nn.SiLU)
    blocks = [block for stage in model.stages for block in stage.blocks]
    assert [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert model.head.drop.p == 0.3
    assert blocks[-1].attn.attn_drop == 0.2
    assert blocks[-1].attn.relative_position_bias_table.shape == (49, 2)
    assert isinstance(blocks[-1].norm1.act, nn.SiLU)
    assert isinstance(blocks[0].norm1.act, nn.ReLU)
    assert [stage.blocks[-1].attn.num_heads for stage in model.stages] == [1, 2]


def test_timms_own_questions_are_answered() -> None:
    model, x = tiny().eval(), images()
    features = model.forward_features(x)
    assert torch.equal(model.forward_head(features), model(x))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
    model.reset_classifier(0)
    assert model(x).shape == (2, 16)
    assert tiny(num_classes=0)(x).shape == (2, 16)
    model.reset_classifier(6, "max")
    torch.testing.assert_close(model(x), model.get_classifier()(features.amax((2, 3))))
    tables = {name for name, _ in model.named_parameters() if "relative_position" in name}
    assert model.no_weight_decay() == tables
    assert len(tables) == 2


def test_groups_of_parameters_follow_the_depth() -> None:
    groups = timm.models.group_parameters(tiny(), tiny().group_matcher())
    assert groups[0] == ["stem.conv.weight"]
    assert len(groups) == 1 + 5 + 1  # stem, blocks (the last with the normalisation), head
    assert all(name.startswith(("stages.1.blocks.2", "norm")) for name in groups[5])
    coarse = timm.models.group_parameters(tiny(), tiny().group_matcher(coarse=True))
    assert any(name.startswith("stages.0.blocks.1") for name in coarse[1])


@pytest.mark.parametrize("name", ["alternet_18", "alternet_18_cifar", "alternet_nano"])
def test_feature_maps_have_the_channels_and_the_reduction_that_they_claim(name: str) -> None:
    model, x = timm.create_model(name, features_only=True).eval(), images(1, 64)
    claimed = list(zip(model.feature_info.channels(), model.feature_info.reduction(), strict=True))
    maps = model(x)
    assert [(item.shape[1], 64 // item.shape[2]) for item in maps] == claimed
    chosen = timm.create_model(name, features_only=True, out_indices=(1, 3)).eval()
    chosen.load_state_dict(model.state_dict(), strict=False)
    assert all(torch.equal(item, maps[index]) for item, index in zip(chosen(x), (1, 3), strict=True))


def test_intermediates_are_the_maps_of_the_stages() -> None:
    model, x = tiny().eval(), images()
    features, maps = model.forward_intermediates(x)
    assert torch.equal(features, model.forward_features(x))
    stem = model.stem(x)
    assert [torch.equal(*pair) for pair in zip(maps, (stem, model.stages[0](stem)), strict=False)] == [True, True]
    assert torch.equal(model.norm(maps[2]), features)
    assert torch.equal(model.forward_intermediates(x, [2], norm=True, intermediates_only=True)[0], features)
    assert torch.equal(model.forward_intermediates(x, [1], stop_early=True, intermediates_only=True)[0], maps[1])
    with pytest.raises(ConfigError, match="output_fmt must be NCHW; got 'NLC'"):
        model.forward_intermediates(x, output_fmt="NLC")
    assert model.prune_intermediate_layers([1]) == [1]
    assert len(model.stages) == 1
    assert torch.equal(model.forward_intermediates(x, [1], intermediates_only=True)[0], maps[1])


def test_checkpointing_computes_again_and_changes_no_gradient() -> None:
    gradients, calls = [], []
    for enable in (False, True):
        torch.manual_seed(0)
        model = tiny().train()
        model.set_grad_checkpointing(enable)
        ran: list[nn.Module] = []
        model.stages[1].blocks[2].attn.register_forward_pre_hook(lambda module, *_, ran=ran: ran.append(module))
        model(images(4)).square().sum().backward()
        calls.append(len(ran))
        gradients.append([tensor.grad for tensor in model.parameters()])
    assert calls == [1, 2]
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_the_form_for_the_hub_comes_back(tmp_path: Path) -> None:
    arguments = {"msa": (0, 1), "blocks": (2, 2), "channels": (8, 16), "num_heads": 2, "head_dim": 4, "stem_chs": 8}
    model = timm.create_model("alternet_18_cifar", num_classes=3, **arguments).eval()
    save_for_hf(model, tmp_path, model_args=arguments, safe_serialization=True)
    assert (tmp_path / "model.safetensors").is_file()
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(again(images()), model(images()))


def test_the_graph_has_no_breaks() -> None:
    model = tiny(blocks=(2, 2)).eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 3, 10, 6)  # with padding in both stages
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.slow
def test_compiled_code_gives_the_same_logits() -> None:
    model, x = tiny().eval(), torch.randn(2, 3, 10, 6)
    torch.testing.assert_close(torch.compile(model)(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_onnx_gives_the_same_logits(tmp_path: Path) -> None:
    """Without gradients, as exports are made: with them torch's exporter trips over its own attention."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model, x = tiny(blocks=(2, 2)).eval(), torch.randn(2, 3, 10, 6)
    with torch.no_grad():
        names = {"input_names": ["images"], "verbose": False}
        torch.onnx.export(model, (x,), tmp_path / "model.onnx", dynamo=True, optimize=False, **names)
        session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
        logits = torch.from_numpy(session.run(None, {"images": x.numpy()})[0])
        torch.testing.assert_close(logits, model(x), rtol=0, atol=1e-4)


def test_its_blocks_are_found_for_what_they_are() -> None:
    found = visionscope.points("alternet_nano")
    kinds = {point.name: point.kind for point in found if point.kind != "stem"}
    stages = {0: ("conv", "conv"), 1: ("conv", "conv", "msa"), 2: ("conv", "conv", "msa")}
    assert kinds == {
        f"stages.{stage}.blocks.{block}+{kind}": kind
        for stage, blocks in stages.items()
        for block, kind in enumerate(blocks)
    }


def test_foreign_names_are_left_alone() -> None:
    state = {"a": torch.zeros(1)}
    assert alternet.checkpoint_filter_fn(state, nn.Identity()) is state
