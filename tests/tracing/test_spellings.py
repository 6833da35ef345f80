"""Every spelling of an operation is one operation: same points, same maps, same branch, same lesion."""

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reference.small_networks import Residual, Transformer, drawn
from visionscope.core.subject import Point
from visionscope.tracing import Trace, trace, watch
from visionscope.tracing.edit import branch_units
from visionscope.tracing.passes import Learned, Pass

ADDITIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "operator": lambda x, y: x + y,
    "operator, branch first": lambda x, y: y + x,
    "in place": lambda x, y: operator.iadd(x, y),
    "method": lambda x, y: x.add(y),
    "method, by name": lambda x, y: x.add(other=y),
    "method in place": lambda x, y: x.add_(y),
    "method in place, by name": lambda x, y: y.add_(other=x),
    "function": lambda x, y: torch.add(x, y),
    "function, by name": lambda x, y: torch.add(input=x, other=y),
    "function, by name, branch first": lambda x, y: torch.add(other=x, input=y),
    "alpha": lambda x, y: torch.add(x, y * 0.5, alpha=2),
    "alpha, method": lambda x, y: x.add(y * 0.5, alpha=2),
    "alpha, in place": lambda x, y: x.add_(y * 0.5, alpha=2),
    "out": lambda x, y: torch.add(x, y, out=torch.empty_like(x)),
    "out is an operand": lambda x, y: torch.add(x, y, out=x),
    "sum of a list": lambda x, y: sum((x, y)),  # type: ignore[return-value]
    "operator module": lambda x, y: torch.add(*(x, y)),
    "aten": lambda x, y: torch.ops.aten.add(x, y),
    "aten, overload": lambda x, y: torch.ops.aten.add.Tensor(x, y),
    "aten, by name": lambda x, y: torch.ops.aten.add.Tensor(self=x, other=y),
    "aten, in place": lambda x, y: torch.ops.aten.add_.Tensor(x, y),
    "aten, out": lambda x, y: torch.ops.aten.add.out(x, y, out=torch.empty_like(x)),
    "subtraction": lambda x, y: x - (-y),
    "subtraction, in place": lambda x, y: x.sub_(-y),
    "subtraction, function": lambda x, y: torch.sub(input=x, other=y, alpha=-1),
    "addcmul": lambda x, y: torch.addcmul(x, y, torch.full_like(x, 0.5), value=2),
    "addcmul, by name": lambda x, y: torch.addcmul(input=x, tensor1=torch.ones(4, 1, 1), tensor2=y),
    "addcmul, in place": lambda x, y: x.addcmul_(y, torch.ones(4, 1, 1)),
    "baddbmm": lambda x, y: torch.baddbmm(x.flatten(2), torch.eye(4).expand(len(x), 4, 4), y.flatten(2)).view_as(x),
    "addmm": lambda x, y: (
        torch.addmm(x.permute(0, 2, 3, 1).reshape(-1, 4), y.permute(0, 2, 3, 1).reshape(-1, 4), torch.eye(4))
        .reshape(len(x), 8, 8, 4)
        .permute(0, 3, 1, 2)
    ),
}


def maps_of(model: torch.nn.Module, found: Trace, points: tuple[Point, ...], images: Tensor) -> dict[str, Tensor]:
    maps: dict[str, Tensor] = {}
    with torch.no_grad(), watch(model, found, lambda point, seen: maps.update({point.name: seen.clone()}), points):
        model(images)
    return maps


def without_branch(model: torch.nn.Module, found: Trace, number: int, images: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = Pass(Learned(model), branch_units(found)[number].edit, learning=True).run(images)
    return result


@pytest.mark.parametrize("spelling", ADDITIONS)
def test_an_addition_however_it_is_written_is_a_residual_sum(spelling: str) -> None:
    images = drawn()
    plain, model = Residual(), Residual(ADDITIONS[spelling])
    wanted, found = trace(plain, images), trace(model, images)
    assert [point.kind for point in found.points] == [point.kind for point in wanted.points]
    assert [point.name for point in found.points] == [point.name for point in wanted.points]
    assert found.unwatched == ()
    assert [one.follows for one in found.points] == ["", "stem", "+conv"]
    pairs = zip(
        maps_of(plain, wanted, wanted.all_points, images).items(),
        maps_of(model, found, found.all_points, images).items(),
        strict=True,
    )
    for (name, expected), (own, seen) in pairs:
        assert own == name
        torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)
    for number in (0, 1):
        expected = without_branch(plain, wanted, number, images)
        torch.testing.assert_close(without_branch(model, found, number, images), expected, rtol=1e-5, atol=1e-6)
        assert (expected - plain(images)).abs().max() > 1e-3


def test_an_interpolation_adds_its_step() -> None:
    """lerp(x, y, w) = x + w (y - x): without its branch the stream goes on as it was."""
    images = drawn()
    model = Residual(lambda x, y: torch.lerp(x, y, 0.25))
    written_out = Residual(lambda x, y: x + 0.25 * (y - x))
    found, wanted = trace(model, images), trace(written_out, images)
    assert [point.name for point in found.points] == ["stem", "+conv", "+conv#2"]
    theirs = maps_of(written_out, wanted, wanted.all_points, images)
    for name, seen in maps_of(model, found, found.all_points, images).items():
        torch.testing.assert_close(seen, theirs[name], rtol=1e-5, atol=1e-6)
    for number in (0, 1):
        torch.testing.assert_close(
            without_branch(model, found, number, images), without_branch(written_out, wanted, number, images)
        )


def test_the_difference_of_two_streams_is_no_residual_sum() -> None:
    class Scaled(Residual):
        def forward(self, images: Tensor) -> Tensor:
            first = self.stem(images)
            x = first + self.blocks[0](first)
            return self.head((x + self.blocks[1](x)).mean((2, 3))) / (x - first).abs().sum()

    assert [point.name for point in trace(Scaled(), drawn()).points] == ["stem", "+conv", "+conv#2"]


def scores(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1)).softmax(-1)


def merged(*tensors: Tensor) -> list[Tensor]:
    return [tensor.flatten(0, 1) for tensor in tensors]


def by_baddbmm(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    one, two, three = merged(q, k, v)
    bias = torch.zeros(1, 1, 1).expand(len(one), one.shape[1], two.shape[1])
    return torch.bmm(torch.baddbmm(bias, one, two.mT).softmax(-1), three).view_as(v)


MIXES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "operator": lambda q, k, v: scores(q, k) @ v,
    "matmul": lambda q, k, v: torch.matmul(torch.softmax(torch.matmul(q, k.mT), dim=-1), v),
    "matmul, by name": lambda q, k, v: torch.matmul(
        input=F.softmax(input=torch.matmul(input=q, other=k.mT), dim=-1), other=v
    ),
    "method": lambda q, k, v: q.matmul(k.transpose(2, 3)).softmax(dim=3).matmul(v),
    "bmm": lambda q, k, v: torch.bmm(torch.bmm(*merged(q, k.mT)).softmax(2), v.flatten(0, 1)).view_as(v),
    "baddbmm": by_baddbmm,
    "einsum": lambda q, k, v: torch.einsum("bhij,bhjd->bhid", torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1), v),
    "einsum, dots": lambda q, k, v: torch.einsum(
        "...ij,...jd->...id", torch.einsum("...id,...jd->...ij", q, k).softmax(-1), v
    ),
    "aten": lambda q, k, v: torch.ops.aten.matmul(
        torch.ops.aten._softmax(torch.ops.aten.matmul(q, k.mT), -1, False), v
    ),
    "fused": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=1.0),
    "fused, by name": lambda q, k, v: F.scaled_dot_product_attention(query=q, key=k, value=v, scale=1.0),
}


@pytest.mark.parametrize("spelling", MIXES)
def test_attention_however_it_is_written_is_msa(spelling: str) -> None:
    images = drawn()
    plain, model = Transformer(), Transformer(mix=MIXES[spelling])
    wanted, found = trace(plain, images), trace(model, images)
    assert [(point.name, point.kind, point.grid) for point in found.points] == [
        (point.name, point.kind, point.grid) for point in wanted.points
    ]
    assert found.unwatched == ()
    theirs = maps_of(plain, wanted, wanted.all_points, images)
    for name, seen in maps_of(model, found, found.all_points, images).items():
        torch.testing.assert_close(seen, theirs[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "weighted",
    [
        lambda x, w: F.linear(input=x, weight=w),
        lambda x, w: x @ w.T,
        lambda x, w: torch.einsum("bnc,dc->bnd", x, w),
        lambda x, w: torch.addmm(torch.zeros(8), x.flatten(0, 1), w.T).view(len(x), -1, 8),
        lambda x, w: F.conv1d(x.mT, w[:, :, None]).mT,
    ],
    ids=["linear", "matmul", "einsum", "addmm", "conv1d"],
)
def test_a_linear_map_of_channels_however_it_is_written_is_mlp(weighted: Callable[[Tensor, Tensor], Tensor]) -> None:
    class Mixed(Transformer):
        def forward(self, images: Tensor) -> Tensor:
            x = self.embed(images).flatten(2).transpose(1, 2)
            x = x + weighted(x, self.last.mlp[3].weight[:, :8])
            return self.head((x + weighted(x, self.last.mlp[3].weight[:, 8:])).mean(1))

    found = trace(Mixed(), drawn())
    assert [(point.kind.value, point.grid) for point in found.points] == [
        ("stem", (8, 8)),
        ("mlp", (8, 8)),
        ("mlp", (8, 8)),
    ]


def test_networks_that_add_without_a_stream_say_that_blocks_are_the_points() -> None:
    class Parallel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.last = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
            self.act = torch.nn.ReLU()

        def forward(self, images: Tensor) -> Tensor:
            x = self.one(images) + self.other(images.flip(3))
            return self.act(self.last(x)).mean((2, 3))

    found = trace(Parallel().eval(), drawn())
    assert all("+" not in point.name for point in found.points)
    assert [(lost.name, lost.reason) for lost in found.unwatched] == [
        ("+", "adds two tensors, but is no residual sum, so the points are the outputs of blocks")
    ]


def test_a_network_that_adds_frequencies_says_that_blocks_are_the_points() -> None:
    class Spectral(Residual):
        def forward(self, images: Tensor) -> Tensor:
            x = self.stem(images)
            for block in self.blocks:
                x = torch.fft.irfft2(torch.fft.rfft2(x) + torch.fft.rfft2(block(x)), s=x.shape[-2:])
            return self.head(x.mean((2, 3)))

    found = trace(Spectral(), drawn())
    assert all("+" not in point.name for point in found.points)
    assert "adds two tensors, but is no residual sum, like 1 more" in found.unwatched[0].reason
