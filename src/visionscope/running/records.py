"""job.json: what it must say and of which types, and the diagnostic and the points that it describes."""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionscope.core.failures import one_line
from visionscope.core.files import read_regular
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.subject import Kind, Point
from visionscope.errors import ConfigError, StoreError

FORMAT = 1
"""Of job.json and part files. Raise it with a change that older versions would misread; what they would only lack (a
new optional key) needs none. A job.json without a format is from before there was one, and is read like 1."""

_MOST_BYTES = 64 * 2**20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}")
_Rule = tuple[str, Callable[[Any], bool]]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_parts(value: Any) -> bool:
    named = isinstance(value, list) and all(isinstance(part, str) and _PART.fullmatch(part) for part in value)
    return named and len(set(value)) == len(value) > 0


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _list_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list)
        and all(isinstance(one, dict) and all(_is_text(one.get(name)) for name in names) for one in value)
    )


def _is_moment(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"training", "label", "name", "step", "epoch"}:
        return value is None
    texts = all(map(_is_text, map(value.get, ("training", "label", "name"))))
    numbers = {"step": value.get("step"), "epoch": value.get("epoch")}
    return texts and all(one is None or _is_whole(one) or isinstance(one, float) for one in numbers.values())


_OF_EXPERIMENTS = ("training", "snapshot", "question")
_TEXT: _Rule = ("be text", _is_text)
_WHOLE: _Rule = ("be a whole number", _is_whole)
_MAPPING: _Rule = ("hold names and values", _is_mapping)
_MAPPING_OR_NULL: _Rule = ("hold names and values, or be null", lambda value: value is None or _is_mapping(value))
_NUMBER: _Rule = ("be a number", lambda value: _is_whole(value) or isinstance(value, float))
_GRID: _Rule = (
    "be two whole numbers",
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value)),
)
_TEXTS: _Rule = ("be a list of names", lambda value: isinstance(value, list) and all(map(_is_text, value)))
_COUNT: _Rule = ("be a whole number from 0 on", lambda value: _is_whole(value) and value >= 0)

_RULES: Mapping[str, _Rule] = {
    "version": _WHOLE,
    "fields": _MAPPING,
    "model": _MAPPING,
    **{f"model.{name}": _TEXT for name in ("label", "spec", "weights", "digest")},
    "model.parameters": _COUNT,
    "precision": _TEXT,
    "points": ("be a list", lambda value: isinstance(value, list)),
    "data": _MAPPING,
    **{f"data.{name}": _TEXT for name in ("spec", "split", "image_digest")},
    **{f"data.{name}": _COUNT for name in ("images", "seed")},
    "data.input": _MAPPING,
    "data.input.size": _GRID,
    "parts": ("be a list of different names without slashes", _are_parts),
}
_OPTIONAL: Mapping[str, _Rule] = {
    "model.moment": ("hold training, label, name, step and epoch, or be null", _is_moment),
    "data.augmentation": ("be text or null", lambda value: value is None or _is_text(value)),
    "device": _TEXT,
    **dict.fromkeys(("objective", "readout"), _MAPPING_OR_NULL),
    "experiment": (
        "hold the texts training, snapshot and question",
        lambda value: (
            isinstance(value, dict) and all(map(_is_text, map(value.get, ("training", "snapshot", "question"))))
        ),
    ),
    **dict.fromkeys(("times", "versions"), _MAPPING),
    "unwatched": ("be a list of names and reasons", _list_of("name", "reason")),
    "not_applicable": ("be a list of diagnostics and reasons", _list_of("diagnostic", "reason")),
}
_POINT: Mapping[str, _Rule] = {
    **dict.fromkeys(("name", "layout"), _TEXT),
    "kind": (f"be one of {', '.join(Kind)}", lambda value: _is_text(value) and value in list(Kind)),
    **dict.fromkeys(("stage", "channels", "prefix_tokens"), _WHOLE),
    "depth": _NUMBER,
    "grid": _GRID,
    "operations": _TEXTS,
    "follows": _TEXT,
}
_POINT_MAY_LACK = ("operations", "follows")


@dataclasses.dataclass(frozen=True)
class Damage:
    """A job's folder whose job.json can't be used.

    Attributes:
        diagnostic: name of the folder that it lies in.
        job: its own name.
        label: of the model, as far as job.json tells it; else "".
        message: why, and what helps.
    """

    diagnostic: str
    job: str
    label: str
    message: str

    @property
    def path(self) -> Path:
        """Of the file, in the run folder."""
        return Path(self.diagnostic, self.job, "job.json")

    @property
    def name(self) -> str:
        """The folder as messages name it."""
        return f"{self.diagnostic}/{self.job[:12]}"


class RecordError(StoreError):
    """A job.json can't be used.

    Attributes:
        label: of the model, as far as it tells it.
        remedy: what helps.
    """

    label = ""

    def __init__(self, reason: str, remedy: str = "run the study again to write it anew") -> None:
        super().__init__(reason)
        self.remedy = remedy


class NewerError(RecordError):
    """A job.json was written by a version that this one does not know."""


def read_record(path: Path) -> dict[str, Any] | None:
    """What a job.json says, every entry checked that anything here reads; None where there is none of ours.

    Args:
        path: `RUN/<diagnostic>/<job digest>/job.json`; the folders' names must be those that it says.

    Raises:
        NewerError: when a newer version wrote it.
        RecordError: when it can't be read, lacks an entry or has one of another type, or is missing beside parts; says
            why, and no path.
    """
    named = bool(_DIGEST.fullmatch(path.parent.name))
    try:
        record = _content(path)
    except FileNotFoundError:
        if named and any(path.parent.glob("*.parquet")):
            raise RecordError("it is missing beside its parts") from None
        return None
    except RecordError:
        if not named:
            return None
        raise
    if not named and not _DIGEST.fullmatch(str(record.get("job"))):
        return None  # the folder is no job's, nor was it one under another name
    try:
        _check_names(record, path.parent.parent.name, path.parent.name)
        _check(record, _RULES)
        _check(record, _OPTIONAL, may_lack=tuple(_OPTIONAL))
        for number, point in enumerate(record["points"]):
            _check_point(point, f"points[{number}]")
        names = [point["name"] for point in record["points"]]
        if len(set(names)) < len(names):
            raise RecordError(f"points: two are called {_shown(next(n for n in names if names.count(n) > 1))}")
    except RecordError as error:
        model = record.get("model")
        label = model.get("label") if isinstance(model, dict) else None
        error.label = str(label) if _is_text(label) else ""
        raise
    return record


def diagnostic_from(record: Mapping[str, Any]) -> Any:
    """The diagnostic that a job.json describes, of the version that wrote it.

    Raises:
        StoreError: when this version of visionscope computes it by another formula, or knows no such parameters.
    """
    diagnostic = diagnostic_class(record["diagnostic"])
    name = f"{record['diagnostic']}/{record['job'][:12]}"
    if diagnostic.version != record["version"]:
        raise StoreError(
            f"{name}: was made by version {record['version']} of the diagnostic, this is version {diagnostic.version}"
            f"{_written_by(record)}; run the study again into another folder"
        )
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in record["fields"].items()}
    try:
        return diagnostic(**fields)
    except (ConfigError, TypeError, ValueError) as error:
        raise StoreError(
            f"{name}: its parameters are not those of this version ({one_line(error)}){_written_by(record)}; "
            "run the study again to write it anew"
        ) from error


def points_from(record: Mapping[str, Any]) -> tuple[Point, ...]:
    """The points that a job.json lists."""
    points = []
    for values in record["points"]:
        known = {**values, "kind": Kind(values["kind"]), "grid": tuple(values["grid"])}
        points.append(Point(**{**known, "operations": tuple(values.get("operations", ()))}))
    return tuple(points)


def _content(path: Path) -> dict[str, Any]:
    try:
        text = read_regular(path, _MOST_BYTES).decode()
        content = json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_without_doubles)
        json.dumps(content, ensure_ascii=False).encode()  # half a character goes into no other file
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError from None
    except IsADirectoryError:
        raise RecordError("a folder stands in its place", "move it away") from None
    except OSError as error:
        raise RecordError(f"it can't be read ({error.strerror or error})") from error
    except RecursionError:
        raise RecordError("it can't be read (its values are nested too deeply)") from None
    except ValueError as error:
        raise RecordError(f"it can't be read (not valid JSON: {' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise RecordError("it can't be read (it must hold names and values)")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return named


def _check_names(record: Mapping[str, Any], diagnostic: str, job: str) -> None:
    """Its format, and that it lies where it says: no name in it is ever joined to a path unchecked."""
    written = record.get("format", 0)
    if not _is_whole(written) or written < 0:
        raise RecordError(f"format: must be a whole number from 0 on; got {_shown(written)}")
    if written > FORMAT:
        raise NewerError(
            f"it is of format {written}, and this version reads formats up to {FORMAT}{_written_by(record)}",
            "update visionscope, or name another folder with --out",
        )
    for name, folder in (("diagnostic", diagnostic), ("job", job)):
        if name not in record:
            raise RecordError(f"it lacks {name}")
        if record[name] != folder:
            reason = f"{name}: must be the name of its folder, {folder[:12]!r}; got {_shown(record[name])}"
            raise RecordError(reason, "run the study again to write it anew, or give the folder its name back")
    if not _DIGEST.fullmatch(job):
        reason = f"job: must be 64 hexadecimal digits; got {_shown(job)}"
        raise RecordError(reason, "give the folder its name back, or move it away")
    if diagnostic not in diagnostic_names():
        raise RecordError(
            f"there is no diagnostic {_shown(diagnostic)} here{_written_by(record)}",
            "update visionscope, install the package that brings it, or move the folder away",
        )


def _check(record: Mapping[str, Any], rules: Mapping[str, _Rule], may_lack: Sequence[str] = ()) -> None:
    for name, (rule, holds) in rules.items():
        value: Any = record
        for key in name.split("."):
            if key not in value:
                if name in may_lack:
                    break
                raise RecordError(f"it lacks {name}")
            value = value[key]
        else:
            if not holds(value):
                raise RecordError(f"{name}: must {rule}; got {_shown(value)}")


def _check_point(point: Any, place: str) -> None:
    if not isinstance(point, dict):
        raise RecordError(f"{place}: must hold names and values; got {_shown(point)}")
    for name in point:
        if name not in _POINT:
            raise RecordError(f"{place}: this version knows no {_shown(name)} of a point")
    for name, (rule, holds) in _POINT.items():
        if name not in point:
            if name not in _POINT_MAY_LACK:
                raise RecordError(f"it lacks {place}.{name}")
        elif not holds(point[name]):
            raise RecordError(f"{place}.{name}: must {rule}; got {_shown(point[name])}")


def _written_by(record: Mapping[str, Any]) -> str:
    """Which visionscope wrote it, as far as it tells."""
    versions = record.get("versions")
    version = versions.get("visionscope") if isinstance(versions, dict) else None
    return f" (visionscope {version:.20} wrote it)" if _is_text(version) else ""


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
