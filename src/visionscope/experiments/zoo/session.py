"""One sitting at a list of networks: what is left is measured, and what is there is judged and drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from visionscope.claims.one_seed import LAST
from visionscope.claims.over_networks import NetworkVerdict, judge_networks
from visionscope.experiments.folder import Kept, write_tasks
from visionscope.experiments.lock import alone
from visionscope.experiments.sitting import Sitting
from visionscope.experiments.zoo.measuring import Lost, measure_zoo
from visionscope.experiments.zoo.plan import ZooPlan, plan_zoo
from visionscope.experiments.zoo.results import NETWORKS, gather_zoo


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZooOutcome:
    """What a list of networks has come to.

    Attributes:
        tables: by name, of the list's networks.
        verdicts: on the claims.
        lost: what could not be measured in this sitting.
        left: networks with something left that did not fail.
        page: the report; None where nothing was measured.
    """

    tables: Mapping[str, pd.DataFrame]
    verdicts: tuple[NetworkVerdict, ...]
    lost: tuple[Lost, ...]
    left: int
    page: Path | None = None


def carry_out_zoo(plan: ZooPlan, sitting: Sitting, command: str, note: Callable[[str], None]) -> ZooOutcome:
    """Measures what is left, or as much as there is time for; the same call goes on.

    Args:
        plan: from `plan_zoo`.
        sitting: where, how many workers, how long.
        command: that goes on with it.
        note: takes a line that the user should see.

    Raises:
        ConfigError: when another process is at it, or the workers can't be had.
        StoreError: when the disk refuses; what was written before is kept.
    """
    questions = tuple((LAST, name, key) for name, key in plan.zoo.questions)
    tasks = [Kept(one.label, 0, one.key, "", questions, pretrained=True) for one in plan.networks]
    write_tasks(plan.run, plan.zoo.values, tasks, command)
    with alone(plan.run):
        lost = measure_zoo(plan, sitting, note)
        tables = gather_zoo(plan, lost, note)
        verdicts = judge_networks(plan.zoo.claims, tables)
        failed = {one.network for one in lost}
        left = sum(bool(one.left) and one.label not in failed for one in plan_zoo(plan.zoo).networks)
        page = None
        if NETWORKS in tables:
            from visionscope.experiments.zoo.page import write_zoo_page

            page = write_zoo_page(plan, tables, verdicts, left=left)
    return ZooOutcome(tables=tables, verdicts=verdicts, lost=lost, left=left, page=page)
