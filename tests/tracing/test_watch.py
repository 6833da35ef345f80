"""Tracing and watching networks that are small, odd or hostile."""

import math
import threading
import warnings
from collections.abc import Callable

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from reference.found_as_it_was import snapshot
from visionscope.core.subject import Kind, Point
from visionscope.errors import TraceError
from visionscope.tracing import Trace, trace, watch


class Residual(nn.Module):
    """x + conv(x), with the activation wherever the test wants it."""

    def __init__(self, channels: int = 4, after: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(x + self.conv(x))


class Network(nn.Module):
    """A stem and blocks; `between` is called with the stream and the number of passes so far."""

    def __init__(self, *blocks: nn.Module, between: Callable[[Tensor, int], Tensor] | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.blocks = nn.ModuleList(blocks)
        self.between = between
        self.passes = 0
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        if self.between:
            x = self.between(x, self.passes)
        self.passes += 1
        return self.head(x.mean((2, 3)))


def collected(
    model: nn.Module, found: Trace, images: Tensor, points: tuple[Point, ...] | None = None
) -> dict[str, Tensor]:
    maps: dict[str, Tensor] = {}
    with torch.no_grad(), watch(model, found, lambda point, seen: maps.update({point.name: seen.clone()}), points):
        model(images)
    return maps


def small_vit() -> nn.Module:
    torch.manual_seed(0)
    return VisionTransformer(img_size=(32, 48), patch_size=8, embed_dim=32, depth=2, num_heads=2, reg_tokens=2).eval()


def small_swin() -> nn.Module:
    torch.manual_seed(0)
    return SwinTransformer(
        img_size=(32, 48), patch_size=4, embed_dim=16, depths=(2, 1), num_heads=(2, 4), window_size=4
    ).eval()


@pytest.mark.parametrize("build", [small_vit, small_swin, lambda: Network(Residual(), Residual()).eval()])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_any_batch_size_gives_each_image_its_own_map(build: Callable[[], nn.Module], batch: int) -> None:
    model = build()
    found = trace(model, torch.zeros(1, 3, 32, 48))
    images = torch.randn(batch, 3, 32, 48)
    maps = collected(model, found, images)
    assert list(maps) == [point.name for point in found.points]
    backwards = collected(model, found, images.flip(0))
    for point in found.points:
        assert maps[point.name].shape == (batch, point.channels, *point.grid)
        torch.testing.assert_close(maps[point.name].flip(0), backwards[point.name], rtol=1e-4, atol=1e-5)
    if batch > 1:
        assert not torch.equal(maps["stem"][0], maps["stem"][1])


def test_grids_may_be_odd_and_not_square() -> None:
    model = Network(Residual(), Residual()).eval()
    found = trace(model, torch.zeros(1, 3, 5, 7))
    assert {point.grid for point in found.points} == {(5, 7)}
    images = torch.randn(2, 3, 5, 7)
    maps = collected(model, found, images)
    with torch.no_grad():
        assert torch.equal(maps["stem"], model.stem(images))
    vit = trace(small_vit(), torch.zeros(1, 3, 32, 48)).points[-1]
    assert (vit.grid, vit.prefix_tokens, vit.layout) == ((4, 6), 3, "b (h w) c")


def test_points_are_found_by_name() -> None:
    found = trace(small_vit(), torch.zeros(1, 3, 32, 48))
    names = ["blocks.1+mlp", "blocks.0.msa"]
    assert [point.name for point in found.find(names)] == names
    with pytest.raises(TraceError, match=r"no point 'blocks.1\+mpl'. Did you mean 'blocks.1\+mlp'\?"):
        found.find(["blocks.1+mpl"])
    assert {point.name for point in found.all_points} == {"stem"} | {
        f"blocks.{block}{sign}{kind}" for block in (0, 1) for sign in "+." for kind in ("msa", "mlp")
    }


def test_only_the_wanted_points_are_handed_over_in_model_order() -> None:
    model = small_vit()
    found = trace(model, torch.zeros(1, 3, 32, 48))
    wanted = found.find(["blocks.1.mlp", "blocks.0+msa", "blocks.1+mlp"])
    maps = collected(model, found, torch.randn(2, 3, 32, 48), wanted)
    assert list(maps) == ["blocks.0+msa", "blocks.1.mlp", "blocks.1+mlp"]


def test_wrapped_models_are_refused() -> None:
    images = torch.zeros(1, 3, 4, 4)
    model = Network(Residual()).eval()
    found = trace(model, images)
    with pytest.raises(TraceError, match=r"compiled hides its operations; pass the model from before torch\.compile"):
        trace(torch.compile(model), images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(Residual(3))
        parallel = nn.DataParallel(model)
    with pytest.raises(TraceError, match=r"scripted hides its operations; pass the nn\.Module"):
        trace(nn.Sequential(scripted), images)
    with pytest.raises(TraceError, match=r"wrapped in DataParallel hides its operations; pass its `\.module`"):
        trace(parallel, images)
    with pytest.raises(TraceError, match="wrapped in DataParallel"), watch(parallel, found, lambda point, maps: None):
        parallel(images)


def test_a_path_that_changes_between_passes_is_refused() -> None:
    model = Network(Residual(), between=lambda x, passes: x + torch.fft.fft2(x).real if passes % 2 else x).eval()
    with pytest.raises(TraceError, match="Network: two dry runs saw different residual sums"):
        trace(model, torch.zeros(1, 3, 4, 4))


def test_a_pass_that_leaves_its_trace_is_refused() -> None:
    model = Network(Residual(), Residual(), Residual()).eval()
    found = trace(model, torch.zeros(1, 3, 4, 4))
    last = model.blocks[2]
    model.blocks[2] = nn.Identity()
    with pytest.raises(TraceError, match="the pass reached 3 of the 4 points of its trace"):
        collected(model, found, torch.zeros(2, 3, 4, 4))
    last.forward = lambda x: x.clone().add_(last.conv(x))
    model.blocks[2] = last
    with pytest.raises(TraceError, match=r"blocks.2\+conv: the pass ran 'add_' where the trace saw 'add'"):
        collected(model, found, torch.zeros(2, 3, 4, 4))
    model.blocks[2] = Residual()
    with pytest.raises(TraceError, match=r"stem: its tensor is \(2, 4, 8, 8\) for 2 images where the trace saw"):
        collected(model, found, torch.zeros(2, 3, 8, 8))
    message = "images: call the model with them as its first positional argument"
    with pytest.raises(TraceError, match=message), watch(model, found, lambda point, maps: None):
        model(images=torch.zeros(2, 3, 4, 4))


def test_control_flow_that_depends_on_data_is_traced_on_the_models_device() -> None:
    model = Network(Residual(), Residual(), between=lambda x, passes: x * 2 if x.mean() > 100 else x).eval()
    found = trace(model, torch.zeros(1, 3, 4, 4))
    assert found.device == "cpu"
    assert [point.name for point in found.points] == ["stem", "blocks.0+conv", "blocks.1+conv"]


@pytest.mark.parametrize(("model", "size"), [(small_vit(), (33, 48)), (Network(Residual(3)).eval(), (4, 4))])
def test_images_that_do_not_fit_give_one_line(model: nn.Module, size: tuple[int, int]) -> None:
    with pytest.raises(TraceError, match=rf"does not run on images of 3x{size[0]}x{size[1]}: ") as caught:
        trace(model, torch.zeros(1, 3, *size))
    assert "\n" not in str(caught.value)


def test_a_network_without_maps_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with pytest.raises(
        TraceError, match="Sequential has no feature maps that keep a grid: no residual sum and no block gives one"
    ):
        trace(model, torch.zeros(1, 3, 4, 4))
    assert trace(model, torch.zeros(1, 3, 4, 4), points_needed=False).points == ()


def test_an_activation_in_place_does_not_reach_what_was_handed_over() -> None:
    model = Network(Residual(after=nn.ReLU(inplace=True)), Residual(after=nn.ReLU(inplace=True))).eval()
    found = trace(model, torch.zeros(1, 3, 4, 4))
    assert [point.name for point in found.points] == ["stem", "blocks.0", "blocks.1"]
    images = torch.randn(2, 3, 4, 4)
    maps = collected(model, found, images, found.all_points)
    with torch.no_grad():
        stem = model.stem(images)
        branch = model.blocks[0].conv(stem)
    assert torch.equal(maps["blocks.0.conv"], branch)
    assert torch.equal(maps["blocks.0+conv"], stem + branch)
    assert torch.equal(maps["blocks.0"], torch.relu(stem + branch))
    assert maps["blocks.0+conv"].min() < 0


def test_additions_in_place_hand_over_their_operands_first() -> None:
    class InPlace(Residual):
        def forward(self, x: Tensor) -> Tensor:
            branch = self.conv(x)
            branch += x
            return branch

    model = Network(InPlace(), InPlace()).eval()
    found = trace(model, torch.zeros(1, 3, 4, 4))
    images = torch.randn(2, 3, 4, 4)
    maps = collected(model, found, images, found.all_points)
    with torch.no_grad():
        stem = model.stem(images)
        branch = model.blocks[0].conv(stem)
    assert torch.equal(maps["stem"], stem)
    assert torch.equal(maps["blocks.0.conv"], branch)
    assert torch.equal(maps["blocks.0+conv"], branch + stem)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_model_that_caches_in_its_first_pass_is_left_without_the_cache(device: str) -> None:
    class Cached(Residual):
        cache: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.cache is None:
                self.cache = torch.linspace(0, 1, x.shape[-1], device=x.device)
            return x + self.conv(x) * self.cache

    unsure = None if device == "meta" else lambda x, passes: x * 2 if x.mean() > 100 else x
    model = Network(Cached(), Cached(), between=unsure).eval()
    before = snapshot(model)
    found = trace(model, torch.zeros(1, 3, 4, 4))
    assert found.device == device
    assert model.passes == 0
    assert snapshot(model) == before
    assert all("cache" not in vars(block) for block in model.blocks)
    assert list(collected(model, found, torch.randn(2, 3, 4, 4))) == ["stem", "blocks.0+conv", "blocks.1+conv"]


def test_a_shared_module_gives_a_point_for_each_call() -> None:
    shared = Residual()
    model = Network(shared, shared, Residual()).eval()
    found = trace(model, torch.zeros(1, 3, 4, 4))
    names = ["stem", "blocks.0+conv", "blocks.0+conv#2", "blocks.2+conv"]
    assert [point.name for point in found.points] == names
    images = torch.randn(2, 3, 4, 4)
    maps = collected(model, found, images)
    with torch.no_grad():
        once = shared(model.stem(images))
        assert torch.equal(maps["blocks.0+conv"], once)
        assert torch.equal(maps["blocks.0+conv#2"], shared(once))


def test_maps_given_by_keyword_are_followed() -> None:
    class Keyword(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x=x)

    model = Network(Keyword(Residual()), Keyword(Residual())).eval()
    found = trace(model, torch.zeros(1, 3, 4, 4))
    assert [point.name for point in found.points] == ["stem", "blocks.0.inner+conv", "blocks.1.inner+conv"]


class Tokens(nn.Module):
    """A grid turned into tokens for torch's own transformer layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=first) for first in (True, False)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).flatten(2).mT
        for layer in self.layers:
            x = layer(x)
        return x.mean(1)


def test_torchs_own_transformer_layers_are_watched_off_their_fused_path() -> None:
    torch.manual_seed(0)
    model = Tokens().eval()
    found = trace(model, torch.zeros(1, 3, 12, 20))
    assert [point.name for point in found.points if point.kind is not Kind.STEM] == [
        "layers.0+msa",
        "layers.0+mlp",
        "layers.1+msa",
        "layers.1+mlp",
    ]
    assert {point.grid for point in found.points} == {(3, 5)}
    images = torch.randn(3, 3, 12, 20)
    assert torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        fused = model(images)
        with watch(model, found, lambda point, maps: None):
            watched = model(images)
        torch.backends.mha.set_fastpath_enabled(False)
        plain = model(images)
        torch.backends.mha.set_fastpath_enabled(True)
    assert torch.equal(watched, plain)
    torch.testing.assert_close(watched, fused, rtol=1e-4, atol=1e-5)


def test_under_autocast_the_maps_come_in_its_type() -> None:
    model = small_vit()
    found = trace(model, torch.zeros(1, 3, 32, 48))
    images = torch.randn(2, 3, 32, 48)
    types: dict[str, torch.dtype] = {}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model(images)
        with watch(model, found, lambda point, maps: types.update({point.name: maps.dtype}), found.all_points):
            watched = model(images)
    assert torch.equal(watched, expected)
    assert types["blocks.0.mlp"] is torch.bfloat16
    assert set(types) == {point.name for point in found.all_points}


def test_maps_of_a_pass_with_gradients_can_be_used() -> None:
    model = Network(Residual(), Residual()).eval()
    found = trace(model, torch.zeros(1, 3, 4, 4))
    total: list[Tensor] = []
    with watch(model, found, lambda point, maps: total.append(maps.square().sum())):
        model(torch.randn(2, 3, 4, 4))
    torch.stack(total).sum().backward()
    assert math.isfinite(float(model.stem.weight.grad.abs().sum()))


def test_modules_in_other_threads_and_a_failing_call_leave_the_watch_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.first(x)
            return x + self.second(x)

    model, images = nn.Sequential(Residual(), Twice()), torch.randn(2, 4, 6, 6)
    found = trace(model, images)
    seen: list[str] = []
    running, release = threading.Event(), threading.Event()

    class Busy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            running.set()
            release.wait(10)
            return x + x

    worker = threading.Thread(target=Busy(), args=(images,))

    def beside(point: Point, _: Tensor) -> None:
        if point.name == "1+conv":  # between two sums of one call, another thread enters a module
            worker.start()
            running.wait(10)
        seen.append(point.name)

    with torch.no_grad(), watch(model, found, beside):
        model(images)
    release.set()
    worker.join()
    assert seen == [point.name for point in found.points]
    with pytest.raises(RuntimeError, match="channels"), torch.no_grad(), watch(model, found, beside):
        model(torch.randn(2, 5, 6, 6))
