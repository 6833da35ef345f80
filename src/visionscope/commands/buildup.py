"""The paper's build-up rule as a search: buildup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from visionscope.commands.experiments import sitting_flags_of
from visionscope.commands.output import exit_code
from visionscope.core.display import show_table
from visionscope.core.files import user_path
from visionscope.core.refusals import check_can_be_written
from visionscope.core.rules import values_of
from visionscope.core.terminal import interrupted, say, tell
from visionscope.core.ticking import duration
from visionscope.core.values import Rule, Value
from visionscope.data.specs import check_apart, find_data, needs_both_splits
from visionscope.errors import ConfigError
from visionscope.experiments.sitting import Sitting
from visionscope.flags import Parser
from visionscope.models.find import find_model
from visionscope.running.study import Study
from visionscope.training.recipe import Recipe, choose_recipe
from visionscope.training.terms import Terms

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    import pandas as pd

    from visionscope.experiments.buildup.running import Buildup
    from visionscope.experiments.buildup.search import Search

_OUT = Value(str, Rule(empty=False), "visionscope-buildup")
_MIXER = Value(str, Rule(empty=False, longest=500))
_SEEDS = Value(int, Rule(least=2, most=1000))
_HOURS = re.compile(r"(\d+(?:\.\d+)?)(h|min|m)")
_BUDGET = Value(str, Rule(pattern=_HOURS.pattern, words="a time such as 2h, 1.5h or 45min"))


def buildup_flags(parser: Parser) -> None:
    """Adds the flags of buildup."""
    parser.add_model()
    data = "data with a train and a test split, which are not named: a folder, embedded, torch/NAME or hfds/NAME"
    parser.add_value("--data", values_of(Study)["data"], data, required=True)
    parser.add_field(Terms, "recipe")
    parser.add_value("--budget", _BUDGET, "time on one core that all trainings may take, such as 2h", required=True)
    parser.add_value("--mixer", _MIXER, "what stands in attention's place; visionscope models 'mixer:*' lists them")
    parser.add_value("--seeds", _SEEDS, "of a candidate at most; by default as many as the budget allows, up to 16")
    parser.add_field(Terms, "fraction")
    parser.add_field(Recipe, "epochs", default=None)
    parser.add_value("--out", _OUT, "run folder; the same command goes on there")
    parser.add_switch("--dry-run", "show the candidates and what they cost, and train nothing")
    sitting_flags_of(parser, ("on", "workers", "gpus"))


def buildup(parsed: Namespace) -> int:
    """Shows the candidates and their costs; then tries them, confirms the winner and writes it."""
    given = {name: getattr(parsed, name) for name in ("on", "workers", "gpus") if getattr(parsed, name) is not None}
    sitting = Sitting(**given)
    recipe = parsed.recipe or Terms().recipe
    changes = {"epochs": parsed.epochs} if parsed.epochs is not None else {}
    choose_recipe(recipe, changes)  # what is wrong is told before torch is imported
    if find_data(parsed.data).split is not None:
        raise needs_both_splits(parsed.data)
    run = user_path("out", parsed.out or _OUT.default)
    check_apart(run, parsed.data)
    if not parsed.dry_run:
        check_can_be_written(run)
    spec = find_model(parsed.model)
    if spec.checkpoint is not None:
        raise ConfigError(f"model: a build-up begins with random weights; leave @{spec.checkpoint.name} out")

    from visionscope.experiments.buildup.search import Question, search_for

    question = Question(
        model=spec.text,
        data=parsed.data,
        recipe=recipe,
        changes=changes,
        fraction=parsed.fraction or 1.0,
        mixer=parsed.mixer or "",
    )
    search = search_for(question, seeds=parsed.seeds, budget=hours_of(parsed.budget), run=run, note=_note)
    _tell_plan(search)
    return 0 if parsed.dry_run else _carried_out(search, sitting, run)


def hours_of(text: str) -> float:
    """The hours that a budget is: `2h`, `1.5h`, `45min`.

    Args:
        text: as the flag takes it.

    Raises:
        ConfigError: for another form, and for no time at all.
    """
    found = _HOURS.fullmatch(text)
    hours = float(found[1]) / (1 if found[2] == "h" else 60) if found else 0.0
    if not hours:
        raise ConfigError(f"budget: must be a time such as 2h, 1.5h or 45min, above zero; got {text!r}")
    return hours


def _carried_out(search: Search, sitting: Sitting, run: Path) -> int:
    from visionscope.experiments.buildup.results import speeds_of, table_of, write_results
    from visionscope.experiments.buildup.running import carry_out

    try:
        found = carry_out(search, sitting, run, _note)
    except KeyboardInterrupt as stop:
        interrupted("Stopped; what is finished is kept. The same command goes on.")
        return exit_code(stop)
    table = table_of(found, speeds_of(found))
    files = write_results(found, table, run)
    _tell_table(table)
    say(verdict_of(found))
    for file in files:
        say(str(file))
    if found.confirmed is not None:
        say(f"Load the winner as {search.question.model}@{files[-1]}")
    return 0


def verdict_of(found: Buildup) -> str:
    """What a build-up has found, in a sentence.

    Args:
        found: any.
    """
    from visionscope.experiments.buildup.path import name_of
    from visionscope.experiments.buildup.results import confirmed_gain

    if found.confirmed is None:
        return "* No candidate helps: accuracy does not rise reliably with any of them."
    gain, (low, high) = confirmed_gain(found)
    told = "confirmed" if low > 0 else "not confirmed"
    count = len(found.confirmed.seeds)
    return (
        f"* {name_of(found.winner)} wins, {told} on {count} fresh seeds: test accuracy {100 * gain:+.2f} points "
        f"({100 * low:.2f} to {100 * high:.2f})."
    )


def _note(line: str) -> None:
    tell(f"visionscope: {line}")


def _tell_plan(search: Search) -> None:
    from visionscope.numerics.sequential import detectable, looks_of

    columns = ("blocks of each stage", "parameters", "GMACs", "a training, one core")
    rows = [
        (name, f"{task.parameters:,}", _figure(task.gmacs), duration(search.seconds[name]))
        for name, task in search.tasks.items()
    ]
    show_table("Candidates, if every one helps", columns, rows)
    looks = ", ".join(map(str, looks_of(search.seeds)))
    say(
        f"Up to {search.seeds} seeds of each, looked at after {looks}; what helps nothing is kept with a chance of 5 %."
    )
    say(f"A gain of {detectable(search.seeds):.2f} standard deviations of paired seeds is kept in four of five cases.")
    say(f"All that may be trained takes about {duration(3600 * search.hours)} on one core, confirmation included.")


def _tell_table(table: pd.DataFrame) -> None:
    columns = (
        *("blocks", "verdict", "seeds", "accuracy, 95 % interval", "NLL", "gain in points, 95 % interval"),
        *("parameters", "GMACs", "images/s"),
    )
    show_table("Held-out images", columns, _rows(table))


def _rows(table: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    for row in table.to_dict("records"):
        tried = row["gain"] == row["gain"]
        yield (
            row["places"],
            row["verdict"],
            str(row["seeds"]),
            f"{_percent(row, 'accuracy')} %" if row["seeds"] else "",
            f"{row['nll']:.3f}" if row["seeds"] else "",
            _percent(row, "gain") if tried else "",
            f"{row['parameters']:,.0f}" if row["seeds"] else "",
            _figure(row["gmacs"]),
            _figure(row["images_per_second"]),
        )


def _percent(row: dict[Any, Any], name: str) -> str:
    mean, low, high = (100 * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def _figure(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.3g}"
