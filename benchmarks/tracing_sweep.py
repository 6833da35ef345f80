"""Traces every registered timm architecture on the meta device: how many give points, by sums or blocks, what fails.

About half an hour on one core. Expected: no crash, at least 95 % with points, under 1 % of the sums seen unwatched.
"""

import argparse
import collections
import json
import time
import warnings
from collections.abc import Iterable
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config

from benchmarks.measure import Measurement, publish
from visionscope.errors import VisionscopeError
from visionscope.tracing import trace


def sweep_one(name: str) -> dict[str, Any]:
    """Builds one architecture on the meta device and traces it at its own image size."""
    start = time.process_time()
    with torch.device("meta"):
        try:
            model = timm.create_model(name).eval()
        except Exception as error:  # the sweep goes on and prints the reason
            return {"name": name, "outcome": "not built", "reason": f"{type(error).__name__}: {error}"[:200]}
    size = resolve_model_data_config(model)["input_size"]
    try:
        found = trace(model, torch.zeros(1, *size, device="meta"))
    except VisionscopeError as error:
        return {"name": name, "outcome": "no points", "reason": str(error)[:300]}
    except Exception as error:  # a crash is what the sweep looks for
        return {"name": name, "outcome": "crash", "reason": f"{type(error).__name__}: {error}"[:300]}
    without = [one.stream.name for one in found.residuals if one.stream.grid == (0, 0)]
    reasons = {lost.name: lost.reason for lost in found.unwatched}
    by_sums = any("+" in point.name for point in found.all_points if point in found.points) or found.sums > 1
    return {
        "name": name,
        "outcome": "sums" if by_sums else "blocks",
        "points": len(found.points),
        "sums": found.sums,
        "unwatched": len(without),
        "reasons": sorted({reasons[name].split(" has no ")[-1].split(" could ")[-1] for name in without}),
        "side paths": len(found.unwatched) - len(without),
        "kinds": collections.Counter(str(point.kind) for point in found.points),
        "seconds": round(time.process_time() - start, 2),
    }


def run(pattern: str = "*") -> list[Measurement]:
    """Sweeps the architectures that match the pattern; a line of JSON each, then the counts."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    names = timm.list_models(pattern)
    for index, name in enumerate(names):
        rows.append(sweep_one(name))
        print(f"[{index + 1}/{len(names)}] {json.dumps(rows[-1])}", flush=True)
    return summary(rows)


def summary(rows: list[dict[str, Any]]) -> list[Measurement]:
    """Counts of the outcomes, and the share of the sums seen that can't be watched."""
    outcomes = collections.Counter(row["outcome"] for row in rows)
    sums, lost, beside = (sum(row.get(key, 0) for row in rows) for key in ("sums", "unwatched", "side paths"))
    reasons = collections.Counter(reason for row in rows for reason in row.get("reasons", ()))
    why = {kind: _named(row for row in rows if row["outcome"] == kind) for kind in ("crash", "no points", "not built")}
    count = len(rows)
    with_points = outcomes["sums"] + outcomes["blocks"]
    return [
        Measurement(
            name="registered architectures", unit="architectures", value=count, note=f"timm {timm.__version__}"
        ),
        Measurement(name="points by residual sums", unit="architectures", value=outcomes["sums"]),
        Measurement(name="points by blocks", unit="architectures", value=outcomes["blocks"]),
        Measurement(name="crash", unit="architectures", value=outcomes["crash"], goal=0, note=why["crash"]),
        Measurement(name="no points", unit="architectures", value=outcomes["no points"], note=why["no points"]),
        Measurement(name="not built by timm", unit="architectures", value=outcomes["not built"], note=why["not built"]),
        Measurement(name="with points", unit="share", value=with_points / count, goal=0.95, at_least=True),
        Measurement(name="residual sums seen", unit="sums", value=sums),
        Measurement(
            name="residual sums unwatched",
            unit="share",
            value=lost / max(sums, 1),
            goal=0.01,
            note=f"{lost} sums; architectures by reason: {dict(reasons)}",
        ),
        Measurement(name="sums on side paths, listed", unit="sums", value=beside),
    ]


def _named(rows: Iterable[dict[str, Any]]) -> str:
    return "; ".join(f"{row['name']}: {row['reason']}" for row in rows)


def main() -> None:
    """Sweeps all architectures, or those that match a pattern; only the whole sweep is written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pattern", default="*", help="as for timm.list_models")
    pattern = parser.parse_args().pattern
    if pattern == "*":
        publish("tracing_sweep", run())
    else:
        for row in run(pattern):
            print(f"{row.name}: {row.value:.4g} {row.unit} {row.note}")


if __name__ == "__main__":
    main()
