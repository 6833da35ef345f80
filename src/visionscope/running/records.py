"""What a job.json describes: the diagnostic with its fields, and the points."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.registry import diagnostic_class
from visionscope.core.types import Kind, Point
from visionscope.errors import StoreError

LISTED = ("job", "diagnostic", "parts", "model.label", "data.images")
"""What a job.json must say for its job to be listed."""

SHOWN = (
    *("version", "fields", "precision", "points"),
    *("model.spec", "model.weights", "model.digest", "model.parameters"),
    *("data.spec", "data.split", "data.seed", "data.image_digest", "data.input.size"),
)
"""What it must say besides to be shown on the page."""


def diagnostic_from(record: Mapping[str, Any]) -> Any:
    """The diagnostic that a job.json describes, of the version that wrote it.

    Raises:
        StoreError: when this version of visionscope computes it by another formula.
    """
    diagnostic = diagnostic_class(record["diagnostic"])
    if diagnostic.version != record["version"]:
        raise StoreError(
            f"{record['diagnostic']}/{record['job'][:12]}: was made by version {record['version']} of the diagnostic, "
            f"this is version {diagnostic.version}; run the study again into another folder"
        )
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in record["fields"].items()}
    return diagnostic(**fields)


def points_from(record: Mapping[str, Any]) -> tuple[Point, ...]:
    """The points that a job.json lists."""
    points = []
    for values in record["points"]:
        known = {**values, "kind": Kind(values["kind"]), "grid": tuple(values["grid"])}
        points.append(Point(**{**known, "operations": tuple(values["operations"])}))
    return tuple(points)


def lacking(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of some entries that a job.json lacks; "" where it has all.

    Args:
        record: its content.
        names: of the entries, with a dot between those that lie in one another.
    """
    for name in names:
        value: Any = record
        for key in name.split("."):
            if not isinstance(value, Mapping) or key not in value:
                return name
            value = value[key]
    return ""
