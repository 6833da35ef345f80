"""Figures 1c, 4, 6, 7b, 12c, C.3b, C.5, C.6 and C.7c: the Hessian's largest eigenvalues at the end of the warm-up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import pyarrow as pa

from visionscope.claims.measuring import flatness
from visionscope.claims.one_seed import WARMUP, MissingError, OneSeed, Tables
from visionscope.claims.published import figure as published
from visionscope.core.figure import Line, Panel
from visionscope.experiments.figures.over_seeds import BySeed, by_seed, rows_of, strip

NEP, APE = "NEP in %", "APE in nat per squared weight"
_DATA = "CIFAR-100"


def densities(tables: Tables, variants: Sequence[str]) -> Iterator[Panel]:
    """Densities of the eigenvalues of all seeds, negative and positive apart, and both on one axis.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
    """
    from visionscope.diagnostics.hessian.figure import figure
    from visionscope.diagnostics.hessian.question import Hessian

    found = [rows_of(tables, "hessian", variant, WARMUP, level="model") for variant in variants]
    pooled = pd.concat(found) if any(map(len, found)) else pd.DataFrame()
    if pooled.empty or not pooled["converged"].any():
        return
    # All seeds of a variant are one curve.
    pooled = pooled.assign(model=pooled["variant"], job=pooled["variant"])
    yield from figure(Hessian(), pa.Table.from_pandas(pooled, preserve_index=False)).panels


def negative_shares(tables: Tables, variants: Sequence[str], names: Mapping[str, str] | None = None) -> Iterator[Panel]:
    """NEP and the median magnitude of each variant.

    Args:
        tables: of an experiment.
        variants: in the order of the figure.
        names: what stands below a variant instead of its name.
    """
    shares = _percent(by_seed(tables, "hessian_summary", "negative_share", variants, WARMUP, level="model"))
    if shares:
        yield strip("negative eigenvalues", NEP, shares, names=names)
    sizes = _flatness(tables, variants)
    if sizes:
        yield strip("size of the eigenvalues", "ln of the median magnitude", sizes, names=names)


def over_sizes(tables: Tables, sizes: Mapping[str, float], x_label: str, name: str, key: str) -> Iterator[Panel]:
    """NEP and APE over the heads, or the channels of a head, beside the paper's.

    Args:
        tables: of an experiment.
        sizes: of each variant.
        x_label: what the size is.
        name: of the published figure.
        key: of the sizes in it.
    """
    read = published(name)
    columns = (("negative_share", NEP, 100.0, "NEP_percent"), ("positive_mean", APE, 1.0, "APE"))
    for column, label, factor, told in columns:
        values = by_seed(tables, "hessian_summary", column, list(sizes), WARMUP, level="model")
        if not values:
            continue
        scaled = {one: {seed: factor * value for seed, value in own.items()} for one, own in values.items()}
        title = label.partition(" in ")[0]
        labels = {one: f"{size:g}" for one, size in sizes.items()}
        yield dataclasses.replace(strip(f"{title}, ours", label, scaled, names=labels), x_label=x_label, group=title)
        line = Line(name=f"{title}, paper", x=tuple(map(float, range(len(read[key])))), y=tuple(read[told]))
        yield Panel(
            model=f"{title}, paper",
            title=f"{title}, paper: ViT-Ti of half depth, {_DATA}",
            x_label=x_label,
            y_label=label,
            lines=(line,),
            x_names=tuple(f"{size:g}" for size in read[key]),
            group=title,
        )


def _percent(values: BySeed) -> BySeed:
    return {variant: {seed: 100 * value for seed, value in own.items()} for variant, own in values.items()}


def _flatness(tables: Tables, variants: Sequence[str]) -> BySeed:
    """The number by which the claims compare sizes; a seed without one is left out."""
    found: BySeed = {}
    for variant in variants:
        for seed in sorted(set(rows_of(tables, "hessian", variant, WARMUP).get("seed", ()))):
            try:
                found.setdefault(variant, {})[int(seed)] = flatness(OneSeed(tables, int(seed)), variant)
            except MissingError:
                continue
    return found
