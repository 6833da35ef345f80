"""One sitting at an experiment: what is left is done, or as much as there is time for, and what is there is judged."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from visionscope.claims.claim import Claim
from visionscope.claims.families import check_families, told_family
from visionscope.claims.foreseen import foreseen
from visionscope.claims.own import claim_in
from visionscope.claims.verdict import Verdict, judge
from visionscope.core.files import user_path
from visionscope.core.ticking import duration
from visionscope.errors import ConfigError
from visionscope.experiments.done import stored_tables
from visionscope.experiments.driver import Driver, Standing, standing
from visionscope.experiments.executors.choosing import executor_for
from visionscope.experiments.experiment import Experiment
from visionscope.experiments.lock import alone
from visionscope.experiments.outlook import Outlook, outlook_of
from visionscope.experiments.plan import Plan, plan_of
from visionscope.experiments.showing import Showing
from visionscope.experiments.sitting import Sitting
from visionscope.experiments.tables import gather, own_tables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an experiment has come to.

    Attributes:
        tables: by name, of the experiment's own variants and seeds.
        verdicts: on its claims.
        failed: tasks that failed in this sitting, a line each.
        left: tasks that are still to be done.
        page: the report; None where there is nothing to show yet.
    """

    tables: Mapping[str, pd.DataFrame]
    verdicts: tuple[Verdict, ...]
    failed: tuple[str, ...]
    left: int
    page: Path | None = None


def planned(experiment: Experiment, *, only_training: bool = False) -> tuple[Plan, Outlook]:
    """The tasks of an experiment, which of them are left, and what they will cost.

    Args:
        experiment: what is asked.
        only_training: whether diagnoses wait for another time.

    Raises:
        ConfigError: for a model that can't be had, or a claim that the experiment can't answer.
        DataError: for images that can't be read.
        StoreError: when a table of the run folder can't be read.
    """
    claims_of(experiment)  # what is wrong with them is told first
    plan, run = plan_of(experiment), user_path("out", experiment.out)
    left = standing(plan, run, only_training=only_training)
    return plan, outlook_of(plan, left, stored_tables(run))


def claims_of(experiment: Experiment) -> tuple[Claim, ...]:
    """The claims that an experiment tests: the paper's by name, and its own.

    Args:
        experiment: any.

    Raises:
        ConfigError: for a claim that there is not, and for one that the experiment has not all variants of.
    """
    names = [variant.name for variant in experiment.variants]
    found = []
    for name, own in experiment.claims.items():
        one = claim_in(name, own, names)
        lacking = [variant for variant in one.variants if variant not in names]
        if lacking:
            raise ConfigError(f"claims: {name} needs the variant {lacking[0]}, which the study does not train; add it")
        for diagnostic, variant in itertools.product(one.diagnostics, one.variants):
            parts = [part for part in experiment.asked_of(variant) if part.snapshot == one.snapshot]
            if not any(diagnostic == asked.name for part in parts for asked in part.diagnostics):
                place = f"diagnose.{one.snapshot}"
                raise ConfigError(
                    f"claims: {name} needs {diagnostic} of {variant} at {one.snapshot}; add it to {place}"
                )
        found.append(one)
    check_families(found)
    return tuple(found)


def promises(plan: Plan) -> tuple[str, ...]:
    """What each claim could show with its seeds, a line each; told before anything runs.

    Args:
        plan: from `planned`.
    """
    run = user_path("out", plan.experiment.out)
    seeds = {variant.name: variant.seeds for variant in plan.experiment.variants}
    tables = own_tables(plan, stored_tables(run))
    lines = []
    for one in foreseen(claims_of(plan.experiment), seeds, tables):
        if one.note or one.deviations is None:
            lines.append(f"{one.claim}: {one.note}")
            continue
        family = f" (Holm's rule over {told_family(one.family)}: {one.comparisons})" if one.comparisons > 1 else ""
        told = f" = {one.effect:.3g} {one.unit}" if one.effect is not None else ""
        lines.append(
            f"{one.claim}: {one.n} seeds can show an effect of {one.deviations:.2f} standard deviations between seeds"
            f"{told}; the smallest of interest is {one.smallest:g} {one.unit}".rstrip()
            + family
        )
    return tuple(lines)


def carry_out(plan: Plan, outlook: Outlook, sitting: Sitting, note: Callable[[str], None]) -> Outcome:
    """Does what is left of an experiment, or as much as there is time for; the same call goes on.

    Args:
        plan: from `planned`.
        outlook: from `planned`.
        sitting: where, how many at a time, how long.
        note: takes a line that the user should see.

    Raises:
        ConfigError: when another process is at it, the workers can't be had, or the time is too short for any task.
        StoreError: when the disk refuses; what was written before is kept.
    """
    experiment, run = plan.experiment, user_path("out", plan.experiment.out)
    seconds = None if sitting.until is None else 3600 * sitting.until
    if seconds is not None and outlook.standing.trainings and seconds < outlook.shortest:
        raise ConfigError(
            f"until: the shortest training that is left takes about {duration(outlook.shortest)}, and would never end "
            f"in {duration(seconds)}; take more"
        )
    failed: tuple[str, ...] = ()
    with alone(run):
        if outlook.standing.trainings or outlook.standing.diagnoses:
            options = experiment.slurm if sitting.on == "slurm" else None
            with (
                executor_for(sitting.on, workers=sitting.workers, folder=run / "slurm", options=options) as executor,
                Showing(outlook, sitting.workers) as showing,
            ):
                driver = Driver(run, executor, outlook.standing, showing.show, gpus=gpus_of(sitting))
                try:
                    driver.carry_out(seconds)
                except KeyboardInterrupt:
                    gather(plan, run, note)  # the tables are enough to go on from on another machine
                    raise
                failed = tuple(f"{task.text}: {reason}" for task, reason in driver.failed)
        return outcome(plan, note, failed)


def gpus_of(sitting: Sitting) -> float:
    """The GPUs of each task.

    Args:
        sitting: says how many, or leaves it to this machine, whose own are shared out among its workers.
    """
    if sitting.gpus is not None:
        return sitting.gpus
    if sitting.on != "local":
        return 0.0

    import torch

    return torch.cuda.device_count() / sitting.workers


def outcome(plan: Plan, note: Callable[[str], None], failed: tuple[str, ...] = ()) -> Outcome:
    """What the files of an experiment come to, as they are.

    Args:
        plan: from `planned`.
        note: takes a line about a result that can't be made.
        failed: tasks that failed in this sitting.

    Raises:
        StoreError: when the disk refuses.
    """
    experiment, run = plan.experiment, user_path("out", plan.experiment.out)
    tables = gather(plan, run, note)
    claims = claims_of(experiment)
    verdicts = judge(claims, tables) if claims else ()
    still: Standing = standing(plan, run)
    left = len(still.trainings) + len(still.diagnoses)
    page = None
    if any(len(table) for table in tables.values()):
        from visionscope.experiments.page import write_page

        page = write_page(plan, run, tables, claims, verdicts, left=left)
    return Outcome(tables=tables, verdicts=verdicts, failed=failed, left=left, page=page)
