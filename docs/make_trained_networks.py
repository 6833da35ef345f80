"""Fills docs/trained_networks.md with the tables of the runs that it describes.

`python docs/make_trained_networks.py VIT LITE LITE-CONVOLUTIONS` takes the folders of the three runs, writes what is
needed of their tables to docs/trained_networks/*.csv and their figures to docs/images, and then the page's tables out
of these files; without folders it writes the page's tables again. What stands between two markers of the page is
written, not edited.
"""

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from visionscope.core.finding import interval
from visionscope.numerics.calibration import reliability

DOCS = Path(__file__).parent
RESULTS = DOCS / "trained_networks"
PAGE = DOCS / "trained_networks.md"
PAPER = DOCS.parent / "src" / "visionscope" / "claims" / "published" / "paper_figures.json"
STAGES = (4, 4, 6, 3)  # points of the paper's ResNet-50: values compare inside a stage alone
DRAWS = 20_000
SIGNIFICANT = 0.05
Row = dict[str, Any]


def main() -> None:
    """Takes the runs' tables, if folders are given, and writes the page."""
    if len(sys.argv) > 1:
        vit, lite, without_convolutions = sys.argv[1:]
        for name, run in (("vit_small", vit), ("efficientnet_lite0", lite)):
            _save(name, _changes(run))
            figure = Image.open(Path(run) / "figures" / "fourier.png").convert("RGB")
            figure.quantize(64).save(DOCS / "images" / f"trained_{name}.png", optimize=True)
        _save("attention", _attention(vit))
        _save("calibration", _calibration(lite))
        _save("lesion", [*_lesions(lite), *_lesions(without_convolutions)])
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def written(page: str) -> str:
    """The page with the tables between its markers made out of the stored results."""
    tables: dict[str, Callable[[], Iterable[str]]] = {
        "claims": _claims_table,
        "vit_small": lambda: _changes_table("vit_small"),
        "efficientnet_lite0": lambda: _changes_table("efficientnet_lite0"),
        "attention": _attention_table,
        "calibration": _calibration_table,
        "lesion": _lesion_table,
    }
    for name, lines in tables.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
        found = marked.search(page)
        if found is None:
            raise ValueError(f"{PAGE.name} has no markers of {name!r}")
        page = "\n".join((page[: found.end(1)], *lines(), page[found.start(2) :]))
    return page


def _table(run: str, name: str) -> list[Row]:
    return pq.read_table(Path(run) / "tables" / f"{name}.parquet").to_pylist()


def _changes(run: str) -> list[Row]:
    """What each point changed, of a run's fourier and variance."""
    variances = {row["point"]: row for row in _table(run, "variance")}
    high = [row for row in _table(run, "fourier") if row["high_frequency"]]
    levels = {row["point"]: row["log_amplitude"] for row in high}
    rows: list[Row] = []
    for row in high:
        variance, known = variances[row["point"]], row["change"] is not None
        rows.append(
            {name: row[name] for name in ("point", "kind", "follows", "change_note", "images")}
            | _with_ends("high_frequency", row)
            | {"amplitude_change": levels[row["point"]] - levels[row["follows"]] if known else None}
            | _with_ends("variance", variance)
            | {"variance_before": variances[row["follows"]]["variance"] if known else None}
        )
    return rows


def _with_ends(name: str, row: Mapping[str, Any]) -> Row:
    low, high = interval(row["change"], row["change_error"], row["images"] - 1) or (None, None)
    return {f"{name}_change": row["change"], f"{name}_low": low, f"{name}_high": high}


def _attention(run: str) -> list[Row]:
    """The distance of each point, mean over heads and that of its nearest and farthest head."""
    rows = _table(run, "attention_summary")
    points = []
    for mean in (row for row in rows if row["head"] is None):
        heads = [row["distance"] for row in rows if row["point"] == mean["point"] and row["head"] is not None]
        low, high = interval(mean["distance"], mean["distance_error"], mean["images"] - 1) or (None, None)
        names = {name: mean[name] for name in ("point", "distance", "uniform_distance")}
        points.append(names | {"low": low, "high": high, "nearest": min(heads), "farthest": max(heads)})
    return points


def _calibration(run: str) -> list[Row]:
    """NLL and ECE, and what ECE a calibrated network of the same confidences has on as many images."""
    images = {row["scaling"]: row for row in _table(run, "calibration")}
    names = ["scaling", "temperature", "fit_images", "images"]
    names += [key + end for key in ("accuracy", "nll", "ece", "signed_ece") for end in ("", "_low", "_high")]
    rows = []
    for row in _table(run, "calibration_summary"):
        confidence = np.array(images[row["scaling"]]["confidence"], dtype=float)
        by_chance = _ece_by_chance(confidence, row["bins"])
        reached = (1 + int((by_chance >= row["ece"]).sum())) / (1 + DRAWS)
        own = {"ece_by_chance": by_chance.mean(), "draws": DRAWS, "p_by_chance": reached}
        rows.append({name: row[name] for name in names} | own)
    return rows


def _ece_by_chance(confidence: np.ndarray, bins: int) -> np.ndarray:
    """(draws,) ECE where each image is right with the probability that the network states."""
    drawn = np.random.default_rng(0).random((DRAWS, len(confidence))) < confidence
    return np.array([reliability(confidence, right, bins).ece for right in drawn])


def _lesions(run: str) -> list[Row]:
    names = ("mode", "unit", "images", "accuracy", "change", "change_low", "change_high", "p_holm")
    return [{name: row[name] for name in names} for row in _table(run, "lesion_summary")]


def _claims_table() -> Iterable[str]:
    paper = json.loads(PAPER.read_text(encoding="utf-8"))
    measured = {
        "high_frequency": ("high frequencies", paper["figD2_fourier"], "delta_log_amp_high"),
        "variance": ("variance", paper["figD1_feature_variance"], None),
    }
    yield "| the paper's claim | its networks | against it | here | against it | |"
    yield "|---|---|---|---|---|---|"
    for name, (words, figure, key) in measured.items():
        vit, resnet = (figure[model][key] if key else figure[model] for model in ("ViT", "ResNet"))
        msa, mlp = np.diff(vit)[::2], np.diff(vit)[1::2]
        stages = np.split(np.array(resnet), np.cumsum(STAGES)[:-1])
        conv = np.concatenate([np.diff(stage) for stage in stages])
        yield _claim(f"attention lowers {words}", -1, msa, "vit_small", "msa", name)
        yield _claim(f"MLPs raise {words}", 1, mlp, "vit_small", "mlp", name)
        yield _claim(f"convolutions raise {words}", 1, conv, "efficientnet_lite0", "conv", name)


def _claim(words: str, sign: int, theirs: np.ndarray, network: str, kind: str, name: str) -> str:
    """One claim: points that go its way and those that go against it, in the paper's figure and here."""
    rows = [row for row in _load(network) if row["kind"] == kind]
    ends = [sorted((sign * row[f"{name}_low"], sign * row[f"{name}_high"])) for row in rows]
    along = sum(low > 0 for low, _ in ends)
    names = [row["point"].split("+")[0].removeprefix("blocks.") for row in rows]
    against = [block for block, (_, high) in zip(names, ends, strict=True) if high < 0]
    unclear = len(rows) - along - len(against)
    contrary = [f"{number}" for number, change in enumerate(theirs) if sign * change < 0]
    figure = "ResNet-50" if kind == "conv" else "ViT-Ti"
    told = f"{along} of {len(rows)}" + (f", {unclear} unclear" if unclear else "")
    verdict = "agrees" if 2 * along > len(rows) else "**disagrees**" if 2 * len(against) > len(rows) else "no majority"
    places = "" if kind == "conv" or not contrary else f" (blocks {', '.join(contrary)})"
    own = f"{len(against)}" + ("" if kind == "conv" or not against else f" (blocks {', '.join(against)})")
    went = int((sign * theirs > 0).sum())
    return f"| {words} | {figure}: {went} of {len(theirs)} | {len(contrary)}{places} | {told} | {own} | {verdict} |"


def _changes_table(name: str) -> Iterable[str]:
    yield "| point | kind | high frequency, relative | high frequency itself | variance | variance, in percent |"
    yield "|---|---|---|---:|---|---:|"
    for row in _load(name):
        if row["high_frequency_change"] is None:
            yield f"| `{row['point']}` | {row['kind']} | {row['change_note']} | | | |"
            continue
        relative, variance = (_told(row, f"{key}_change", f"{key}_low", f"{key}_high") for key in _QUANTITIES)
        share = 100 * row["variance_change"] / row["variance_before"]
        own = f"{row['amplitude_change']:+.3f}"
        yield f"| `{row['point']}` | {row['kind']} | {relative} | {own} | {variance} | {share:+.0f} % |"


_QUANTITIES = ("high_frequency", "variance")


def _attention_table() -> Iterable[str]:
    rows = _load("attention")
    alike = f"{rows[0]['uniform_distance']:.0f} if alike everywhere"
    yield f"| point | mean distance in pixels ({alike}) | nearest head | farthest head |"
    yield "|---|---|---:|---:|"
    for row in rows:
        mean = f"{row['distance']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
        yield f"| `{row['point']}` | {mean} | {row['nearest']:.0f} | {row['farthest']:.0f} |"


def _calibration_table() -> Iterable[str]:
    yield "| temperature | NLL (nat) | ECE | confidence less accuracy | ECE by chance | chance of this ECE |"
    yield "|---|---|---|---|---|---|"
    for row in _load("calibration"):
        nll = f"{row['nll']:.3f} ({row['nll_low']:.3f} to {row['nll_high']:.3f})"
        ece, signed = (
            f"{100 * row[key]:.1f} % ({100 * row[key + '_low']:.1f} to {100 * row[key + '_high']:.1f})"
            for key in ("ece", "signed_ece")
        )
        chance = f"{row['p_by_chance']:.2g}"
        if row["p_by_chance"] < 2 / row["draws"]:
            chance = f"below {2 / row['draws']:.5f}"
        by_chance = f"{100 * row['ece_by_chance']:.1f} %"
        yield f"| {row['temperature']:.3g} | {nll} | {ece} | {signed} | {by_chance} | {chance} |"


def _lesion_table() -> Iterable[str]:
    modes: dict[str, dict[str, Row]] = {}
    for row in _load("lesion"):
        block = ".".join(row["unit"].split(".")[:3])
        modes.setdefault(row["mode"], {})[block] = row
    first = next(iter(modes["branch"].values()))
    intact = 100 * first["accuracy"] - first["change"]
    yield f"| block | without its branch (of {intact:.0f} % intact) | without its k x k convolution alone |"
    yield "|---|---|---|"
    for block, row in modes["branch"].items():
        cells = [_told(each, "change", "change_low", "change_high", digits=1) for each in (row, modes["conv"][block])]
        marks = ["" if each["p_holm"] < SIGNIFICANT else " (could be chance)" for each in (row, modes["conv"][block])]
        yield f"| `{block}` | {cells[0]}{marks[0]} | {cells[1]}{marks[1]} |"


def _told(row: Mapping[str, Any], value: str, low: str, high: str, digits: int | None = None) -> str:
    return "{} ({} to {})".format(*(_number(row[key], digits) for key in (value, low, high)))


def _number(value: float, digits: int | None) -> str:
    return f"{value:+.{digits}f}" if digits is not None else f"{value:+.3g}"


def _save(name: str, rows: Sequence[Row]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: f"{cell:.6g}" if isinstance(cell, float) else cell for key, cell in row.items()} for row in rows
        )


def _load(name: str) -> list[Row]:
    with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [{key: _value(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def _value(cell: str) -> Any:
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell


if __name__ == "__main__":
    main()
