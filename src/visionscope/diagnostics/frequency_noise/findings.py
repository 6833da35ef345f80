"""Sentences on noise: which frequencies break a network, and which of two networks they break more."""

from collections.abc import Callable, Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding, number
from visionscope.core.grouping import rows_by_model
from visionscope.core.reference import convolutional, state_of, transformers
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise
from visionscope.diagnostics.frequency_noise.results import EQUAL_ENERGY, HIGH
from visionscope.diagnostics.outcomes.fairness import FAIRNESS_LIMIT
from visionscope.diagnostics.outcomes.frequencies import LOSS, Row, between_models, worst_and_ends
from visionscope.diagnostics.outcomes.words import PAIRED_LIMIT, is_clear, masks_limit

_RING = ("frequency", "low", "high", "noise", "eps", "eps_in_pixels", "energy", "space", "rms")
_LIMITS = (
    "A network is asked about noise that it was not trained on; how much depends on the strength, on the space that "
    "the noise is added in and on the size of the images, which the table states. Networks that normalise differently "
    "get noise of different strength in pixels (eps_in_pixels) and are not compared; noise that is added to pixels "
    "(--frequency_noise.space pixel) is the same for all.",
    PAIRED_LIMIT,
    FAIRNESS_LIMIT,
)
_UNEQUAL = (
    "At equal eps a ring of more frequencies holds more noise, so high frequencies are not compared with low ones: a "
    "larger loss could come from more noise. --frequency_noise.energy equal_energy compares them."
)


def limits(asked: FrequencyNoise, tables: Tables) -> Sequence[str]:
    """What noise can't tell, and what rings of unequal energy can't."""
    equal = all(map(_is_equal, tables["summary"].to_pylist()))
    return (*_LIMITS, *(() if equal else (_UNEQUAL,)), *masks_limit(tables))


def findings(asked: FrequencyNoise, tables: Tables) -> list[Finding]:
    """For each model where noise costs most, high against low frequencies; for two models which loses more where."""
    own = [
        worst_and_ends(
            sorted(rows, key=lambda row: float(row["frequency"])),
            tables,
            _named,
            none="noise of no frequency",
            many="rings",
            columns=_RING,
            equal_energy=all(map(_is_equal, rows)),
        )
        for rows in rows_by_model(tables["summary"]).values()
    ]
    return [*own, *between_models(tables, _reported(tables))]


def _reported(tables: Tables) -> Callable[[Sequence[Row]], str]:
    """How two networks stand to figure 2b: under high-frequency noise a transformer loses less than a CNN."""
    attending, convolving = transformers(tables), convolutional(tables)

    def state(rows: Sequence[Row]) -> str:
        high = next(row for row in rows if row["number"].startswith(f"{LOSS}{HIGH}"))
        first, second = high["model"], high["other"]
        if not ((first in attending and second in convolving) or (first in convolving and second in attending)):
            return ""
        less = first if high["difference"] < 0 else second
        return state_of([less in attending if is_clear(high) else None])

    return state


def _is_equal(row: Row) -> bool:
    return bool(row["energy"] == EQUAL_ENERGY)


def _named(row: Row) -> str:
    return f"noise around {number(row['frequency'], 2)} π rad/pixel"
