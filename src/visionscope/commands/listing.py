"""What there is: models, and the points of one."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from rich.table import Table

from visionscope.commands.output import wide_console
from visionscope.config import Parser
from visionscope.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from visionscope.core.types import Point

_LISTED = ("timm", "torchvision", "hf")


def models_flags(parser: Parser) -> None:
    """Adds the flags of models."""
    parser.add_argument("pattern", nargs="?", default="", type=str, metavar="PATTERN", help="part of a name, or a glob")
    parser.add_argument("--source", default=None, type=str, help="timm, torchvision or hf; all without it")


def models(parsed: Namespace) -> int:
    """Lists the models that match."""
    from visionscope.models.load import list_models

    if parsed.source not in (None, *_LISTED):
        raise ConfigError(f"source: must be one of {', '.join(_LISTED)}; got {parsed.source!r}")
    names = list_models(parsed.pattern)
    if parsed.source is not None:
        # The names of timm stand alone; those of other sources begin with it.
        names = tuple(name for name in names if (name.split(":")[0] if ":" in name else "timm") == parsed.source)
    if not names:
        raise ConfigError(f"pattern: no listed model matches {parsed.pattern!r}; any Hugging Face model is hf:NAME")
    sys.stdout.write("".join(f"{name}\n" for name in names))
    return 0


def points_flags(parser: Parser) -> None:
    """Adds the flags of points."""
    parser.add_argument("model", type=str, metavar="MODEL", help="[LABEL=]SPEC[?key=value][@FILE]")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="input in pixels instead of its own")
    parser.add_argument("--mean", type=float, nargs="+", help="as in diagnose; points are the same with any")
    parser.add_argument("--std", type=float, nargs="+", help="likewise")
    parser.add_argument("--random-weights", type=int, default=0, help="as in diagnose; points are the same with any")
    parser.add_argument("--all", action="store_true", help="branches and every sum, too")
    parser.add_argument("--json", action="store_true", help="an object with points and unwatched")


def points(parsed: Namespace) -> int:
    """Lists the points of a model."""
    import torch

    from visionscope.models.load import load_model
    from visionscope.tracing import trace

    size, mean, std = (tuple(given) if given else None for given in (parsed.size, parsed.mean, parsed.std))
    loaded = load_model(
        parsed.model, random_weights=parsed.random_weights, size=size, mean=mean, std=std, normalised=False
    )
    traced = trace(loaded.model, torch.zeros(2, len(loaded.input.mean), *loaded.input.size))
    points = traced.all_points if parsed.all else traced.points
    if parsed.json:
        unwatched = [{"name": missing.name, "reason": missing.reason} for missing in traced.unwatched]
        content = {"points": [dataclasses.asdict(point) for point in points], "unwatched": unwatched}
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
        return 0
    console = wide_console()
    console.print(_points_table(loaded.label, points))
    if traced.unwatched:
        console.print(f"{len(traced.unwatched)} sums or outputs could not be watched and are left out:")
        for missing in traced.unwatched:
            console.print(f"  {missing.name}: {missing.reason}", highlight=False, markup=False)
    else:
        console.print("Everything that was seen can be watched.")
    return 0


def _points_table(label: str, points: tuple[Point, ...]) -> Table:
    table = Table("name", "kind", "stage", "depth", "grid", "channels", "layout", "prefix tokens", title=label)
    for point in points:
        table.add_row(
            point.name,
            point.kind.value,
            str(point.stage),
            f"{point.depth:.3f}",
            "x".join(map(str, point.grid)),
            str(point.channels),
            point.layout,
            str(point.prefix_tokens),
        )
    return table
