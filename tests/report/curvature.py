"""Invented rows of the curvature's diagnostics, as the store hands them to the report."""

import dataclasses
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from report import samples
from report.telling import answers_of
from visionscope.core.diagnostic import Answer
from visionscope.core.figure import Figure
from visionscope.core.finding import Finding
from visionscope.diagnostics.density.question import DensityRow
from visionscope.diagnostics.hessian.question import HessianRow
from visionscope.diagnostics.landscape.question import LandscapeRow

_MEASURED = {"measured": "all", "frozen": 0, "unused": 0}
_SETTINGS = {"augmentation": "strong", "batch_norm": "eval", "weight_decay": 5e-4, "label_smoothing": 0.1}

Change = Callable[[dict[str, Any]], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curved:
    """One invented model: how large its eigenvalues are, how many are negative, how steep its landscape is."""

    label: str
    size: float = 30.0
    negative: float = 0.3
    steep: float = 2.0
    spread: float = 0.05
    mini_batches: int = 16
    unconverged: int = 0
    levels: tuple[tuple[str, str], ...] = (("model", "model"),)
    hole: float = math.inf
    weights: str = "pretrained"
    draws: int = 5
    augmentation: str = "strong"


def tables(models: Sequence[Curved], *, points: int = 21) -> dict[str, pa.Table]:
    """Rows of the three diagnostics."""
    return {
        "hessian": samples.as_table(HessianRow, [row for model in models for row in hessian_rows(model)]),
        "density": samples.as_table(DensityRow, [row for model in models for row in density_rows(model)]),
        "landscape": samples.as_table(LandscapeRow, [row for model in models for row in landscape_rows(model, points)]),
    }


def figures(models: Sequence[Curved], *, points: int = 5) -> list[Figure]:
    """What the diagnostics draw of them."""
    return [figure for answer in answers_of(tables(models, points=points)) for figure in answer.figures]


def jobs(models: Sequence[Curved]) -> list[dict[str, object]]:
    """The job.json dicts."""
    invented = [samples.vit(model.label, weights=model.weights, blocks=1) for model in models]
    found = samples.jobs(invented)
    names = {"fourier": "hessian", "variance": "density", "similarity": "landscape"}
    return [
        {**job, "diagnostic": names[job["diagnostic"]], "data": {**job["data"], "split": "train"}, "points": []}
        for job in found
    ]


def _leading(model: Curved) -> dict[str, object]:
    return samples.leading(samples.vit(model.label, weights=model.weights, blocks=1))


def hessian_rows(model: Curved) -> list[dict[str, object]]:
    """Five eigenvalues of each mini-batch and scope, log-normal, some of them negative."""
    rows = []
    left_out = model.unconverged
    for mini_batch in range(model.mini_batches):
        for level, scope in model.levels:
            draw = random.Random(f"{model.label}/{mini_batch}/{scope}")
            for rank in range(1, 6):
                size = model.size * math.exp(draw.gauss(0, 0.4)) * 1.3 ** (3 - rank)
                value = -0.6 * size if draw.random() < model.negative else size
                converged = rank < 5 or left_out <= 0
                left_out -= not converged
                own = {
                    "scope": scope,
                    "level": level,
                    "parameters": 272_474,
                    **_MEASURED,
                    "mini_batch": mini_batch,
                    "images": 16,
                }
                found = {"rank": rank, "eigenvalue": value if converged else None, "converged": converged}
                cost = {"residual": 3e-5 if converged else 0.02, "products": 31, "nll": 1.7}
                note = "" if converged else "not converged after 100 products"
                settings = {**_SETTINGS, "augmentation": model.augmentation}
                rows.append({**_leading(model), **own, **found, **cost, **settings, "note": note})
    return rows


def density_rows(model: Curved) -> list[dict[str, object]]:
    """Four probes of a bulk at zero with a few outliers, and the terms of the trace."""
    draw = random.Random(model.label)
    rows: list[dict[str, object]] = []
    values = [-0.4 * model.size, -0.05 * model.size, 0.0, 0.1 * model.size, 0.5 * model.size, model.size]
    weights = [1e-4, 0.02, 0.9, 0.07, 1e-3, 1e-4]
    settings = {
        "images": 256,
        "parameters": 272_474,
        **_MEASURED,
        **{key: _SETTINGS[key] for key in ("batch_norm", "weight_decay")},
    }
    settings["augmentation"] = model.augmentation
    terms = [("sketch", -1, 40.0 * model.size, 1.0)]
    terms += [("residual", probe, model.size * (20 + draw.gauss(0, 2)), 1.0) for probe in range(8)]
    for probe in range(4):
        noisy = [weight * math.exp(draw.gauss(0, 0.1)) for weight in weights]
        terms += [("ritz", probe, v, w / sum(noisy)) for v, w in zip(values, noisy, strict=True)]
    for quantity, probe, value, weight in terms:
        own = {"quantity": quantity, "probe": probe, "value": value, "weight": weight}
        rows.append({**_leading(model), **own, **settings})
    return rows


def landscape_rows(model: Curved, points: int) -> list[dict[str, object]]:
    """A bowl that ends in infinity in one corner, and further draws along lines."""
    draw = random.Random(model.label)
    steps = [(index - points // 2) / (points // 2) for index in range(points)]
    rows = []

    def row(part: str, number: int, x: float, y: float, nll: float) -> None:
        place = {"part": part, "plane": "random", "normalization": "filter", "draw": number, "x": x, "y": y}
        l2 = 0.4 * (1 + x * x + y * y)
        found = {"place": "", "nll": nll, "l2": l2, "l2_official": 38 * (1 + (x * x + y * y) / 4)}
        rest = {
            "accuracy": max(0.1, 0.9 - x * x - y * y),
            "images": 1024,
            "bf16_error": None,
            "measured": "all",
            "frozen": 0,
        }
        settings = {**_SETTINGS, "batch_norm": "kept", "augmentation": model.augmentation}
        rows.append({**_leading(model), **place, **found, **rest, **settings})

    for index, y in enumerate(steps):
        for x in steps:
            nll = 1.5 + model.steep * (x * x + 0.7 * y * y + 0.3 * x * y + 2 * max(0.0, x - 0.4) ** 2)
            row(f"row-{index:02d}", 0, x, y, model.hole if x + y < -1.7 else nll)
    for number in range(1, model.draws + 1):
        steep = model.steep * math.exp(draw.gauss(0, model.spread))
        for x in steps:
            row(f"line-{number:02d}", number, x, 0.0, 1.5 + steep * x * x)
    return rows


def vit_and_resnet() -> list[Curved]:
    """Two models as the paper has them: small and often negative, large and hardly so."""
    return [
        Curved(label="vit_nano", size=30, negative=0.35, steep=1.5),
        Curved(label="resnet_nano", size=300, negative=0.08, steep=9.0, unconverged=3),
    ]


def answers_for(*models: Curved, points: int = 11, **changes: Change) -> dict[str, Answer]:
    """By diagnostic; `changes` say what becomes of its rows."""
    made = tables(models, points=points)
    for name, change in changes.items():
        rows = [{**row, **change(row)} for row in made[name].to_pylist()]
        made[name] = pa.Table.from_pylist(rows, made[name].schema)
    return {answer.diagnostic: answer for answer in answers_of(made)}


def of_models(answer: Answer) -> list[Finding]:
    return [one for one in answer.findings if one.model]


def between(answer: Answer) -> list[Finding]:
    return [one for one in answer.findings if not one.model]


def numbers(text: str) -> list[float]:
    return [float(part.replace("\u2212", "-")) for part in re.findall(r"\u2212?\d+(?:\.\d+)?", text)]


def told(one: Finding) -> dict[str, Any]:
    """The only row behind a sentence."""
    (row,) = one.rows
    return dict(zip(one.columns, row, strict=True))
