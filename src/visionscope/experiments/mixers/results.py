"""The results of a study of mixers as one table: a row per network, how well it does and what it costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from visionscope.claims.one_seed import LAST, WARMUP, Tables
from visionscope.experiments.mixers.networks import networks_of, pooled_half_width, slot_means

if TYPE_CHECKING:
    from collections.abc import Mapping

_MEASURES = (
    # column, diagnostic, measure, snapshot
    ("ece", "calibration", "ECE", LAST),
    ("negative_eigenvalues", "hessian", "NEP", WARMUP),
    ("positive_eigenvalues", "hessian", "APE", WARMUP),
)
_SPEEDS = ("forward", "training_step", "latency", "peak")


def results_of(tables: Tables, speeds: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row per network, the most accurate first; numbers are means over seeds, NaN where nothing was measured.

    | column | holds |
    |---|---|
    | `network`, `mixer`, `sort`, `seeds` | as in `Network`; how many seeds |
    | `accuracy`, `low`, `high` | on test or held-out images in percent, with the interval of `pooled_half_width` |
    | `nll` | in nats |
    | `corrupted` | accuracy under corruptions in percent, mean over types and severities |
    | `ece` | expected calibration error in percent |
    | `high_frequencies`, `variance` | change in the slots, of the highest frequency's log amplitude and of variance |
    | `removal` | change of accuracy in percentage points where a slot is removed |
    | `negative_eigenvalues`, `positive_eigenvalues` | NEP in percent and APE, at the end of the warm-up |
    | `parameters`, `macs` | of the network; 1e6 multiply-accumulates of an image |
    | `forward`, `training_step`, `latency`, `peak` | as `measure_speeds` has them |

    Args:
        tables: of an experiment.
        speeds: of `measure_speeds`, if they were measured.

    Returns:
        No row where the experiment is no study of mixers.
    """
    networks = networks_of(tables)
    widths = pooled_half_width([list(one.accuracy.values()) for one in networks])
    nll, parameters = (_means(tables.get("training"), column) for column in ("nll", "parameters"))
    measured = {column: _measure(tables, *which) for column, *which in _MEASURES}
    corrupted = _corrupted(tables.get("corruption_summary"))
    slots = {
        "high_frequencies": {one.name: one.change for one in networks if one.change is not None},
        "variance": slot_means(tables.get("variance"), "point"),
        "removal": slot_means(tables.get("lesion_summary"), "unit"),
    }
    timed = {} if speeds is None else speeds.set_index("variant").to_dict("index")
    rows = [
        {
            "network": one.name,
            "mixer": one.mixer,
            "sort": one.sort,
            "seeds": len(one.accuracy),
            "accuracy": one.mean,
            "low": one.mean - width,
            "high": one.mean + width,
            "nll": nll.get(one.name, math.nan),
            "corrupted": corrupted.get(one.name, math.nan),
            **{name: values.get(one.name, math.nan) for name, values in {**measured, **slots}.items()},
            "parameters": int(parameters[one.name]),
            "macs": math.nan if one.macs is None else one.macs,
            **{name: timed.get(one.name, {}).get(name, math.nan) for name in _SPEEDS},
        }
        for one, width in sorted(zip(networks, widths, strict=True), key=lambda pair: (-pair[0].mean, pair[0].name))
    ]
    return pd.DataFrame(rows)


def _means(table: pd.DataFrame | None, column: str) -> Mapping[str, float]:
    if table is None or table.empty:
        return {}
    return {str(name): float(value) for name, value in table.groupby("variant")[column].mean().items()}


def _measure(tables: Tables, diagnostic: str, measure: str, snapshot: str) -> Mapping[str, float]:
    table = tables.get("measures")
    if table is None or table.empty:
        return {}
    kept = (table["diagnostic"] == diagnostic) & (table["measure"] == measure) & (table["snapshot"] == snapshot)
    return _means(table[kept], "value")


def _corrupted(table: pd.DataFrame | None) -> Mapping[str, float]:
    """The rows of all corruptions together."""
    if table is None or table.empty:
        return {}
    kept = (table["corruption"] == "all") & (table["snapshot"] == LAST)
    return {name: 100 * value for name, value in _means(table[kept], "accuracy").items()}
