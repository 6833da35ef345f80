"""Positions in another order are put back, or left out by name; never measured as if neighbours were neighbours."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import visionscope as vs
from reference.small_networks import Transformer, drawn
from visionscope.errors import ConfigError, TraceError
from visionscope.tracing import trace, watch
from visionscope.tracing.edit import branch_units

COUNT, SIDE = 64, 8


def snake() -> Tensor:
    order = torch.arange(COUNT).reshape(SIDE, SIDE)
    order[1::2] = order[1::2].flip(1)
    return order.reshape(-1)


SNAKE, ANY = snake(), torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))


def maps_of(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    maps: dict[str, Tensor] = {}
    found = trace(model, images)
    with torch.no_grad(), watch(model, found, lambda point, seen: maps.update({point.name: seen.clone()})):
        model(images)
    return maps


# The order is the same for every image and known, so that each map can be put back.
KNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "x[:, order]": lambda x: x[:, SNAKE],
    "x[:, list]": lambda x: x[:, SNAKE.tolist()],
    "x[..., order, :]": lambda x: x[..., ANY, :],
    "index_select": lambda x: x.index_select(1, SNAKE),
    "index_select, by name": lambda x: torch.index_select(input=x, dim=1, index=ANY),
    "gather": lambda x: x.gather(1, ANY[None, :, None].expand_as(x)),
    "gather, by name": lambda x: torch.gather(x, dim=1, index=ANY[None, :, None].expand(len(x), -1, x.shape[2])),
    "take_along_dim": lambda x: torch.take_along_dim(x, ANY[None, :, None], dim=1).expand_as(x),
    "flat roll": lambda x: x.roll(5, 1),
    "flat roll, by name": lambda x: torch.roll(x, shifts=-3, dims=1),
    "flip": lambda x: x.flip(1),
    "flip, by name": lambda x: torch.flip(x, dims=(1,)),
    "columns first": lambda x: x.reshape(len(x), SIDE, SIDE, -1).transpose(1, 2).flatten(1, 2),
    "windows": lambda x: x.reshape(len(x), 4, 2, 4, 2, -1).transpose(2, 3).flatten(1, 4),
    "halves": lambda x: torch.cat([x[:, 32:], x[:, :32]], 1),
    "every second": lambda x: torch.cat([x[:, ::2], x[:, 1::2]], 1),
    "pieces": lambda x: torch.cat(x.chunk(4, 1)[::-1], 1),
}


@pytest.mark.parametrize("order", KNOWN)
def test_a_known_order_is_put_back(order: str) -> None:
    images = drawn()
    # Attention and MLP don't care for the order, so each map is that of the network that keeps it.
    expected = maps_of(Transformer(), images)
    found = maps_of(Transformer(KNOWN[order]), images)
    assert list(found) == list(expected)
    for name, maps in found.items():
        torch.testing.assert_close(maps, expected[name], rtol=1e-4, atol=1e-5)


class Scatters(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x).scatter(1, ANY[None, :, None].expand_as(x), x)


# An order that depends on the images, that is another one in every pass, or that nobody knows.
UNKNOWN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sort": (lambda x: x.sort(1)[0], "sort"),
    "argsort and gather": (lambda x: x.gather(1, x.argsort(1)), "argsort"),
    "topk": (lambda x: x.topk(COUNT, 1)[0], "topk"),
    "by the norm": (lambda x: x[torch.arange(len(x))[:, None], x.norm(dim=-1).argsort(1)], "argsort|getitem"),
    "an order per image": (
        lambda x: x.gather(1, torch.stack([ANY.roll(i) for i in range(len(x))])[..., None].expand_as(x)),
        "gather",
    ),
    "scatter": (Scatters(), "scatter"),
    "index_copy": (lambda x: torch.zeros_like(x).index_copy(1, ANY, x), "index_copy"),
    "index_put": (lambda x: torch.zeros_like(x).index_put((torch.arange(len(x))[:, None], ANY[None]), x), "index_put"),
    "assignment": (lambda x: assigned(x), "setitem"),
    "masked": (lambda x: x[x[..., 0].argsort(1).argsort(1) >= 0].view_as(x), "getitem|argsort"),
    "msort": (lambda x: x.transpose(0, 1).msort().transpose(0, 1), "msort"),
    "twice": (lambda x: x.repeat(1, 2, 1)[:, 10:74], "repeat|getitem"),
    "flat roll of all": (lambda x: x.roll(7), "roll"),
}


def assigned(x: Tensor) -> Tensor:
    target = torch.zeros_like(x)
    target[:, ANY] = x
    return target


@pytest.mark.parametrize("order", UNKNOWN)
def test_an_unknown_order_is_left_out_by_name(order: str) -> None:
    change, name = UNKNOWN[order]
    model = Transformer(change)
    with pytest.raises(TraceError, match=rf"no feature maps that keep a grid; the first that was lost is .*({name})"):
        trace(model, drawn())
    # What needs no grid still works.
    found = trace(model, drawn(), points_needed=False)
    assert [unit.name for unit in branch_units(found)] == [
        f"{block}.{kind}" for block in ("blocks.0", "blocks.1", "last") for kind in ("msa", "mlp")
    ]
    assert [lost.name for lost in found.unwatched] == [one.stream.name for one in found.residuals]


def test_an_order_drawn_in_every_pass_is_left_out() -> None:
    model = Transformer(lambda x: x[:, torch.randperm(COUNT)])
    found = trace(model, drawn(), points_needed=False)
    assert {lost.reason for lost in found.unwatched} == {"its positions are in another order in every pass"}


def test_an_order_drawn_in_every_pass_and_undone_is_watched() -> None:
    class Masked(Transformer):
        def forward(self, images: Tensor) -> Tensor:
            order = torch.randperm(COUNT)
            self.change, self.undo = (lambda x: x[:, order]), (lambda x: x[:, order.argsort()])
            return super().forward(images)

    found = trace(Masked(), drawn())
    assert [(point.name, point.follows) for point in found.points] == [("last+msa", ""), ("last+mlp", "last+msa")]
    assert [lost.name for lost in found.unwatched] == [*names("blocks.0"), *names("blocks.1")]


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (lambda x: x[:, ANY], lambda x: x[:, ANY.argsort()]),
        (lambda x: x.index_select(1, SNAKE), lambda x: x.gather(1, SNAKE.argsort()[None, :, None].expand_as(x))),
        (lambda x: x.roll(9, 1), lambda x: x.roll(-9, 1)),
        (lambda x: x.flip(1), lambda x: torch.flip(x, (1,))),
        (lambda x: x.sort(1)[0][:, ANY], lambda x: x),
    ],
    ids=["index", "select and gather", "roll", "flip", "sort"],
)
def test_an_order_that_is_undone_is_watched_after_that(
    change: Callable[[Tensor], Tensor], undo: Callable[[Tensor], Tensor], request: pytest.FixtureRequest
) -> None:
    """What comes after has the grid in order: a reshape to rows and columns can be followed."""

    class Grid(Transformer):
        def forward(self, images: Tensor) -> Tensor:
            x = undo(self.blocks[0](change(self.embed(images).flatten(2).mT)))
            x = x.mT.reshape(len(x), -1, SIDE, SIDE).flatten(2).mT
            return self.head(self.last(x).mean(1))

    if request.node.callspec.id == "sort":
        assert trace(Grid(), drawn(), points_needed=False).points == ()
        return
    found = trace(Grid(), drawn())
    assert found.unwatched == ()
    assert [point.name for point in found.points][-2:] == ["last+msa", "last+mlp"]


def test_a_map_that_is_rolled_along_its_sides_is_a_map() -> None:
    """Shifted windows: cyclic along rows and columns, where spectrum and variance stay what they are."""
    change = Transformer(lambda x: x.reshape(len(x), SIDE, SIDE, -1).roll((2, 3), (1, 2)).flatten(1, 2))
    found = maps_of(change, drawn())
    expected = maps_of(Transformer(), drawn())
    for name, maps in list(found.items())[1:]:
        torch.testing.assert_close(maps, expected[name].roll((2, 3), (2, 3)), rtol=1e-4, atol=1e-5)


def test_tokens_that_were_dropped_are_no_map() -> None:
    found = trace(Transformer(lambda x: x[:, 8:56], lambda x: x), drawn(), points_needed=False)
    assert found.points == ()
    assert "holds some of the map's positions" in found.unwatched[0].reason
    pruned = Transformer(undo=lambda x: x.gather(1, x.norm(dim=-1).topk(32, 1)[1][..., None].expand(-1, -1, 8)))
    assert [point.name for point in trace(pruned, drawn()).points] == ["stem", *names("blocks.0"), *names("blocks.1")]


def names(block: str) -> list[str]:
    return [f"{block}+msa", f"{block}+mlp"]


def with_token(place: str, token: Tensor) -> Callable[[Tensor], Tensor]:
    def change(x: Tensor) -> Tensor:
        own = token.expand(len(x), -1, -1)
        return {
            "front": lambda: torch.cat([own, x], 1),
            "end": lambda: torch.cat([x, own], 1),
            "middle": lambda: torch.cat([x[:, :32], own, x[:, 32:]], 1),
            "both ends": lambda: torch.cat([own, x, own], 1),
            "between rows": lambda: torch.cat([x[:, :8], own, x[:, 8:16], own, x[:, 16:]], 1),
            "split": lambda: torch.cat([*x.split(16, 1)[:2], own, *x.split(16, 1)[2:]], 1),
        }[place]()

    return change


@pytest.mark.parametrize("place", ["end", "middle", "both ends", "between rows", "split"])
def test_class_tokens_may_stand_anywhere(place: str) -> None:
    token = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(3))
    count = {"both ends": 2, "between rows": 2}.get(place, 1)
    front = Transformer(with_token("front", token.expand(1, count, 8)))
    model = Transformer(with_token(place, token))
    expected, found = maps_of(front, drawn()), maps_of(model, drawn())
    assert {point.prefix_tokens for point in trace(model, drawn()).points if point.name != "stem"} == {count}
    for name, maps in found.items():
        torch.testing.assert_close(maps, expected[name], rtol=1e-4, atol=1e-5)


def own_operation(x: Tensor) -> Tensor:
    return torch.from_numpy(x.detach().numpy().copy())


class OwnModule(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return own_operation(x)


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return own_operation(x)


def test_an_own_function_loses_the_map_until_it_is_declared() -> None:
    with pytest.raises(
        TraceError, match="network: numpy takes values out of torch; what comes after can't be followed"
    ):
        trace(Transformer(own_operation), drawn())
    declared = Transformer(vs.keeps_axes(own_operation))
    assert [point.name for point in trace(declared, drawn()).points] == [
        point.name for point in trace(Transformer(), drawn()).points
    ]
    torch.testing.assert_close(declared(drawn()), Transformer()(drawn()))
    found = maps_of(Transformer(vs.keeps_axes(OwnFunction.apply)), drawn())
    assert list(found) == list(maps_of(Transformer(), drawn()))


def test_an_own_module_loses_the_map_until_its_class_is_declared() -> None:
    class Mine(OwnModule):
        pass

    with pytest.raises(TraceError, match=r"Mine is not known to keep positions \(if it does, visionscope.keeps_axes"):
        trace(Transformer(Mine()), drawn())
    assert vs.keeps_axes(Mine) is Mine
    assert len(trace(Transformer(Mine()), drawn()).points) == 7


def test_an_own_operator_loses_the_map_until_it_is_declared() -> None:
    library = torch.library.Library("visionscope_tests", "DEF")
    library.define("scan(Tensor x) -> Tensor")
    library.impl("scan", lambda x: x.clone(), "CompositeExplicitAutograd")
    operator = torch.ops.visionscope_tests.scan
    with pytest.raises(TraceError, match="scan is not known to keep positions"):
        trace(Transformer(operator), drawn())
    vs.keeps_axes(operator)
    assert len(trace(Transformer(operator), drawn()).points) == 7
    assert len(trace(Transformer(operator.default), drawn()).points) == 7


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "function: must be a function, an operator of torch or a class of modules, got int"),
        (nn.Identity(), "got Identity; pass its class"),
        (OwnFunction, "got OwnFunction; pass OwnFunction.apply"),
    ],
)
def test_what_can_not_be_declared_is_refused(wrong: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vs.keeps_axes(wrong)  # type: ignore[type-var]
