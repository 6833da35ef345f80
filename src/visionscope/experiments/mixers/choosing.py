"""The rule that chooses mixers of a screening for the study that decides; written down before the screening ran."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from visionscope.claims.one_seed import Tables
from visionscope.core.files import user_path
from visionscope.errors import StoreError
from visionscope.experiments.catalogue import STUDIES
from visionscope.experiments.done import stored_tables

if TYPE_CHECKING:
    import pandas as pd

SCREENING: Final = STUDIES / "mixers-screening.yaml"
FINAL: Final = STUDIES / "mixers-final.yaml"
SCREENED: Final = (0, 1)
"""Seeds of the screening; the final study has others."""

CHOSEN: Final = 4
CONTROLS: Final = ("identity", "random")
"""Mixers that stand for nothing, and are never chosen."""

RELATIVES: Final[Mapping[str, tuple[str, ...]]] = {
    "attention": ("global_attention", "halo", "hilo", "lambda", "neighbourhood", "nonlocal", "pooled_attention"),
    "blur": ("blur_pool", "gaussian", "learned_blur", "pooling"),
    "convolution": ("large_kernel", "sep_conv"),
    "dynamic kernel": ("focal", "involution"),
    "edge-preserving": ("bilateral", "guided"),
    "Fourier": ("aff", "afno", "fnet", "gfnet"),
    "likeness": ("kmeans", "nonlocal_means"),
    "scales": ("gaussian_scale_space", "scale_decomposition", "unet"),
}
"""Mixers that do much the same, of which one at most is chosen."""

_PLAIN = "alternet_pico?mixer="
_MIXER = re.compile(r"[?&]mixer=['\"]?([a-z_]+)")


def mixer_in(model: str) -> str:
    """The mixer that a model spec names, without its settings; empty where it names none.

    Args:
        model: such as `alternet_pico?mixer=guided`.
    """
    found = _MIXER.search(model)
    return found[1] if found else ""


def best_mixers(tables: Tables, without: Collection[str] = ()) -> tuple[str, ...]:
    """The four mixers that the screening sends on, best first.

    The mean accuracy on held-out training images over the seeds 0 and 1 counts; of mixers that are equally accurate the
    one with fewer multiply-accumulates, then the first by name. Controls are never chosen, and of relatives
    (`RELATIVES`) the best alone. A mixer that lacks one of the seeds must be named: half a screening chooses nothing.

    Args:
        tables: of a run folder with the screening, by name.
        without: mixers that are left out, since a training of theirs failed.

    Raises:
        StoreError: where another mixer lacks a seed, or fewer than four groups of relatives are left.
    """
    group = {mixer: name for name, own in RELATIVES.items() for mixer in own}
    ranked = [mixer for mixer in _ranked(tables.get("training")) if mixer not in without]
    lacking = sorted(group.keys() - set(ranked) - set(without))
    if lacking:
        raise StoreError(
            f"training: every mixer must have been trained with the seeds 0 and 1; {', '.join(lacking)} "
            f"{'was' if len(lacking) == 1 else 'were'} not. Carry out {SCREENING.name} first, or leave out what failed "
            f"by without={lacking!r}"
        )
    chosen: list[str] = []
    for mixer in ranked:
        if group[mixer] not in {group[one] for one in chosen}:
            chosen.append(mixer)
    if len(chosen) < CHOSEN:
        raise StoreError(
            f"training: mixers of {CHOSEN} groups of relatives must have been trained; got {len(chosen)} without "
            f"{', '.join(without)}"
        )
    return tuple(chosen[:CHOSEN])


def final_study(run: Path | str, without: Collection[str] = ()) -> str:
    """The text of `mixers-final.yaml` with the names of the four that the screening in a run folder chooses.

    Args:
        run: the run folder.
        without: as for `best_mixers`.

    Raises:
        StoreError: where the screening is not done.
    """
    text = FINAL.read_text()
    for place, mixer in enumerate(best_mixers(stored_tables(user_path("run", str(run))), without), 1):
        text = text.replace(f"best_{place}", mixer)
    return text


def _ranked(trained: pd.DataFrame | None) -> list[str]:
    """Mixers with both seeds, best first; no control."""
    if trained is None:
        return []
    rows = trained.assign(mixer=trained["model"].map(mixer_in))
    known = {mixer for own in RELATIVES.values() for mixer in own}
    plain = rows["model"] == _PLAIN + rows["mixer"]  # with the settings that it was screened with
    rows = rows[plain & rows["mixer"].isin(known) & rows["seed"].isin(SCREENED)].drop_duplicates(["mixer", "seed"])
    means = rows.groupby("mixer").agg(top_1=("top_1", "mean"), gmacs=("gmacs", "first"), seeds=("seed", "nunique"))
    means = means[means["seeds"] == len(SCREENED)].reset_index()
    means = means.sort_values(["top_1", "gmacs", "mixer"], ascending=[False, True, True], kind="stable")
    return list(means["mixer"])
