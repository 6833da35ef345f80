"""What a study of mixers found out about each network: accuracy, costs, and what its slot does to frequencies."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from visionscope.claims.one_seed import LAST, Tables
from visionscope.experiments.mixers.choosing import CONTROLS, mixer_in
from visionscope.models.mixers.mixer import mixer_kinds

if TYPE_CHECKING:
    import pandas as pd

ATTENTION, CONTROL = "AlterNet", "control"
LOW_PASS: Final = {"always": "always low-pass", "can be": "can be low-pass", "never": "never low-pass"}
"""Sorts of mixers, by what the registry declares."""

SORTS: Final = (CONTROL, ATTENTION, *LOW_PASS.values())
"""In the order of their colours: what some studies lack comes last, so that the others look alike in every figure."""

FEWEST: Final = 3
"""Networks with a mixer that make a study one of mixers."""

_BLOCK = re.compile(r"stages\.(\d+)\.blocks\.(\d+)[+.]\w+$")  # what a mixer has within itself is no slot


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """One variant of a study of mixers.

    Attributes:
        name: of the variant.
        mixer: in the slot; empty where it is attention or a convolution.
        sort: in `SORTS`: AlterNet, a control, or how far its mixer is low-pass.
        accuracy: in percent, by seed: on held-out images where the study holds some out, else on test images.
        macs: 1e6 multiply-accumulates of a forward pass of one image; None where they are unknown.
        speed: images per second of a forward pass; None where it was not measured.
        change: of the log amplitude of high frequencies in the slots, mean over slots and seeds; None without.
    """

    name: str
    mixer: str
    sort: str
    accuracy: Mapping[int, float]
    macs: float | None
    speed: float | None
    change: float | None

    @property
    def mean(self) -> float:
        """Accuracy, mean over seeds."""
        return float(np.mean(list(self.accuracy.values())))


def networks_of(tables: Tables, speeds: Mapping[str, float] | None = None) -> tuple[Network, ...]:
    """The variants that were trained to their end, in the order of the table.

    Args:
        tables: of an experiment.
        speeds: images per second of a variant's network, by name.

    Returns:
        None at all where fewer than three of them have a mixer.
    """
    trained = tables.get("training")
    if trained is None or trained.empty:
        return ()
    changes = slot_changes(tables.get("fourier"))
    found = []
    for name, rows in trained[np.isfinite(trained["top_1"])].groupby("variant", sort=False):
        model, gmacs = str(rows["model"].iloc[0]), float(rows["gmacs"].iloc[0])
        found.append(
            Network(
                name=str(name),
                mixer=mixer_in(model),
                sort=_sort(model),
                accuracy={
                    int(seed): 100 * float(right) for seed, right in zip(rows["seed"], rows["top_1"], strict=True)
                },
                macs=1e3 * gmacs if math.isfinite(gmacs) else None,
                speed=(speeds or {}).get(str(name)),
                change=changes.get(str(name)),
            )
        )
    return tuple(found) if sum(bool(one.mixer) for one in found) >= FEWEST else ()


def slot_changes(fourier: pd.DataFrame | None) -> dict[str, float]:
    """The change of the log amplitude of high frequencies in the slots of each variant, mean over slots and seeds.

    Args:
        fourier: the table of that name, if there is one.
    """
    return slot_means(None if fourier is None else fourier[fourier["high_frequency"]], "point")


def slot_means(table: pd.DataFrame | None, place: str) -> dict[str, float]:
    """The mean of the column `change` in the slots of each variant at the end, over slots and seeds.

    Slots are the last blocks of the stages after the first, as AlterNet has them; in a network without mixer these are
    blocks of convolution or attention.

    Args:
        table: with a row per block, if there is one.
        place: the column that names the block, such as `stages.1.blocks.2+msa` or `stages.1.blocks.2.msa`.
    """
    if table is None or table.empty:
        return {}
    rows = table[(table["snapshot"] == LAST) & table["change"].notna()]
    blocks = rows[place].str.extract(_BLOCK).astype("Float64")
    rows = rows.assign(block_stage=blocks[0], block=blocks[1])
    rows = rows[rows["block_stage"].fillna(0) > 0]
    last = rows.groupby(["variant", "seed", "block_stage"])["block"].transform("max")
    slots = rows[rows["block"] == last]
    return {str(name): float(change) for name, change in slots.groupby("variant")["change"].mean().items()}


def pareto(costs: Sequence[float], values: Sequence[float]) -> tuple[int, ...]:
    """Which networks no other one beats: none is at most as costly and better, or cheaper and as good.

    Args:
        costs: of each, less is better.
        values: of each, more is better.

    Returns:
        Their places, from the cheapest on.
    """
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -values[place]))
    front: list[int] = []
    for place in order:
        if not front or values[place] > values[front[-1]]:
            front.append(place)
    return tuple(front)


def pooled_half_width(groups: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Half of the 95 % interval of each group's mean, with one deviation for all groups.

    `t(0.975, f) s / sqrt(n_g)` with s^2 the sum of squares around the groups' own means over f = sum (n_g - 1). With
    two seeds each, a group's own deviation says next to nothing; that of thirty groups together does.

    Args:
        groups: numbers of each, one per seed.

    Returns:
        NaN of all where no group has two numbers.
    """
    freedom = sum(len(own) - 1 for own in groups)
    if not freedom:
        return (math.nan,) * len(groups)
    from scipy.stats import t

    squares = sum(float(np.sum((np.asarray(own) - np.mean(own)) ** 2)) for own in groups)
    reach = float(t.ppf(0.975, freedom)) * math.sqrt(squares / freedom)
    return tuple(reach / math.sqrt(len(own)) for own in groups)


def _sort(model: str) -> str:
    mixer = mixer_in(model)
    if mixer and mixer not in CONTROLS and mixer in mixer_kinds():
        return LOW_PASS[mixer_kinds()[mixer].low_pass]
    return ATTENTION if model.startswith("alternet") and not mixer else CONTROL
