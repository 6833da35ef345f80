"""The paper's build-up rule as a search: buildup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from visionscope.commands.experiments import sitting_flags_of
from visionscope.commands.output import command_text, exit_code
from visionscope.core.display import show_table
from visionscope.core.files import user_path
from visionscope.core.refusals import check_can_be_written
from visionscope.core.rules import values_of
from visionscope.core.terminal import interrupted, say, tell
from visionscope.core.ticking import duration
from visionscope.core.values import Rule, Value
from visionscope.data.specs import check_apart, find_data, needs_both_splits
from visionscope.errors import ConfigError
from visionscope.experiments.buildup.kept import Question, begun_in, control_asked, is_done
from visionscope.experiments.sitting import Sitting
from visionscope.flags import Parser
from visionscope.models.find import find_model
from visionscope.running.study import Study
from visionscope.training.recipe import Recipe, choose_recipe
from visionscope.training.terms import Terms

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from pandas import DataFrame

    from visionscope.experiments.buildup.search import Search

_OUT = Value(str, Rule(empty=False), "visionscope-buildup")
_MIXER = Value(str, Rule(empty=False, longest=500))
_SEEDS = Value(int, Rule(least=2, most=1000))
_MILLISECONDS = Value(float, Rule(above=0, most=1e6))
_GOES_ON = (
    *("data", "recipe", "budget", "mixer", "seeds", "fraction", "epochs", "warm_start", "from_pretrained"),
    *("at_most_ms", "control", "out", "on", "workers", "gpus"),
)
_HOURS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(h|min|m)")
_BUDGET = Value(str, Rule(pattern=_HOURS.pattern, words="a time such as 2h, 1.5h or 45min, of at most 9 digits"))


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
    parser.add_switch("--warm-start", "begin a candidate with its parent's trained weights of the same seed")
    parser.add_switch("--from-pretrained", "fine-tune from the library's weights; MODEL@FILE does so from a file's")
    parser.add_value("--at-most-ms", _MILLISECONDS, "drop candidates on which one image takes longer on this machine")
    parser.add_switch("--control", "compare with random placements of no fewer trainings, beyond the budget")
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
    hours = hours_of(parsed.budget)
    spec = find_model(parsed.model)
    spec.check_single()
    question = Question(
        model=spec.text,
        data=parsed.data,
        recipe=recipe,
        changes=changes,
        fraction=parsed.fraction or 1.0,
        mixer=parsed.mixer or "",
        warm_start=parsed.warm_start,
        pretrained=parsed.from_pretrained,
        at_most_ms=parsed.at_most_ms,
    )

    from visionscope.experiments.buildup.search import search_for

    parsed.control = parsed.control or control_asked(begun_in(run))  # what was asked for once is not taken back
    command = command_text(["buildup", parsed.model], {name: getattr(parsed, name) for name in _GOES_ON})
    search = search_for(
        question,
        seeds=parsed.seeds,
        budget=hours,
        run=run,
        note=_note,
        command=command,
        control=parsed.control,
    )
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
    from visionscope.experiments.buildup.networks import Network
    from visionscope.experiments.buildup.page import write_page
    from visionscope.experiments.buildup.results import (
        SHOWN,
        sentences_of,
        shown_rows,
        speeds_of,
        table_of,
        write_results,
    )
    from visionscope.experiments.buildup.running import Buildup, carry_out

    def written(found: Buildup) -> tuple[DataFrame, tuple[Path, ...]]:
        table = table_of(found, speeds_of(found))
        files = write_results(found, table, run)
        return table, (write_page(found, table, run), *files)

    def early(found: Buildup) -> None:
        """Hours may lie between the winner and its control."""
        written(found)
        for sentence in sentences_of(found):
            _note(sentence)

    try:
        found = carry_out(search, sitting, run, _note, early=early)
        table, files = written(found)
    except KeyboardInterrupt as stop:
        interrupted("Stopped; what is finished is kept. The same command goes on.")
        return exit_code(stop)
    show_table("Held-out images", SHOWN, list(shown_rows(table)))
    for sentence in sentences_of(found):
        say(f"* {sentence}")
    for file in files:
        say(str(file))
    if found.confirmed is not None:
        say(f"Load the winner as {search.spec(Network(name=''), files[-1])}")
    return 0


def tell_buildup(run: Path) -> bool:
    """Writes what a build-up's run folder holds, and what goes on with it.

    Args:
        run: the run folder.

    Returns:
        Whether it holds one.

    Raises:
        ConfigError: when its file can't be read.
    """
    told = begun_in(run) if run.is_dir() else {}
    if not told:
        return False
    asked = told["asked"]
    trained = sum(1 for _ in run.glob("train/*/last.safetensors"))
    say(f"{run}: a build-up of {asked.get('model')} on {asked.get('data')}, up to {told['seeds']} seeds")
    say(f"trainings that are finished: {trained}")
    result = told.get("result") or {}
    for sentence in result.get("sentences", ()):
        say(f"* {sentence}")
    say("everything is done" if is_done(told) else f"go on with: {told.get('command') or 'the same command'}")
    return True


def _note(line: str) -> None:
    tell(f"visionscope: {line}")


def _training(search: Search, name: str) -> str:
    return duration(search.seconds[name]) if name in search.seconds else "too slow"


def _tell_plan(search: Search) -> None:
    from visionscope.experiments.buildup.results import number
    from visionscope.numerics.sequential import detectable, looks_of

    columns = ("blocks of each stage", "parameters", "GMACs", "a training, one core")
    measured = search.milliseconds if search.question.at_most_ms is not None else {}
    rows = [
        (
            *(name, f"{task.parameters:,}", number(task.gmacs), _training(search, name)),
            *((number(measured[name]),) if measured else ()),
        )
        for name, task in search.tasks.items()
    ]
    show_table("Candidates, if every one helps", (*columns, *(("ms of an image",) if measured else ())), rows)
    looks = ", ".join(map(str, looks_of(search.seeds)))
    say(
        f"Up to {search.seeds} seeds of each, looked at after {looks}; what helps nothing is kept with a chance of 5 %."
    )
    say(
        f"A gain of {detectable(search.seeds):.2f} standard deviations of paired seeds is kept in four of five cases; "
        "in points, each candidate's line says it."
    )
    say(f"All that may be trained takes about {duration(3600 * search.hours)} on one core, confirmation included.")
    if search.control:
        say(f"The control comes on top: about {duration(3600 * search.control_hours)} on one core.")
