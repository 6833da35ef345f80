"""What there is: models, and the points of one."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from typing import TYPE_CHECKING

from visionscope.core.display import show_table
from visionscope.core.terminal import say
from visionscope.core.values import Rule, Value
from visionscope.errors import ConfigError, nearest
from visionscope.flags import Parser, add_study_flag
from visionscope.models.find import find_model
from visionscope.models.spec import SOURCES
from visionscope.running.study import check_normalisation, checked_size

if TYPE_CHECKING:
    from argparse import Namespace

    from visionscope.core.subject import Point

_POINT_COLUMNS = ("name", "kind", "stage", "depth", "grid", "channels", "layout", "prefix tokens")
_MIXERS = "mixer:"
_MIXER_COLUMNS = ("mixer", "does", "low-pass", "data-specific", "reach", "code")
_SOURCE = Value(str | None, Rule(choices=SOURCES))


def models_flags(parser: Parser) -> None:
    """Adds the flags of models."""
    parser.add_argument(
        "pattern",
        nargs="?",
        default="",
        metavar="PATTERN",
        help="part of a name, or a pattern, vit_*; mixer:* lists mixers",
    )
    parser.add_value("--source", _SOURCE, "source of the models; by default all")


def models(parsed: Namespace) -> int:
    """Lists the models that match, or the mixers."""
    if parsed.pattern.startswith(_MIXERS):
        return _mixers(parsed.pattern.removeprefix(_MIXERS))
    from visionscope.models.load import list_models

    names = list_models(parsed.pattern)
    if parsed.source is not None:
        # The names of timm stand alone; those of other sources begin with it.
        names = tuple(name for name in names if (name.split(":")[0] if ":" in name else "timm") == parsed.source)
    if not names:
        raise ConfigError(f"pattern: no listed model matches {parsed.pattern!r}; any Hugging Face model is hf:NAME")
    for name in names:
        say(name)
    return 0


def _mixers(pattern: str) -> int:
    from visionscope.models.mixers.mixer import mixer_kinds, mixer_of

    found = [mixer_of(name) for name in mixer_kinds() if fnmatch.fnmatchcase(name, pattern or "*")]
    if not found:
        raise ConfigError(f"pattern: no mixer matches {pattern!r}.{nearest(pattern, mixer_kinds())}")
    rows = [
        (
            one.name,
            one.does,
            one.low_pass,
            "yes" if one.data_specific else "no",
            "the map" if one.reach() is None else str(one.reach()),
            one.library or "ours",
        )
        for one in found
    ]
    show_table("", _MIXER_COLUMNS, rows)
    say("in a model spec: alternet_pico?mixer=NAME or NAME(key=value); reach is in positions")
    return 0


def points_flags(parser: Parser) -> None:
    """Adds the flags of points."""
    parser.add_model()
    add_study_flag(parser, "size", "height and width of the input in pixels; by default the model's own")
    add_study_flag(parser, "mean", "mean per channel, as in diagnose; the points do not depend on it")
    add_study_flag(parser, "std", "standard deviation per channel, as in diagnose; the points do not depend on it")
    add_study_flag(parser, "random_weights", "seed of random weights, as in diagnose; the points do not depend on it")
    parser.add_switch("--all", "list the branches and all sums, too")
    parser.add_switch("--json", "print JSON: an object with points and unwatched")


def points(parsed: Namespace) -> int:
    """Lists the points of a model."""
    size = checked_size(parsed.size)
    find_model(parsed.model).check_single()
    check_normalisation(parsed.mean, parsed.std)

    import torch

    from visionscope.models.detectors import looked_at
    from visionscope.models.load import load_model
    from visionscope.tracing import trace

    mean, std = (tuple(given) if given else None for given in (parsed.mean, parsed.std))
    loaded = load_model(
        parsed.model, random_weights=parsed.random_weights or 0, size=size, mean=mean, std=std, normalised=False
    )
    traced = trace(looked_at(loaded.model), torch.zeros(2, len(loaded.input.mean), *loaded.input.size))
    points = traced.all_points if parsed.all else traced.points
    if parsed.json:
        unwatched = [{"name": missing.name, "reason": missing.reason} for missing in traced.unwatched]
        content = {"points": [dataclasses.asdict(point) for point in points], "unwatched": unwatched}
        for line in json.dumps(content, indent=1).splitlines():
            say(line)
        return 0
    show_table(loaded.label, _POINT_COLUMNS, map(_point_row, points))
    if traced.unwatched:
        say(f"{len(traced.unwatched)} sums or outputs could not be watched and are left out:")
        for missing in traced.unwatched:
            say(f"  {missing.name}: {missing.reason}")
    else:
        say("Everything that was seen can be watched.")
    return 0


def _point_row(point: Point) -> tuple[str, ...]:
    return (
        point.name,
        point.kind.value,
        str(point.stage),
        f"{point.depth:.3f}",
        "x".join(map(str, point.grid)),
        str(point.channels),
        point.layout,
        str(point.prefix_tokens),
    )
