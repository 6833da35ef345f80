"""One small network as its users quantise, export and script it; each function is a factory for a model spec, too."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

CONFIG = {"input_size": (3, 16, 16), "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
_TWO = torch.zeros(2, 3, 16, 16)


class Residual(nn.Module):
    """A convolution and two linear layers over channels, each added to the stream; dropout in front of the head."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.mix(self.norm(x))
        x = x.flatten(2).transpose(1, 2)
        x = x + self.narrow(self.widen(x).relu())
        return self.head(self.dropout(x.mean(1)))


class Stubbed(nn.Module):
    """What static quantisation wants: a stub at either end."""

    def __init__(self) -> None:
        super().__init__()
        self.quantised, self.plain = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(self.body(self.quantised(x)))


class EightBits(nn.Module):
    """A linear layer that keeps its weights in 8 bits and converts them where it uses them."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        largest = layer.weight.detach().abs().max()
        self.register_buffer("numbers", (layer.weight.detach() / largest * 127).round().to(torch.int8))
        self.scale, self.bias = nn.Parameter(largest / 127), layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.numbers.float() * self.scale, self.bias)


def factory(made: Callable[..., Any]) -> Callable[..., Any]:
    """Silences what torch says of its older ways, and tells the input."""

    @functools.wraps(made)
    def called(*args: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return made(*args)

    called.pretrained_cfg = CONFIG
    return called


@factory
def plain(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Residual().eval()


@factory
def half_frozen() -> nn.Module:
    model = plain()
    model.mix.requires_grad_(False)
    return model


@factory
def wholly_frozen() -> nn.Module:
    return plain().requires_grad_(False)


@factory
def dynamic() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear}, dtype=torch.qint8)


@factory
def static() -> nn.Module:
    return torch.ao.quantization.convert(observed())


@factory
def observed() -> nn.Module:
    """Prepared and calibrated, but not converted."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Stubbed().eval()
        model.qconfig = torch.ao.quantization.default_qconfig
        torch.ao.quantization.prepare(model, inplace=True)
        model(torch.randn(4, 3, 16, 16))
    return model


@factory
def eight_bits() -> nn.Module:
    model = plain()
    model.widen = EightBits(model.widen)
    return model


def _exported(model: nn.Module, **shapes: Any) -> nn.Module:
    return torch.export.export(model, (_TWO,), **shapes).module()


@factory
def exported() -> nn.Module:
    return _exported(plain(), dynamic_shapes=({0: torch.export.Dim.AUTO},))


@factory
def exported_inside() -> nn.Module:
    return nn.Sequential(nn.Identity(), exported())


@factory
def exported_for_two() -> nn.Module:
    return _exported(plain())


@factory
def exported_in_training() -> nn.Module:
    return _exported(plain().train(), dynamic_shapes=({0: torch.export.Dim.AUTO},))


@factory
def program() -> Any:
    return torch.export.export(plain(), (_TWO,))


@factory
def scripted() -> nn.Module:
    return torch.jit.script(plain())


@factory
def frozen() -> nn.Module:
    return torch.jit.freeze(torch.jit.script(plain()))


@factory
def traced() -> nn.Module:
    return torch.jit.trace(plain(), _TWO)


@factory
def traced_in_training() -> nn.Module:
    return torch.jit.trace(plain().train(), _TWO, check_trace=False)


@factory
def graph() -> nn.Module:
    return torch.fx.symbolic_trace(plain())


@factory
def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Residual()
