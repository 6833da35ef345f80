"""Carries out a build-up: trains what the next look needs, and decides; the same call goes on where it was stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from visionscope.claims.one_seed import LAST
from visionscope.errors import VisionscopeError
from visionscope.experiments.buildup.path import Places, Step, name_of, walk
from visionscope.experiments.buildup.search import Search, experiment_of, keep_question
from visionscope.experiments.driver import Driver, standing
from visionscope.experiments.executors.choosing import executor_for
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.lock import alone
from visionscope.experiments.outlook import outlook_of
from visionscope.experiments.plan import Plan, TrainTask, plan_of
from visionscope.experiments.session import gpus_of
from visionscope.experiments.showing import Showing
from visionscope.experiments.sitting import Sitting
from visionscope.experiments.tables import TRAINING, gather
from visionscope.numerics.sequential import looks_of, ruling
from visionscope.training.evaluation import Scores
from visionscope.training.folder import finished

Numbers = dict[int, float]
"""By seed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """What a network achieves on the images that are held out.

    Attributes:
        top_1: share that is right, by seed.
        nll: in nats, by seed.
        parameters: of the network.
        gmacs: 1e9 multiply-accumulates of an image; None where an operation's cost is unknown.
        seconds: that a training took, the median.
    """

    top_1: Numbers
    nll: Numbers
    parameters: int
    gmacs: float | None
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate that was tried.

    Attributes:
        step: which one, and what it was compared with.
        gains: its accuracy less its parent's, on the seeds of the deciding look, in their order.
        kept: whether it took its parent's place.
        reason: why a training of it failed, or "".
    """

    step: Step
    gains: tuple[float, ...]
    kept: bool
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confirmed:
    """The winner and the network that it came from, on seeds that decided nothing and on the test images.

    Attributes:
        seeds: one training each.
        before: scores of the network that the build-up began with.
        after: scores of the winner.
        weights: of the winner, of the first of these seeds.
    """

    seeds: tuple[int, ...]
    before: tuple[Scores, ...]
    after: tuple[Scores, ...]
    weights: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Buildup:
    """What a build-up has come to.

    Attributes:
        search: what was asked.
        trials: in order.
        held: of every network that was trained, by name.
        winner: its places; none where nothing helped.
        confirmed: of the winner; None where nothing helped.
    """

    search: Search
    trials: tuple[Trial, ...]
    held: dict[str, Held]
    winner: Places
    confirmed: Confirmed | None


def carry_out(search: Search, sitting: Sitting, run: Path, note: Callable[[str], None]) -> Buildup:
    """Tries candidates in the order of the rule, then trains the winner and its origin on fresh seeds.

    Args:
        search: from `search_for`.
        sitting: where trainings run, and how many at a time.
        run: the run folder.
        note: takes a line that the user should see.

    Raises:
        ConfigError: when another process is at work there, or the workers can't be had.
        StoreError: when the disk refuses; what was written before is kept.
        VisionscopeError: when the network itself, or the winner on a fresh seed, can't be trained.
    """
    with alone(run), executor_for(sitting.on, workers=sitting.workers, folder=run / "slurm") as executor:
        keep_question(run, search)
        trainer = _Trainer(search, executor, sitting, run, note)
        trials: list[Trial] = []

        def helps(step: Step) -> bool:
            trials.append(_tried(trainer, step, search.seeds))
            note(_told(trials[-1]))
            return trials[-1].kept

        for _ in walk(search.room, helps):
            pass
        winner = next((trial.step.places for trial in reversed(trials) if trial.kept), search.start)
        confirmed = _confirmed(trainer, search, winner) if any(winner) else None
    return Buildup(search=search, trials=tuple(trials), held=trainer.held, winner=winner, confirmed=confirmed)


class _Trainer:
    """Trains networks on seeds, each once, and knows what they came to."""

    def __init__(
        self, search: Search, executor: Executor, sitting: Sitting, run: Path, note: Callable[[str], None]
    ) -> None:
        self.held: dict[str, Held] = {}
        self.run, self.note = run, note
        # Accuracies are no finer than an image's share of those that are held out.
        self.one_image = search.one_image
        self._search, self._executor, self._sitting = search, executor, sitting

    def trained(self, places: Sequence[Places], seeds: Sequence[int]) -> dict[str, str]:
        """Trains networks on seeds, in the order of the seeds; why a network's training failed, by its name."""
        plan = plan_of(experiment_of([self._search.variant(one, seeds) for one in places], self.run))
        left = standing(plan, self.run)
        failed: dict[str, str] = {}
        if left.trainings:
            outlook = outlook_of(plan, left, gather(plan, self.run))
            with Showing(outlook, self._sitting.workers) as showing:
                driver = Driver(self.run, self._executor, left, showing.show, gpus=gpus_of(self._sitting))
                driver.carry_out()
            for task, reason in driver.failed:
                if isinstance(task, TrainTask):
                    failed.setdefault(task.variant.name, f"seed {task.seed}: {reason}")
        self._keep(plan)
        return failed

    def _keep(self, plan: Plan) -> None:
        rows = gather(plan, self.run, self.note).get(TRAINING, pd.DataFrame({"variant": []}))
        for variant in plan.experiment.variants:
            own = rows[rows["variant"] == variant.name]
            if own.empty:
                continue
            first = next(task for task in plan.trainings if task.variant is variant)
            known = self.held.get(variant.name)
            self.held[variant.name] = Held(
                top_1={**(known.top_1 if known else {}), **_by_seed(own, "top_1")},
                nll={**(known.nll if known else {}), **_by_seed(own, "nll")},
                parameters=first.parameters,
                gmacs=first.gmacs,
                seconds=float(own["seconds"].median()),
            )


def _by_seed(rows: pd.DataFrame, column: str) -> Numbers:
    return {int(seed): float(value) for seed, value in zip(rows["seed"], rows[column], strict=True)}


def _tried(trainer: _Trainer, step: Step, most: int) -> Trial:
    """Adds seeds until a look decides."""
    parent, name = name_of(step.parent), name_of(step.places)
    for count in looks_of(most):
        seeds = range(count)
        failed = trainer.trained((step.parent, step.places), seeds)
        if parent in failed:
            raise VisionscopeError(f"{parent}: its training failed: {failed[parent]}")
        if name in failed:
            return Trial(step=step, gains=(), kept=False, reason=failed[name])
        before, after = trainer.held[parent].top_1, trainer.held[name].top_1
        gains = tuple(after[seed] - before[seed] for seed in seeds)
        told = ruling(gains, most, least=trainer.one_image)
        if told != "more":
            break
    return Trial(step=step, gains=gains, kept=told == "keep")


def _told(trial: Trial) -> str:
    """A trial in one line."""
    name, parent = name_of(trial.step.places), name_of(trial.step.parent)
    if trial.reason:
        return f"{name}: dropped, since its training failed: {trial.reason}"
    gain = 100 * sum(trial.gains) / len(trial.gains)
    return (
        f"{name}: {'kept' if trial.kept else 'dropped'}, {gain:+.2f} points to {parent} over {len(trial.gains)} seeds"
    )


def _confirmed(trainer: _Trainer, search: Search, winner: Places) -> Confirmed:
    """Both networks on as many fresh seeds; here alone test scores are read."""
    seeds = tuple(range(search.seeds, 2 * search.seeds))
    searched = dict(trainer.held)  # the table of candidates is of the seeds that decided
    failed = trainer.trained((search.start, winner), seeds)
    trainer.held.update(searched)
    for name, reason in failed.items():
        raise VisionscopeError(f"{name}: its training on a fresh seed failed: {reason}")
    plan = plan_of(experiment_of([search.variant(one, seeds) for one in (search.start, winner)], trainer.run))
    scores = {
        places: tuple(_scores(task, trainer) for task in plan.trainings if task.variant.name == name_of(places))
        for places in (search.start, winner)
    }
    first = next(task for task in plan.trainings if task.variant.name == name_of(winner))
    return Confirmed(
        seeds=seeds, before=scores[search.start], after=scores[winner], weights=first.weights(trainer.run, LAST)
    )


def _scores(task: TrainTask, trainer: _Trainer) -> Scores:
    found = finished(task.folder(trainer.run), task.digest, trainer.note)
    if found is None:
        raise VisionscopeError(
            f"{task.text}: its weights are gone from {task.folder(trainer.run)}; put them back, or name another folder"
        )
    return found
