"""How fast the networks of a study are, measured side by side on this machine, and how much memory they take."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import pandas as pd

from visionscope.building.measure import costs, latency, throughput
from visionscope.core.files import user_path, write_whole
from visionscope.core.refusals import refusals
from visionscope.experiments.done import FOLDER
from visionscope.experiments.experiment import THREADS
from visionscope.experiments.reading import experiment_from_file
from visionscope.training.launching import threads_of
from visionscope.training.networks import network_for

SPEEDS: Final = "speeds"
"""Name of the table; it belongs to a machine, and is none of an experiment's results."""

BATCH: Final = 64


def measure_speeds(study: Path | str, run: Path | str, *, data: str | None = None, repeats: int = 25) -> pd.DataFrame:
    """Images per second, latency and peak memory of every variant's network, in one thread.

    Images per second of a forward pass (`forward`) and of a training step, in batches, are of the fastest of the
    repeats; `latency` is the milliseconds of a forward pass of one image, the median of `building.measure.latency`. The
    networks take turns, with fresh weights and random images. Peak memory is that of `building.costs`, of a batch.
    Writes RUN/tables/speeds.parquet, which the page of the study shows the next time that it is written.

    Args:
        study: the YAML file.
        run: the run folder.
        data: data spec instead of the study's; it only needs to be there.
        repeats: of each pass of a batch.

    Raises:
        ConfigError: for a study that can't be read, or too few repeats.
        StoreError: when the table can't be written.
    """
    variants = experiment_from_file(study, data=data).variants
    loaded = {one.name: network_for(one.model, 0, seed=0, note=lambda line: None) for one in variants}
    first = next(iter(loaded.values())).input
    with threads_of(THREADS):
        networks = {name: one.model for name, one in loaded.items()}
        found = throughput(networks, first.size, len(first.mean), batch=BATCH, repeats=repeats)
        milliseconds = latency(networks, first.size, len(first.mean))
    rows = [
        {
            "variant": one.name,
            "model": one.model,
            "forward": found[one.name].forward,
            "training_step": found[one.name].training,
            "latency": milliseconds[one.name],
            "peak": BATCH * costs(loaded[one.name].model, first.size, len(first.mean)).peak,
            "batch": BATCH,
            "threads": THREADS,
            "device": found[one.name].device,
        }
        for one in variants
    ]
    table, content = pd.DataFrame(rows), io.BytesIO()
    table.to_parquet(content, index=False)
    path = user_path("run", str(run)) / FOLDER / f"{SPEEDS}.parquet"
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
    return table


def speeds_of(run: Path) -> dict[str, float]:
    """Images per second of a forward pass by variant; empty where they were not measured.

    Args:
        run: the run folder.
    """
    path = run / FOLDER / f"{SPEEDS}.parquet"
    if not path.is_file():
        return {}
    table = pd.read_parquet(path)
    return {str(name): float(speed) for name, speed in zip(table["variant"], table["forward"], strict=True)}
