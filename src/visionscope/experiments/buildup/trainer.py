"""Trains the networks of a build-up on seeds, each once, and knows what they came to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from visionscope.claims.one_seed import LAST
from visionscope.errors import StoreError, VisionscopeError
from visionscope.experiments.buildup.networks import Network, beginning
from visionscope.experiments.buildup.search import Search, experiment_of
from visionscope.experiments.driver import Driver, standing
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.experiment import Variant
from visionscope.experiments.outlook import outlook_of
from visionscope.experiments.plan import Plan, TrainTask, plan_of
from visionscope.experiments.session import gpus_of
from visionscope.experiments.showing import Showing
from visionscope.experiments.sitting import Sitting
from visionscope.experiments.tables import TRAINING, gather
from visionscope.models.load import LoadedModel
from visionscope.numerics.sequential import FEWEST
from visionscope.training.evaluation import Scores
from visionscope.training.folder import finished
from visionscope.training.networks import network_for

Numbers = dict[int, float]
ScoresBySeed = dict[int, Scores]
"""By seed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """What a network achieves on the images that are held out.

    Attributes:
        top_1: share that is right, by seed.
        nll: in nats, by seed.
        parameters: of the network.
        gmacs: 1e9 multiply-accumulates of an image; None where an operation's cost is unknown.
    """

    top_1: Numbers
    nll: Numbers
    parameters: int
    gmacs: float | None


class Trainer:
    """Trains networks on seeds, each once, and knows what they came to.

    Args:
        search: what is asked.
        executor: where trainings run.
        sitting: how many at a time.
        run: the run folder.
        note: takes a line that the user should see.

    Attributes:
        held: of every network that was trained to be chosen, by name.
        failed: why trainings failed, by their identity; none of them is tried again.
    """

    def __init__(
        self, search: Search, executor: Executor, sitting: Sitting, run: Path, note: Callable[[str], None]
    ) -> None:
        self.held: dict[str, Held] = {}
        self.failed = dict(search.failed)
        self._search, self._executor, self._sitting, self._run, self._note = search, executor, sitting, run, note
        self._weights: dict[tuple[str, int], Path] = {}
        self._said: set[str] = set()

    def trained(self, networks: Sequence[Network], seeds: Sequence[int]) -> dict[str, str]:
        """Trains networks, in the order of the seeds, after those that they begin with.

        Args:
            networks: any.
            seeds: one training each.

        Returns:
            Why a network's training failed, by its name.

        Raises:
            ConfigError: for pretrained weights that are not available.
            StoreError: when the disk refuses.
        """
        before = {network.after.name: network.after for network in networks if network.after is not None}
        lost = self.trained(list(before.values()), seeds) if before else {}
        failed = {
            network.name: f"{network.after.name}, which it begins with: {lost[network.after.name]}"
            for network in networks
            if network.after is not None and network.after.name in lost
        }
        ready = [network for network in networks if network.name not in failed]
        if ready:
            plan, reasons = self._carried_out(ready, seeds)
            self._keep(plan)
            failed |= {name: f"seed {min(own)}: {own[min(own)]}" for name, own in reasons.items()}
        return failed

    def scored(self, networks: Sequence[Network], seeds: Sequence[int]) -> dict[str, ScoresBySeed]:
        """Trains networks on seeds that decide nothing; here alone test scores are read.

        A seed on which a network can't be trained is told and left out for all of them.

        Args:
            networks: any that begin with no other's weights.
            seeds: one training each.

        Returns:
            The scores of each network, by name, in the order of the seeds.

        Raises:
            StoreError: when the weights of a training are gone.
            VisionscopeError: when fewer than two seeds are left.
        """
        plan, failed = self._carried_out(networks, seeds)
        gather(plan, self._run, self._note)
        told = [
            f"{name} failed on fresh seed {seed}: {why}" for name, own in failed.items() for seed, why in own.items()
        ]
        lost = {seed for own in failed.values() for seed in own}
        if len(set(seeds) - lost) < FEWEST:
            raise VisionscopeError(f"fewer than {FEWEST} fresh seeds are left: {told[0]}")
        for line in told:
            self._note(f"{line}; this seed is left out")
        return {
            network.name: {
                task.seed: self._scores(task)
                for task in plan.trainings
                if task.variant.name == network.name and task.seed not in lost
            }
            for network in networks
        }

    def weights(self, network: Network, seed: int) -> Path:
        """The last weights of a training.

        Args:
            network: that was trained.
            seed: of the training.
        """
        return self._weights[network.name, seed]

    def _carried_out(self, networks: Sequence[Network], seeds: Sequence[int]) -> tuple[Plan, dict[str, dict[int, str]]]:
        """The plan, and why a network's training failed, by its name and the seed."""
        variants = [variant for network in networks for variant in self._variants(network, seeds)]
        plan = plan_of(experiment_of(variants, self._run))
        for task in plan.trainings:
            self._weights[task.variant.name, task.seed] = task.weights(self._run, LAST)
        left = standing(plan, self._run)
        lost = [task for task in left.trainings if task.training in self.failed]
        left.trainings = [task for task in left.trainings if task.training not in self.failed]
        if left.trainings:
            outlook = outlook_of(plan, left, gather(plan, self._run))
            with Showing(outlook, self._sitting.workers) as showing:
                driver = Driver(self._run, self._executor, left, showing.show, gpus=gpus_of(self._sitting))
                driver.carry_out()
            for ended, reason in driver.failed:
                if isinstance(ended, TrainTask):
                    self.failed[ended.training] = reason
                    lost.append(ended)
        failed: dict[str, dict[int, str]] = {}
        for task in lost:
            failed.setdefault(task.variant.name, {})[task.seed] = self.failed[task.training]
        return plan, failed

    def _variants(self, network: Network, seeds: Sequence[int]) -> Iterator[Variant]:
        """As what a network is trained: with weights of its own for each seed where these are not random."""
        if network.after is None and not self._search.question.fine_tunes:
            yield self._search.variant(network, seeds)
            return
        for seed in seeds:
            # Workers may have another working directory.
            yield self._search.variant(network, (seed,), self._beginning(network, seed).absolute())

    def _beginning(self, network: Network, seed: int) -> Path:
        search = self._search
        if network.after is None:

            def load() -> LoadedModel:
                asked = search.question
                return network_for(asked.model, search.classes, seed=seed, pretrained=asked.pretrained, note=self._once)

            source = f"{search.base.digest} {search.classes}"
        else:
            trained = self.weights(network.after, seed)
            if network.changes == network.after.changes:
                return trained

            def load() -> LoadedModel:
                return network_for(search.spec(network, trained), search.classes, seed=seed, note=self._note)

            source = trained.parent.name
        return beginning(network, seed, self._run, source=source, load=load, classes=search.classes)

    def _once(self, line: str) -> None:
        """A line that every seed would say again."""
        if line not in self._said:
            self._said.add(line)
            self._note(line)

    def _keep(self, plan: Plan) -> None:
        rows = gather(plan, self._run, self._note).get(TRAINING, pd.DataFrame({"variant": []}))
        tasks = {task.variant.name: task for task in reversed(plan.trainings)}
        for name, own in rows.groupby("variant"):
            known, task = self.held.get(str(name)), tasks[str(name)]
            self.held[str(name)] = Held(
                top_1={**(known.top_1 if known else {}), **_by_seed(own, "top_1")},
                nll={**(known.nll if known else {}), **_by_seed(own, "nll")},
                parameters=task.parameters,
                gmacs=task.gmacs,
            )

    def _scores(self, task: TrainTask) -> Scores:
        found = finished(task.folder(self._run), task.digest, self._note)
        if not isinstance(found, Scores):  # a training of masks has another identity
            raise StoreError(
                f"{task.text}: its weights are gone from {task.folder(self._run)}; put them back, or name another "
                "folder"
            )
        return found


def _by_seed(rows: pd.DataFrame, column: str) -> Numbers:
    return {int(seed): float(value) for seed, value in zip(rows["seed"], rows[column], strict=True)}
