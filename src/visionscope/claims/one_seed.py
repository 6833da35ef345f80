"""The tables of an experiment, seen from one seed: whatever a claim compares was trained with that seed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from visionscope.core.values import shown
from visionscope.errors import ConfigError, DataError, StoreError, nearest

if TYPE_CHECKING:
    import pandas as pd

    Tables = Mapping[str, pd.DataFrame]
else:
    Tables = Mapping[str, Any]

INIT, WARMUP, LAST = "init", "warmup", "last"
_EPOCH = re.compile(r"epoch-([0-9]{1,6})")


def snapshot_named(owner: str, text: str) -> str:
    """The name that a snapshot has in tables: `epoch-0005` for `epoch-5`.

    Args:
        owner: whose it is, for the message.
        text: `init`, `warmup`, `last` or an epoch.

    Raises:
        ConfigError: for anything else.
    """
    if text in (INIT, WARMUP, LAST):
        return text
    found = _EPOCH.fullmatch(text)
    if found is None or not int(found[1]):
        raise ConfigError(
            f"{owner}: a snapshot must be {INIT}, {WARMUP}, {LAST} or an epoch such as epoch-5; got {shown(text)}."
            f"{nearest(text, (INIT, WARMUP, LAST))}"
        )
    return f"epoch-{int(found[1]):04d}"


class MissingError(DataError):
    """One seed lacks a number that a claim needs; the message says of which variant, and why."""


@dataclasses.dataclass(frozen=True)
class OneSeed:
    """What was measured with one seed.

    Attributes:
        tables: of the experiment, by name.
        seed: that all rows share.
        roles: which of the experiment's variants stands for one that a claim names, where it has another name.
    """

    tables: Tables
    seed: int
    roles: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def rows(self, table: str, variant: str, snapshot: str = LAST, **where: Any) -> pd.DataFrame:
        """The rows of one variant, in the table's order.

        Args:
            table: its name, such as `hessian_summary`.
            variant: name of the training in the study.
            snapshot: of the training.
            **where: further columns and their values.

        Raises:
            MissingError: when there are none.
            StoreError: when the table lacks a column.
        """
        variant = self.roles.get(variant, variant)
        if table not in self.tables:
            raise MissingError(self._why(variant, snapshot, where.get("diagnostic", table), f"no table {table!r}"))
        frame = self.tables[table]
        kept = np.ones(len(frame), dtype=bool)
        for name, value in {"variant": variant, "seed": self.seed, "snapshot": snapshot, **where}.items():
            if name not in frame:
                raise StoreError(f"the table {table!r} lacks the column {name!r}.{nearest(name, map(str, frame))}")
            kept &= (frame[name] == value).to_numpy(dtype=bool, na_value=False)
        frame = frame[kept]
        if frame.empty:
            raise MissingError(
                self._why(variant, snapshot, where.get("diagnostic", table), f"no {table} at {snapshot}")
            )
        return frame

    def numbers(self, rows: pd.DataFrame, column: str, variant: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """A column of rows, all of them finite.

        Args:
            rows: some of one variant's.
            column: its name.
            variant: whose they are, for the message.

        Raises:
            MissingError: for a number that is none, or not finite.
            StoreError: when there is no such column.
        """
        if column not in rows:
            raise StoreError(f"a table lacks the column {column!r}.{nearest(column, map(str, rows))}")
        values = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(values).all():
            raise MissingError(f"{self.roles.get(variant, variant)}: {column} is not finite")
        return values

    def number(self, table: str, column: str, variant: str, snapshot: str = LAST, **where: Any) -> float:
        """The one number of a variant.

        Args:
            table: its name.
            column: that holds the number.
            variant: name of the training in the study.
            snapshot: of the training.
            **where: further columns and their values, such that one row is left.

        Raises:
            MissingError: when there is no such row, or its number is not finite.
            StoreError: when several rows are left.
        """
        values = self.numbers(self.rows(table, variant, snapshot, **where), column, variant)
        if len(values) > 1:
            raise StoreError(f"the table {table!r} must have one row of {variant}, seed {self.seed}; got {len(values)}")
        return float(values[0])

    def _why(self, variant: str, snapshot: str, table: str, otherwise: str) -> str:
        """Why a variant has no rows: its training failed, or the diagnostic whose table it is."""
        if "failures" in self.tables:
            frame = self.tables["failures"]
            rows = frame[(frame["variant"] == variant) & (frame["seed"] == self.seed)]
            told = dict(zip(zip(rows["diagnostic"], rows["snapshot"], strict=True), rows["reason"], strict=True))
            for (diagnostic, where), reason in sorted(told.items()):  # a failed training, "", explains all the rest
                if not diagnostic or (where == snapshot and table in (diagnostic, f"{diagnostic}_summary")):
                    return f"{variant}: {reason}"
        return f"{variant}: {otherwise}"
