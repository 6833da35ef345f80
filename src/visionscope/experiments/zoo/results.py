"""The tables of a list of networks in RUN/tables: those of experiments, with the columns `network` and `family`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from visionscope.claims.one_seed import LAST
from visionscope.core.failures import Failures
from visionscope.experiments.done import KEYS, RESULTS, Tables, done_jobs, known_results, stored_tables
from visionscope.experiments.tables import FAILURES, add_rows, job_failures, job_tables, with_keys
from visionscope.experiments.zoo.measuring import Lost
from visionscope.experiments.zoo.plan import Network, ZooPlan

NETWORKS = "networks"


def gather_zoo(plan: ZooPlan, lost: Sequence[Lost], note: Callable[[str], None]) -> Tables:
    """Adds what is new in a run folder to its tables, writes them, and gives those of the plan's networks.

    Args:
        plan: the networks.
        lost: what could not be measured in this sitting.
        note: takes a line about a result that can't be made.

    Returns:
        By name, the rows of the plan's networks alone; `networks` with a row for each that has a result; `failures`.

    Raises:
        StoreError: when the disk refuses.
    """
    run = plan.run
    tables, done = stored_tables(run), done_jobs(run)
    known = known_results(tables)
    new: dict[str, list[pd.DataFrame]] = {}
    failures = [_failure(one.network, one.diagnostic, one.reason) for one in lost]

    def add(table: str, rows: pd.DataFrame, network: Network, family: str, question: str) -> None:
        keys = dict(zip(KEYS, (network.label, 0, LAST, network.key, question), strict=True))
        new.setdefault(table, []).append(with_keys(rows, {**keys, "network": network.label, "family": family}))

    for network, (name, question) in itertools.product(plan.networks, plan.zoo.questions):
        job = done.get((network.key, LAST, question))
        if job is None:
            continue
        failures += [_failure(network.label, one, reason) for one, reason in job_failures(name, job, run)]
        if not job.whole or (network.key, LAST, question) in known:
            continue
        family = str(job.record["experiment"].get("family", ""))
        for table, rows in job_tables(job, run, failures_of := Failures(note)):
            add(table, rows, network, family, question)
        failures += [_failure(network.label, name, one.text) for one in failures_of.all]
        add(RESULTS, pd.DataFrame([{"result": name}]), network, family, question)
        if (network.key, LAST, NETWORKS) not in known:
            add(NETWORKS, _described(job.record), network, family, NETWORKS)
            add(RESULTS, pd.DataFrame([{"result": NETWORKS}]), network, family, NETWORKS)
            known.add((network.key, LAST, NETWORKS))
    add_rows(run, tables, new)
    own = own_rows(plan, tables)
    columns = ["variant", "seed", "snapshot", "diagnostic", "reason"]
    own[FAILURES] = pd.DataFrame(failures, columns=columns).drop_duplicates(ignore_index=True)
    return own


def own_rows(plan: ZooPlan, tables: Mapping[str, pd.DataFrame]) -> Tables:
    """The rows of a plan's networks and questions, under the labels of its list, in its order.

    Args:
        plan: the networks.
        tables: of the run folder, of other lists and experiments, too.
    """
    labels = pd.DataFrame([(network.key, network.label) for network in plan.networks], columns=["training", "network"])
    asked = {NETWORKS, *(question for _, question in plan.zoo.questions)}
    found = {}
    for name, table in tables.items():
        if "family" not in table:
            continue
        rows = labels.merge(table.drop(columns=["variant", "network"]), on="training", how="inner")
        rows = rows[rows["question"].isin(asked)].assign(variant=lambda own: own["network"])
        if len(rows):
            leading = [*KEYS, "network", "family"]
            found[name] = rows.reset_index(drop=True)[[*leading, *(c for c in rows.columns if c not in leading)]]
    return found


def _described(record: Mapping[str, Any]) -> pd.DataFrame:
    """What was loaded, and how its images were made ready."""
    model, input = record["model"], record["data"]["input"]
    height, width = input["size"]
    mean, std = (" ".join(f"{value:g}" for value in input[name]) for name in ("mean", "std"))
    row = {"spec": model["spec"].partition("@")[0], "weights": model["weights"], "parameters": model["parameters"]}
    row |= {"height": height, "width": width, "mean": mean, "std": std, "points": len(record["points"])}
    return pd.DataFrame([row])


def _failure(network: str, diagnostic: str, reason: str) -> dict[str, Any]:
    own = reason.removeprefix(f"{network}: ")
    return {"variant": network, "seed": 0, "snapshot": LAST, "diagnostic": diagnostic, "reason": own}
