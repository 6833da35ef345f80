"""What a build-up has come to: the table of networks, in sentences, as JSON, and the winner's weights with a card."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from visionscope.building.measure import throughput
from visionscope.core.files import write_whole
from visionscope.core.refusals import refusals
from visionscope.experiments.buildup.card import CARD, card_of
from visionscope.experiments.buildup.kept import keep
from visionscope.experiments.buildup.networks import Network
from visionscope.experiments.buildup.running import Buildup, Trial
from visionscope.experiments.buildup.trainer import ScoresBySeed
from visionscope.experiments.experiment import THREADS
from visionscope.numerics.over_seeds import Interval, t_interval
from visionscope.training.launching import threads_of
from visionscope.training.networks import network_for

TABLE, WINNER = "buildup.csv", "harmonized.safetensors"
START, AGAIN, CONTROL, FAILED = "start", "again", "control", "failed"
"""Verdicts of networks that are no candidates of the rule; candidates may have failed, too."""

_BATCH = 16  # images of a pass that is timed


def networks_of(buildup: Buildup) -> dict[str, tuple[Network, Trial | None, str]]:
    """Every network of a build-up with its trial, if it was a candidate, and its verdict, by name.

    Args:
        buildup: any.
    """
    found: dict[str, tuple[Network, Trial | None, str]] = {buildup.start.name: (buildup.start, None, START)}
    for trial in buildup.trials:
        found.setdefault(trial.beside.name, (trial.beside, None, AGAIN))
        found[trial.network.name] = (trial.network, trial, trial.verdict)
    if buildup.control is not None:
        for network in buildup.control.drawn:
            found.setdefault(
                network.name, (network, None, FAILED if network.name in buildup.control.failed else CONTROL)
            )
    return found


def table_of(buildup: Buildup, speeds: Mapping[str, float]) -> pd.DataFrame:
    """A row per network, the one that the build-up began with first.

    Accuracies are shares of the held-out images, with Student's 95 % interval over all `seeds` of the row; gains are
    paired by seed, over the `gain_seeds` of the look that decided.
    `test_accuracy` is of the fresh seeds, and `lead` that of the winner, or of the start where nothing helps, less this
    network's.

    Args:
        buildup: any.
        speeds: images per second of a forward pass, by name.
    """
    rows = []
    tested, leads = _tested(buildup), _leads(buildup)
    for name, (network, trial, verdict) in networks_of(buildup).items():
        held, gains = buildup.held.get(name), list(trial.gains) if trial else []
        top_1 = list(held.top_1.values()) if held else []
        scores = tested.get(name, {})
        parameters, gmacs = (held.parameters, held.gmacs) if held else buildup.search.costs(network)
        rows.append(
            {
                "network": name,
                "parent": trial.beside.name if trial else "",
                "verdict": verdict,
                "seeds": len(top_1),
                **_named("accuracy", _mean_and_interval(top_1)),
                "nll": _mean(list(held.nll.values()) if held else []),
                **_named("gain", _mean_and_interval(gains)),
                "gain_seeds": len(gains),
                "detectable": buildup.search.detectable(gains) if gains else math.nan,
                "parameters": parameters,
                "gmacs": gmacs,
                "images_per_second": speeds.get(name, math.nan),
                "milliseconds": buildup.search.milliseconds.get(name, math.nan),
                **_named("test_accuracy", _mean_and_interval([one.top_1 for one in scores.values()])),
                **_named("lead", leads.get(name, (math.nan,) * 3)),
            }
        )
    return pd.DataFrame(rows)


def speeds_of(buildup: Buildup) -> dict[str, float]:
    """Images per second of a forward pass of every network that was trained, on one core; they take turns.

    Args:
        buildup: any.
    """
    search = buildup.search
    networks = {
        name: network_for(search.spec(network), 0, seed=0, note=lambda line: None).model
        for name, (network, _, verdict) in networks_of(buildup).items()
        if name in buildup.held and verdict != AGAIN
    }
    if not networks:
        return {}
    config = search.base.input
    with threads_of(THREADS):
        found = throughput(networks, config.size, len(config.mean), batch=_BATCH)
    return {name: one.forward for name, one in found.items()}


def sentences_of(buildup: Buildup) -> tuple[str, ...]:
    """What a build-up has found, a sentence each: whether the winner is better, and than random placements.

    Args:
        buildup: any.
    """
    name, control = buildup.chosen.name, buildup.control
    if buildup.confirmed is not None:
        gain, interval = buildup.confirmed.gain
        told, count = "confirmed" if interval[0] > 0 else "not confirmed", len(buildup.confirmed.after)
        found = [f"{name} wins, {told} on {count} fresh seeds: test accuracy {_points(gain, interval)}."]
    elif buildup.winner is not None:
        found = [f"{name} wins on held-out images, but could not be confirmed: {buildup.unconfirmed}."]
    elif buildup.compared:
        found = ["No candidate helps: accuracy does not rise reliably with any of them."]
    else:
        found = ["No candidate could be compared: each was too slow, or its training failed."]
    if control is not None:
        gain, interval = control.gain
        verb = "beats" if interval[0] > 0 else "loses to" if interval[1] < 0 else "does not differ reliably from"
        drawn, blocks = len(control.compared), "as many blocks" if buildup.winner else "one block"
        placements = f"{drawn} random placement{'s' * (drawn > 1)}"
        found.append(f"{name} {verb} the best of {placements} of {blocks}: test accuracy {_points(gain, interval)}.")
        if drawn < buildup.compared:
            found.append(
                f"The control is smaller than asked: {placements}, where the rule compared {buildup.compared}."
            )
    elif buildup.no_control:
        found.append(f"There is no control: {buildup.no_control}.")
    elif buildup.search.control:
        found.append("The control is not finished.")
    return tuple(found)


def write_results(buildup: Buildup, table: pd.DataFrame, run: Path) -> tuple[Path, ...]:
    """Writes the table, the result into buildup.json, and the winner's weights of the first fresh seed with a card.

    Args:
        buildup: any.
        table: of `table_of`.
        run: the run folder.

    Returns:
        The files; the winner's last.

    Raises:
        StoreError: when the disk refuses.
    """
    files = [run / TABLE]
    keep(run, {**buildup.search.told(), "result": _result(buildup)})
    with refusals(run):
        write_whole(run / TABLE, table.to_csv(index=False).encode())
        if buildup.confirmed is not None:
            write_whole(run / CARD, card_of(buildup, WINNER, sentences_of(buildup)).encode())
            with open(buildup.confirmed.weights, "rb") as source:
                write_whole(run / WINNER, lambda file: shutil.copyfileobj(source, file))
            files += [run / CARD, run / WINNER]
    return tuple(files)


SHOWN = (
    *("network", "verdict", "seeds", "accuracy in %, 95 % interval", "NLL", "gain in points, 95 % interval"),
    *("parameters", "GMACs", "images/s"),
)


def shown_rows(table: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """The columns of `SHOWN` as people read them.

    Args:
        table: of `table_of`.
    """
    for row in table.to_dict("records"):
        yield (
            row["network"],
            row["verdict"],
            str(row["seeds"]),
            percent(row, "accuracy"),
            number(row["nll"], ".3f"),
            _gain(row),
            number(row["parameters"], ",.0f"),
            number(row["gmacs"]),
            number(row["images_per_second"]),
        )


def _gain(row: Mapping[Any, Any]) -> str:
    """With its sign and its seeds, which may be fewer than the row's; older tables don't say how many."""
    text, seeds = percent(row, "gain"), int(row.get("gain_seeds", 0))
    plus = "+" if text and not text.startswith("-") else ""
    return f"{plus}{text}{f', {seeds} seeds' if seeds else ''}"


def percent(row: Mapping[Any, Any], name: str) -> str:
    """A share with its interval in percent; "" where there is none.

    Args:
        row: of a table.
        name: of the column.
    """
    if row[name] != row[name]:
        return ""
    mean, low, high = (100 * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def number(value: float | None, form: str = ".3g") -> str:
    """A number as people read it, three digits of it, or all before the point; "" for none.

    Args:
        value: it.
        form: as Python's `format` takes it.
    """
    if value is None or value != value:
        return ""
    text = format(value, form)
    return format(value, ",.0f") if "e+" in text else text


def _result(buildup: Buildup) -> dict[str, Any]:
    """As JSON can hold it; accuracies and gains are shares of the test images."""
    told: dict[str, Any] = {
        "sentences": sentences_of(buildup),
        "winner": None,
        "control": None,
        "no_control": buildup.no_control,
        "failed": dict(buildup.failed),
    }
    if buildup.winner is not None:
        blocks = [change.path for change in buildup.winner.changes]
        told["winner"] = {"name": buildup.winner.name, "blocks": blocks}
    if buildup.confirmed is not None:
        told["winner"] |= {
            "seeds": list(buildup.confirmed.after),
            "test_accuracy": [one.top_1 for one in buildup.confirmed.after.values()],
            **_named("gain", (buildup.confirmed.gain[0], *buildup.confirmed.gain[1])),
        }
    if buildup.control is not None:
        told["control"] = {
            "name": buildup.control.best.name,
            "placements": [network.name for network in buildup.control.compared],
            "failed": dict(buildup.control.failed),
            "trainings": len(buildup.control.compared) * buildup.control.seeds,
            "test_accuracy": [one.top_1 for one in buildup.control.scores.values()],
            **_named("lead", (buildup.control.gain[0], *buildup.control.gain[1])),
        }
    return told


def _tested(buildup: Buildup) -> dict[str, ScoresBySeed]:
    """Scores on test images and fresh seeds, by name of the network."""
    found: dict[str, ScoresBySeed] = {}
    if buildup.confirmed is not None and buildup.winner is not None:
        found = {buildup.start.name: buildup.confirmed.before, buildup.winner.name: buildup.confirmed.after}
    if buildup.control is not None:
        found.setdefault(buildup.chosen.name, buildup.control.chosen)
        found[buildup.control.best.name] = buildup.control.scores
    return found


def _leads(buildup: Buildup) -> dict[str, tuple[float, float, float]]:
    """Of what the rule has chosen over other networks, in test accuracy on the fresh seeds of both."""
    compared = {}
    if buildup.confirmed is not None:
        compared[buildup.start.name] = buildup.confirmed.gain
    if buildup.control is not None:
        compared[buildup.control.best.name] = buildup.control.gain
    return {name: (mean, *interval) for name, (mean, interval) in compared.items()}


def _points(gain: float, interval: Interval) -> str:
    return f"{100 * gain:+.2f} points ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})"


def _named(name: str, values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _mean_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    low, high = t_interval(values) if len(values) > 1 else (math.nan, math.nan)
    return _mean(values), low, high
