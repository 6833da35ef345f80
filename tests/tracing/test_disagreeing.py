"""Operands in different orders, sides in pieces, batches of other images: left out, never mixed up."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import visionscope as vs
from reference.small_networks import CLASSES, Residual, Transformer, drawn
from visionscope.errors import TraceError
from visionscope.tracing import trace

PERM = torch.randperm(64, generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(64) % 2 == 0)[None, :, None]


def assigned(x: Tensor, index: object, value: Tensor) -> Tensor:
    target = x.clone()
    target[index] = value  # type: ignore[index]
    return target


def windows(x: Tensor) -> Tensor:
    return x.reshape(len(x), 2, 4, 2, 4, -1).transpose(2, 3).flatten(1, 4)


def stripes(x: Tensor) -> Tensor:
    return x.reshape(len(x), 4, 2, 4, 2, -1).permute(0, 2, 4, 1, 3, 5).flatten(1, 4)


MIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "where": lambda x: torch.where(MASK, x[:, PERM], x),
    "interpolated": lambda x: torch.lerp(x, x[:, PERM], 0.5),
    "the larger": lambda x: torch.maximum(x, x[:, PERM]),
    "of zeros": lambda x: x.mul(0) + x[:, PERM].mul(1.5),
    "two windowings": lambda x: 0.5 * windows(x) + stripes(x),
    "assigned to a part": lambda x: assigned(x, (slice(None), slice(1, None)), x[:, 1:].flip(1)),
    "assigned by a list": lambda x: assigned(x, (slice(None), PERM.tolist()), x),
    "assigned by an array": lambda x: assigned(x, (slice(None), PERM.numpy()), x),
    "joined along channels": lambda x: torch.cat([x[..., :4], x[:, PERM, 4:]], -1),
    "joined along the batch": lambda x: torch.cat([x, x[:, PERM]], 0).chunk(2, 0)[1],
    "of sorted": lambda x: torch.where(MASK, x.sort(1)[0], x),
    "one-hot order": lambda x: F.one_hot(x.norm(dim=-1).argsort(1), 64).to(x) @ x,
    "shuffled groups": lambda x: F.channel_shuffle(x, 4),
    "pieces of a side": lambda x: (
        F.avg_pool2d(x.mT.reshape(-1, 2, 4), (1, 2)).reshape(len(x), 8, 8, 4).flatten(2).mT.repeat_interleave(2, 1)
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_lies_in_two_orders_is_left_out(name: str) -> None:
    found = trace(Transformer(MIXED[name]), drawn(), points_needed=False)
    assert found.points == ()
    assert {"blocks.0+msa", "blocks.0+mlp", "last+mlp"} <= {lost.name for lost in found.unwatched}


PIXELS: dict[str, Callable[[Tensor], Tensor]] = {
    "patches' pixels": lambda x: (
        F.unfold(x.mT.reshape(len(x), -1, 8, 8), 2, stride=2)
        .view(len(x), 8, 4, -1)
        .permute(0, 3, 2, 1)
        .reshape(len(x), -1, 8)
    ),
    "pixels unshuffled": lambda x: (
        F.pixel_unshuffle(x.mT.reshape(len(x), -1, 8, 8), 2)
        .view(len(x), 8, 4, -1)
        .permute(0, 3, 2, 1)
        .reshape(len(x), -1, 8)
    ),
}


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_that_were_channels_for_a_while_are_pixels(name: str) -> None:
    found, alone = trace(Transformer(PIXELS[name]), drawn()), trace(Transformer(), drawn())
    assert [(point.name, point.grid, point.channels) for point in found.points if point.kind != "stem"] == [
        (point.name, point.grid, point.channels) for point in alone.points if point.kind != "stem"
    ]
    tables = [vs.fourier(Transformer(change), drawn()).to_pandas() for change in (PIXELS[name], lambda x: x)]
    last = [table[table.point == "last+mlp"].delta_log_amplitude.tolist() for table in tables]
    assert last[0] == pytest.approx(last[1], abs=1e-3)


def test_what_was_copied_lies_where_the_source_lay() -> None:
    def copied(x: Tensor) -> Tensor:
        return torch.empty_like(x).copy_(x[:, PERM])

    images = drawn()
    one, other = (vs.variance(Transformer(change), images).to_pandas() for change in (copied, lambda x: x))
    assert one.variance.tolist() == pytest.approx(other.variance.tolist(), rel=1e-4)
    tables = [vs.fourier(Transformer(change), images).to_pandas() for change in (copied, lambda x: x)]
    assert tables[0].delta_log_amplitude.tolist() == pytest.approx(tables[1].delta_log_amplitude.tolist(), abs=1e-3)


def test_a_sum_lies_where_its_stream_lies() -> None:
    """A branch in another order than the stream: each sum is put back by the order of the stream."""

    class Aside(Transformer):
        def forward(self, images: Tensor) -> Tensor:
            given = self.embed(images).flatten(2).mT
            x = given[:, PERM]
            x = x + self.last.mlp(given)
            return self.head(self.last(x).mean(1))

    found = trace(Aside(), drawn(), points_needed=False)
    assert "last+msa" not in [point.name for point in found.points]


@pytest.mark.parametrize(
    "gain", [lambda x: x * 0.5, lambda x: x.mul(torch.full((1, 4, 1, 1), 0.5))], ids=["number", "weights"]
)
def test_a_gain_between_two_blocks_is_not_credited_to_the_branch(gain: Callable[[Tensor], Tensor]) -> None:
    class Scaled(Residual):
        def forward(self, images: Tensor) -> Tensor:
            x = self.stem(images)
            for block in self.blocks:
                x = gain(x)
                x = x + block(x)
            return self.head(x.mean((2, 3)))

    found = trace(Scaled(), drawn())
    assert [point.follows for point in found.points if point.kind == "conv"] == ["", ""]


def test_a_gain_on_the_skip_alone_is_the_branch_s_own() -> None:
    found = trace(Residual(lambda x, y: x * 0.5 + y), drawn())
    assert [point.follows for point in found.points] == ["", "stem", "+conv"]


@pytest.mark.parametrize(
    "views", [lambda x: torch.cat([x, x.flip(-1)]), lambda x: x.repeat(2, 1, 1, 1)], ids=["cat", "repeat"]
)
def test_a_wrapper_that_adds_images_is_refused(views: Callable[[Tensor], Tensor]) -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Residual()

        def forward(self, images: Tensor) -> Tensor:
            return self.model(views(images)).reshape(2, len(images), -1).mean(0)

    with pytest.raises(TraceError, match="Views has no feature maps that keep a grid"):
        vs.variance(Views().eval(), drawn())


def test_a_network_that_runs_once_for_each_image_has_no_lesions() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Transformer()

        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([self.model(image[None]) for image in images])

    with pytest.raises(TraceError, match="Loop: a pass of 3 images makes other calls than one of 2"):
        vs.measure("lesion", Loop().eval(), drawn(8), torch.arange(8) % CLASSES)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x, w: F.conv1d(x, w[:, :, None]),
        lambda x, w: F.conv2d(x.unflatten(2, (4, 2)), w[:, :, None, None]).flatten(2),
        lambda x, w: torch.einsum("mn,bnc->bmc", w, x),
        lambda x, w: torch.einsum("bnc,nm->bmc", x, w),
        lambda x, w: w @ x,
        lambda x, w: F.linear(x.mT, w).mT,
    ],
    ids=["conv1d", "conv2d", "einsum, left", "einsum, right", "matmul", "linear"],
)
def test_a_linear_map_of_tokens_however_it_is_written_is_token_mlp(mixed: Callable[[Tensor, Tensor], Tensor]) -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, CLASSES)
            self.weights = nn.Parameter(torch.eye(64))

        def forward(self, images: Tensor) -> Tensor:
            x = self.embed(images).flatten(2).mT
            for _ in range(2):
                x = x + mixed(x, self.weights)
            return self.head(x.mean(1))

    assert [point.kind.value for point in trace(Mixer().eval(), drawn()).points] == ["stem", "token_mlp", "token_mlp"]
