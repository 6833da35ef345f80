"""How the numbers of one diagnostic went over one training."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

MONITOR, SNAPSHOTS = "monitor", "snapshots"


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """The numbers of one diagnostic of one training.

    Attributes:
        diagnostic: its name.
        training: how the training is called.
        source: who asked: a monitor while it trained, or a study of its snapshots.
        rows: long, with the columns of `running.moments.MonitorRow`: step, epoch, diagnostic, point, column, value,
            low, high, unit and note.
    """

    diagnostic: str
    training: str
    source: str
    rows: pa.Table
