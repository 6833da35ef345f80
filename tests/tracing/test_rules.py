"""What the operations themselves can tell: cases that look like something else at first sight."""

import timm
import torch
from torch import Tensor, nn

from visionscope.core.subject import Kind
from visionscope.tracing import Trace, trace


def traced(name: str, size: int = 64, **arguments: object) -> Trace:
    with torch.device("meta"):
        model = timm.create_model(name, **arguments).eval()
    return trace(model, torch.zeros(1, 3, size, size, device="meta"))


def kinds(found: Trace) -> list[str]:
    return [str(point.kind) for point in found.points]


def test_one_weighted_mean_over_positions_is_no_attention() -> None:
    found = traced("gcresnext26ts")
    assert set(kinds(found)) == {"stem", "conv"}
    assert any("softmax" in point.operations for point in found.points)


def test_a_softmax_over_splits_is_no_attention() -> None:
    assert set(kinds(traced("resnest14d"))) == {"stem", "conv"}


def test_a_learned_gain_on_the_skip_keeps_the_stream() -> None:
    found = traced("caformer_s18")
    assert found.sums == 36
    assert kinds(found).count("msa") == 12
    assert kinds(found).count("mlp") == 18


def test_a_kernel_per_image_keeps_the_batch_among_the_channels() -> None:
    found = traced("efficientnet_cc_b0_4e")
    assert found.unwatched == ()
    assert found.sums == 9


def test_the_small_stream_of_a_gate_is_no_point() -> None:
    found = traced("csatv2", 512)
    areas = [point.grid[0] for point in found.points]
    assert areas == sorted(areas, reverse=True)
    assert [point.stage for point in found.points][-1] == 4


def test_class_tokens_alone_are_listed_as_unwatched() -> None:
    found = traced("cait_xxs24_224", 224)
    assert len(found.unwatched) == 3
    for lost in found.unwatched:
        assert lost.name.startswith("blocks_token_only.")
        assert "has no grid" in lost.reason


def test_without_sums_the_blocks_are_points_and_none_is_a_norm_alone() -> None:
    found = traced("densenet121")
    assert found.sums == 0
    assert kinds(found) == ["conv", "down"] + ["conv", "down"] * 3 + ["conv"]
    assert found.points[-1].name == "features.denseblock4"


class Mixer(nn.Module):
    """x + f(x) on 4 x 6 tokens of 8 channels, with whatever f."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.branch = branch

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for _ in range(2):
            x = x + self.branch(x)
        return x.mean((2, 3))


class Function(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class AcrossTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(2)).view_as(x)


def test_kinds_follow_the_operations() -> None:
    def attend(x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT
        return ((tokens @ tokens.mT).softmax(-1) @ tokens).mT.reshape(x.shape)

    branches = {
        Kind.MSA: Function(attend),
        Kind.CONV: nn.Sequential(nn.Conv2d(8, 8, 1), nn.GELU(), nn.Conv2d(8, 8, 3, padding=1, groups=8)),
        Kind.MLP: nn.Sequential(nn.Conv2d(8, 16, 1), nn.GELU(), nn.Conv2d(16, 8, 1)),
        Kind.POOL: nn.AvgPool2d(3, 1, 1),
        Kind.FOURIER: Function(lambda x: torch.fft.fft2(x).real),
        Kind.TOKEN_MLP: AcrossTokens(),
    }
    for kind, branch in branches.items():
        found = trace(Mixer(branch).eval(), torch.zeros(1, 3, 4, 6))
        assert [(point.name, point.kind) for point in found.points] == [
            ("stem", Kind.STEM),
            (f"+{kind}", kind),
            (f"+{kind}#2", kind),
        ]


def test_additions_that_mix_nothing_are_no_points() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 1)
            self.position = nn.Parameter(torch.randn(1, 8, 4, 6))
            self.last = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            x = self.stem(images) + self.position
            x = x + torch.relu(x)
            return (x + self.last(x)).mean((2, 3))

    found = trace(Plain().eval(), torch.zeros(1, 3, 4, 6))
    assert found.sums == 1
