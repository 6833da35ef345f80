"""What rings of noise come to: changes of accuracy, high frequencies against low ones."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.diagnostics.frequency_noise.question import FrequencyNoise
from visionscope.diagnostics.outcomes import frequencies, statistics
from visionscope.diagnostics.outcomes.frequencies import Ends, Key
from visionscope.diagnostics.outcomes.statistics import measured_models

EQUAL_ENERGY, HIGH = "equal_energy", "high-frequency noise"
_SETTINGS = ("noise", "eps_in_pixels", "energy", "space", "coverage")


def summary(asked: FrequencyNoise, table: pa.Table) -> pa.Table:
    """A row per model and ring."""
    return statistics.summary(asked, table, _pooled_rms)


def comparisons(asked: FrequencyNoise, table: pa.Table) -> pa.Table:
    """High against low frequencies: the outer thirds of the rings."""
    return frequencies.comparisons(measured_models(table, ("frequency",), _SETTINGS, clean=(None,)), (None,), _thirds)


def _pooled_rms(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    squares = sum(row["rms"] ** 2 * row["images"] for row in rows)
    return {"rms": math.sqrt(squares / sum(row["images"] for row in rows))}


def _thirds(keys: Sequence[Key], settings: Mapping[str, Any]) -> Ends | None:
    ordered = sorted(keys)
    size = len(ordered) // 3
    if not size:
        return None
    low, high = ordered[:size], ordered[-size:]
    words = (f"{HIGH} ({_range(high)})", f"low-frequency noise ({_range(low)})")
    return Ends(high=high, low=low, words=words, equal_energy=settings["energy"] == EQUAL_ENERGY)


def _range(keys: Sequence[Key]) -> str:
    values = [f"{key[0]:g}" for key in keys]
    return f"{values[0]} π" if len(values) == 1 else f"{values[0]} to {values[-1]} π"
