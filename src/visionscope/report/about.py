"""What a page says of its models and images: what was measured, on what, and what was left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Answer
from visionscope.core.failures import models_of
from visionscope.core.finding import grouped

Job = Mapping[str, Any]


def model_rows(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The models, one row each.

    Args:
        jobs: the runs' `job.json` dicts.
    """
    rows: dict[str, dict[str, Any]] = {}
    for job in jobs:
        model = job["model"]
        rows.setdefault(
            model["label"],
            {
                "label": model["label"],
                "spec": model["spec"],
                "weights": model["weights"],
                "random": str(model["weights"]).startswith("random"),
                "parameters": grouped(model["parameters"]),
                "points": len(job["points"]),
                "unwatched": job.get("unwatched", []),
            },
        )
    return list(rows.values())


def data_rows(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """What was measured on: one row per combination that occurs, with the models that it holds for.

    Args:
        jobs: the runs' `job.json` dicts.
    """
    rows: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for job in jobs:
        data = job["data"]
        name = f"{data['spec']}:{data['split']}" if data.get("split") else data["spec"]
        size = " × ".join(map(str, data.get("input", {}).get("size", ()))) or "–"
        augmentation = {None: "", "none": "none"}.get(data.get("augmentation"), f"{data.get('augmentation')}, frozen")
        key = (name, str(data["images"]), augmentation, str(data["seed"]), size, job["precision"])
        rows.setdefault(key, []).append((job["model"]["label"], job["diagnostic"]))
    names = ("data", "images", "augmentation", "seed", "size", "precision")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "models": list(dict.fromkeys(model for model, _ in own)),
            "diagnostics": list(dict.fromkeys(diagnostic for _, diagnostic in own)),
        }
        for key, own in rows.items()
    ]


def left_out(answers: Sequence[Answer], jobs: Sequence[Job]) -> list[dict[str, str]]:
    """The diagnostics that have nothing to ask of a model, with the reason.

    Args:
        answers: what each diagnostic found.
        jobs: the runs' `job.json` dicts.
    """
    measured = {(answer.diagnostic, label) for answer in answers for label in models_of(answer.tables["rows"])}
    rows: dict[tuple[str, str], str] = {}
    for job in jobs:
        label = job["model"]["label"]
        for one in job.get("not_applicable", ()):
            if (one["diagnostic"], label) not in measured:
                rows[one["diagnostic"], label] = str(one["reason"]).removeprefix(f"{label}: ")
    return [{"diagnostic": name, "model": label, "reason": reason} for (name, label), reason in rows.items()]
