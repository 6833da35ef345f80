"""What changed between two pages: measures whose intervals lie apart, findings that came or went."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionscope.core.files import read_regular
from visionscope.core.finding import number
from visionscope.core.measure import INTERVAL
from visionscope.errors import ConfigError
from visionscope.report.told import FORMAT

_MOST_BYTES = 2**28
_SAME = 1e-9
_KEYS = {"models", "measures", "findings"}

Told = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moved:
    """A measure of one model in two runs.

    Attributes:
        model: its label.
        name: of the measure, with its unit.
        before: value and interval in the first run; "" where it was not measured.
        after: the same of the second.
        change: second less first; None where either is unknown.
        clear: whether the two intervals don't touch.
    """

    model: str
    name: str
    before: str
    after: str
    change: float | None
    clear: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Differences:
    """What two runs differ in.

    Attributes:
        moved: the measures that are not equal, those whose intervals lie apart first.
        equal: how many are equal.
        gone: headlines of the first run alone.
        new: headlines of the second run alone.
    """

    moved: tuple[Moved, ...]
    equal: int
    gone: tuple[str, ...]
    new: tuple[str, ...]


def read_told(parameter: str, run: Path) -> Told:
    """The report.json of a run folder.

    Args:
        parameter: for errors.
        run: the run folder.

    Raises:
        ConfigError: for a folder without one, and one that another version wrote.
    """
    path = run / "report.json"
    again = f"`visionscope report {run}` writes it"
    if not path.is_file():
        raise ConfigError(f"{parameter}: must be a run folder with a report.json; {run} has none; {again}")
    try:
        found = json.loads(read_regular(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{parameter}: {path} is not valid JSON; {again}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or not found.keys() >= _KEYS:
        written = found.get("format", 1) if isinstance(found, dict) else 1
        raise ConfigError(f"{parameter}: {path} has format {written}, format {FORMAT} is needed; {again}")
    return found


def differences(before: Told, after: Told) -> Differences:
    """What changed from one run to another, model by model.

    Models go by their labels; two runs of a single model each are compared whatever their labels.

    Args:
        before: the report.json of the first.
        after: that of the second.

    Raises:
        ConfigError: when they have no model in common.
    """
    first, second = ([model["label"] for model in told["models"]] for told in (before, after))
    common = [label for label in first if label in second]
    names = {label: label for label in common}
    if not common and len(first) == len(second) == 1:
        names = {first[0]: second[0]}
    if not names:
        have = f"the first has {', '.join(first)}, the second {', '.join(second)}"
        raise ConfigError(f"runs: must have a model in common; {have}")
    known = [_measures(told) for told in (before, after)]
    moved, equal = [], 0
    for model, other in names.items():
        own = [*(key for key in known[0] if key[0] == model), *(key for key in known[1] if key[0] == other)]
        keys = dict.fromkeys(key[1:] for key in own)
        for key in keys:
            one = _moved(model, key, known[0].get((model, *key)), known[1].get((other, *key)))
            equal += one is None
            moved += [] if one is None else [one]
    gone, new = ([one["headline"] for one in told["findings"]] for told in (before, after))
    return Differences(
        moved=tuple(sorted(moved, key=lambda one: not one.clear)),
        equal=equal,
        gone=tuple(text for text in gone if text not in new),
        new=tuple(text for text in new if text not in gone),
    )


def lines_of(found: Differences) -> Iterator[str]:
    """What a terminal shows of it.

    Args:
        found: of two runs.
    """
    titles = {True: "significantly different (intervals apart)", False: "within the intervals, or without one"}
    for clear, title in titles.items():
        own = [one for one in found.moved if one.clear == clear]
        if own:
            yield f"{title}:"
        for one in own:
            change = "" if one.change is None else f"  ({'+' if one.change > 0 else ''}{number(one.change)})"
            yield f"  {one.model}  {one.name}: {one.before or 'not measured'} -> {one.after or 'not measured'}{change}"
    yield f"{found.equal} measure{'s' if found.equal != 1 else ''} equal"
    for title, texts in (("no longer found", found.gone), ("newly found", found.new)):
        if texts:
            yield f"{title}:"
        yield from (f"  {text}" for text in texts)


def _measures(told: Told) -> dict[tuple[str, ...], Told]:
    return {(one["model"], one["diagnostic"], one["name"], one["unit"]): one for one in told["measures"]}


def _moved(model: str, key: Sequence[str], first: Told | None, second: Told | None) -> Moved | None:
    """None where both are equal."""
    values = [None if one is None else one["value"] for one in (first, second)]
    change = None if values[0] is None or values[1] is None else values[1] - values[0]
    if values[0] == values[1] or (change is not None and abs(change) <= _SAME * abs(values[0] or 0.0)):
        return None
    _, name, unit = key
    return Moved(
        model=model,
        name=f"{name} ({unit})" if unit else name,
        before=_text(first),
        after=_text(second),
        change=change,
        clear=change is not None and _apart(first, second),
    )


def _text(one: Told | None) -> str:
    if one is None:
        return ""
    ends = "" if one["low"] is None or one["high"] is None else f" [{number(one['low'])}, {number(one['high'])}]"
    return f"{number(one['value'])}{ends}"


def _apart(first: Told | None, second: Told | None) -> bool:
    """Whether two 95 % intervals don't touch, of measures that their diagnostic lets be compared so."""
    pair = [one for one in (first, second) if one is not None]
    ends = [one[name] for one in pair for name in ("low", "high")]
    if len(pair) < 2 or None in ends or not all(one["by_interval"] and one["interval"] == INTERVAL for one in pair):
        return False
    return bool(ends[1] < ends[2] or ends[3] < ends[0])
