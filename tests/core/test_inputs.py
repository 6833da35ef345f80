"""The type and the number of channels in which a network takes its images, found by trying."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import visionscope as vs
from visionscope.core.inputs import channels_taken, image_like, weight_type
from visionscope.errors import ConfigError

SIZE = (16, 16)
IMAGES = torch.randn(16, 3, *SIZE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 4


class Small(nn.Module):
    """A residual network of two blocks."""

    def __init__(self, channels: int = 3, first: Tensor | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        if first is not None:
            self.first = nn.Parameter(first, requires_grad=first.is_floating_point())
        self.stem = nn.Conv2d(channels, 8, 3, 2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
            for _ in range(2)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))


class Scaled(Small):
    """Uses its first parameter."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward((images * self.first).real) if self.first.is_complex() else super().forward(images)


class Clip(nn.Module):
    """As OpenAI's CLIP stands on a GPU: most weights in half, norms and embeddings in float32 and declared first."""

    class Norm(nn.LayerNorm):
        """Computes in float32."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float()).to(x.dtype)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.positions = nn.Parameter(torch.randn(16, 8))
        self.embed = nn.Conv2d(3, 8, 4, 4).half()
        self.norms = nn.ModuleList(self.Norm(8) for _ in range(2))
        self.mlps = nn.ModuleList(nn.Linear(8, 8).half() for _ in range(2))
        self.head = nn.Linear(8, 4).half()

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images).flatten(2).transpose(1, 2)
        x = x + self.positions.to(x.dtype)
        for norm, mlp in zip(self.norms, self.mlps, strict=True):
            x = x + F.gelu(mlp(norm(x)))
        return self.head(x.mean(1))


class Packed(Small):
    """Keeps its weights in half and computes in float32."""

    def forward(self, images: Tensor) -> Tensor:
        x = F.conv2d(images, self.stem.weight.float(), self.stem.bias.float(), 2, 1)
        return F.linear(x.mean((2, 3)), self.head.weight.float())


def _half_with_wide_norms() -> nn.Module:
    model = Small().bfloat16()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.float()
    return model


def _half_with_wide_stem() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), _To(torch.bfloat16), nn.Flatten(), nn.Linear(8 * 14 * 14, 4).bfloat16())
    return model


class _To(nn.Module):
    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.kind)


TYPED: dict[str, tuple[Callable[[], nn.Module], torch.dtype, torch.dtype]] = {
    "float32": (Small, torch.float32, torch.float32),
    "an integer first": (lambda: Small(first=torch.tensor(3)), torch.float32, torch.float32),
    "a float64 first": (lambda: Small(first=torch.ones((), dtype=torch.float64)), torch.float32, torch.float32),
    "a complex one first": (lambda: Scaled(first=torch.ones(3, 1, 1) * (1 + 1j)), torch.float32, torch.float32),
    "CLIP in half": (Clip, torch.float16, torch.float16),
    "bfloat16, norms in float32": (_half_with_wide_norms, torch.bfloat16, torch.bfloat16),
    "bfloat16, stem in float32": (_half_with_wide_stem, torch.float32, torch.bfloat16),
    "kept in half": (lambda: Packed().half(), torch.float32, torch.float16),
    "float64": (lambda: Small().double(), torch.float64, torch.float64),
    "no weights": (nn.Flatten, torch.float32, torch.float32),
    "integers alone": (lambda: nn.Sequential(nn.Flatten()).requires_grad_(False), torch.float32, torch.float32),
}


@pytest.mark.parametrize("name", list(TYPED))
def test_images_have_the_type_that_the_network_runs_with(name: str) -> None:
    build, images, weights = TYPED[name]
    model = build().train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    like = image_like(model, (3, *SIZE))
    assert (like.dtype, like.device, weight_type(model)) == (images, torch.device("cpu"), weights)
    assert model.eval()(torch.zeros(2, 3, *SIZE).to(like)).shape[0] == 2
    model.train()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_trying_leaves_modes_alone() -> None:
    model = Small().double().train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    image_like(model, (3, *SIZE))
    assert [module.training for module in model.modules()] == modes


def test_where_nothing_runs_the_pass_tells_why() -> None:
    assert image_like(Small().double(), (5, *SIZE)).dtype == torch.float64


MIXED = ["an integer first", "a float64 first", "a complex one first", "CLIP in half", "bfloat16, norms in float32"]


@pytest.mark.parametrize("name", MIXED)
def test_networks_of_mixed_types_are_measured(name: str) -> None:
    model = TYPED[name][0]().eval()
    names = [point.name for point in vs.points(model, size=SIZE)]
    assert len(names) == 3
    table = vs.fourier(model, IMAGES).table.to_pydict()
    assert set(table["point"]) == set(names)
    wanted = F.cross_entropy(model(IMAGES.to(image_like(model, IMAGES.shape[1:]))).float(), LABELS).item()
    lesion = vs.measure("lesion", model, IMAGES, LABELS).table.to_pydict()
    assert lesion["nll"][0] == pytest.approx(wanted, rel=1e-2 if "bf" in name else 1e-3)
    expected = {"CLIP in half": "float16", "bfloat16, norms in float32": "bfloat16"}.get(name, "fp32")
    assert set(lesion["precision"]) == {expected}


def test_a_float64_parameter_beside_float32_ones_has_a_hessian() -> None:
    plain = vs.hessian(Small().eval(), IMAGES, LABELS, mini_batches=1, k=1).table.to_pydict()
    mixed = TYPED["a float64 first"][0]().eval()
    assert vs.hessian(mixed, IMAGES, LABELS, mini_batches=1, k=1).table.to_pydict()["eigenvalue"] == pytest.approx(
        plain["eigenvalue"], rel=1e-3
    )


@pytest.mark.parametrize("question", ["hessian", "adversarial", "frequency_noise"])
def test_what_half_precision_would_spoil_is_refused(question: str) -> None:
    with pytest.raises(
        ConfigError,
        match=f"precision: {question} is measured in fp32.* only; got 'float16', the type of most weights; take fp64",
    ):
        vs.measure(question, Clip().eval(), IMAGES, LABELS)


CHANNELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "colour": (Small, 3),
    "grey": (lambda: Small(1), 1),
    "four": (lambda: Small(4), 4),
    "thirteen": (lambda: Small(13), 13),
    "thirteen in float64": (lambda: Small(13).double(), 13),
    "a reduction to grey inside": (lambda: nn.Sequential(_Grey(), Small(1)), 3),
    "no convolution, thirteen": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(13 * 16 * 16, 4)), 13),
    "no convolution": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)), 3),
}


class _Grey(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True)


@pytest.mark.parametrize("name", list(CHANNELS))
def test_the_number_of_channels_is_what_the_network_runs_with(name: str) -> None:
    build, channels = CHANNELS[name]
    assert channels_taken(build(), SIZE) == channels


def test_a_declared_number_is_tried_first() -> None:
    class Any_(nn.Module):  # noqa: N801
        def forward(self, images: Tensor) -> Any:
            return images.mean((1, 2, 3))

    assert channels_taken(Any_(), SIZE, 5) == 5
    assert channels_taken(Small(4), SIZE, 3) == 4
    assert channels_taken(nn.Conv2d(2, 2, 99), SIZE, 7) == 7  # runs with none: the pass will tell why


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_points_and_maps_of_other_images_than_colour(channels: int) -> None:
    model = Small(channels).eval()
    names = [point.name for point in vs.points(model, size=SIZE)]
    assert len(names) == 3
    images = torch.randn(4, channels, *SIZE)
    assert set(vs.variance(model, images).table.to_pydict()["point"]) == set(names)
