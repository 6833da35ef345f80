"""Whether a change of the code left every number of one fixed run as it was.

    python -m benchmarks.unchanged make BEFORE     in the code before the change
    python -m benchmarks.unchanged make AFTER      in the code after it
    python -m benchmarks.unchanged compare BEFORE AFTER

The run trains three small networks for one epoch and asks every diagnostic of them, at small sizes. `compare` reads
every table of both folders: numbers must agree to 1e-12 of the larger one, texts to the letter; what was renamed, split
or left out on purpose is listed here, and told.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NETWORKS = ("resnet_nano", "alternet_nano", "vit_nano")
FIELDS: dict[str, dict[str, Any]] = {
    "fourier": {},
    "variance": {},
    "similarity": {},
    "adversarial": {"sample_size": 32, "steps": 3},
    "attention": {"sample_size": 64},
    "calibration": {"sample_size": 512, "fit_size": 256},
    "compression": {"sample_size": 64},
    "corruption": {"sample_size": 64},
    "density": {"mini_batches": 2, "probes": 2},
    "fit": {"sample_size": 256, "test_size": 512},
    "fourier_heatmap": {"sample_size": 32},
    "frequency_noise": {"sample_size": 256},
    "hessian": {"mini_batches": 2},
    "landscape": {"sample_size": 64, "points": 5, "draws": 1},
    "lesion": {"sample_size": 256},
    "receptive_field": {"sample_size": 16},
    "shape_bias": {"sample_size": 256},
    "sharpness": {"batches": 2, "batch_size": 32, "draws": 2, "steps": 2},
}
TOLERANCE = 1e-12
# Old column to new, by table.
RENAMED: dict[str, dict[str, str]] = {}
# Columns that moved on purpose, and where to.
SPLIT: dict[str, dict[str, str]] = {
    "attention": {"map": "a row per place in attention_outcomes"},
    "calibration": {
        **dict.fromkeys(
            ("right", "top_5", "label", "predicted", "confidence", "cross_entropy", "brier"),
            "a row per image in calibration_outcomes",
        ),
        **dict.fromkeys(
            ("class_probability", "class_images"),
            "in the stored parts alone, for classwise_ece of calibration_summary",
        ),
    },
    "fit": dict.fromkeys(("right", "cross_entropy"), "a row per image in fit_outcomes"),
    "shape_bias": {
        **dict.fromkeys(("right", "texture", "shapes"), "a row per image in shape_bias_outcomes"),
        "classes": "names in the column shape_class of shape_bias_outcomes",
    },
    **{
        name: {"right": f"a row per image in {name}_outcomes"}
        for name in ("adversarial", "fourier_heatmap", "frequency_noise", "lesion")
    },
    "corruption": {
        "right": "a row per image in corruption_outcomes",
        "picture": "in the stored parts alone, for the contact sheet of the figure",
    },
}
# Rows that are new on purpose, by table: a column and its values.
ADDED: dict[str, tuple[str, tuple[str, ...]]] = {
    "density_summary": ("quantity", ("mean eigenvalue", "trace less the trace from the density's probes")),
    "landscape_summary": ("quantity", ("share of L2 in the rise to the border",)),
}
# What every job names anew: its digest holds the diagnostic's version.
_OWN = {"job"}


def make(folder: Path) -> None:
    from visionscope.api import diagnose
    from visionscope.training.train import train

    plain: dict[str, Any] = {"crop": "centre", "flip": 0.0}
    specs = []
    for name in NETWORKS:
        trained = train(name, "embedded", folder, seed=0, epochs=1.0, learning_rate=2e-3, batch_size=64, **plain)
        specs.append(f"{name}={name}@{trained.checkpoint}")
    run = diagnose(specs, "embedded", out=str(folder), seed=0, only=list(FIELDS), fields=FIELDS)
    for failure in run.failures:
        print(failure.text)
    print(f"{len(list((folder / 'tables').glob('*.parquet')))} tables in {folder / 'tables'}")


def compare(before: Path, after: Path) -> int:
    """How many tables differ, each told with its first difference."""
    old, new = (
        {path.stem: pq.read_table(path) for path in sorted((folder / "tables").glob("*.parquet"))}
        for folder in (before, after)
    )
    wrong = 0
    for name, table in old.items():
        found = (
            _differences(name, table, _as_before(name, new[name]))
            if name in new
            else ["the table is not there any more"]
        )
        wrong += bool(found)
        told = SPLIT.get(name, {}) | {old: f"is called {new} now" for old, new in RENAMED.get(name, {}).items()}
        print(f"{name}: {'; '.join(found) or f'{table.num_rows} rows, {table.num_columns} columns agree'}")
        for column, said in told.items():
            print(f"  {column}: {said}")
        if name in ADDED:
            print(f"  new rows: {', '.join(ADDED[name][1])}")
    for name in new.keys() - old.keys():
        print(f"{name}: new, {new[name].num_rows} rows")
    return wrong


def _as_before(name: str, table: pa.Table) -> pa.Table:
    column, values = ADDED.get(name, ("", ()))
    return table.filter(pc.invert(pc.is_in(table[column], pa.array(values)))) if column else table


def _differences(name: str, old: pa.Table, new: pa.Table) -> list[str]:
    if old.num_rows != new.num_rows:
        return [f"{old.num_rows} rows became {new.num_rows}"]
    found = []
    for column in old.column_names:
        if column in _OWN or column in SPLIT.get(name, {}):
            continue
        called = RENAMED.get(name, {}).get(column, column)
        if called not in new.column_names:
            found.append(f"the column {column} is gone")
            continue
        for place, (a, b) in enumerate(zip(old[column].to_pylist(), new[called].to_pylist(), strict=True)):
            if not _agree(a, b):
                found.append(f"{column} of row {place} was {a!r} and is {b!r}")
                break
    return found


def _agree(a: Any, b: Any) -> bool:
    if isinstance(a, (float, list)) and a is not None and b is not None:
        one, other = np.asarray(a), np.asarray(b)
        if one.dtype.kind not in "fi" or other.dtype.kind not in "fi":
            return bool(a == b)
        return one.shape == other.shape and np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return bool(a == b)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unchanged", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("make", "compare"))
    parser.add_argument("folder", nargs="+", type=Path)
    parsed = parser.parse_args()
    if len(parsed.folder) != (1 if parsed.task == "make" else 2):
        parser.error("make takes one folder, compare takes two")
    if parsed.task == "make":
        make(*parsed.folder)
        return 0
    return min(1, compare(*parsed.folder))


if __name__ == "__main__":
    sys.exit(main())
