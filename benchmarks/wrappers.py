"""The same network inside a wrapper has the same points: one model of every family of timm, wrapped in four ways.

A few minutes on one core; `python -m benchmarks wrappers` writes benchmarks/results/wrappers.json.
"""

import warnings
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from benchmarks.measure import Measurement, publish
from benchmarks.model_families import TIMM
from visionscope.tracing import trace


class Normalized(nn.Module):
    """A normalisation in front."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Runs the network."""
        return self.model((images - 0.1) / 0.9)


class Trained(nn.Module):
    """What trainers wrap networks in: the loss and a metric are modules beside the network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.criterion = nn.CrossEntropyLoss()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Runs the network."""
        logits = self.model(images)
        return {"logits": logits}


class WithHead(nn.Module):
    """Calls the network's encoder and its classifier by themselves."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Runs the network."""
        return self.model.forward_head(self.model.forward_features(images))  # type: ignore[operator]


WRAPPERS: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "normalised": (Normalized, "model"),
    "in nn.Sequential": (nn.Sequential, "0"),
    "in a trainer": (Trained, "model"),
    "encoder and head": (WithHead, "model"),
}


def described(model: nn.Module, size: tuple[int, ...], prefix: str = "") -> list[tuple[Any, ...]]:
    """All that a trace says of a model, without the wrapper's prefix."""

    def bare(name: str) -> str:
        return name.removeprefix(prefix).removeprefix(".") if prefix else name

    found = trace(model, torch.zeros(1, *size, device="meta"), points_needed=False)
    points = [
        (
            bare(one.name),
            one.kind.value,
            one.stage,
            one.depth,
            one.grid,
            one.channels,
            one.prefix_tokens,
            bare(one.follows),
        )
        for one in found.all_points
    ]
    return [*points, *((bare(lost.name), lost.reason) for lost in found.unwatched)]


def differing(family: str) -> dict[str, str]:
    """By wrapper, the first difference to the network alone; empty where the law holds."""
    with torch.device("meta"):
        model = timm.create_model(TIMM[family]).eval()
    size = resolve_model_data_config(model)["input_size"]
    alone = described(model, size)
    found = {}
    for name, (wrapper, prefix) in WRAPPERS.items():
        if wrapper is WithHead and not hasattr(model, "forward_head"):
            continue
        wrapped = described(wrapper(model).eval(), size, prefix)
        if wrapped != alone:
            first = next((pair for pair in zip(alone, wrapped, strict=False) if pair[0] != pair[1]), None)
            found[name] = f"{len(wrapped)} for {len(alone)} entries; first difference {first}"
    return found


def run() -> list[Measurement]:
    """Wraps every family; the count of those with a difference, and which."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    failed = {}
    for family in TIMM:
        failed[family] = differing(family)
        print(family, failed[family] or "equal", flush=True)
    return [
        Measurement(
            name=name,
            unit="families with other points than the network alone",
            value=sum(name in differences for differences in failed.values()),
            goal=0,
            note="; ".join(f"{family}: {own[name]}" for family, own in failed.items() if name in own)
            or f"{len(TIMM)} families, timm {timm.__version__}",
        )
        for name in WRAPPERS
    ]


def main() -> None:
    """Writes the result."""
    publish("wrappers", run())


if __name__ == "__main__":
    main()
