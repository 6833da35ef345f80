"""What Fourier vectors come to: vectors of high frequency against those of low."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.diagnostics.fourier_heatmap.question import FourierHeatmap
from visionscope.diagnostics.outcomes import frequencies
from visionscope.diagnostics.outcomes.frequencies import Ends, Key
from visionscope.diagnostics.outcomes.statistics import measured_models

_PLACE, _SETTINGS = ("row_frequency", "column_frequency"), ("height", "width", "norm")
_WORDS = (
    "high-frequency Fourier vectors (above 2π/3)",
    "low-frequency Fourier vectors (up to π/3)",
)


def comparisons(asked: FourierHeatmap, table: pa.Table) -> pa.Table:
    """High against low: vectors whose larger component is above two thirds of Nyquist, or at most a third."""
    return frequencies.comparisons(measured_models(table, _PLACE, _SETTINGS, clean=(None, None)), (None, None), _outer)


def _outer(keys: Sequence[Key], settings: Mapping[str, Any]) -> Ends | None:
    sizes = settings["height"], settings["width"]
    radii = {key: max(2 * abs(periods) / size for periods, size in zip(key, sizes, strict=True)) for key in keys}
    low = [key for key in keys if radii[key] <= 1 / 3]
    high = [key for key in keys if radii[key] > 2 / 3]
    return Ends(high=high, low=low, words=_WORDS) if low and high else None
