"""Invented runs of any size: tables, jobs and figures as the diagnostics and the store hand them to the report."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence

import pyarrow as pa

from visionscope.core.figure import Figure
from visionscope.core.table import to_table
from visionscope.diagnostics.fourier.question import Fourier
from visionscope.diagnostics.similarity.question import BetweenRow, Similarity
from visionscope.diagnostics.token_similarity.question import TokenSimilarity
from visionscope.diagnostics.tokens.question import TokenNorms
from visionscope.diagnostics.variance.question import Variance

LEADING = ("model", "data", "weights", "precision", "job")


@dataclasses.dataclass(frozen=True)
class Spot:
    """One invented point: where it lies and what its block does."""

    name: str
    kind: str
    stage: int
    depth: float
    grid: int
    fourier: float | None
    variance: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Invented:
    """One invented model: `changes` says what each kind does; ln A(0) rises by `growth`."""

    label: str
    kinds: tuple[str, ...]
    stages: tuple[int, ...]
    changes: dict[str, float]
    weights: str = "pretrained"
    error: float | None = 0.02
    images: int = 256
    growth: float = 0.0
    wobble: float = 0.03

    def spots(self) -> list[Spot]:
        spots, count = [], len(self.kinds)
        for index, (kind, stage) in enumerate(zip(self.kinds, self.stages, strict=True)):
            new_grid = index == 0 or stage > max(1, self.stages[index - 1])
            change = None if new_grid else self.changes.get(kind, 0.0)
            name = "stem" if kind == "stem" else f"layers.{stage}.{index}+{kind}"
            grid = 56 >> max(stage - 1, 0) if max(self.stages) > 1 else 14
            spots.append(Spot(name, kind, stage, index / max(count - 1, 1), grid, change, change))
        return spots


def vit(label: str = "vit_nano", blocks: int = 12, **changed: object) -> Invented:
    kinds = ("stem", *("msa", "mlp") * blocks)
    settings = {"kinds": kinds, "stages": (0, *(1,) * (2 * blocks)), "changes": {"msa": -0.1, "mlp": 0.08}}
    return Invented(label=label, **{**settings, **changed})


def resnet(label: str = "resnet_nano", blocks: Sequence[int] = (3, 4, 6, 3), **changed: object) -> Invented:
    kinds, stages = ["stem"], [0]
    for stage, count in enumerate(blocks, start=1):
        kinds += [("conv" if stage == 1 else "down"), *("conv",) * (count - 1)]
        stages += [stage] * count
    settings = {"kinds": tuple(kinds), "stages": tuple(stages), "changes": {"conv": 0.12, "down": 0.3}}
    return Invented(label=label, **{**settings, **changed})


def tables(models: Sequence[Invented]) -> dict[str, pa.Table]:
    """Result rows of the three diagnostics, with the leading columns that the store adds."""
    makers = ((Fourier, fourier_rows), (Variance, variance_rows), (Similarity, similarity_rows))
    return {one.name: as_table(one.row, [row for model in models for row in make(model)]) for one, make in makers}


def as_table(row_type: type, rows: Sequence[dict[str, object]]) -> pa.Table:
    """Rows with leading columns as the store would hand them over."""
    names = [field.name for field in dataclasses.fields(row_type)]
    table = to_table(row_type, [row_type(**{name: row[name] for name in names}) for row in rows])
    for place, name in enumerate(LEADING):
        table = table.add_column(place, name, pa.array([row[name] for row in rows], pa.string()))
    return table


def leading(model: Invented) -> dict[str, object]:
    """The columns that the store puts in front of every row."""
    values = (
        model.label,
        "embedded:test",
        model.weights,
        "fp32",
        hashlib.sha256(model.label.encode()).hexdigest()[:12],
    )
    return dict(zip(LEADING, values, strict=True))


def _place(spot: Spot) -> dict[str, object]:
    grid = {"grid_height": spot.grid, "grid_width": spot.grid, "channels": 64}
    return {"point": spot.name, "kind": spot.kind, "stage": spot.stage, "depth": spot.depth, **grid}


def _followed(spots: list[Spot], index: int) -> dict[str, object]:
    """The points of an invented model follow each other."""
    name = spots[index - 1].name if index else ""
    refused = spots[index].fourier is None
    note = "" if not refused else f"another grid than {name}" if name else "no point holds what it received"
    return {"follows": name, "change_note": note}


def _wobble(model: Invented, index: int) -> float:
    return model.wobble * math.sin(1.7 * index + len(model.label))


def fourier_rows(model: Invented) -> list[dict[str, object]]:
    rows, level = [], -2.0
    spots = model.spots()
    for index, spot in enumerate(spots):
        change = None if spot.fourier is None else spot.fourier + _wobble(model, index) * (spot.fourier != 0)
        level = level + change if change is not None else level + 0.9 * (index > 0)
        half = spot.grid // 2
        for bin_ in range(half):
            last = bin_ == half - 1
            value = level * (1 - math.exp(-4 * bin_ / max(half - 1, 1))) / (1 - math.exp(-4))
            rows.append(
                {
                    **leading(model),
                    **_place(spot),
                    **_followed(spots, index),
                    "images": model.images,
                    "labelling": "true",
                    "profile": "diagonal",
                    "frequency": 2 * bin_ / spot.grid,
                    "delta_log_amplitude": value,
                    "standard_error": model.error if bin_ else 0.0,
                    "log_amplitude": 1.5 + index * model.growth + value,
                    "change": change if last else None,
                    "change_error": model.error if last and change is not None else None,
                    "high_frequency": last,
                    "note": "",
                }
            )
    return rows


def variance_rows(model: Invented) -> list[dict[str, object]]:
    rows, level = [], 0.6
    spots = model.spots()
    for index, spot in enumerate(spots):
        change = None if spot.variance is None else 0.3 * (spot.variance + _wobble(model, index) * (spot.variance != 0))
        level = max(0.05, level + change) if change is not None else 0.5
        known = {"change": change, "change_error": None if change is None or model.error is None else model.error / 4}
        own = {"images": model.images, "variance": level, "standard_error": 0.02, **known, "note": ""}
        rows.append({**leading(model), **_place(spot), **_followed(spots, index), **own})
    return rows


def similarity_rows(model: Invented) -> list[dict[str, object]]:
    rows, spots = [], model.spots()
    for x in spots:
        for y in spots:
            same = x.stage == y.stage
            cka = 1.0 if x is y else (0.9 if same else 0.45) * math.exp(-0.6 * abs(x.depth - y.depth))
            sides = {
                f"{key}_{side}": getattr(spot, field) for side, spot in (("x", x), ("y", y)) for key, field in _PAIR
            }
            own = {"cka": cka, "standard_error": 0.01, "groups": model.images // 32, "group": 32, "dropped": 0}
            rows.append({**leading(model), **sides, **own})
    return rows


def token_tables(models: Sequence[Invented]) -> dict[str, pa.Table]:
    """Tokens and token similarity: blocks make tokens more alike by what they change in the variance."""
    norms, alike = [], []
    for model in models:
        spots = model.spots()
        for index, spot in enumerate(spots):
            place = {**leading(model), **_place(spot), "images": model.images, "note": ""}
            count, share = spot.grid**2, 0.001 * (index + 1)
            own = {"norm": 10.0 + index, "norm_error": 0.1, "largest": 1.5, "largest_error": 0.01}
            own |= {"outlier_share": share, "outlier_error": share / 20, "border_error": share / 5}
            own |= {"border_share": 2 * share, "inside_share": share / 2, "border_difference": 1.5 * share}
            own |= {"prefix_tokens": 1, "prefix_norm": 40.0, "prefix_error": 0.2, "prefix_norms": (40.0,)}
            own |= {"norms": (10.0,) * count, "shares": (share,) * count}
            norms.append({**place, **own})
            change = None if spot.variance is None else 0.01 * spot.variance
            own = {"cosine": 0.5, "cosine_error": 0.01, "mean_share": 0.5, "mean_share_error": 0.01}
            own |= {"effective_rank": 5.0, "effective_rank_error": 0.1, "rank_limit": 64}
            own |= {"mean_share_change": change, "effective_rank_change": change}
            known = {"change": change, "change_error": None if change is None else 0.001}
            alike.append({**place, **_followed(spots, index), **own, **known})
    return {
        TokenNorms.name: as_table(TokenNorms.row, norms),
        TokenSimilarity.name: as_table(TokenSimilarity.row, alike),
    }


_PAIR = (("point", "name"), ("kind", "kind"), ("stage", "stage"), ("depth", "depth"))


def between_table(first: Invented, second: Invented) -> pa.Table:
    """CKA between two models."""
    rows = []
    for x in first.spots():
        for y in second.spots():
            sides = {
                f"{key}_{side}": getattr(spot, field) for side, spot in (("x", x), ("y", y)) for key, field in _PAIR
            }
            names = {"model_x": first.label, "model_y": second.label}
            own = {"standard_error": 0.02, "groups": 8, "group": 32, "dropped": 0}
            rows.append({**leading(first), **names, **sides, "cka": 0.8 - abs(x.depth - y.depth) / 2, **own})
    return as_table(BetweenRow, rows)


def jobs(models: Sequence[Invented], **extra: object) -> list[dict[str, object]]:
    """The job.json dicts, one per model and diagnostic."""
    return [_job(model, name, extra) for model in models for name in ("fourier", "variance", "similarity")]


def _job(model: Invented, diagnostic: str, extra: dict[str, object]) -> dict[str, object]:
    return {
        "job": "0" * 64,
        "diagnostic": diagnostic,
        "version": 1,
        "fields": {},
        "model": {
            "label": model.label,
            "spec": f"{model.label}?img_size=224",
            "weights": model.weights,
            "architecture": model.label,
            "digest": "1" * 64,
            "parameters": 5_717_416,
        },
        "data": {
            "spec": "embedded",
            "split": "test",
            "images": model.images,
            "seed": 0,
            "digest": "2" * 64,
            "image_digest": "3" * 64,
            "input": {"size": [224, 224]},
        },
        "precision": "fp32",
        "device": "cpu",
        "batch": 32,
        "points": [dataclasses.asdict(spot) for spot in model.spots()],
        "unwatched": [{"name": "head.norm", "reason": "no grid"}],
        "parts": ["0000-0256"],
        "times": {"forward": 1.0},
        "versions": {"torch": "2.15.0", "visionscope": "0.1.0"},
        **extra,
    }


def figures(models: Sequence[Invented]) -> list[Figure]:
    """What the diagnostics draw from the tables."""
    drawn = tables(models)
    return [one().figure(drawn[one.name]) for one in (Fourier, Variance, Similarity)]
