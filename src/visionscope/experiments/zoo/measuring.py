"""Asks networks one after the other; one that can't be had, or fails, costs itself alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from visionscope.claims.one_seed import LAST
from visionscope.config import study_from
from visionscope.core.failures import Failure, one_line
from visionscope.errors import StoreError
from visionscope.experiments.executors.choosing import executor_for
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.experiment import Asked
from visionscope.experiments.plan import question_key
from visionscope.experiments.session import gpus_of
from visionscope.experiments.sharing import shared_out
from visionscope.experiments.sitting import Sitting
from visionscope.experiments.work import absolute
from visionscope.experiments.zoo.plan import Network, ZooPlan
from visionscope.running.devices import device_of
from visionscope.running.execute import execute
from visionscope.running.plan import PlannedSubject, plan_one
from visionscope.running.store import Store
from visionscope.running.study import Study


@dataclasses.dataclass(frozen=True)
class Lost:
    """What could not be measured of a network.

    Attributes:
        network: its label.
        diagnostic: the name; "" where all are lost.
        reason: why.
    """

    network: str
    diagnostic: str
    reason: str

    @property
    def text(self) -> str:
        """As people read it."""
        what = f", {self.diagnostic}" if self.diagnostic else ""
        return f"{self.network}{what}: {self.reason.removeprefix(f'{self.network}: ')}"


def measure_zoo(plan: ZooPlan, sitting: Sitting, note: Callable[[str], None]) -> tuple[Lost, ...]:
    """Measures what is left, network by network.

    Args:
        plan: from `plan_zoo`.
        sitting: where, how many workers, how long; after its hours no further network is begun.
        note: takes a line that the user should see.

    Returns:
        What could not be measured.

    Raises:
        ConfigError: when the workers can't be had.
        StoreError: when the disk refuses; what was stored before is kept.
    """
    left = [network for network in plan.networks if network.left]
    ends = None if sitting.until is None else time.monotonic() + 3600 * sitting.until
    lost: list[Lost] = []
    shared = (sitting.on, sitting.workers) != ("local", 1)
    with ExitStack() as stack:
        executor = None
        if left and shared:
            folder = plan.run / "slurm"
            executor = stack.enter_context(executor_for(sitting.on, workers=sitting.workers, folder=folder))
        for place, network in enumerate(left, start=1):
            if ends is not None and time.monotonic() >= ends:
                break
            note(f"{network.label} ({place} of {len(left)})")
            lost += _measured(plan, network, executor, sitting)
    return tuple(lost)


def _measured(plan: ZooPlan, network: Network, executor: Executor | None, sitting: Sitting) -> Iterator[Lost]:
    if network.weights == "not here":
        yield Lost(network.label, "", "its pretrained weights are not here, and the hub does not answer")
        return
    for part in plan.zoo.asked:
        names = [one.name for one in part.diagnostics if one.name in network.left]
        if not names:
            continue
        try:
            yield from _part(plan, network, part, names, executor, sitting)
        except StoreError:
            raise
        except Exception as error:  # whatever a network's own code raises is its own loss
            yield Lost(network.label, "", one_line(error))
            return


def _part(
    plan: ZooPlan,
    network: Network,
    part: Asked,
    names: Sequence[str],
    executor: Executor | None,
    sitting: Sitting,
) -> Iterator[Lost]:
    """What is asked with the same settings."""
    study = _study(plan, network, part, names)
    planned = _marked(plan_one(study), network, part)
    for name, reason in planned.skipped:
        yield Lost(network.label, name, reason)
    if not planned.jobs:
        return
    failures: list[Failure]
    if executor is None:
        failures = execute([planned], Store(plan.run), batch=study.batch, device=device_of(study.device))
    else:  # workers are asked for what applies alone, since others refuse the rest
        applying = _study(plan, network, part, [job.diagnostic.name for job in planned.jobs])
        failures = shared_out(applying, [planned], Store(plan.run), executor, gpus=gpus_of(sitting))
    for failure in failures:
        yield Lost(network.label, failure.diagnostic, f"part {failure.part}: {failure.message}")


def _study(plan: ZooPlan, network: Network, part: Asked, names: Sequence[str]) -> Study:
    fields = {one.name: dataclasses.asdict(one) for one in part.diagnostics if one.name in names}
    own = {"models": [network.listed.text], "data": absolute(plan.zoo.data), "only": list(names), "out": str(plan.run)}
    return study_from({**own, **part.settings, **fields})


def _marked(planned: PlannedSubject, network: Network, part: Asked) -> PlannedSubject:
    """Jobs that say which network and question they are for, and what family the network is of."""
    told = {"training": network.key, "snapshot": LAST, "family": family_of(planned)}
    jobs = tuple(
        dataclasses.replace(
            job,
            record={**job.record, "experiment": {**told, "question": question_key(job.diagnostic, part)}},
        )
        for job in planned.jobs
    )
    return dataclasses.replace(planned, jobs=jobs)


def family_of(planned: PlannedSubject) -> str:
    """The family of a network: the name of its class.

    Args:
        planned: the network.
    """
    return type(planned.subject.model).__name__
