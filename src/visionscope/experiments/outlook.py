"""What a plan will cost, and what of it is there: told before anything starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd

from visionscope.building.measure import throughput
from visionscope.core.copying import channels_last
from visionscope.core.display import show_table
from visionscope.core.ticking import duration
from visionscope.experiments.driver import Standing
from visionscope.experiments.experiment import THREADS, Variant
from visionscope.experiments.plan import Plan, TrainTask
from visionscope.experiments.tables import TRAINING
from visionscope.training.launching import threads_of
from visionscope.training.networks import network_for

_PIXELS = 2**16  # of a training step that is timed: 64 images of CIFAR's size
_FEWEST = 16  # images of one, however large they are


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is left of an experiment.

    Attributes:
        standing: the tasks.
        training_seconds: of one training of each variant, on one core: as long as another seed took, else as a few
            steps say.
    """

    standing: Standing
    training_seconds: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Of all trainings that are left, on one core; diagnoses come on top."""
        return sum(self.of(train) for train in self.standing.trainings)

    @property
    def shortest(self) -> float:
        """Of the shortest training that is left; 0 where none is."""
        return min(map(self.of, self.standing.trainings), default=0.0)

    def of(self, train: TrainTask) -> float:
        """About how long one training takes, in seconds.

        Args:
            train: any of the plan.
        """
        whole = self.training_seconds[train.variant.name]
        return whole * _share(train)


def outlook_of(plan: Plan, standing: Standing, tables: Mapping[str, pd.DataFrame]) -> Outlook:
    """Times a step of each network of which no training is known, and adds up.

    Args:
        plan: the tasks.
        standing: what is left of them.
        tables: that the run folder has.
    """
    known: dict[str, float] = {}
    if TRAINING in tables:
        found = tables[TRAINING].groupby("variant")["seconds"].median()
        known = {str(name): float(seconds) for name, seconds in found.items()}
    unknown = {train.variant.name: train for train in standing.trainings if train.variant.name not in known}
    with threads_of(THREADS):
        for name, train in unknown.items():
            known[name] = train.images * train.variant.trained_by.epochs / _images_per_second(train.variant)
    return Outlook(standing=standing, training_seconds=known)


def tell_outlook(plan: Plan, outlook: Outlook, workers: int) -> Sequence[str]:
    """Writes what is there and what is left of every variant, and gives the lines that go below.

    Args:
        plan: the tasks.
        outlook: of them.
        workers: that share the work.
    """
    left, rows = outlook.standing, []
    waiting, first = {train.training for train in left.trainings}, set(left.trainings)
    for variant in plan.experiment.variants:
        own = [train for train in plan.trainings if train.variant is variant]
        diagnoses = [task for task in plan.diagnoses if task.train.variant is variant]
        undone = sum(task.train.variant is variant for task, _ in left.diagnoses)
        missing = [train for train in own if train.training in waiting]
        rows.append(
            (
                variant.name,
                variant.model,
                f"{own[0].parameters:,}",
                str(len(own)),
                f"{len(own) - len(missing)} of {len(own)}",
                f"{len(diagnoses) - undone} of {len(diagnoses)}",
                # What another variant shares is counted there.
                duration(seconds) if (seconds := sum(outlook.of(train) for train in own if train in first)) else "",
            )
        )
    columns = ("variant", "model", "parameters", "seeds", "trained", "diagnosed", "trainings left, one core")
    show_table(plan.experiment.title, columns, rows)
    lines = [f"{len(left.trainings)} trainings and {len(left.diagnoses)} diagnoses are left"]
    if left.trainings:
        many = f"; about {duration(outlook.seconds / workers)} with {workers} workers" if workers > 1 else ""
        lines.append(f"the trainings take about {duration(outlook.seconds)} on one core{many}; diagnoses come on top")
    return lines


def _images_per_second(variant: Variant) -> float:
    """Of a step as the loop takes it: the recipe's batch, or as much of it as is timed soon, and channels last.

    A quarter of that batch with channels first takes twice as long per image on a small network.
    """
    loaded = network_for(variant.model, 0, seed=0, note=lambda line: None)
    network, (height, width) = channels_last(loaded.model), loaded.input.size
    batch = min(variant.trained_by.batch_size, max(_FEWEST, _PIXELS // (height * width)))
    found = throughput({variant.name: network}, (height, width), len(loaded.input.mean), batch=batch, repeats=1)
    return found[variant.name].training


def _share(train: TrainTask) -> float:
    """How much of a training is done until it may end."""
    if not train.until:
        return 1.0
    recipe = train.variant.trained_by
    shares = {"init": 0.0, "warmup": recipe.warm_up}
    return shares[train.until] if train.until in shares else float(train.until.removeprefix("epoch-")) / recipe.epochs
