"""Class and register tokens are handed over after the maps, wherever they stand among the tokens of the grid."""

import pytest
import torch
from torch import Tensor, nn

from visionscope.tracing import trace, watch

PLACES = {"in front": (0, 1), "at the end": (12, 13), "in the middle": (5, 6), "apart": (0, 13)}


class Tokens(nn.Module):
    """Twelve patches of a 3 x 4 grid and two further tokens, through two residual blocks."""

    def __init__(self, places: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.places = places
        self.stem = nn.Conv2d(3, 6, 2, stride=2)
        self.further = nn.Parameter(torch.randn(1, 2, 6))
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.head = nn.Linear(6, 2)

    def streams(self, images: Tensor) -> list[Tensor]:
        patches = self.stem(images).flatten(2).transpose(1, 2)
        further = self.further.expand(len(images), -1, -1)
        parts, used = [], 0
        for number, place in enumerate(self.places):
            before = place - number - used
            parts += [patches[:, used : used + before], further[:, number : number + 1]]
            used += before
        streams = [torch.cat([part for part in (*parts, patches[:, used:]) if part.shape[1]], dim=1)]
        for block in self.blocks:
            streams.append(streams[-1] + block(streams[-1]).relu())
        return streams

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.streams(images)[-1].mean(1))


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES.keys())
def test_they_come_in_their_order(places: tuple[int, ...]) -> None:
    model = Tokens(places).eval()
    images = torch.randn(3, 3, 6, 8)
    found = trace(model, images)
    seen: list[tuple[str, str, Tensor]] = []
    with (
        torch.no_grad(),
        watch(
            model,
            found,
            lambda point, maps: seen.append(("maps", point.name, maps.clone())),
            beside=lambda point, tokens: seen.append(("beside", point.name, tokens.clone())),
        ),
    ):
        model(images)
        streams = model.streams(images)
    sums = [one for one in seen if one[1] != "stem"]
    assert [kind for kind, _, _ in sums] == ["maps", "beside"] * 2
    inside = [place for place in range(14) if place not in places]
    for (_, _, maps), (_, _, tokens), stream in zip(sums[::2], sums[1::2], streams[1:], strict=True):
        assert torch.equal(tokens, stream[:, list(places)])
        assert torch.equal(maps.flatten(2).mT, stream[:, inside])


def test_a_grid_alone_has_none() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), *(_Residual() for _ in range(2))).eval()
    images = torch.randn(2, 3, 4, 4)
    seen: list[str] = []
    with (
        torch.no_grad(),
        watch(model, trace(model, images), lambda *given: None, beside=lambda point, tokens: seen.append(point.name)),
    ):
        model(images)
    assert seen == []


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)
